// Heads of up to 128 columns in 16-bit storage.
#include "attention_kernels.cuh"

FORWARD_16(128, bf16)
FORWARD_16(128, f16)
BACKWARD_16(128, bf16)
BACKWARD_16(128, f16)
