// What all kernels share: storage types, packs of 16 bytes, sums over a warp and over a block.
//
// Read by NVRTC (the product), nvcc (its resource report) and an ordinary C++ compiler, for which shim.h
// runs the threads of a block as fibers. Storage is float32, float16 or bfloat16; arithmetic is float32.
#pragma once

#if defined(__CUDACC__)
#define HOST 0
#include <cuda_bf16.h>
#include <cuda_fp16.h>
// Shared memory of a block; uninitialised.
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) char name[]
// Follows each kernel: makes it callable in the host build.
#define EXPORT(name)
#define NEGATIVE_INFINITY __int_as_float(0xff800000)  // NVRTC knows neither <cmath> nor the compiler's builtins
#else
#define HOST 1
#include "shim.h"
#define NEGATIVE_INFINITY (-INFINITY)
#endif

typedef float f32;
typedef __half f16;
typedef __nv_bfloat16 bf16;

constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float to_float(f32 x) { return x; }
__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }

// Rounds to nearest, ties to even.
template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ f32 from_float<f32>(float x) { return x; }
template <> __device__ __forceinline__ f16 from_float<f16>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

// N elements in one access; `load` and `store` need an address aligned to their size.
template <class T, int N> struct __align__(sizeof(T) * N) Pack {
    T element[N];
};

template <class T> constexpr int PACKED = 16 / int(sizeof(T));

template <int N, class T> __device__ __forceinline__ Pack<T, N> load(const T* from) {
    return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <int N, class T> __device__ __forceinline__ void store(T* to, const Pack<T, N>& pack) {
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// Whether rows of this width can be read in packs of 16 bytes; null pointers do not matter.
template <class T> __device__ __forceinline__ bool packable(long long width) { return width % PACKED<T> == 0; }
template <class T, class P, class... Rest>
__device__ __forceinline__ bool packable(long long width, const P* first, const Rest*... rest) {
    return reinterpret_cast<unsigned long long>(first) % 16 == 0 && packable<T>(width, rest...);
}

__device__ __forceinline__ int lane_index() { return int(threadIdx.x) & 31; }
__device__ __forceinline__ int warp_index() { return int(threadIdx.x) >> 5; }

// Every lane receives the sum (the maximum); the order of the terms is fixed.
__device__ __forceinline__ float warp_sum(float x) {
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
    for (int step = 16; step; step >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// The same over a team of threads that work on one row: one warp, or a whole block of `warps` > 1.
// `shared` has room for `warps` numbers and may be used again right after.
__device__ __forceinline__ float team_sum(float x, float* shared, int warps) {
    x = warp_sum(x);
    if (warps == 1) return x;
    if (lane_index() == 0) shared[warp_index()] = x;
    __syncthreads();
    float total = 0;
    for (int w = 0; w < warps; w++) total += shared[w];
    __syncthreads();
    return total;
}

// Two sums at once: one exchange instead of two. `shared` has room for 2 `warps` numbers.
__device__ __forceinline__ void team_sums(float& x, float& y, float* shared, int warps) {
    x = warp_sum(x);
    y = warp_sum(y);
    if (warps == 1) return;
    if (lane_index() == 0) {
        shared[2 * warp_index()] = x;
        shared[2 * warp_index() + 1] = y;
    }
    __syncthreads();
    x = y = 0;
    for (int w = 0; w < warps; w++) {
        x += shared[2 * w];
        y += shared[2 * w + 1];
    }
    __syncthreads();
}

__device__ __forceinline__ float team_max(float x, float* shared, int warps) {
    x = warp_max(x);
    if (warps == 1) return x;
    if (lane_index() == 0) shared[warp_index()] = x;
    __syncthreads();
    float largest = shared[0];
    for (int w = 1; w < warps; w++) largest = fmaxf(largest, shared[w]);
    __syncthreads();
    return largest;
}
