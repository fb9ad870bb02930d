// Small kernels that show what the shim does: its tensor-core twins, and the mistakes that it must find.
#include "mma.cuh"

// a (16, 16) and b (16, 8) in 16 bits -> d (16, 8) in float32
template <class T> __device__ void product(const T* a, const T* b, float* d) {
    const int g = lane_index() / 4, t = lane_index() % 4;
    unsigned left[4], right[2];
    for (int i = 0; i < 4; i++) {
        const T* pair = a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
        memcpy(&left[i], pair, 4);
    }
    for (int i = 0; i < 2; i++) {
        const T pair[2] = {b[(2 * t + 8 * i) * 8 + g], b[(2 * t + 8 * i + 1) * 8 + g]};
        memcpy(&right[i], pair, 4);
    }
    float sum[4] = {};
    mma_m16n8k16(sum, left, right, T());
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

extern "C" __global__ void product_f16(const f16* a, const f16* b, float* d) { product(a, b, d); }
EXPORT(product_f16)
extern "C" __global__ void product_bf16(const bf16* a, const bf16* b, float* d) { product(a, b, d); }
EXPORT(product_bf16)

// a (16, 8) and b (8, 8) in float32 -> d (16, 8)
extern "C" __global__ void product_tf32(const float* a, const float* b, float* d) {
    const int g = lane_index() / 4, t = lane_index() % 4;
    unsigned left[4], right[2];
    for (int i = 0; i < 4; i++) memcpy(&left[i], a + (g + i % 2 * 8) * 8 + t + i / 2 * 4, 4);
    for (int i = 0; i < 2; i++) memcpy(&right[i], b + (t + 4 * i) * 8 + g, 4);
    float sum[4] = {};
    mma_m16n8k8_tf32(sum, left, right);
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}
EXPORT(product_tf32)

// x (32, 8): four matrices below one another, in registers as they are, transposed while they are loaded,
// and transposed in registers: y (3, 32, 8).
extern "C" __global__ void matrices(const f16* x, f16* y) {
    SHARED(f16, shared, 32 * 8);
    for (int i = 0; i < 8; i++) shared[lane_index() * 8 + i] = x[lane_index() * 8 + i];
    __syncwarp();
    unsigned r[3][4];
    ldmatrix_x4(r[0], shared + lane_index() * 8);
    ldmatrix_x4_trans(r[1], shared + lane_index() * 8);
    for (int m = 0; m < 4; m++) r[2][m] = movmatrix_trans(r[0][m]);
    for (int kind = 0; kind < 3; kind++)
        for (int m = 0; m < 4; m++)
            memcpy(y + kind * 256 + (m * 8 + lane_index() / 4) * 8 + lane_index() % 4 * 2, &r[kind][m], 4);
}
EXPORT(matrices)

// 16 bytes per thread by way of shared memory, of which the first thread's are zeros.
extern "C" __global__ void copied(const float* x, float* y, int waited) {
    SHARED(float, shared, 128);
    copy_async_16(shared + lane_index() * 4, x + lane_index() * 4, lane_index() ? 16 : 0);
    copy_async_commit();
    if (waited) copy_async_wait<0>();
    for (int i = 0; i < 4; i++) y[lane_index() * 4 + i] = shared[lane_index() * 4 + i];
}
EXPORT(copied)

// Each thread takes its neighbour's number. mistake 1: without a barrier; 2: a barrier that one thread never
// reaches; 3: a shuffle after one thread has ended; 4: one number beyond the shared array.
extern "C" __global__ void neighbours(const float* x, float* y, int mistake) {
    SHARED(float, shared, 64);
    const int i = int(threadIdx.x);
    shared[i] = x[i];
    if (mistake == 3 && i == 5) return;
    if (mistake == 2 && i == 5)
        __syncwarp();
    else if (mistake != 1)
        __syncthreads();
    if (mistake == 3) warp_sum(x[i]);
    if (mistake == 4) shared[64 + i] = 0;
    y[i] = shared[(i + 1) % 64];
}
EXPORT(neighbours)
