"""Kernels of the Numba backend: row loops compiled by Numba, and blocks of a model done by a team of threads.

`loops.py` and `special.py` hold what is compiled, `team.py` the threads; the other modules are kernels under
the names of the components that they replace.
"""
