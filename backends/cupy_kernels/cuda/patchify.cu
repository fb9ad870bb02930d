// Images to rows of patches, and back. A row is one patch: channels, then its rows, then its columns.
//
// Threads copy packs of pixels that lie beside one another in the image and in the patch. From bytes
// (images, H, W, C) each pixel goes through a table (C, 256) of normalised values, made on the host, so
// that the bits are those of a picture that was normalised there.
#include "common.cuh"

struct Patches {
    int channels, height, width;  // of the image
    int h, w;                     // of a patch
    __device__ int rows() const { return height / h; }
    __device__ int columns() const { return width / w; }
    __device__ int length() const { return channels * h * w; }
};

// Where an element of a row of patches comes from: channel, row and column in the image.
struct Pixel {
    int channel, y, x;
    __device__ Pixel(const Patches& p, int patch_row, int index) {
        const int patch = index / p.length(), inside = index % p.length();
        channel = inside / (p.h * p.w);
        y = patch_row * p.h + inside % (p.h * p.w) / p.w;
        x = patch * p.w + inside % p.w;
    }
};

// blockIdx.x: (image, row of patches); blockIdx.y shares the elements of that row of patches out.
template <class T, int N, class Read> __device__ __forceinline__ void unfold(T* y, const Patches& p, Read read) {
    const int elements = p.columns() * p.length(), patch_row = int(blockIdx.x) % p.rows();
    const long long image = blockIdx.x / unsigned(p.rows()), base = (long long)blockIdx.x * elements;
    const int step = int(gridDim.y * blockDim.x) * N;
    for (int i = int(blockIdx.y * blockDim.x + threadIdx.x) * N; i < elements; i += step)
        store<N>(y + base + i, read(image, Pixel(p, patch_row, i)));
}

template <class T, int N> struct FromImage {
    const T* image;
    Patches p;
    __device__ Pack<T, N> operator()(long long n, const Pixel& at) const {
        return load<N>(image + ((n * p.channels + at.channel) * p.height + at.y) * p.width + at.x);
    }
};

template <class T, int N> struct FromBytes {
    const unsigned char* bytes;
    const T* table;
    Patches p;
    __device__ Pack<T, N> operator()(long long n, const Pixel& at) const {
        const unsigned char* from = bytes + ((n * p.height + at.y) * p.width + at.x) * p.channels + at.channel;
        Pack<T, N> pack;
#pragma unroll
        for (int e = 0; e < N; e++) pack.element[e] = table[at.channel * 256 + from[e * p.channels]];
        return pack;
    }
};

// blockIdx.x: (image, channel); blockIdx.y shares its pixels out. Pixels that no patch reads get zero.
template <class T, int N> __device__ __forceinline__ void fold(const T* dy, T* dimage, const Patches& p) {
    const int pixels = p.height * p.width, channel = int(blockIdx.x) % p.channels;
    const long long image = blockIdx.x / unsigned(p.channels), base = (long long)blockIdx.x * pixels;
    const int step = int(gridDim.y * blockDim.x) * N;
    for (int i = int(blockIdx.y * blockDim.x + threadIdx.x) * N; i < pixels; i += step) {
        const int y = i / p.width, x = i % p.width, row = y / p.h, column = x / p.w;
        Pack<T, N> pack = {};
        if (row < p.rows() && column < p.columns()) {
            const long long patch = (image * p.rows() + row) * p.columns() + column;
            pack = load<N>(dy + patch * p.length() + (channel * p.h + y % p.h) * p.w + x % p.w);
        }
        store<N>(dimage + base + i, pack);
    }
}

// How many pixels can go in one access: whole packs, pairs (patches of 14), or one.
template <class T> __device__ __forceinline__ bool in_packs(const Patches& p, const T* a, const T* b) {
    return p.w % PACKED<T> == 0 && packable<T>(p.width, a, b);
}
template <class T> __device__ __forceinline__ bool in_pairs(const Patches& p, const T* a, const T* b) {
    return p.w % 2 == 0 && p.width % 2 == 0 && packable<T>(0, a, b);
}

#define KERNELS(T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                         \
        unfold_##T(const T* image, T* y, int channels, int height, int width, int h, int w) {                 \
        const Patches p{channels, height, width, h, w};                                                       \
        if (in_packs(p, image, y))                                                                            \
            unfold<T, PACKED<T>>(y, p, FromImage<T, PACKED<T>>{image, p});                                    \
        else if (in_pairs(p, image, y))                                                                       \
            unfold<T, 2>(y, p, FromImage<T, 2>{image, p});                                                    \
        else                                                                                                  \
            unfold<T, 1>(y, p, FromImage<T, 1>{image, p});                                                    \
    }                                                                                                         \
    EXPORT(unfold_##T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                         \
        fold_##T(const T* dy, T* dimage, int channels, int height, int width, int h, int w) {                 \
        const Patches p{channels, height, width, h, w};                                                       \
        if (in_packs(p, dy, dimage))                                                                          \
            fold<T, PACKED<T>>(dy, dimage, p);                                                                \
        else if (in_pairs(p, dy, dimage))                                                                     \
            fold<T, 2>(dy, dimage, p);                                                                        \
        else                                                                                                  \
            fold<T, 1>(dy, dimage, p);                                                                        \
    }                                                                                                         \
    EXPORT(fold_##T)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256)                                                         \
        unfold_bytes_##T(const unsigned char* bytes, const T* table, T* y, int channels, int height,          \
                         int width, int h, int w) {                                                           \
        const Patches p{channels, height, width, h, w};                                                       \
        if (p.w % PACKED<T> == 0 && packable<T>(0, y))                                                        \
            unfold<T, PACKED<T>>(y, p, FromBytes<T, PACKED<T>>{bytes, table, p});                             \
        else                                                                                                  \
            unfold<T, 1>(y, p, FromBytes<T, 1>{bytes, table, p});                                             \
    }                                                                                                         \
    EXPORT(unfold_bytes_##T)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)
