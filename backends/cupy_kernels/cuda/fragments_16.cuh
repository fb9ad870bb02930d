// Products of a warp of 16-bit elements, summed in float32. The interface is that of fragments.cuh.
#pragma once
#include "mma.cuh"

__device__ __forceinline__ unsigned packed(float x, float y, bf16) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(x, y);
    unsigned word;
    memcpy(&word, &pair, 4);
    return word;
}
__device__ __forceinline__ unsigned packed(float x, float y, f16) {
    const __half2 pair = __floats2half2_rn(x, y);
    unsigned word;
    memcpy(&word, &pair, 4);
    return word;
}

template <class T> struct Math16 {
    using Element = T;
    struct A {
        unsigned word[4];
    };
    struct B {
        unsigned word[4];
    };

    // tile[row][k]
    static __device__ __forceinline__ A load_a(const T* tile, int ld) {
        const int lane = lane_index();
        A a;
        ldmatrix_x4(a.word, tile + lane % 16 * ld + lane / 16 * 8);
        return a;
    }

    // tile[column][k]
    static __device__ __forceinline__ B load_b_rows(const T* tile, int ld) {
        const int lane = lane_index();
        B b;
        ldmatrix_x4(b.word, tile + (lane % 8 + lane / 16 * 8) * ld + lane / 8 % 2 * 8);
        return b;
    }

    // tile[k][column]
    static __device__ __forceinline__ B load_b_columns(const T* tile, int ld) {
        const int lane = lane_index();
        B b;
        ldmatrix_x4_trans(b.word, tile + lane % 16 * ld + lane / 16 * 8);
        return b;
    }

    // Two accumulator tiles side by side as the left factor of the next product.
    static __device__ __forceinline__ A from_tiles(const float c0[4], const float c1[4]) {
        return {{packed(c0[0], c0[1], T()), packed(c0[2], c0[3], T()), packed(c1[0], c1[1], T()),
                 packed(c1[2], c1[3], T())}};
    }

    static __device__ __forceinline__ A transposed(const A& a) {
        return {{movmatrix_trans(a.word[0]), movmatrix_trans(a.word[2]), movmatrix_trans(a.word[1]),
                 movmatrix_trans(a.word[3])}};
    }

    static __device__ __forceinline__ void add_product(float c0[4], float c1[4], const A& a, const B& b) {
        mma_m16n8k16(c0, a.word, b.word, T());
        mma_m16n8k16(c1, a.word, b.word + 2, T());
    }
};
