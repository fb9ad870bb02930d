// Attention backward by tensor cores, from q, k, v, o, its cotangent do, and the log-sums of the way forward.
//
//   p = 2^(s scale2 - lse)    ds = p (do v^T - delta)    delta = rowsum(do o)
//   dq = scale ds k           dk = scale ds^T q          dv = p^T do
// No atomics: every sum has one owner and a fixed order. Here is what the ways share: a whole head per block
// (attention_backward_short.cuh), and two passes that each make p anew (attention_backward_tiled.cuh). Queries
// that do not exist are rows of zeros with lse = delta = 0 and add nothing; keys that do not exist get p = 0.
#pragma once
#include "attention_tiles.cuh"

template <class T> struct Backward {
    Place place;
    Rows<const T> q, k, v, o, dO;
    Rows<T> dq, dk, dv;
    const float* lse;
    float* delta;
    float scale, scale2;

    // What a kernel receives; `count` rows in all, a block takes `rows` of them.
    __device__ __forceinline__ Backward(int count, int rows, BACKWARD_PARAMETERS(T))
        : place((count + rows - 1) / rows, heads),
          q(q_, place.image, place.head, q_image, q_head, q_row, queries, width),
          k(k_, place.image, place.head, kv_image, kv_head, kv_row, keys, width),
          v(v_, place.image, place.head, kv_image, kv_head, kv_row, keys, width),
          o(o_, place.image, place.head, o_image, o_head, o_row, queries, width),
          dO(do_, place.image, place.head, do_image, do_head, do_row, queries, width),
          dq(dq_, place.image, place.head, dq_image, dq_head, dq_row, queries, width),
          dk(dk_, place.image, place.head, dkv_image, dkv_head, dkv_row, keys, width),
          dv(dv_, place.image, place.head, dkv_image, dkv_head, dkv_row, keys, width),
          lse(lse_ + place.pair * whole_packs(queries)), delta(delta_ + place.pair * whole_packs(queries)),
          scale(scale), scale2(scale * LOG2_E) {}
};

// sum of do o over a row, by the four lanes of a quad; 0 for a row that does not exist.
template <class T>
__device__ __forceinline__ float row_dot(const Rows<const T>& o, const Rows<const T>& cotangent, int row) {
    constexpr int N = PACKED<T>;
    float sum = 0;
    const T *a = o.start + row * o.stride, *b = cotangent.start + row * cotangent.stride;
    if (row < o.count && o.packed && cotangent.packed) {
        for (int c = lane_index() % 4 * N; c < o.width; c += 4 * N) {
            const Pack<T, N> left = load<N>(a + c), right = load<N>(b + c);
#pragma unroll
            for (int e = 0; e < N; e++) sum += to_float(left.element[e]) * to_float(right.element[e]);
        }
    } else if (row < o.count) {
        for (int c = lane_index() % 4; c < o.width; c += 4) sum += to_float(a[c]) * to_float(b[c]);
    }
    return quad_sum(sum);
}

// `count` numbers of a row of lse or delta from `first` on into shared memory, zeros from `limit` on.
__device__ __forceinline__ void load_numbers(float* to, const float* from, int first, int count, int limit,
                                             int thread, int threads) {
    for (int i = thread * 4; i < count; i += threads * 4) {
        const int left = min(max(limit - first - i, 0), 4);
        copy_async_16(to + i, from + (left ? first + i : 0), left * 4);
    }
}

// For rows that are keys and columns that are queries: scores become p, and do v^T becomes ds. lse and delta
// begin with the first column; `exists` says which of the rows g and g + 8 do.
template <int TILES>
__device__ __forceinline__ void weigh_transposed(float (&s)[TILES][4], float (&ds)[TILES][4], const float* lse,
                                                 const float* delta, const bool (&exists)[2], float scale2) {
#pragma unroll
    for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int query = n * 8 + lane_index() % 4 * 2 + e % 2;
            s[n][e] = exists[e / 2] ? power_of_2(fmaf(s[n][e], scale2, -lse[query])) : 0;
            ds[n][e] = s[n][e] * (ds[n][e] - delta[query]);
        }
}
