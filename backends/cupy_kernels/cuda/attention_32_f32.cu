// Heads of up to 32 columns in float32: without tensor cores, in TF32, and in three TF32 products.
#include "attention_kernels.cuh"

ATTENTION_STRICT(32)
ATTENTION_TF32(32, tf32, false)
ATTENTION_TF32(32, fp32x3, true)
