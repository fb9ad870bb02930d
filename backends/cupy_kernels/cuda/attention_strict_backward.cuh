// Attention backward in float32 without tensor cores: `strict_backward_queries`, then `strict_backward_keys`.
#pragma once
#include "attention_backward.cuh"
#include "attention_strict.cuh"

// sum of do o over a row, by the sixteen threads of a row; 0 for a row that does not exist.
__device__ __forceinline__ float strict_row_dot(const Rows<const f32>& o, const Rows<const f32>& cotangent,
                                                int row) {
    float sum = 0;
    if (row < o.count)
        for (int c = tx(); c < o.width; c += 16)
            sum += o.start[row * o.stride + c] * cotangent.start[row * cotangent.stride + c];
    return strict_sum(sum);
}

// dq, and delta for `strict_backward_keys`. Shared memory: 4 STRICT_TILE floats; the cotangents of the scores take
// the place of the values.
template <int WIDTH> __device__ __forceinline__ void strict_backward_queries(const Backward<f32>& p) {
    DYNAMIC_SHARED(memory);
    float *q = reinterpret_cast<float*>(memory), *cotangent = q + STRICT_TILE<WIDTH>;
    float *keys = cotangent + STRICT_TILE<WIDTH>, *values = keys + STRICT_TILE<WIDTH>;
    const int row = p.place.tile * STRICT_ROWS;
    strict_load<WIDTH>(q, p.q, row);
    strict_load<WIDTH>(cotangent, p.dO, row);
    const bool active = strict_active(row, p.q.count);
    float dq[8][WIDTH / 16], lse[8], delta[8], factor[8];
    strict_clear(dq);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int at = row + ty() * 8 + i;
        delta[i] = strict_row_dot(p.o, p.dO, at);
        lse[i] = at < p.q.count ? p.lse[at] : 0;
        factor[i] = p.scale;
        if (tx() == 0 && at < p.q.count) p.delta[at] = delta[i];
    }
#pragma unroll 1
    for (int first = 0; first < p.k.count; first += STRICT_ROWS) {
        const int count = p.k.count - first;
        strict_load<WIDTH>(keys, p.k, first);
        strict_load<WIDTH>(values, p.v, first);
        strict_arrive();
        float s[8][4], ds[8][4];
        strict_clear(s);
        strict_clear(ds);
        if (active) {
            strict_rows_by_rows<WIDTH>(s, q, keys, count);
            strict_rows_by_rows<WIDTH>(ds, cotangent, values, count);
        }
        __syncthreads();
        if (active) {
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const bool exists = tx() + 16 * j < count;
                    const float weight = exists ? power_of_2(fmaf(s[i][j], p.scale2, -lse[i])) : 0;
                    ds[i][j] = exists ? weight * (ds[i][j] - delta[i]) : 0;
                }
            strict_put(values, ds);
            strict_scores_by_columns<WIDTH>(dq, values, keys, count);
        }
        __syncthreads();
    }
    strict_store(p.dq, row, dq, factor);
}

// dk and dv; rows are keys. Shared memory: 4 STRICT_TILE floats and STRICT_ROWS rows of STRICT_SCORES.
template <int WIDTH> __device__ __forceinline__ void strict_backward_keys(const Backward<f32>& p) {
    DYNAMIC_SHARED(memory);
    float *keys = reinterpret_cast<float*>(memory), *values = keys + STRICT_TILE<WIDTH>;
    float *q = values + STRICT_TILE<WIDTH>, *cotangent = q + STRICT_TILE<WIDTH>;
    float* scores = cotangent + STRICT_TILE<WIDTH>;
    const int row = p.place.tile * STRICT_ROWS;
    strict_load<WIDTH>(keys, p.k, row);
    strict_load<WIDTH>(values, p.v, row);
    const bool active = strict_active(row, p.k.count);
    float dk[8][WIDTH / 16], dv[8][WIDTH / 16];
    strict_clear(dk);
    strict_clear(dv);
#pragma unroll 1
    for (int first = 0; first < p.q.count; first += STRICT_ROWS) {
        const int count = p.q.count - first;
        strict_load<WIDTH>(q, p.q, first);
        strict_load<WIDTH>(cotangent, p.dO, first);
        strict_arrive();
        if (active) {
            float s[8][4], ds[8][4];
            strict_clear(s);
            strict_clear(ds);
            strict_rows_by_rows<WIDTH>(s, keys, q, count);
            strict_rows_by_rows<WIDTH>(ds, values, cotangent, count);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const bool exists = tx() + 16 * j < count;
                const float lse = exists ? p.lse[first + tx() + 16 * j] : 0;
                const float delta = exists ? p.delta[first + tx() + 16 * j] : 0;
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    s[i][j] = exists ? power_of_2(fmaf(s[i][j], p.scale2, -lse)) : 0;
                    ds[i][j] = exists ? s[i][j] * (ds[i][j] - delta) : 0;
                }
            }
            strict_put(scores, s);
            strict_scores_by_columns<WIDTH>(dv, scores, cotangent, count);
            strict_put(scores, ds);
            strict_scores_by_columns<WIDTH>(dk, scores, q, count);
        }
        __syncthreads();
    }
    const float scale[8] = {p.scale, p.scale, p.scale, p.scale, p.scale, p.scale, p.scale, p.scale};
    const float one[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    strict_store(p.dk, row, dk, scale);
    strict_store(p.dv, row, dv, one);
}
