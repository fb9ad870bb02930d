// y = gelu(x + bias) in three forms, and its way back from x, with the gradient of the bias.
//
// form 0: erf   x P(x), P the normal distribution          form 1: tanh   its approximation
// form 2: quick x sigmoid(1.702 x)
// The bias may be null; x is recomputed, nothing else is kept.
#include "columns.cuh"

constexpr float SQRT_HALF = 0.70710678118654752f;
constexpr float INVERSE_SQRT_2_PI = 0.39894228040143268f;
constexpr float SQRT_2_OVER_PI = 0.79788456080286536f;
constexpr float CUBIC = 0.044715f;
constexpr float QUICK = 1.702f;

// P(x): what x is multiplied by.
template <int FORM> __device__ __forceinline__ float factor(float x) {
    if (FORM == 0) return 0.5f * (1 + erff(x * SQRT_HALF));
    if (FORM == 1) return 0.5f * (1 + tanhf(SQRT_2_OVER_PI * (x + CUBIC * (x * x * x))));
    return 1 / (1 + expf(-QUICK * x));
}

// The derivative of P, given P(x).
template <int FORM> __device__ __forceinline__ float factor_slope(float x, float p) {
    if (FORM == 0) return expf(-0.5f * (x * x)) * INVERSE_SQRT_2_PI;
    if (FORM == 1) return 2 * p * (1 - p) * (SQRT_2_OVER_PI * (1 + 3 * CUBIC * (x * x)));
    return QUICK * p * (1 - p);
}

template <int FORM> __device__ __forceinline__ float gelu(float x) { return x * factor<FORM>(x); }
template <int FORM> __device__ __forceinline__ float gelu_slope(float x) {
    const float p = factor<FORM>(x);
    return p + x * factor_slope<FORM>(x, p);
}

template <class T, int N> __device__ __forceinline__ Pack<T, N> bias_of(const T* bias, long long index, int width) {
    Pack<T, N> pack = {};
    if (bias != nullptr) pack = load<N>(bias + (unsigned long long)index % unsigned(width));
    return pack;
}

// All elements of x (rows, width), laid out one after the other.
template <class T, int N, int FORM>
__device__ __forceinline__ void forward(const T* x, const T* bias, T* y, long long elements, int width) {
    const long long step = (long long)gridDim.x * blockDim.x * N;
    for (long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * N; i < elements; i += step) {
        const Pack<T, N> values = load<N>(x + i), b = bias_of<T, N>(bias, i, width);
        Pack<T, N> result;
#pragma unroll
        for (int e = 0; e < N; e++)
            result.element[e] = from_float<T>(gelu<FORM>(to_float(values.element[e]) + to_float(b.element[e])));
        store<N>(y + i, result);
    }
}

template <class T, int N, int FORM>
__device__ __forceinline__ void backward(const T* dy, const T* x, const T* bias, T* dx, long long elements,
                                         int width) {
    const long long step = (long long)gridDim.x * blockDim.x * N;
    for (long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * N; i < elements; i += step) {
        const Pack<T, N> cotangents = load<N>(dy + i), values = load<N>(x + i), b = bias_of<T, N>(bias, i, width);
        Pack<T, N> result;
#pragma unroll
        for (int e = 0; e < N; e++) {
            const float u = to_float(values.element[e]) + to_float(b.element[e]);
            result.element[e] = from_float<T>(to_float(cotangents.element[e]) * gelu_slope<FORM>(u));
        }
        store<N>(dx + i, result);
    }
}

// The same by tiles, with the sums of each column of dx over a chunk of rows, before dx is rounded.
template <class T, int N, int FORM>
__device__ __forceinline__ void backward_bias(const T* dy, const T* x, const T* bias, T* dx, float* partial,
                                              long long rows, int width, int rows_per_block, float* shared) {
    const Tile<N> tile(rows, rows_per_block);
    float sums[N] = {};
    if (tile.column < width) {
        const Pack<T, N> b = bias_of<T, N>(bias, tile.column, width);
        for (long long row = tile.first; row < tile.end; row += COLUMN_WARPS) {
            const long long at = row * width + tile.column;
            const Pack<T, N> cotangents = load<N>(dy + at), values = load<N>(x + at);
            Pack<T, N> result;
#pragma unroll
            for (int e = 0; e < N; e++) {
                const float u = to_float(values.element[e]) + to_float(b.element[e]);
                const float d = to_float(cotangents.element[e]) * gelu_slope<FORM>(u);
                result.element[e] = from_float<T>(d);
                sums[e] += d;
            }
            store<N>(dx + at, result);
        }
    }
    write_chunk(sums, partial, width, shared);
}

#define IN_FORM(call)      \
    if (form == 0) {       \
        constexpr int F = 0; \
        call;              \
    } else if (form == 1) { \
        constexpr int F = 1; \
        call;              \
    } else {               \
        constexpr int F = 2; \
        call;              \
    }

#define KERNELS(T)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256) gelu_forward_##T(const T* x, const T* bias, T* y,      \
                                                                       long long elements, int width, int form) { \
        const bool whole = elements % PACKED<T> == 0 && (bias == nullptr || width % PACKED<T> == 0);         \
        if (whole && packable<T>(elements, x, bias, y)) {                                                    \
            IN_FORM((forward<T, PACKED<T>, F>(x, bias, y, elements, width)))                                 \
        } else {                                                                                             \
            IN_FORM((forward<T, 1, F>(x, bias, y, elements, width)))                                         \
        }                                                                                                    \
    }                                                                                                        \
    EXPORT(gelu_forward_##T)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) gelu_backward_##T(                                     \
        const T* dy, const T* x, const T* bias, T* dx, long long elements, int width, int form) {            \
        const bool whole = elements % PACKED<T> == 0 && (bias == nullptr || width % PACKED<T> == 0);         \
        if (whole && packable<T>(elements, dy, x, bias, dx)) {                                               \
            IN_FORM((backward<T, PACKED<T>, F>(dy, x, bias, dx, elements, width)))                           \
        } else {                                                                                             \
            IN_FORM((backward<T, 1, F>(dy, x, bias, dx, elements, width)))                                   \
        }                                                                                                    \
    }                                                                                                        \
    EXPORT(gelu_backward_##T)                                                                                \
    extern "C" __global__ void __launch_bounds__(256) gelu_backward_bias_##T(                                \
        const T* dy, const T* x, const T* bias, T* dx, float* partial, long long rows, int width,            \
        int rows_per_block, int form) {                                                                      \
        SHARED(float, shared, CHUNK_SHARED);                                                                 \
        if (packable<T>(width, dy, x, bias, dx)) {                                                           \
            IN_FORM((backward_bias<T, PACKED<T>, F>(dy, x, bias, dx, partial, rows, width, rows_per_block, shared))) \
        } else {                                                                                             \
            IN_FORM((backward_bias<T, 1, F>(dy, x, bias, dx, partial, rows, width, rows_per_block, shared))) \
        }                                                                                                    \
    }                                                                                                        \
    EXPORT(gelu_backward_bias_##T)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)
