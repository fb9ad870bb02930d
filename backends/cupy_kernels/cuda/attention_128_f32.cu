// Heads of up to 128 columns in float32: without tensor cores, in TF32, and in three TF32 products.
#include "attention_kernels.cuh"

ATTENTION_STRICT(128)
ATTENTION_TF32(128, tf32, false)
ATTENTION_TF32(128, fp32x3, true)
