// What the attention kernels share: where heads lie in memory, and tiles of them in shared memory.
//
// Scores are kept in units of log2: p = 2^(s scale log2(e) - lse), lse the logarithm to base 2 of the sum.
#pragma once
#include "fragments.cuh"

constexpr float LOG2_E = 1.44269504088896340736f;

// Distances, in elements, from one image, head or row of a tensor to the next.
#define STRIDES(name) long long name##_image, long long name##_head, long long name##_row

// What every forward kernel takes. q, o: (images, heads, queries, width), k, v: (images, heads, keys, width);
// lse: (images, heads, queries rounded up to whole packs), null when nothing is kept.
#define FORWARD_PARAMETERS(T)                                                                                  \
    const T *q_, const T *k_, const T *v_, T *o_, float *lse_, int queries, int keys, int heads, int width,    \
        float scale, STRIDES(q), STRIDES(kv), STRIDES(o)
#define FORWARD_ARGUMENTS                                                                                      \
    q_, k_, v_, o_, lse_, queries, keys, heads, width, scale, q_image, q_head, q_row, kv_image, kv_head,       \
        kv_row, o_image, o_head, o_row

// What every backward kernel takes; `do_` is the cotangent of o, delta is as lse.
#define BACKWARD_PARAMETERS(T)                                                                                 \
    const T *q_, const T *k_, const T *v_, const T *o_, const T *do_, const float *lse_, float *delta_,        \
        T *dq_, T *dk_, T *dv_, int queries, int keys, int heads, int width, float scale, STRIDES(q),          \
        STRIDES(kv), STRIDES(o), STRIDES(do), STRIDES(dq), STRIDES(dkv)
#define BACKWARD_ARGUMENTS                                                                                     \
    q_, k_, v_, o_, do_, lse_, delta_, dq_, dk_, dv_, queries, keys, heads, width, scale, q_image, q_head,     \
        q_row, kv_image, kv_head, kv_row, o_image, o_head, o_row, do_image, do_head, do_row, dq_image,         \
        dq_head, dq_row, dkv_image, dkv_head, dkv_row

// The length of a row of lse: a multiple of 16 bytes.
__device__ __forceinline__ int whole_packs(int rows) { return (rows + 3) / 4 * 4; }

// Rows of one head of one image in global memory; elements of a row lie side by side.
template <class T> struct Rows {
    T* start;
    long long stride;
    int count, width;
    bool packed;  // every row begins at a multiple of 16 bytes and has a whole number of packs

    __device__ __forceinline__ Rows(T* tensor, long long image, long long head, long long image_stride,
                                    long long head_stride, long long row_stride, int rows, int columns)
        : start(tensor + image * image_stride + head * head_stride), stride(row_stride), count(rows),
          width(columns) {
        packed = packable<T>(width, start) && stride % PACKED<T> == 0;
    }
};

// The softmax of one row of scores, seen in parts.
struct RunningRow {
    float top = NEGATIVE_INFINITY, shift = 0, sum = 0;  // the largest score; what is subtracted, in log2

    // `largest` of the scores seen so far and next; the factor is for what was summed before.
    __device__ __forceinline__ float raise(float largest, float scale2) {
        const float next = largest == NEGATIVE_INFINITY ? 0 : largest * scale2;
        const float factor = top == NEGATIVE_INFINITY ? 0 : power_of_2(shift - next);
        top = largest;
        shift = next;
        sum *= factor;
        return factor;
    }
    __device__ __forceinline__ float weight(float score, float scale2) const {
        return power_of_2(fmaf(score, scale2, -shift));
    }
};

// Which tile of rows of which head of which image this block works on; `tiles` per head.
struct Place {
    int tile, head;
    long long image, pair;  // pair = image * heads + head
    __device__ __forceinline__ Place(int tiles, int heads) {
        tile = int(blockIdx.x) % tiles;
        pair = int(blockIdx.x) / tiles;
        head = int(pair % heads);
        image = pair / heads;
    }
};

// `count` rows from row `first` on into a tile with rows of WIDTH + PAD elements, zeros where there is nothing;
// by the threads 0 .. threads - 1. Ends no group of copies.
template <int WIDTH, int PAD = 8, class T>
__device__ __forceinline__ void load_tile(T* tile, const Rows<const T>& rows, int first, int count, int thread,
                                          int threads) {
    constexpr int N = PACKED<T>, PACKS = WIDTH / N, LD = WIDTH + PAD;
    if (rows.packed) {
        for (int i = thread; i < count * PACKS; i += threads) {
            const int row = i / PACKS, column = i % PACKS * N;
            const bool inside = first + row < rows.count && column < rows.width;
            const T* from = inside ? rows.start + (first + row) * rows.stride + column : rows.start;
            copy_async_16(tile + row * LD + column, from, inside ? 16 : 0);
        }
    } else {
        for (int i = thread; i < count * WIDTH; i += threads) {
            const int row = i / WIDTH, column = i % WIDTH;
            const bool inside = first + row < rows.count && column < rows.width;
            tile[row * LD + column] = inside ? rows.start[(first + row) * rows.stride + column] : from_float<T>(0);
        }
    }
}

// 16 rows of a warp from its tile (rows of WIDTH + 8) to rows `first` .. of global memory.
template <int WIDTH, class T>
__device__ __forceinline__ void store_tile(const Rows<T>& rows, const T* tile, int first) {
    constexpr int N = PACKED<T>, PACKS = WIDTH / N, LD = WIDTH + 8;
    if (rows.packed) {
        for (int i = lane_index(); i < 16 * PACKS; i += 32) {
            const int row = i / PACKS, column = i % PACKS * N;
            if (first + row < rows.count && column < rows.width)
                store<N>(rows.start + (first + row) * rows.stride + column, load<N>(tile + row * LD + column));
        }
    } else {
        for (int i = lane_index(); i < 16 * WIDTH; i += 32) {
            const int row = i / WIDTH, column = i % WIDTH;
            if (first + row < rows.count && column < rows.width)
                rows.start[(first + row) * rows.stride + column] = tile[row * LD + column];
        }
    }
}

// 16 rows of accumulators, rows g times `upper` and rows g + 8 times `lower`, rounded, to global memory by way
// of the warp's own tile, which may hold anything that only this warp has read.
template <int WIDTH, class T>
__device__ __forceinline__ void store_rows(const Rows<T>& rows, T* tile, const float (&sum)[WIDTH / 8][4],
                                           float upper, float lower, int first) {
    constexpr int LD = WIDTH + 8;
    const int g = lane_index() / 4, t = lane_index() % 4;
    __syncwarp();
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
        const float scaled[4] = {sum[n][0] * upper, sum[n][1] * upper, sum[n][2] * lower, sum[n][3] * lower};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            Pack<T, 2> pair;
            pair.element[0] = from_float<T>(scaled[2 * half]);
            pair.element[1] = from_float<T>(scaled[2 * half + 1]);
            store<2>(tile + (g + 8 * half) * LD + n * 8 + 2 * t, pair);
        }
    }
    __syncwarp();
    store_tile<WIDTH>(rows, tile, first);
    __syncwarp();
}
