// Heads of up to 96 columns in float32: without tensor cores, in TF32, and in three TF32 products.
#include "attention_kernels.cuh"

ATTENTION_STRICT(96)
ATTENTION_TF32(96, tf32, false)
ATTENTION_TF32(96, fp32x3, true)
