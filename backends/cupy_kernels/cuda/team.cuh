// Teams of threads that work on one row, which they hold in registers: a warp, or, where a row is too wide
// for one, the whole block.
#pragma once
#include "common.cuh"

constexpr int MOST_WARPS = 8;

// Which row a team starts with, and how many teams there are.
struct Team {
    int warps, thread, threads;
    long long first, teams;
    __device__ explicit Team(int warps_per_row) : warps(warps_per_row) {
        const int per_block = warps == 1 ? int(blockDim.x) / 32 : 1;
        thread = warps == 1 ? lane_index() : int(threadIdx.x);
        threads = warps * 32;
        first = (long long)blockIdx.x * per_block + (warps == 1 ? warp_index() : 0);
        teams = (long long)gridDim.x * per_block;
    }
};
