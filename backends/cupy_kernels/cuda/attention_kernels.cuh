// The attention kernels by name, for a width W that heads are padded to and a storage type T.
//
// In KERNEL(name, T, threads, blocks, ...) `threads` is the most that the kernel may be started with, `blocks`
// how many blocks a multiprocessor with 64 K registers should hold: the compiler keeps registers down for it.
#pragma once
#include "attention_backward_short.cuh"
#include "attention_backward_tiled.cuh"
#include "attention_forward.cuh"
#include "attention_strict_backward.cuh"

// `rows` of queries per block.
#define FORWARD_KERNEL(name, T, threads, blocks, rows, ...)                                                    \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(FORWARD_PARAMETERS(T)) {                \
        __VA_ARGS__(Forward<T>(rows, FORWARD_ARGUMENTS));                                                      \
    }                                                                                                          \
    EXPORT(name)

// `rows` per block of `count`, which are the queries or the keys.
#define BACKWARD_KERNEL(name, T, threads, blocks, count, rows, ...)                                            \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(BACKWARD_PARAMETERS(T)) {               \
        __VA_ARGS__(Backward<T>(count, rows, BACKWARD_ARGUMENTS));                                             \
    }                                                                                                          \
    EXPORT(name)

#define OWN_ROWS int(blockDim.x) / 2
#define IF_NARROW(W, one, other) (W <= 80 ? one : other)

#define FORWARD_16(W, T)                                                                                       \
    FORWARD_KERNEL(attention_forward_208_##T, T, IF_NARROW(W, 128, 256), (W <= 64 ? 3 : IF_NARROW(W, 2, 1)),   \
                   queries, forward_short<T, W, 26>)                                                           \
    FORWARD_KERNEL(attention_forward_272_##T, T, IF_NARROW(W, 128, 256), IF_NARROW(W, 2, 1), queries,          \
                   forward_short<T, W, 34>)                                                                    \
    FORWARD_KERNEL(attention_forward_##T, T, 256, (W <= 64 ? 2 : 1), OWN_ROWS, forward_long<Math16<T>, W, 64>)

#define BACKWARD_16(W, T)                                                                                      \
    BACKWARD_KERNEL(attention_backward_queries_##T, T, 256, (W <= 64 ? 2 : 1), queries, OWN_ROWS,              \
                    backward_queries<Math16<T>, W, 64, 32>)                                                    \
    BACKWARD_KERNEL(attention_backward_keys_##T, T, 256, (W <= 64 ? 2 : 1), keys, OWN_ROWS,                    \
                    backward_keys<Math16<T>, W, 64, 32>)

#define BACKWARD_SHORT_16(W, T)                                                                                \
    BACKWARD_KERNEL(attention_backward_208_##T, T, 416, 1, 1, 1, backward_short<T, W>)

#define ATTENTION_TF32(W, math, split)                                                                         \
    FORWARD_KERNEL(attention_forward_##math##_f32, f32, 256, 1, OWN_ROWS, forward_long<Math32<split>, W, 32>)  \
    BACKWARD_KERNEL(attention_backward_queries_##math##_f32, f32, 256, 1, queries, OWN_ROWS,                   \
                    backward_queries<Math32<split>, W, 32, 16>)                                                \
    BACKWARD_KERNEL(attention_backward_keys_##math##_f32, f32, 256, 1, keys, OWN_ROWS,                         \
                    backward_keys<Math32<split>, W, 32, 16>)

#define ATTENTION_STRICT(W)                                                                                    \
    FORWARD_KERNEL(attention_forward_strict_f32, f32, STRICT_THREADS, (W <= 64 ? 3 : 1), STRICT_ROWS,          \
                   strict_forward<W>)                                                                          \
    BACKWARD_KERNEL(attention_backward_queries_strict_f32, f32, STRICT_THREADS, 1, queries, STRICT_ROWS,       \
                    strict_backward_queries<W>)                                                                \
    BACKWARD_KERNEL(attention_backward_keys_strict_f32, f32, STRICT_THREADS, 1, keys, STRICT_ROWS,             \
                    strict_backward_keys<W>)
