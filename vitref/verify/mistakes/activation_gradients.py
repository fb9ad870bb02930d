"""Mistakes of the backward passes of GELU and tanh."""

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import FINITE, GRADIENT_ZERO

GELU_DX = "Grads(dy * (p + x * slope))"
AT_ZERO = (
    "Feed 0 into the activation: its slope is 0.5 there; a candidate's dx that is half of dy refutes it."
)
FAR = "Feed -1 and 1 into the activation: slopes of -0.0833 and 1.0833 there refute it."


def gelu(dx: str) -> dict[str, tuple[str, ...]]:
    """Another dx of GELU in both forms."""
    return {"gelu": (f"{GELU_DX} -> Grads(dy * ({dx}))",)}


MISTAKES = (
    Mistake(
        name="gelu_slope_missing",
        what="GELU's gradient is P(x), without x P'(x)",
        look="the backward function of GELU: its second term",
        refute=FAR,
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits={"gelu": ("Grads(dy * (p + x * slope)) -> Grads(dy * p)",)},
    ),
    Mistake(
        name="gelu_slope_without_x",
        what="GELU's gradient is P(x) + P'(x), without the factor x in the second term",
        look="the product rule in the backward function of GELU",
        refute=AT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits=gelu("p + slope"),
    ),
    Mistake(
        name="gelu_slope_alone",
        what="GELU's gradient is x P'(x), without P(x)",
        look="the product rule in the backward function of GELU: its first term",
        refute=AT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits=gelu("x * slope"),
    ),
    Mistake(
        name="gelu_slope_subtracted",
        what="GELU's gradient is P(x) - x P'(x)",
        look="the sign of the second term in the backward function of GELU",
        refute=FAR,
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits=gelu("p - x * slope"),
    ),
    Mistake(
        name="gelu_slope_of_relu",
        what="the gradient of ReLU stands for that of GELU",
        look="a mask x > 0 in the backward function of the activation",
        refute="Look at the ratio of `mlp.fc1:dy` to `mlp.act:dy`: a value other than 0 and 1 refutes it.",
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits=gelu("xp.astype(x > 0, x.dtype)"),
    ),
    Mistake(
        name="gelu_slope_of_quick_gelu",
        what="the gradient of x sigmoid(1.702 x) stands for that of GELU",
        look="the constant 1.702 in the backward function of the activation",
        refute=(
            "Look at the ratio of `mlp.fc1:dy` to `mlp.act:dy` where `mlp.fc1` is near 1: 1.07 is "
            "QuickGELU's, 1.083 GELU's."
        ),
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits={
            "gelu": (
                (
                    f"return {GELU_DX} -> p = 0.5 * (1 + xp.tanh(0.851 * x))\n    return Grads(dy * (p + x "
                    "* (1.702 * p * (1 - p))))"
                ),
            )
        },
    ),
    Mistake(
        name="gelu_density_not_normalised",
        what="the normal density in GELU's gradient lacks the factor 1 / sqrt(2 pi)",
        look="the constant 0.39894 in the backward function of exact GELU",
        refute=FAR,
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits={"gelu": ("xp.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi)) -> xp.exp(-0.5 * (x * x))",)},
    ),
    Mistake(
        name="activation_without_gradient",
        what="the activation passes no gradient on: its dx is zero",
        look="an operation without a backward function, or detach behind the activation",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=("ggml-org/ggml#1514",),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits=gelu("0 * x"),
    ),
    Mistake(
        name="activation_passes_all_gradient",
        what="the activation passes its gradient on unchanged",
        look="a straight-through estimator, or an activation that the backward pass leaves out",
        refute="Compare `mlp.fc1:dy` with `mlp.act:dy`: if they differ, this is not the cause.",
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits=gelu("1 + 0 * x"),
    ),
    Mistake(
        name="gelu_other_slope",
        what="the gradient of the other form of GELU",
        look="a backward function of one form of GELU beside the forward function of the other",
        refute="Look at the slope where `mlp.fc1` is near 2: the two forms differ most there, by 8.7e-4.",
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits={
            "gelu": (
                "x, p, form = saved -> other = 'tanh' if saved.form == 'erf' else 'erf'\n"
                "    _, (x, p, form) = forward(saved.x, form=other, xp=xp)",
            )
        },
    ),
    Mistake(
        name="gelu_cube_not_differentiated",
        what="the factor 3 of the cube is left out of the gradient of GELU's tanh form",
        look="the factor 3 * 0.044715 = 0.134145 in the backward function of the tanh form",
        refute=FINITE,
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits={"gelu": ("1 + 3 * CUBIC -> 1 + CUBIC",)},
    ),
    Mistake(
        name="tanh_slope_wrong",
        what="tanh's gradient is 1 - y instead of 1 - y^2",
        look="the backward function of tanh: 1 - y for 1 - y * y",
        refute=(
            "Feed 0: both slopes are 1 there; look where the tanh is negative: a slope of at most "
            "1 refutes it."
        ),
        topic="gradients",
        evidence=(),
        shows="pre_logits.fc:dy",
        backward=True,
        edits={"tanh": ("1 - saved.y * saved.y -> 1 - saved.y",)},
    ),
)
