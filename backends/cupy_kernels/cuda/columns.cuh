// Sums over the rows of a matrix, column by column, in a fixed order: first over chunks of rows, one block
// each, then over the chunks (column_sum.cu).
#pragma once
#include "common.cuh"

constexpr int COLUMN_WARPS = 8;

// What a block of 8 warps works on: 32 N columns, and a chunk of rows that its warps take in turn.
template <int N> struct Tile {
    int column;
    long long first, end;
    __device__ Tile(long long rows, int rows_per_block) {
        column = (int(blockIdx.x) * 32 + lane_index()) * N;
        first = (long long)blockIdx.y * rows_per_block + warp_index();
        end = (long long)(blockIdx.y + 1) * rows_per_block;
        if (end > rows) end = rows;
    }
};

// partial: (chunks, width). Each thread gives the sums of its N columns over its rows.
template <int N>
__device__ __forceinline__ void write_chunk(const float (&sums)[N], float* partial, int width, float* shared) {
    constexpr int COLUMNS = 32 * N;
#pragma unroll
    for (int e = 0; e < N; e++) shared[warp_index() * COLUMNS + lane_index() * N + e] = sums[e];
    __syncthreads();
    const int column = int(blockIdx.x) * COLUMNS + int(threadIdx.x);
    if (int(threadIdx.x) < COLUMNS && column < width) {
        float total = 0;
        for (int w = 0; w < COLUMN_WARPS; w++) total += shared[w * COLUMNS + int(threadIdx.x)];
        partial[(long long)blockIdx.y * width + column] = total;
    }
}

constexpr int CHUNK_SHARED = COLUMN_WARPS * 32 * 8;
