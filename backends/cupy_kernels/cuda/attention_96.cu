// Heads of up to 96 columns in 16-bit storage.
#include "attention_kernels.cuh"

FORWARD_16(96, bf16)
FORWARD_16(96, f16)
BACKWARD_16(96, bf16)
BACKWARD_16(96, f16)
