// Heads of up to 64 columns in float32: without tensor cores, in TF32, and in three TF32 products.
#include "attention_kernels.cuh"

ATTENTION_STRICT(64)
ATTENTION_TF32(64, tf32, false)
ATTENTION_TF32(64, fp32x3, true)
