// Heads of up to 80 columns in float32: without tensor cores, in TF32, and in three TF32 products.
#include "attention_kernels.cuh"

ATTENTION_STRICT(80)
ATTENTION_TF32(80, tf32, false)
ATTENTION_TF32(80, fp32x3, true)
