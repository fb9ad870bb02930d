// Attention backward for heads of any length: `backward_queries`, then `backward_keys`, which needs its delta.
#pragma once
#include "attention_backward.cuh"

// dq, and delta for `backward_keys`; 16 queries per warp, TILE keys in shared memory, CHUNK of them at a time.
// Shared memory: (32 warps + 4 TILE) (WIDTH + 8) elements.
template <class M, int WIDTH, int TILE, int CHUNK>
__device__ __forceinline__ void backward_queries(const Backward<typename M::Element>& p) {
    using T = typename M::Element;
    DYNAMIC_SHARED(memory);
    constexpr int LD = WIDTH + 8;
    const int rows = int(blockDim.x) / 2, row = p.place.tile * rows + warp_index() * 16, g = lane_index() / 4;
    T *q = reinterpret_cast<T*>(memory) + warp_index() * 16 * LD, *cotangent = q + rows * LD;
    T* pairs = reinterpret_cast<T*>(memory) + 2 * rows * LD;  // keys, values; keys, values
    load_tile<WIDTH>(q, p.q, row, 16, lane_index(), 32);
    load_tile<WIDTH>(cotangent, p.dO, row, 16, lane_index(), 32);
    load_tile<WIDTH>(pairs, p.k, 0, TILE, threadIdx.x, blockDim.x);
    load_tile<WIDTH>(pairs + TILE * LD, p.v, 0, TILE, threadIdx.x, blockDim.x);
    copy_async_commit();
    float lse[2], delta[2], dq[WIDTH / 8][4];
    clear(dq);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int at = row + g + 8 * h;
        delta[h] = row_dot(p.o, p.dO, at);
        lse[h] = at < p.q.count ? p.lse[at] : 0;
        if (lane_index() % 4 == 0 && at < p.q.count) p.delta[at] = delta[h];
    }
#pragma unroll 1
    for (int first = 0, stage = 0; first < p.k.count; first += TILE, stage ^= 1) {
        T *keys = pairs + stage * 2 * TILE * LD, *next = pairs + (stage ^ 1) * 2 * TILE * LD;
        if (first + TILE < p.k.count) {
            load_tile<WIDTH>(next, p.k, first + TILE, TILE, threadIdx.x, blockDim.x);
            load_tile<WIDTH>(next + TILE * LD, p.v, first + TILE, TILE, threadIdx.x, blockDim.x);
        }
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        if (row < p.q.count) {
#pragma unroll 1
            for (int c = 0; c < min(TILE, p.k.count - first); c += CHUNK) {
                float s[CHUNK / 8][4], ds[CHUNK / 8][4];
                clear(s);
                clear(ds);
                add_rows_by_rows<M, WIDTH>(s, q, keys + c * LD, LD);
                add_rows_by_rows<M, WIDTH>(ds, cotangent, keys + (TILE + c) * LD, LD);
#pragma unroll
                for (int n = 0; n < CHUNK / 8; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        const bool exists = first + c + n * 8 + lane_index() % 4 * 2 + e % 2 < p.k.count;
                        const float weight = exists ? power_of_2(fmaf(s[n][e], p.scale2, -lse[e / 2])) : 0;
                        ds[n][e] = weight * (ds[n][e] - delta[e / 2]);
                    }
                add_tiles_by_columns<M>(dq, ds, keys + c * LD, LD);
            }
        }
        __syncthreads();
    }
    store_rows<WIDTH>(p.dq, q, dq, p.scale, p.scale, row);
}

// dk and dv; 16 keys per warp, TILE queries in shared memory, CHUNK of them at a time. Shared memory: (32 warps +
// 4 TILE) (WIDTH + 8) elements and 4 TILE floats.
template <class M, int WIDTH, int TILE, int CHUNK>
__device__ __forceinline__ void backward_keys(const Backward<typename M::Element>& p) {
    using T = typename M::Element;
    DYNAMIC_SHARED(memory);
    constexpr int LD = WIDTH + 8;
    const int rows = int(blockDim.x) / 2, row = p.place.tile * rows + warp_index() * 16;
    const int g = lane_index() / 4;
    T *k = reinterpret_cast<T*>(memory) + warp_index() * 16 * LD, *v = k + rows * LD;
    T* pairs = reinterpret_cast<T*>(memory) + 2 * rows * LD;  // queries, cotangents; queries, cotangents
    float* numbers = reinterpret_cast<float*>(pairs + 4 * TILE * LD);  // lse, delta; lse, delta
    const auto load_stage = [&](int stage, int first) {
        T* to = pairs + stage * 2 * TILE * LD;
        float* to_numbers = numbers + stage * 2 * TILE;
        load_tile<WIDTH>(to, p.q, first, TILE, threadIdx.x, blockDim.x);
        load_tile<WIDTH>(to + TILE * LD, p.dO, first, TILE, threadIdx.x, blockDim.x);
        load_numbers(to_numbers, p.lse, first, TILE, p.q.count, threadIdx.x, blockDim.x);
        load_numbers(to_numbers + TILE, p.delta, first, TILE, p.q.count, threadIdx.x, blockDim.x);
    };
    load_tile<WIDTH>(k, p.k, row, 16, lane_index(), 32);
    load_tile<WIDTH>(v, p.v, row, 16, lane_index(), 32);
    load_stage(0, 0);
    copy_async_commit();
    float dk[WIDTH / 8][4], dv[WIDTH / 8][4];
    clear(dk);
    clear(dv);
    const bool exists[2] = {row + g < p.k.count, row + g + 8 < p.k.count};
#pragma unroll 1
    for (int first = 0, stage = 0; first < p.q.count; first += TILE, stage ^= 1) {
        if (first + TILE < p.q.count) load_stage(stage ^ 1, first + TILE);
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        const T* queries = pairs + stage * 2 * TILE * LD;
        const float* lse = numbers + stage * 2 * TILE;
        if (row < p.k.count) {
#pragma unroll 1
            for (int c = 0; c < min(TILE, p.q.count - first); c += CHUNK) {
                float s[CHUNK / 8][4], ds[CHUNK / 8][4];
                clear(s);
                clear(ds);
                add_rows_by_rows<M, WIDTH>(s, k, queries + c * LD, LD);
                add_rows_by_rows<M, WIDTH>(ds, v, queries + (TILE + c) * LD, LD);
                weigh_transposed(s, ds, lse + c, lse + TILE + c, exists, p.scale2);
                add_tiles_by_columns<M>(dv, s, queries + (TILE + c) * LD, LD);
                add_tiles_by_columns<M>(dk, ds, queries + c * LD, LD);
            }
        }
        __syncthreads();
    }
    store_rows<WIDTH>(p.dk, k, dk, p.scale, p.scale, row);
    store_rows<WIDTH>(p.dv, v, dv, 1, 1, row);
}
