r"""Learning rate: a linear warm-up, then half a cosine down to zero.

Rule       rate(s) = peak (s + 1) / warmup                                      for s < warmup
           rate(s) = peak (1 + cos(pi (s - warmup) / (steps - warmup))) / 2     from there on
           s = 0, 1, ..., steps - 1 counts the updates
Invariants rate > 0 for every step;  rate = peak at the last step of the warm-up and the first one
           after it;  the rate would be 0 at s = steps, which is not taken.
Source     Loshchilov, Hutter 2017, arXiv:1608.03983, eq. 5 (one cycle, no restart), with the warm-up
           of Goyal et al. 2017, arXiv:1706.02677, section 2.2.

>>> [round(warmup_cosine(s, steps=6, warmup=2, peak=1.0), 3) for s in range(6)]
[0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
"""

import math


def warmup_cosine(step: int, *, steps: int, warmup: int, peak: float) -> float:
    """The learning rate of update `step`, counted from 0. Raises ValueError when there is no such step."""
    if not 0 <= step < steps:
        raise ValueError(f"step is {step}, expected 0 to {steps - 1}")
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
