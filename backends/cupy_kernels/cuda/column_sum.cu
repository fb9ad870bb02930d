// The sum of the rows of a matrix, in two stages of fixed order: gradients of biases, and the second stage
// of every other kernel that leaves one row of partial sums per block.
#include "columns.cuh"

template <class T, int N>
__device__ __forceinline__ void chunk(const T* x, float* partial, long long rows, int width, int rows_per_block,
                                      float* shared) {
    const Tile<N> tile(rows, rows_per_block);
    float sums[N] = {};
    if (tile.column < width)
        for (long long row = tile.first; row < tile.end; row += COLUMN_WARPS) {
            const Pack<T, N> pack = load<N>(x + row * width + tile.column);
#pragma unroll
            for (int e = 0; e < N; e++) sums[e] += to_float(pack.element[e]);
        }
    write_chunk(sums, partial, width, shared);
}

// Second stage: the rows of `partial` (parts, width), or (parts, 2, width) with two results.
template <class T>
__device__ __forceinline__ void total(const float* partial, T* first, T* second, int parts, int width,
                                      float (*shared)[33]) {
    const int stride = second == nullptr ? width : 2 * width;
    const int column = int(blockIdx.x) * 32 + lane_index();
    float sum = 0;
    if (column < stride)
        for (int part = warp_index(); part < parts; part += 32) sum += partial[(long long)part * stride + column];
    shared[warp_index()][lane_index()] = sum;
    __syncthreads();
    if (warp_index() == 0 && column < stride) {
        sum = 0;
        for (int w = 0; w < 32; w++) sum += shared[w][lane_index()];
        (column < width ? first : second - width)[column] = from_float<T>(sum);
    }
}

#define KERNELS(T)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256) column_chunks_##T(                                \
        const T* x, float* partial, long long rows, int width, int rows_per_block) {                    \
        SHARED(float, shared, CHUNK_SHARED);                                                            \
        if (packable<T>(width, x))                                                                      \
            chunk<T, PACKED<T>>(x, partial, rows, width, rows_per_block, shared);                       \
        else                                                                                            \
            chunk<T, 1>(x, partial, rows, width, rows_per_block, shared);                               \
    }                                                                                                   \
    EXPORT(column_chunks_##T)                                                                           \
    extern "C" __global__ void __launch_bounds__(1024)                                                  \
        column_total_##T(const float* partial, T* first, T* second, int parts, int width) {             \
        SHARED(float, shared, 32 * 33);                                                                 \
        total<T>(partial, first, second, parts, width, reinterpret_cast<float (*)[33]>(shared));        \
    }                                                                                                   \
    EXPORT(column_total_##T)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)
