// Heads of up to 32 columns in 16-bit storage.
#include "attention_kernels.cuh"

FORWARD_16(32, bf16)
FORWARD_16(32, f16)
BACKWARD_16(32, bf16)
BACKWARD_16(32, f16)
BACKWARD_SHORT_16(32, bf16)
BACKWARD_SHORT_16(32, f16)
