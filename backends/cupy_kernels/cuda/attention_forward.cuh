// Attention forward by tensor cores: o = softmax(scale q k^T) v, and the log-sum of each row for the way back.
//
// `forward_short`: keys and values of one head stay in shared memory, a warp holds 16 whole rows of scores in
// registers, the softmax is that of the definition. `forward_long`: keys come in tiles, two in shared memory,
// and the softmax is kept up to date (Milakov and Gimelshein 2018, arXiv:1805.02867; Dao 2023, arXiv:2307.08691).
#pragma once
#include "attention_tiles.cuh"

template <class T> struct Forward {
    Place place;
    Rows<const T> q, k, v;
    Rows<T> o;
    float* lse;  // of this head, or null
    float scale2;

    // What a kernel receives; `rows` is how many queries one block takes.
    __device__ __forceinline__ Forward(int rows, FORWARD_PARAMETERS(T))
        : place((queries + rows - 1) / rows, heads),
          q(q_, place.image, place.head, q_image, q_head, q_row, queries, width),
          k(k_, place.image, place.head, kv_image, kv_head, kv_row, keys, width),
          v(v_, place.image, place.head, kv_image, kv_head, kv_row, keys, width),
          o(o_, place.image, place.head, o_image, o_head, o_row, queries, width),
          lse(lse_ == nullptr ? nullptr : lse_ + place.pair * whole_packs(queries)), scale2(scale * LOG2_E) {}
};

// Of the rows g (index 0) and g + 8 (index 1) of a warp's 16: scores become weights, sums those of this lane.
template <int TILES>
__device__ __forceinline__ void update(RunningRow (&rows)[2], float (&s)[TILES][4], float scale2,
                                       float (&factor)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float largest = rows[h].top;
#pragma unroll
        for (int n = 0; n < TILES; n++) largest = fmaxf(largest, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
        factor[h] = rows[h].raise(quad_max(largest), scale2);
#pragma unroll
        for (int n = 0; n < TILES; n++)
#pragma unroll
            for (int e = 2 * h; e < 2 * h + 2; e++) rows[h].sum += s[n][e] = rows[h].weight(s[n][e], scale2);
    }
}

// Keys from `keys` on do not exist: column `first` + 8 n + 2 t + e % 2 of tile n.
template <int TILES> __device__ __forceinline__ void mask_columns(float (&s)[TILES][4], int first, int keys) {
    const int column = first + lane_index() % 4 * 2;
#pragma unroll
    for (int n = 0; n < TILES; n++)
        if (first + n * 8 + 8 > keys)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (column + n * 8 + e % 2 >= keys) s[n][e] = NEGATIVE_INFINITY;
}

template <class T, int WIDTH>
__device__ __forceinline__ void finish_rows(const Forward<T>& p, const RunningRow (&softmax)[2],
                                            const float (&sum)[WIDTH / 8][4], T* own, int first) {
    const float total[2] = {quad_sum(softmax[0].sum), quad_sum(softmax[1].sum)};
    store_rows<WIDTH>(p.o, own, sum, 1 / total[0], 1 / total[1], first);
    if (p.lse == nullptr || lane_index() % 4) return;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = first + lane_index() / 4 + 8 * h;
        if (row < p.q.count) p.lse[row] = softmax[h].shift + log2f(total[h]);
    }
}

// One block per head; at most 8 TILES keys. Shared memory: (16 TILES + 16 warps) (WIDTH + 8) elements.
template <class T, int WIDTH, int TILES> __device__ __forceinline__ void forward_short(const Forward<T>& p) {
    DYNAMIC_SHARED(memory);
    constexpr int LD = WIDTH + 8;
    T *keys = reinterpret_cast<T*>(memory), *values = keys + TILES * 8 * LD;
    T* own = values + TILES * 8 * LD + warp_index() * 16 * LD;
    load_tile<WIDTH>(keys, p.k, 0, TILES * 8, threadIdx.x, blockDim.x);
    load_tile<WIDTH>(values, p.v, 0, TILES * 8, threadIdx.x, blockDim.x);
    load_tile<WIDTH>(own, p.q, warp_index() * 16, 16, lane_index(), 32);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    for (int first = warp_index() * 16; first < p.q.count; first += int(blockDim.x) / 2) {
        float s[TILES][4], sum[WIDTH / 8][4], factor[2];
        clear(s);
        clear(sum);
        add_rows_by_rows<Math16<T>, WIDTH>(s, own, keys, LD);
        mask_columns(s, 0, p.k.count);
        RunningRow softmax[2];
        update(softmax, s, p.scale2, factor);
        add_tiles_by_columns<Math16<T>>(sum, s, values, LD);
        finish_rows<T, WIDTH>(p, softmax, sum, own, first);
        load_tile<WIDTH>(own, p.q, first + int(blockDim.x) / 2, 16, lane_index(), 32);
        copy_async_commit();
        copy_async_wait<0>();
        __syncwarp();
    }
}

// 16 queries per warp. Shared memory: (16 warps + 4 TILE) (WIDTH + 8) elements; values in float32 are read by
// columns alone, for which rows of WIDTH + 4 have no conflicts.
template <class M, int WIDTH, int TILE>
__device__ __forceinline__ void forward_long(const Forward<typename M::Element>& p) {
    using T = typename M::Element;
    DYNAMIC_SHARED(memory);
    constexpr int LD = WIDTH + 8, PAD = sizeof(T) == 4 ? 4 : 8;
    const int rows = int(blockDim.x) / 2, row = p.place.tile * rows + warp_index() * 16;
    T* own = reinterpret_cast<T*>(memory) + warp_index() * 16 * LD;
    T* pairs = reinterpret_cast<T*>(memory) + rows * LD;  // keys, values; keys, values
    load_tile<WIDTH>(own, p.q, row, 16, lane_index(), 32);
    load_tile<WIDTH>(pairs, p.k, 0, TILE, threadIdx.x, blockDim.x);
    load_tile<WIDTH, PAD>(pairs + TILE * LD, p.v, 0, TILE, threadIdx.x, blockDim.x);
    copy_async_commit();
    RunningRow softmax[2];
    float sum[WIDTH / 8][4];
    clear(sum);
#pragma unroll 1
    for (int first = 0, stage = 0; first < p.k.count; first += TILE, stage ^= 1) {
        T *keys = pairs + stage * 2 * TILE * LD, *next = pairs + (stage ^ 1) * 2 * TILE * LD;
        if (first + TILE < p.k.count) {
            load_tile<WIDTH>(next, p.k, first + TILE, TILE, threadIdx.x, blockDim.x);
            load_tile<WIDTH, PAD>(next + TILE * LD, p.v, first + TILE, TILE, threadIdx.x, blockDim.x);
        }
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        if (row < p.q.count) {
            float s[TILE / 8][4], factor[2];
            clear(s);
            add_rows_by_rows<M, WIDTH>(s, own, keys, LD);
            if (first + TILE > p.k.count) mask_columns(s, first, p.k.count);
            update(softmax, s, p.scale2, factor);
#pragma unroll
            for (int n = 0; n < WIDTH / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) sum[n][e] *= factor[e / 2];
            add_tiles_by_columns<M>(sum, s, keys + TILE * LD, WIDTH + PAD);
        }
        __syncthreads();
    }
    finish_rows<T, WIDTH>(p, softmax, sum, own, row);
}
