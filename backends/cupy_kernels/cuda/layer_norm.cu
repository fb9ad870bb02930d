// LayerNorm over the last axis, and its way back.
//
// Forwards a team works on one row at a time: a warp, or the whole block where a row has more than 1,024
// elements. It holds the row in registers, up to 32 elements per thread, so that global memory is read once;
// the variance is two-pass. Backwards a team is a block, with 8 elements per thread. Rows are read in packs
// of 16 bytes where addresses and width allow it.
//
// The gradients of weight and bias: each block adds up its own rows, and writes one row of `partial`;
// column_sum.cu adds these rows in a fixed order. No atomics: the same bits every time.
#include "team.cuh"

constexpr int HELD = 32;
constexpr int HELD_BACKWARD = 8;

// Element by element the loops stay loops: odd widths are rare, and unrolled they need all the registers.
template <int N> constexpr int UNROLLED = N == 1 ? 1 : HELD / N;

template <class T, int N>
__device__ __forceinline__ void forward_row(const T* x, const T* weight, const T* bias, T* y, float* mean,
                                            float* r, int width, float eps, const Team& team, float* shared) {
    constexpr int PACKS = HELD / N;
    float value[PACKS][N];
    float sum = 0;
#pragma unroll UNROLLED<N>
    for (int p = 0; p < PACKS; p++) {
        const int column = (p * team.threads + team.thread) * N;
        if (column < width) {
            const Pack<T, N> pack = load<N>(x + column);
#pragma unroll
            for (int e = 0; e < N; e++) sum += value[p][e] = to_float(pack.element[e]);
        }
    }
    const float mu = team_sum(sum, shared, team.warps) / width;
    float squares = 0;
#pragma unroll UNROLLED<N>
    for (int p = 0; p < PACKS; p++) {
        if ((p * team.threads + team.thread) * N < width) {
#pragma unroll
            for (int e = 0; e < N; e++) {
                value[p][e] -= mu;
                squares += value[p][e] * value[p][e];
            }
        }
    }
    const float rstd = 1 / sqrtf(team_sum(squares, shared, team.warps) / width + eps);
    if (mean != nullptr && team.thread == 0) {
        *mean = mu;
        *r = rstd;
    }
#pragma unroll UNROLLED<N>
    for (int p = 0; p < PACKS; p++) {
        const int column = (p * team.threads + team.thread) * N;
        if (column < width) {
            const Pack<T, N> w = load<N>(weight + column), b = load<N>(bias + column);
            Pack<T, N> pack;
#pragma unroll
            for (int e = 0; e < N; e++)
                pack.element[e] = from_float<T>(value[p][e] * rstd * to_float(w.element[e]) + to_float(b.element[e]));
            store<N>(y + column, pack);
        }
    }
}

// mean and r: (rows,), or null where nothing is kept.
template <class T>
__device__ __forceinline__ void forward(const T* x, const T* weight, const T* bias, T* y, float* mean, float* r,
                                        long long rows, int width, float eps, int warps) {
    SHARED(float, shared, MOST_WARPS);
    const Team team(warps);
    const bool packed = packable<T>(width, x, weight, bias, y);
    for (long long row = team.first; row < rows; row += team.teams) {
        const T* from = x + row * width;
        T* to = y + row * width;
        float* row_mean = mean == nullptr ? nullptr : mean + row;
        float* row_r = mean == nullptr ? nullptr : r + row;
        if (packed)
            forward_row<T, PACKED<T>>(from, weight, bias, to, row_mean, row_r, width, eps, team, shared);
        else
            forward_row<T, 1>(from, weight, bias, to, row_mean, row_r, width, eps, team, shared);
    }
}

// The rows of a block: dx = r (g - mean g - xhat mean(g xhat)) + add, with g = dy weight.
template <class T, int N>
__device__ __forceinline__ void backward_rows(const T* dy, const T* x, const float* mean, const float* r,
                                              const T* weight, const T* add, T* dx, float* partial,
                                              long long rows, int width, float* shared) {
    constexpr int PACKS = HELD_BACKWARD / N;
    const int threads = int(blockDim.x), warps = threads / 32;
    float dweight[PACKS][N] = {}, dbias[PACKS][N] = {};
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long base = row * width;
        const float mu = mean[row], rstd = r[row];
        float xhat[PACKS][N], g[PACKS][N];
        float sum = 0, along = 0;
#pragma unroll
        for (int p = 0; p < PACKS; p++) {
            const int column = (p * threads + int(threadIdx.x)) * N;
            if (column < width) {
                const Pack<T, N> values = load<N>(x + base + column), cotangents = load<N>(dy + base + column);
                const Pack<T, N> w = load<N>(weight + column);
#pragma unroll
                for (int e = 0; e < N; e++) {
                    const float d = to_float(cotangents.element[e]);
                    xhat[p][e] = (to_float(values.element[e]) - mu) * rstd;
                    g[p][e] = d * to_float(w.element[e]);
                    sum += g[p][e];
                    along += g[p][e] * xhat[p][e];
                    dweight[p][e] += d * xhat[p][e];
                    dbias[p][e] += d;
                }
            }
        }
        team_sums(sum, along, shared, warps);
        const float g_mean = sum / width, g_along = along / width;
#pragma unroll
        for (int p = 0; p < PACKS; p++) {
            const int column = (p * threads + int(threadIdx.x)) * N;
            if (column < width) {
                Pack<T, N> other = {}, result;
                if (add != nullptr) other = load<N>(add + base + column);
#pragma unroll
                for (int e = 0; e < N; e++) {
                    const float d = rstd * (g[p][e] - g_mean - xhat[p][e] * g_along);
                    result.element[e] = from_float<T>(d + to_float(other.element[e]));
                }
                store<N>(dx + base + column, result);
            }
        }
    }
    float* mine = partial + (long long)blockIdx.x * 2 * width;
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        const int column = (p * threads + int(threadIdx.x)) * N;
        if (column < width) {
#pragma unroll
            for (int e = 0; e < N; e++) {
                mine[column + e] = dweight[p][e];
                mine[width + column + e] = dbias[p][e];
            }
        }
    }
}

// add: like dx, or null.  partial: (blocks, 2, width), for dweight and dbias.
template <class T>
__device__ __forceinline__ void backward(const T* dy, const T* x, const float* mean, const float* r,
                                         const T* weight, const T* add, T* dx, float* partial, long long rows,
                                         int width) {
    SHARED(float, shared, 2 * 32);
    if (packable<T>(width, dy, x, weight, add, dx))
        backward_rows<T, PACKED<T>>(dy, x, mean, r, weight, add, dx, partial, rows, width, shared);
    else
        backward_rows<T, 1>(dy, x, mean, r, weight, add, dx, partial, rows, width, shared);
}

#define KERNELS(T)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256, 4) layer_norm_forward_##T(                            \
        const T* x, const T* weight, const T* bias, T* y, float* mean, float* r, long long rows, int width, \
        float eps, int warps) {                                                                             \
        forward<T>(x, weight, bias, y, mean, r, rows, width, eps, warps);                                   \
    }                                                                                                       \
    EXPORT(layer_norm_forward_##T)                                                                          \
    extern "C" __global__ void __launch_bounds__(1024) layer_norm_backward_##T(                             \
        const T* dy, const T* x, const float* mean, const float* r, const T* weight, const T* add, T* dx,   \
        float* partial, long long rows, int width) {                                                        \
        backward<T>(dy, x, mean, r, weight, add, dx, partial, rows, width);                                 \
    }                                                                                                       \
    EXPORT(layer_norm_backward_##T)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)
