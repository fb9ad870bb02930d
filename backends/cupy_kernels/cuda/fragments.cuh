// Products of a warp in steps of 16 rows x 16 k x 16 columns, one class for each kind of arithmetic.
//
// A kind has an Element (what shared memory holds), fragments A (rows x k) and B (k x columns), and adds to
// accumulators: two 16 x 8 tiles of floats in the layout of mma.cuh.
//   Math16<T>      T bf16 or f16
//   Math32<false>  f32 through TF32: operands rounded to ten bits of mantissa
//   Math32<true>   f32 as the sum of two TF32 numbers, three products, the small ones first
// Tiles in shared memory have rows of `ld` elements; ld = width + 8 keeps every access free of conflicts but
// load_b_columns of Math32, where two lanes meet unless ld = width + 4.
#pragma once
#include "fragments_16.cuh"
#include "fragments_32.cuh"

// sum += a[row][k] b[column][k], k < WIDTH, for 16 rows and 8 TILES columns of tiles in shared memory.
template <class M, int WIDTH, int TILES>
__device__ __forceinline__ void add_rows_by_rows(float (&sum)[TILES][4], const typename M::Element* a,
                                                 const typename M::Element* b, int ld) {
#pragma unroll
    for (int k = 0; k < WIDTH; k += 16) {
        const typename M::A left = M::load_a(a + k, ld);
#pragma unroll
        for (int n = 0; n < TILES; n += 2)
            M::add_product(sum[n], sum[n + 1], left, M::load_b_rows(b + n * 8 * ld + k, ld));
    }
}

// sum += left b[k][column] for the tiles of `left` (16 rows, 8 k each) and 8 TILES columns.
template <class M, int K_TILES, int TILES>
__device__ __forceinline__ void add_tiles_by_columns(float (&sum)[TILES][4], const float (&left)[K_TILES][4],
                                                     const typename M::Element* b, int ld) {
#pragma unroll
    for (int k = 0; k < K_TILES; k += 2) {
        const typename M::A a = M::from_tiles(left[k], left[k + 1]);
#pragma unroll
        for (int n = 0; n < TILES; n += 2)
            M::add_product(sum[n], sum[n + 1], a, M::load_b_columns(b + k * 8 * ld + n * 8, ld));
    }
}

template <int TILES> __device__ __forceinline__ void clear(float (&sum)[TILES][4]) {
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) sum[n][e] = 0;
}

// Over the four lanes that hold one row; every one receives the result.
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}
