"""What rounding can explain: the one place where a tolerance comes from.

A tolerance is relative to the size of what was added, never to a result that may be what remains
after the terms have cancelled: to the sum itself or the root of the sum of the squared terms, whichever
is larger. (The sum of the absolute terms is safe too, and generous.)
"""

import math

ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Name of a dtype: the largest relative error of one rounding, half of machine epsilon."""

STEPS = 8
"""Roundings one after the other, beside those of a sum: the longest chain of any component."""


def tolerance(dtype: str, terms: int = 1) -> float:
    """The relative error that rounding explains in a computation with sums of `terms` terms.

    Half of machine epsilon x 8 x sqrt(terms): the errors of the additions differ in sign, so that
    they grow like the square root of their number, and a result passes at most eight roundings.
    Raises KeyError for a dtype that is not in `ROUNDING`.

    >>> tolerance("float64") == 4 * 2.0**-52
    True
    >>> tolerance("float32", 100) == 40 * 2.0**-23
    True
    """
    return ROUNDING[dtype] * STEPS * math.sqrt(terms)
