// Heads of up to 64 columns in 16-bit storage.
#include "attention_kernels.cuh"

FORWARD_16(64, bf16)
FORWARD_16(64, f16)
BACKWARD_16(64, bf16)
BACKWARD_16(64, f16)
BACKWARD_SHORT_16(64, bf16)
BACKWARD_SHORT_16(64, f16)
