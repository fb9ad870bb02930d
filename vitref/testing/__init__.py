"""For those who test a component, a backend or a model of their own against vitref.

`complex_step` and `adjoint_error` prove a hand-written gradient, `tolerance` says what rounding can
explain. `vitref.testing.suite` is the property suite that every component of vitref passes, on every
backend; it alone needs Hypothesis: `pip install "vitref[test]"`.
"""

from vitref.testing.derivative import adjoint_error, complex_step, random_like
from vitref.testing.tolerance import tolerance

__all__ = ["adjoint_error", "complex_step", "random_like", "tolerance"]
