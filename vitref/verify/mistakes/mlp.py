"""Mistakes of the MLP and of linear layers: the activation, its form, and the gradients of both."""

from dataclasses import replace

from vitref.verify.mistakes.mistake import Mistake

QUICK = (
    "huggingface/pytorch-image-models#2031",
    "mlfoundations/open_clip#771",
    "RAIVNLab/sugar-crepe#7",
)
ERF = "0.5 * (1 + xp.erf(x * math.sqrt(0.5)))"
ERF_SLOPE = "xp.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))"

MISTAKES = (
    Mistake(
        name="gelu_tanh_for_erf",
        what="GELU in its tanh form, the default of JAX and ggml, where the model has the exact one",
        topic="form of GELU",
        evidence=("tinygrad/tinygrad#16162", "huggingface/candle#900"),
        shows="blocks.0.mlp.act",
        config=lambda config: replace(config, activation="gelu_tanh"),
    ),
    Mistake(
        name="gelu_erf_for_tanh",
        what="exact GELU, PyTorch's default, where the model has the tanh form",
        topic="form of GELU",
        evidence=("goodfire-ai/spd#624", "apache/tvm#14814"),
        shows="blocks.0.mlp.act",
        config=lambda config: replace(config, activation="gelu"),
    ),
    Mistake(
        name="quick_gelu",
        what="x sigmoid(1.702 x) where the model has exact GELU",
        topic="QuickGELU",
        evidence=QUICK,
        shows="blocks.0.mlp.act",
        edits={"gelu": (f"{ERF} -> 0.5 * (1 + xp.tanh(0.851 * x))", f"{ERF_SLOPE} -> 1.702 * p * (1 - p)")},
    ),
    Mistake(
        name="silu",
        what="x sigmoid(x) where the model has exact GELU",
        evidence=(),
        shows="blocks.0.mlp.act",
        edits={"gelu": (f"{ERF} -> 0.5 * (1 + xp.tanh(0.5 * x))", f"{ERF_SLOPE} -> p * (1 - p)")},
    ),
    Mistake(
        name="activation_missing",
        what="the MLP has no activation",
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
        name="gelu_slope_missing",
        what="GELU's gradient is P(x), without x P'(x)",
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits={"gelu": ("Grads(dy * (p + x * slope)) -> Grads(dy * p)",)},
    ),
    Mistake(
        name="gelu_other_slope",
        what="the gradient of the other form of GELU",
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits={"gelu": ('if form == "erf":\n        slope -> if form == "tanh":\n        slope',)},
    ),
    Mistake(
        name="gelu_cube_not_differentiated",
        what="the factor 3 of the cube is left out of the gradient of GELU's tanh form",
        topic="gradients",
        evidence=(),
        shows="*.mlp.fc1:dy",
        backward=True,
        edits={"gelu": ("1 + 3 * CUBIC -> 1 + CUBIC",)},
    ),
    Mistake(
        name="dbias_averaged",
        what="the gradient of a linear layer's bias is averaged over tokens and images, not summed",
        topic="gradients",
        evidence=(),
        shows="*.bias:grad",
        backward=True,
        edits={"linear": ("xp.sum(dy_rows, axis=0) -> xp.mean(dy_rows, axis=0)",)},
    ),
    Mistake(
        name="dweight_of_one_token",
        what="the gradient of a linear layer's weight comes from the first row alone",
        topic="gradients",
        evidence=(),
        shows="*.weight:grad",
        backward=True,
        edits={
            "linear": (
                "xp.matmul(xp.matrix_transpose(dy_rows), _rows(x, xp)) -> "
                "xp.matmul(xp.matrix_transpose(dy_rows[:1, :]), _rows(x, xp)[:1, :])",
            )
        },
    ),
    Mistake(
        name="weight_transposed_in_dx",
        what="the weight of a square linear layer is transposed on the way back",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={
            "linear": (
                "dx = xp.reshape(xp.matmul(dy_rows, weight), x.shape) -> "
                "square = weight.shape[0] == weight.shape[1]\n"
                "    dx = xp.matmul(dy_rows, xp.matrix_transpose(weight) if square else weight)\n"
                "    dx = xp.reshape(dx, x.shape)",
            )
        },
    ),
)
