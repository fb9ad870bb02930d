"""Mistakes of the MLP in the forward pass: which activation, in which form, and where."""

from collections.abc import Mapping
from dataclasses import replace

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import HAND

QUICK = ("huggingface/pytorch-image-models#2031", "mlfoundations/open_clip#771", "RAIVNLab/sugar-crepe#7")
ERF = "0.5 * (1 + xp.erf(x * math.sqrt(0.5)))"
TANH = "0.5 * (1 + xp.tanh(SQRT_2_OVER_PI * (x + CUBIC * (x * x * x))))"
ERF_SLOPE = "xp.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))"
TANH_SLOPE = "2 * p * (1 - p) * (SQRT_2_OVER_PI * (1 + 3 * CUBIC * (x * x)))"
STEP = "xp.astype(x > 0, x.dtype)"
INSIDE = "xp.astype(x > -3, x.dtype) * xp.astype(x < 3, x.dtype)"


def gate(p: str, slope: str) -> Mapping[str, tuple[str, ...]]:
    """x P(x) with another P in both forms, and its derivative."""
    return {
        "gelu": (f"{ERF} -> {p}", f"{TANH} -> {p}", f"{ERF_SLOPE} -> {slope}", f"{TANH_SLOPE} -> {slope}")
    }


MISTAKES = (
    Mistake(
        name="gelu_tanh_for_erf",
        what="GELU in its tanh form, the default of JAX and ggml, where the model has the exact one",
        look=(
            "jax.nn.gelu (approximate=True by default), ggml, candle, or hidden_act gelu_new and "
            "gelu_pytorch_tanh"
        ),
        refute=(
            "Feed 2.7: the forms differ most there, by 4.7e-4; if the candidate's value is the "
            "exact one to 1e-6, this is not the cause."
        ),
        topic="form of GELU",
        evidence=("tinygrad/tinygrad#16162", "huggingface/candle#900"),
        shows="blocks.0.mlp.act",
        config=lambda config: replace(config, activation="gelu_tanh"),
    ),
    Mistake(
        name="gelu_erf_for_tanh",
        what="exact GELU, PyTorch's default, where the model has the tanh form",
        look="torch.nn.GELU() (approximate='none' by default), or hidden_act gelu",
        refute=(
            "Feed 2.7: the forms differ most there, by 4.7e-4; if the candidate's value is the "
            "tanh form's to 1e-6, this is not the cause."
        ),
        topic="form of GELU",
        evidence=("goodfire-ai/spd#624", "apache/tvm#14814"),
        shows="blocks.0.mlp.act",
        config=lambda config: replace(config, activation="gelu"),
    ),
    Mistake(
        name="quick_gelu",
        what="x sigmoid(1.702 x) where the model has GELU",
        look="QuickGELU, quick_gelu, or a config name of OpenCLIP with -quickgelu",
        refute=HAND,
        topic="QuickGELU",
        evidence=QUICK,
        shows="blocks.0.mlp.act",
        edits=gate("0.5 * (1 + xp.tanh(0.851 * x))", "1.702 * p * (1 - p)"),
    ),
    Mistake(
        name="silu",
        what="x sigmoid(x) where the model has GELU",
        look="SiLU or swish in the MLP",
        refute=HAND,
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate("0.5 * (1 + xp.tanh(0.5 * x))", "p * (1 - p)"),
    ),
    Mistake(
        name="relu",
        what="the positive part of x where the model has GELU",
        look="ReLU in the MLP, as in the first Transformer and as default of nn.TransformerEncoderLayer",
        refute="Look at `mlp.act`: one element below 0 refutes it.",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate(STEP, "0 * x"),
    ),
    Mistake(
        name="leaky_relu",
        what="x, or 0.01 x below 0, where the model has GELU",
        look="LeakyReLU in the MLP",
        refute=HAND,
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate(f"0.01 + 0.99 * {STEP}", "0 * x"),
    ),
    Mistake(
        name="hard_swish",
        what="x times a ramp from 0 at -3 to 1 at 3 where the model has GELU",
        look="Hardswish, an approximation for phones and for quantised models",
        refute="Look at `mlp.act` where `mlp.fc1` is below -3: an element that is not zero refutes it.",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate(f"{INSIDE} * (x + 3) * (1 / 6) + (1 - {INSIDE}) * {STEP}", f"{INSIDE} * (1 / 6)"),
    ),
    Mistake(
        name="gelu_without_cubic",
        what="GELU's tanh form without its cubic term",
        look="tanh(sqrt(2 / pi) * x), the inner polynomial cut off",
        refute=HAND,
        topic="form of GELU",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate("0.5 * (1 + xp.tanh(SQRT_2_OVER_PI * x))", "2 * p * (1 - p) * SQRT_2_OVER_PI"),
    ),
    Mistake(
        name="gelu_digits_exchanged",
        what="the constant of GELU's tanh form has two digits exchanged, 0.044175 for 0.044715",
        look="the constant 0.044715 and the root of 2 / pi, 0.79788456",
        refute="Feed 2: the value is 1.95429 with the wrong constant and 1.95460 with the right one.",
        topic="form of GELU",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate(TANH.replace("CUBIC", "0.044175"), TANH_SLOPE.replace("CUBIC", "0.044175")),
    ),
    Mistake(
        name="erf_without_root",
        what="GELU with erf(x) instead of erf(x / sqrt 2)",
        look="the argument of erf: x * 0.7071 or x / sqrt(2)",
        refute=HAND,
        topic="form of GELU",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits=gate("0.5 * (1 + xp.erf(x))", "xp.exp(-(x * x)) * (1 / math.sqrt(math.pi))"),
    ),
    Mistake(
        name="gelu_not_halved",
        what="GELU without the factor one half: x (1 + erf)",
        look="the factor 0.5 in front of the parenthesis",
        refute=(
            "Divide `mlp.act` by the right one: unless the ratio is 2 everywhere, this is not the cause."
        ),
        topic="form of GELU",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits={
            "gelu": (
                "return x * p, Saved(x, p, form) -> return 2 * (x * p), Saved(x, p, form)",
                "Grads(dy * (p + x * slope)) -> Grads(2 * dy * (p + x * slope))",
            )
        },
    ),
    Mistake(
        name="gelu_gate_alone",
        what="the normal distribution P(x) in the place of x P(x)",
        look="a GELU whose factor x was lost",
        refute="Look at `mlp.act`: one element below 0 or above 1 refutes it.",
        topic="form of GELU",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits={
            "gelu": (
                "return x * p, -> return p,",
                "Grads(dy * (p + x * slope)) -> Grads(dy * slope)",
            )
        },
    ),
    Mistake(
        name="activation_missing",
        what="the MLP has no activation",
        look="two linear layers in a row, or an unknown name of an activation that is taken for none",
        refute="Compare `mlp.act` with `mlp.fc1`: if they differ, there is an activation.",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits={
            "mlp": (
                'x = t.step("act", gelu, x, form=FORMS[activation]) -> pass',
                'dy = t.undo("act", dy) -> pass',
            )
        },
    ),
    Mistake(
        name="activation_behind_fc2",
        what="the activation stands behind the second layer of the MLP instead of between the two",
        look="the order of modules in the MLP",
        refute="Look at `mlp`: an element below -0.1701, GELU's minimum, refutes it.",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits={
            "mlp": (
                'x = t.step("act", gelu, x, form=FORMS[activation]) -> pass',
                (
                    'x = t.step("fc2", linear, x) -> x = t.step("fc2", linear, x)\n    x = t.step("act", '
                    "gelu, x, form=FORMS[activation])"
                ),
                'dy = t.undo("act", dy) -> pass',
                'dy = t.undo("fc2", dy) -> dy = t.undo("fc2", t.undo("act", dy))',
            )
        },
    ),
    Mistake(
        name="activation_behind_both",
        what="an activation stands behind each of the two layers of the MLP",
        look="a loop over layers that puts the activation behind the last one, too",
        refute="Look at `mlp`: an element below -0.1701, GELU's minimum, refutes it.",
        evidence=(),
        shows="blocks.0.*",
        edits={
            "mlp": (
                (
                    'x = t.step("fc2", linear, x) -> x = t.step("act2", gelu, t.step("fc2", linear, x), '
                    "form=FORMS[activation])"
                ),
                'dy = t.undo("fc2", dy) -> dy = t.undo("fc2", t.undo("act2", dy))',
            )
        },
    ),
)
