"""Kernels of the Numba backend: row loops compiled by Numba, and blocks of a model done by a team of threads.

`special.py` and `loops.py` hold what is compiled, `team.py` the threads, `blas.py` the limit of BLAS's own,
`shares.py` who does what. Modules named like a component are kernels; `block.py` is made of
`block_forward.py`, `block_backward.py`, `heads.py` (attention) and `products.py`, with the names of its
arrays in `parameters.py`.
"""
