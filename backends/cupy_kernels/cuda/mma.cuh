// The instructions of a warp that attention is built of, each in a function. shim.h has the twins.
//
// Layouts as in the PTX manual (matrix fragments): lane (g = lane / 4, t = lane % 4) holds of the 16 x 8
// result rows g (d[0], d[1]) and g + 8 (d[2], d[3]), columns 2 t and 2 t + 1. sm_80 and later.
#pragma once
#include "common.cuh"

#if !HOST
#define MMA(shape, types, d, a, b)                                                                             \
    asm volatile("mma.sync.aligned." shape ".row.col.f32." types ".f32 "                                       \
                 "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"                                          \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

// d (16 x 8) += a (16 x 16) b (16 x 8); the last argument only tells the type.
__device__ __forceinline__ void mma_m16n8k16(float d[4], const unsigned a[4], const unsigned b[2], bf16) {
    MMA("m16n8k16", "bf16.bf16", d, a, b);
}
__device__ __forceinline__ void mma_m16n8k16(float d[4], const unsigned a[4], const unsigned b[2], f16) {
    MMA("m16n8k16", "f16.f16", d, a, b);
}

// d (16 x 8) += a (16 x 8) b (8 x 8); the hardware ignores the lower 13 bits of each operand.
__device__ __forceinline__ void mma_m16n8k8_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
    MMA("m16n8k8", "tf32.tf32", d, a, b);
}
#undef MMA

__device__ __forceinline__ unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Four 8 x 8 matrices of 16-bit elements from shared memory; lane l names row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix_x4(unsigned r[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, each matrix transposed.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned r[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// An 8 x 8 matrix of 16-bit elements spread over the warp, transposed.
__device__ __forceinline__ unsigned movmatrix_trans(unsigned a) {
    unsigned d;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0,%1;" : "=r"(d) : "r"(a));
    return d;
}

// `bytes` from global to shared memory and zeros up to 16. Both addresses are multiples of 16.
__device__ __forceinline__ void copy_async_16(void* to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}

// Ends a group of copies.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most LEFT of this thread's groups are under way.
template <int LEFT> __device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
#endif

// To ten bits of mantissa, ties away from zero.
__device__ __forceinline__ unsigned round_to_tf32(float x) {
    unsigned word;
#if HOST
    memcpy(&word, &x, 4);
    const bool finite = (word & 0x7f800000u) != 0x7f800000u;
    if (finite) word = (word + 0x1000u) & 0xffffe000u;
#else
    asm("cvt.rna.tf32.f32 %0,%1;" : "=r"(word) : "f"(x));
#endif
    return word;
}

// 2^x to about two units in the last place; results below the smallest normal number are 0.
__device__ __forceinline__ float power_of_2(float x) {
#if HOST
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x));
    return y;
#endif
}
