// Attention in float32 without tensor cores, the arithmetic of the reference: products, and the way forward.
//
// A block of 128 threads takes 64 rows and meets the other side 64 rows at a time. Thread (tx, ty) = (index mod
// 16, index / 16) owns rows 8 ty .. 8 ty + 7 and columns tx + 16 j of each product, so that what it writes to
// shared memory between two products only the sixteen threads of its own rows read. The formulas are those of
// attention_forward.cuh and attention_backward.cuh.
#pragma once
#include "attention_forward.cuh"

constexpr int STRICT_ROWS = 64;
constexpr int STRICT_THREADS = 128;
constexpr int STRICT_SCORES = STRICT_ROWS + 4;  // the length of a row of scores in shared memory

__device__ __forceinline__ int tx() { return int(threadIdx.x) % 16; }
__device__ __forceinline__ int ty() { return int(threadIdx.x) / 16; }

// Elements of shared memory of a tile that may hold scores, too.
template <int WIDTH> constexpr int STRICT_TILE = STRICT_ROWS * (WIDTH > 64 ? WIDTH + 4 : STRICT_SCORES);

// sum[i][j] += a[row][k] b[column][k] for COLUMNS of the j, beginning with FIRST.
template <int WIDTH, int FIRST, int COLUMNS>
__device__ __forceinline__ void strict_columns(float (&sum)[8][4], const float* a, const float* b) {
    constexpr int LD = WIDTH + 4;
#pragma unroll 1
    for (int k = 0; k < WIDTH; k += 4) {
        Pack<f32, 4> right[COLUMNS];
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) right[j] = load<4>(b + (tx() + 16 * (FIRST + j)) * LD + k);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const Pack<f32, 4> left = load<4>(a + (ty() * 8 + i) * LD + k);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sum[i][FIRST + j] = fmaf(left.element[e], right[j].element[e], sum[i][FIRST + j]);
        }
    }
}

// The same for all columns below `count`; others may be left out.
template <int WIDTH>
__device__ __forceinline__ void strict_rows_by_rows(float (&sum)[8][4], const float* a, const float* b,
                                                    int count) {
    if (count > 48) return strict_columns<WIDTH, 0, 4>(sum, a, b);
    strict_columns<WIDTH, 0, 1>(sum, a, b);
    if (count > 16) strict_columns<WIDTH, 1, 1>(sum, a, b);
    if (count > 32) strict_columns<WIDTH, 2, 1>(sum, a, b);
}

// sum[i][j] += scores[row][k] b[k][column], k < count; further scores are zeros.
template <int WIDTH>
__device__ __forceinline__ void strict_scores_by_columns(float (&sum)[8][WIDTH / 16], const float* scores,
                                                         const float* b, int count) {
    constexpr int LD = WIDTH + 4;
    const int depth = min(count, STRICT_ROWS);
#pragma unroll 1
    for (int k = 0; k < depth; k += 4) {
        float right[4][WIDTH / 16];
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int j = 0; j < WIDTH / 16; j++) right[e][j] = b[(k + e) * LD + tx() + 16 * j];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const Pack<f32, 4> left = load<4>(scores + (ty() * 8 + i) * STRICT_SCORES + k);
#pragma unroll
            for (int e = 0; e < 4; e++)
#pragma unroll
                for (int j = 0; j < WIDTH / 16; j++) sum[i][j] = fmaf(left.element[e], right[e][j], sum[i][j]);
        }
    }
}

template <int COLUMNS> __device__ __forceinline__ void strict_clear(float (&sum)[8][COLUMNS]) {
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) sum[i][j] = 0;
}

// This thread's scores into shared memory, where the threads of the same rows may read them.
__device__ __forceinline__ void strict_put(float* scores, const float (&s)[8][4]) {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) scores[(ty() * 8 + i) * STRICT_SCORES + tx() + 16 * j] = s[i][j];
    __syncwarp();
}

template <int COLUMNS>
__device__ __forceinline__ void strict_store(const Rows<f32>& rows, int first, const float (&sum)[8][COLUMNS],
                                             const float (&factor)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int row = first + ty() * 8 + i;
        if (row < rows.count)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
                if (tx() + 16 * j < rows.width)
                    rows.start[row * rows.stride + tx() + 16 * j] = sum[i][j] * factor[i];
    }
}

// Over the sixteen threads of a row; every one receives the result.
__device__ __forceinline__ float strict_sum(float x) {
    for (int step = 8; step; step >>= 1) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}
__device__ __forceinline__ float strict_max(float x) {
    for (int step = 8; step; step >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

template <int WIDTH>
__device__ __forceinline__ void strict_load(float* tile, const Rows<const f32>& rows, int first) {
    load_tile<WIDTH, 4>(tile, rows, first, STRICT_ROWS, threadIdx.x, STRICT_THREADS);
}

__device__ __forceinline__ void strict_arrive() {
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
}

// Whether this warp has a row that exists.
__device__ __forceinline__ bool strict_active(int row, int count) { return row + warp_index() * 16 < count; }

// Scores become weights, sums those of this thread; what was summed before is brought to the new scale. Columns
// from `count` on do not exist.
template <int COLUMNS>
__device__ __forceinline__ void strict_softmax(RunningRow (&rows)[8], float (&s)[8][4], float (&sum)[8][COLUMNS],
                                               int count, float scale2) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float largest = rows[i].top;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (tx() + 16 * j >= count) s[i][j] = NEGATIVE_INFINITY;
            largest = fmaxf(largest, s[i][j]);
        }
        const float factor = rows[i].raise(strict_max(largest), scale2);
#pragma unroll
        for (int j = 0; j < 4; j++) rows[i].sum += s[i][j] = rows[i].weight(s[i][j], scale2);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) sum[i][j] *= factor;
    }
}

// Shared memory: 3 STRICT_TILE floats; the weights take the place of the keys.
template <int WIDTH> __device__ __forceinline__ void strict_forward(const Forward<f32>& p) {
    DYNAMIC_SHARED(memory);
    float* q = reinterpret_cast<float*>(memory);
    float *keys = q + STRICT_TILE<WIDTH>, *values = keys + STRICT_TILE<WIDTH>;
    const int row = p.place.tile * STRICT_ROWS;
    const bool active = strict_active(row, p.q.count);
    strict_load<WIDTH>(q, p.q, row);
    RunningRow rows[8];
    float sum[8][WIDTH / 16];
    strict_clear(sum);
#pragma unroll 1
    for (int first = 0; first < p.k.count; first += STRICT_ROWS) {
        strict_load<WIDTH>(keys, p.k, first);
        strict_load<WIDTH>(values, p.v, first);
        strict_arrive();
        float s[8][4];
        strict_clear(s);
        if (active) strict_rows_by_rows<WIDTH>(s, q, keys, p.k.count - first);
        __syncthreads();
        if (active) {
            strict_softmax(rows, s, sum, p.k.count - first, p.scale2);
            strict_put(keys, s);
            strict_scores_by_columns<WIDTH>(sum, keys, values, p.k.count - first);
        }
        __syncthreads();
    }
    float factor[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float total = strict_sum(rows[i].sum);
        const int at = row + ty() * 8 + i;
        factor[i] = 1 / total;
        if (p.lse != nullptr && tx() == 0 && at < p.q.count) p.lse[at] = rows[i].shift + log2f(total);
    }
    strict_store(p.o, row, sum, factor);
}
