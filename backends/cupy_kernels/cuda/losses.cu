// Softmax and sigmoid cross-entropy of logits (images, classes), and their ways back. One block per image.
//
// Labels are classes (images,), or weights (images, classes) in float32; the other pointer is null. The loss
// and its cotangent dy are float32 numbers whatever the logits are.
#include "common.cuh"

constexpr int WARPS = 4;

struct Labels {
    const long long* classes;
    const float* weights;
    int width;
    __device__ float of(long long image, int column) const {
        return classes != nullptr ? float(classes[image] == column) : weights[image * width + column];
    }
};

// stats (images, 3): the largest logit m, log sum exp(x - m), and the sum of the labels.
template <class T>
__device__ __forceinline__ void softmax_forward(const T* x, const Labels& labels, float* losses, float* stats,
                                                float* shared) {
    const long long image = blockIdx.x;
    const T* row = x + image * labels.width;
    float largest = NEGATIVE_INFINITY, sum = 0, loss = 0, total = 0;
    for (int k = threadIdx.x; k < labels.width; k += WARPS * 32) largest = fmaxf(largest, to_float(row[k]));
    largest = team_max(largest, shared, WARPS);
    for (int k = threadIdx.x; k < labels.width; k += WARPS * 32) sum += expf(to_float(row[k]) - largest);
    const float log_sum = logf(team_sum(sum, shared, WARPS));
    for (int k = threadIdx.x; k < labels.width; k += WARPS * 32) {
        const float t = labels.of(image, k);
        total += t;
        if (t != 0) loss -= t * (to_float(row[k]) - largest - log_sum);
    }
    team_sums(loss, total, shared, WARPS);
    if (threadIdx.x == 0) {
        losses[image] = loss;
        stats[3 * image] = largest;
        stats[3 * image + 1] = log_sum;
        stats[3 * image + 2] = total;
    }
}

// dx = dy / images (p sum t - t)
template <class T>
__device__ __forceinline__ void softmax_backward(const float* dy, const T* x, const Labels& labels,
                                                 const float* stats, T* dx) {
    const long long image = blockIdx.x;
    const float scale = *dy / gridDim.x;
    const float largest = stats[3 * image], log_sum = stats[3 * image + 1], total = stats[3 * image + 2];
    for (int k = threadIdx.x; k < labels.width; k += WARPS * 32) {
        const long long at = image * labels.width + k;
        const float p = expf(to_float(x[at]) - largest - log_sum);
        dx[at] = from_float<T>(scale * (p * total - labels.of(image, k)));
    }
}

template <class T>
__device__ __forceinline__ void sigmoid_forward(const T* x, const Labels& labels, float* losses, float* shared) {
    const long long image = blockIdx.x;
    float loss = 0;
    for (int k = threadIdx.x; k < labels.width; k += WARPS * 32) {
        const float value = to_float(x[image * labels.width + k]), positive = fmaxf(value, 0.0f);
        loss += (positive - labels.of(image, k) * value) + log1pf(expf((value - positive) - positive));
    }
    loss = team_sum(loss, shared, WARPS);
    if (threadIdx.x == 0) losses[image] = loss;
}

// dx = dy / images (sigmoid x - t)
template <class T>
__device__ __forceinline__ void sigmoid_backward(const float* dy, const T* x, const Labels& labels, T* dx) {
    const long long image = blockIdx.x;
    const float scale = *dy / gridDim.x;
    for (int k = threadIdx.x; k < labels.width; k += WARPS * 32) {
        const long long at = image * labels.width + k;
        const float value = to_float(x[at]), positive = fmaxf(value, 0.0f);
        const float sigmoid = expf(value - positive) / (1 + expf((value - positive) - positive));
        dx[at] = from_float<T>(scale * (sigmoid - labels.of(image, k)));
    }
}

// One block: the mean of the images' losses.
extern "C" __global__ void __launch_bounds__(128) mean_loss(const float* losses, float* loss, int images) {
    SHARED(float, shared, WARPS);
    float sum = 0;
    for (int n = threadIdx.x; n < images; n += WARPS * 32) sum += losses[n];
    sum = team_sum(sum, shared, WARPS);
    if (threadIdx.x == 0) *loss = sum / images;
}
EXPORT(mean_loss)

#define KERNELS(T)                                                                                           \
    extern "C" __global__ void __launch_bounds__(128) cross_entropy_forward_##T(                             \
        const T* x, const long long* classes, const float* weights, float* losses, float* stats, int width) { \
        SHARED(float, shared, 2 * WARPS);                                                                    \
        softmax_forward(x, Labels{classes, weights, width}, losses, stats, shared);                          \
    }                                                                                                        \
    EXPORT(cross_entropy_forward_##T)                                                                        \
    extern "C" __global__ void __launch_bounds__(128)                                                        \
        cross_entropy_backward_##T(const float* dy, const T* x, const long long* classes,                    \
                                   const float* weights, const float* stats, T* dx, int width) {             \
        softmax_backward(dy, x, Labels{classes, weights, width}, stats, dx);                                 \
    }                                                                                                        \
    EXPORT(cross_entropy_backward_##T)                                                                       \
    extern "C" __global__ void __launch_bounds__(128) sigmoid_cross_entropy_forward_##T(                     \
        const T* x, const long long* classes, const float* weights, float* losses, int width) {              \
        SHARED(float, shared, WARPS);                                                                        \
        sigmoid_forward(x, Labels{classes, weights, width}, losses, shared);                                 \
    }                                                                                                        \
    EXPORT(sigmoid_cross_entropy_forward_##T)                                                                \
    extern "C" __global__ void __launch_bounds__(128) sigmoid_cross_entropy_backward_##T(                    \
        const float* dy, const T* x, const long long* classes, const float* weights, T* dx, int width) {     \
        sigmoid_backward(dy, x, Labels{classes, weights, width}, dx);                                        \
    }                                                                                                        \
    EXPORT(sigmoid_cross_entropy_backward_##T)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)
