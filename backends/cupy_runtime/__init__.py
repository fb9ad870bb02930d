"""What the CuPy backend runs on: device, memory transfers, CUDA graphs, matrix products, compiled kernels."""
