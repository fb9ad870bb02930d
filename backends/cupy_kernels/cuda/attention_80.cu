// Heads of up to 80 columns in 16-bit storage.
#include "attention_kernels.cuh"

FORWARD_16(80, bf16)
FORWARD_16(80, f16)
BACKWARD_16(80, bf16)
BACKWARD_16(80, f16)
