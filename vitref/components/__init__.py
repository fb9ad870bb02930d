"""The primitives: one file each, with the equation, its hand-derived gradient, and the code of both.

A primitive is a module with `forward(*arrays, **static, xp) -> (y, Saved)` and
`backward(dy, saved, xp) -> Grads`. Differentiable arguments are positional and come first, then the
parameters named in `PARAMS`; everything else is keyword-only. Modules are used directly:

>>> import numpy as np
>>> from vitref.components import layer_norm
>>> y, saved = layer_norm.forward(np.array([1.0, 3.0]), np.ones(2), np.zeros(2), eps=0.0)
>>> y
array([-1.,  1.])
"""
