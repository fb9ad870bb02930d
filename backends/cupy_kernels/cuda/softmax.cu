// Softmax over the last axis, and its way back from y. For attention weights outside the fused kernel: rows
// of 197 and the like, so one element per access.
//
// A team works on a row and holds it in registers: a warp, or the whole block where a row has more than
// 512 elements.
#include "team.cuh"

constexpr int HELD = 16;

template <class T>
__device__ __forceinline__ void forward(const T* x, T* y, long long rows, int width, int warps) {
    SHARED(float, shared, MOST_WARPS);
    const Team team(warps);
    for (long long row = team.first; row < rows; row += team.teams) {
        float value[HELD], largest = NEGATIVE_INFINITY, sum = 0;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int column = i * team.threads + team.thread;
            value[i] = column < width ? to_float(x[row * width + column]) : NEGATIVE_INFINITY;
            largest = fmaxf(largest, value[i]);
        }
        largest = team_max(largest, shared, warps);
#pragma unroll
        for (int i = 0; i < HELD; i++)
            if (i * team.threads + team.thread < width) sum += value[i] = expf(value[i] - largest);
        sum = team_sum(sum, shared, warps);
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int column = i * team.threads + team.thread;
            if (column < width) y[row * width + column] = from_float<T>(value[i] / sum);
        }
    }
}

// dx = y (dy - sum y dy)
template <class T>
__device__ __forceinline__ void backward(const T* dy, const T* y, T* dx, long long rows, int width, int warps) {
    SHARED(float, shared, MOST_WARPS);
    const Team team(warps);
    for (long long row = team.first; row < rows; row += team.teams) {
        float value[HELD], cotangent[HELD], sum = 0;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int column = i * team.threads + team.thread;
            if (column < width) {
                value[i] = to_float(y[row * width + column]);
                cotangent[i] = to_float(dy[row * width + column]);
                sum += value[i] * cotangent[i];
            }
        }
        sum = team_sum(sum, shared, warps);
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int column = i * team.threads + team.thread;
            if (column < width) dx[row * width + column] = from_float<T>(value[i] * (cotangent[i] - sum));
        }
    }
}

#define KERNELS(T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                  \
        softmax_forward_##T(const T* x, T* y, long long rows, int width, int warps) {                     \
        forward<T>(x, y, rows, width, warps);                                                             \
    }                                                                                                     \
    EXPORT(softmax_forward_##T)                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                                  \
        softmax_backward_##T(const T* dy, const T* y, T* dx, long long rows, int width, int warps) {      \
        backward<T>(dy, y, dx, rows, width, warps);                                                       \
    }                                                                                                     \
    EXPORT(softmax_backward_##T)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)
