// Splits float32 matrices into two TF32 parts, set side by side along the summed axis of a product:
// one TF32 product of three times the length then has the accuracy of float32 (Ootomo and Yokota 2022,
// arXiv:2203.03341). hi = tf32(x), lo = tf32(x - hi). Left operands become [lo, hi, hi], right ones
// [hi, lo, hi], so that the small terms are added first; lo * lo is left out.
#include "common.cuh"

// Rounds to 10 bits after the leading one, ties away from zero, as cvt.rna.tf32. A finite number stays
// finite: what would be rounded up to infinity is cut off instead.
__device__ __forceinline__ float to_tf32(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7f800000u) == 0x7f800000u) return x;
    unsigned rounded = (bits + 0x1000u) & 0xffffe000u;
    if ((rounded & 0x7f800000u) == 0x7f800000u) rounded = bits & 0xffffe000u;
    memcpy(&x, &rounded, 4);
    return x;
}

__device__ __forceinline__ float remainder_of(float x, float high) {
    return x - x == 0 ? to_tf32(x - high) : 0.0f;
}

// x (rows, columns); y has x's parts one below the other (rows_summed, the axis of the sum is that of the
// rows) or side by side. One thread for each N elements; width = columns / N.
template <int N>
__device__ __forceinline__ void split(const float* x, float* y, long long rows, int width, int rows_summed,
                                      int right) {
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= rows * width) return;
    const long long row = at / width, column = at % width;
    const Pack<f32, N> value = load<N>(x + at * N);
    Pack<f32, N> high, low;
    for (int i = 0; i < N; i++) {
        high.element[i] = to_tf32(value.element[i]);
        low.element[i] = remainder_of(value.element[i], high.element[i]);
    }
    const long long first = (rows_summed ? at : row * 3 * width + column) * N;
    const long long step = (rows_summed ? rows * width : (long long)width) * N;
    store<N>(y + first, right ? high : low);
    store<N>(y + first + step, right ? low : high);
    store<N>(y + first + 2 * step, high);
}

extern "C" __global__ void split_f32(const float* x, float* y, long long rows, int columns, int rows_summed,
                                     int right) {
    split<1>(x, y, rows, columns, rows_summed, right);
}
EXPORT(split_f32)

// For columns that are a multiple of 4, and addresses of 16.
extern "C" __global__ void split_packed_f32(const float* x, float* y, long long rows, int columns,
                                            int rows_summed, int right) {
    split<4>(x, y, rows, columns / 4, rows_summed, right);
}
EXPORT(split_packed_f32)
