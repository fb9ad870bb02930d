// One step of AdamW for one parameter. Parameter, mean and square in float32, the gradient as it comes; or
// everything in float64.
//
// The results may be the arrays that came in. `copy`, or null, gets the new parameter rounded to the
// gradient's type: what a 16-bit model multiplies with.
#include "common.cuh"

typedef double f64;

// 1 - beta and the corrections 1 / (1 - beta^t) are made on the host in float64.
template <class R> struct Rule {
    R rate, beta1, rest1, correction1, beta2, rest2, correction2, eps, decay;
};

__device__ __forceinline__ double to_float(f64 x) { return x; }
template <> __device__ __forceinline__ f64 from_float<f64>(float x) { return x; }

template <class T, class R> __device__ __forceinline__ T rounded(R x) { return from_float<T>(x); }
template <> __device__ __forceinline__ f64 rounded<f64, f64>(f64 x) { return x; }

template <class R, class T>
__device__ __forceinline__ void step(const R* p, const T* g, const R* mean, const R* square, R* new_p, R* new_mean,
                                     R* new_square, T* copy, long long elements, const Rule<R>& rule) {
    const long long all = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < elements; i += all) {
        const R gradient = to_float(g[i]);
        const R m = rule.beta1 * mean[i] + rule.rest1 * gradient;
        const R v = rule.beta2 * square[i] + rule.rest2 * (gradient * gradient);
        const R change = m * rule.correction1 / (sqrt(v * rule.correction2) + rule.eps);
        const R value = p[i] - rule.rate * (change + rule.decay * p[i]);
        new_p[i] = value;
        new_mean[i] = m;
        new_square[i] = v;
        if (copy != nullptr) copy[i] = rounded<T>(value);
    }
}

#define KERNEL(R, T)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                      \
        adamw_##T(const R* p, const T* g, const R* mean, const R* square, R* new_p, R* new_mean,           \
                  R* new_square, T* copy, long long elements, double rate, double beta1, double rest1,     \
                  double correction1, double beta2, double rest2, double correction2, double eps,          \
                  double decay) {                                                                          \
        const Rule<R> rule{R(rate),  R(beta1),       R(rest1), R(correction1), R(beta2),                   \
                           R(rest2), R(correction2), R(eps),   R(decay)};                                  \
        step<R, T>(p, g, mean, square, new_p, new_mean, new_square, copy, elements, rule);                 \
    }                                                                                                      \
    EXPORT(adamw_##T)

KERNEL(f64, f64)
KERNEL(f32, f32)
KERNEL(f32, f16)
KERNEL(f32, bf16)
