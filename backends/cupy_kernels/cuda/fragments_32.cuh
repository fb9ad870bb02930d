// Products of a warp of float32 elements by tensor cores. The interface is that of fragments.cuh.
#pragma once
#include "mma.cuh"

// Within a step of eight k their order is free as long as A and B agree: where the instruction says k = t
// and t + 4, lane t takes 2 t and 2 t + 1, which is what accumulators hold and one 8-byte load brings.
template <bool SPLIT> struct Math32 {
    using Element = f32;
    struct Parts {
        unsigned high, low;
    };
    struct A {
        unsigned high[2][4], low[2][4];  // [step of eight]
    };
    struct B {
        unsigned high[2][2][2], low[2][2][2];  // [column tile][step of eight]
    };

    static __device__ __forceinline__ A load_a(const f32* tile, int ld) {
        const int g = lane_index() / 4, t = lane_index() % 4;
        A a;
#pragma unroll
        for (int s = 0; s < 2; s++) {
            const Pack<f32, 2> upper = load<2>(tile + g * ld + 8 * s + 2 * t);
            const Pack<f32, 2> lower = load<2>(tile + (g + 8) * ld + 8 * s + 2 * t);
            set(a, s, upper.element[0], lower.element[0], upper.element[1], lower.element[1]);
        }
        return a;
    }

    static __device__ __forceinline__ B load_b_rows(const f32* tile, int ld) {
        const int g = lane_index() / 4, t = lane_index() % 4;
        B b;
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int s = 0; s < 2; s++) {
                const Pack<f32, 2> pair = load<2>(tile + (8 * n + g) * ld + 8 * s + 2 * t);
                set(b, n, s, pair.element[0], pair.element[1]);
            }
        return b;
    }

    static __device__ __forceinline__ B load_b_columns(const f32* tile, int ld) {
        const int g = lane_index() / 4, t = lane_index() % 4;
        B b;
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int s = 0; s < 2; s++) {
                const f32* first = tile + (8 * s + 2 * t) * ld + 8 * n + g;
                set(b, n, s, first[0], first[ld]);
            }
        return b;
    }

    static __device__ __forceinline__ A from_tiles(const float c0[4], const float c1[4]) {
        A a;
        set(a, 0, c0[0], c0[2], c0[1], c0[3]);
        set(a, 1, c1[0], c1[2], c1[1], c1[3]);
        return a;
    }

    static __device__ __forceinline__ void add_product(float c0[4], float c1[4], const A& a, const B& b) {
#pragma unroll
        for (int s = 0; s < 2; s++) {
            if constexpr (SPLIT) {
                mma_m16n8k8_tf32(c0, a.low[s], b.high[0][s]);
                mma_m16n8k8_tf32(c1, a.low[s], b.high[1][s]);
                mma_m16n8k8_tf32(c0, a.high[s], b.low[0][s]);
                mma_m16n8k8_tf32(c1, a.high[s], b.low[1][s]);
            }
            mma_m16n8k8_tf32(c0, a.high[s], b.high[0][s]);
            mma_m16n8k8_tf32(c1, a.high[s], b.high[1][s]);
        }
    }

    static __device__ __forceinline__ void set(A& a, int s, float x0, float x1, float x2, float x3) {
        const float x[4] = {x0, x1, x2, x3};
#pragma unroll
        for (int i = 0; i < 4; i++) parts(a.high[s][i], a.low[s][i], x[i]);
    }

    static __device__ __forceinline__ void set(B& b, int n, int s, float x0, float x1) {
        parts(b.high[n][s][0], b.low[n][s][0], x0);
        parts(b.high[n][s][1], b.low[n][s][1], x1);
    }

    // x = high + low, to 21 bits or more. Of an infinite x low is NaN, and so are the products.
    static __device__ __forceinline__ void parts(unsigned& high, unsigned& low, float x) {
        high = round_to_tf32(x);
        if constexpr (SPLIT) {
            float rounded;
            memcpy(&rounded, &high, 4);
            low = round_to_tf32(x - rounded);
        }
    }
};
