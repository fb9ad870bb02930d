// Attention backward with a whole head in the shared memory of one block: five products, each made once.
#pragma once
#include "attention_backward.cuh"

// 16 rows of `sum` in shared memory are, or become larger by, the product of `left` (16 x 16) and columns of b.
template <class M, int WIDTH>
__device__ __forceinline__ void add_to_shared(float* sum, bool add, const typename M::A& left,
                                              const typename M::Element* b) {
    constexpr int LD = WIDTH + 8;
    float* own = sum + lane_index() / 4 * LD + lane_index() % 4 * 2;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n += 2) {
        float part[2][4];
        clear(part);
        M::add_product(part[0], part[1], left, M::load_b_columns(b + n * 8, LD));
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float* to = own + i / 2 * 8 * LD + (n + i % 2) * 8;
            Pack<float, 2> pair{{part[i % 2][i / 2 * 2], part[i % 2][i / 2 * 2 + 1]}};
            if (add) {
                const Pack<float, 2> before = load<2>(to);
                pair.element[0] += before.element[0], pair.element[1] += before.element[1];
            }
            store<2>(to, pair);
        }
    }
}

// 16 rows of floats in shared memory, times `factor`, to global memory by way of the warp's tile.
template <int WIDTH, class T>
__device__ __forceinline__ void store_shared(const Rows<T>& rows, T* tile, const float* sum, float factor,
                                             int first) {
    constexpr int LD = WIDTH + 8;
    for (int i = lane_index(); i < 16 * WIDTH; i += 32) {
        const int at = i / WIDTH * LD + i % WIDTH;
        tile[at] = from_float<T>(sum[at] * factor);
    }
    __syncwarp();
    store_tile<WIDTH>(rows, tile, first);
}

// Warp w owns keys 16 w ..; in step s it meets queries 16 ((w + s) mod warps) .., so that each tile of dq has one
// writer per step, in a fixed order. Scores are kept transposed: rows are keys. Shared memory: 16 warps rows of
// 4 (WIDTH + 8) elements, WIDTH + 8 floats and 2 floats.
template <class T, int WIDTH> __device__ __forceinline__ void backward_short(const Backward<T>& p) {
    using M = Math16<T>;
    DYNAMIC_SHARED(memory);
    constexpr int LD = WIDTH + 8;
    const int warps = int(blockDim.x) / 32, rows = warps * 16, warp = warp_index(), own = warp * 16;
    const int g = lane_index() / 4, t = lane_index() % 4;
    T *q = reinterpret_cast<T*>(memory), *k = q + rows * LD, *v = k + rows * LD, *cotangent = v + rows * LD;
    float *dq = reinterpret_cast<float*>(cotangent + rows * LD), *lse = dq + rows * LD, *delta = lse + rows;
    load_tile<WIDTH>(q, p.q, 0, rows, threadIdx.x, blockDim.x);
    load_tile<WIDTH>(k, p.k, 0, rows, threadIdx.x, blockDim.x);
    load_tile<WIDTH>(v, p.v, 0, rows, threadIdx.x, blockDim.x);
    load_tile<WIDTH>(cotangent, p.dO, 0, rows, threadIdx.x, blockDim.x);
    load_numbers(lse, p.lse, 0, rows, p.q.count, threadIdx.x, blockDim.x);
    copy_async_commit();
#pragma unroll
    for (int row = own + g; row < own + 16; row += 8) {
        const float dot = row_dot(p.o, p.dO, row);
        if (t == 0) delta[row] = dot;
    }
    copy_async_wait<0>();
    __syncthreads();
    typename M::A own_k[WIDTH / 16], own_v[WIDTH / 16];
#pragma unroll
    for (int c = 0; c < WIDTH / 16; c++) {
        own_k[c] = M::load_a(k + own * LD + c * 16, LD);
        own_v[c] = M::load_a(v + own * LD + c * 16, LD);
    }
    float dk[WIDTH / 8][4], dv[WIDTH / 8][4];
    clear(dk);
    clear(dv);
    const bool exists[2] = {own + g < p.k.count, own + g + 8 < p.k.count};
#pragma unroll 1
    for (int step = 0; step < warps; step++) {
        const int first = (warp + step < warps ? warp + step : warp + step - warps) * 16;
        float s[2][4], ds[2][4];
        clear(s);
        clear(ds);
#pragma unroll
        for (int c = 0; c < WIDTH / 16; c++) {
            M::add_product(s[0], s[1], own_k[c], M::load_b_rows(q + first * LD + c * 16, LD));
            M::add_product(ds[0], ds[1], own_v[c], M::load_b_rows(cotangent + first * LD + c * 16, LD));
        }
        weigh_transposed(s, ds, lse + first, delta + first, exists, p.scale2);
        add_tiles_by_columns<M>(dv, s, cotangent + first * LD, LD);
        add_tiles_by_columns<M>(dk, ds, q + first * LD, LD);
        const typename M::A rows_of_ds = M::transposed(M::from_tiles(ds[0], ds[1]));
        add_to_shared<M, WIDTH>(dq + first * LD, step > 0, rows_of_ds, k + own * LD);
        __syncthreads();
    }
    store_rows<WIDTH>(p.dk, k + own * LD, dk, p.scale, p.scale, own);
    store_rows<WIDTH>(p.dv, v + own * LD, dv, 1, 1, own);
    store_shared<WIDTH>(p.dq, q + own * LD, dq + own * LD, p.scale, own);
}
