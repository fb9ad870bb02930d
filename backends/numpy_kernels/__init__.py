"""Kernels of the NumPy backend: the reference components in another order, where memory asks for it."""
