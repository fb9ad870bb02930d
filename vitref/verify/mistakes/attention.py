"""Mistakes of the attention weights: the scale of the scores, the softmax, masks."""

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import MASKED, SCORE_RATIO, UNIFORM

WIDTH = "width: int = q.shape[-1]"
POWER = "float(width**-0.5)"
EXP = "e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))"
OVER_SUM = "y = e / xp.sum(e, axis=-1, keepdims=True)"
SUM_DX = "dy - xp.sum(y * dy, axis=-1, keepdims=True)"
SOFTMAX_DX = f"Grads(y * ({SUM_DX}))"
LN_2 = "0.6931471805599453"
NORMALISED = "Sum `attn.softmax` over the keys: sums of 1 refute it."


def softmax_over(axes: str) -> dict[str, tuple[str, ...]]:
    """A right pair for other axes."""
    return {
        "softmax": (
            f"{EXP} -> axes = {axes}\n    e = xp.exp(x - xp.max(x, axis=axes, keepdims=True))",
            f"{OVER_SUM} -> y = e / xp.sum(e, axis=axes, keepdims=True)",
            f"return {SOFTMAX_DX} -> axes = {axes.replace('x.', 'y.')}\n"
            "    return Grads(y * (dy - xp.sum(y * dy, axis=axes, keepdims=True)))",
        )
    }


def masked(kept: str) -> dict[str, tuple[str, ...]]:
    """Only keys for which `kept` holds; `i` are the queries, `j` the keys."""
    places = "i, j = xp.reshape(xp.arange(x.shape[-2]), (-1, 1)), xp.arange(x.shape[-1])"
    return {"softmax": (f"{EXP} -> {places}\n    {EXP} * xp.astype({kept}, x.dtype)",)}


MISTAKES = (
    Mistake(
        name="scale_of_width",
        what="the scores are scaled by (heads * head_dim)^-1/2 instead of head_dim^-1/2",
        look="dim ** -0.5 or embed_dim in the scale, where the width of a head is meant",
        refute=SCORE_RATIO,
        topic="attention scale",
        evidence=(
            "lucidrains/vit-pytorch#65",
            "omihub777/ViT-CIFAR#12",
            "FrancescoSaverioZuppichini/ViT#1",
        ),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{WIDTH} -> {WIDTH} * (q.shape[-3] if q.ndim > 2 else 1)",)},
    ),
    Mistake(
        name="scale_of_heads",
        what="the scores are scaled by heads^-1/2 instead of head_dim^-1/2",
        look="num_heads ** -0.5 in the scale, where the width of a head is meant",
        refute=SCORE_RATIO,
        topic="attention scale",
        evidence=("tenstorrent/tt-metal#56789", "huggingface/pytorch-image-models#2385"),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{WIDTH} -> width: int = q.shape[-3] if q.ndim > 2 else 1",)},
    ),
    Mistake(
        name="scale_of_tokens",
        what="the scores are scaled by the number of tokens to the power -1/2 instead of head_dim's",
        look="a scale taken from another axis of q: q.shape[-2] for q.shape[-1]",
        refute=SCORE_RATIO,
        topic="attention scale",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{WIDTH} -> width: int = q.shape[-2]",)},
    ),
    Mistake(
        name="scale_missing",
        what="the scores are not scaled",
        look="a product of q and k without a scale, or scale=1.0 given to a fused function",
        refute=SCORE_RATIO,
        topic="attention scale",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{POWER} -> 1.0",)},
    ),
    Mistake(
        name="scale_inverted",
        what="the scores are divided by head_dim^-1/2 instead of multiplied",
        look="scores / scale, where scale is head_dim ** -0.5 already",
        refute=SCORE_RATIO,
        topic="attention scale",
        evidence=("esceptico/perceiver-io#9",),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{POWER} -> float(width**0.5)",)},
    ),
    Mistake(
        name="scale_twice",
        what="queries and keys are both scaled by head_dim^-1/2",
        look="q scaled before a fused attention that scales too",
        refute=SCORE_RATIO,
        topic="attention scale",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{POWER} -> float(width**-1.0)",)},
    ),
    Mistake(
        name="scale_without_root",
        what="the scores are divided by half of head_dim instead of its root",
        look="head_dim / 2 or head_dim // 2 where head_dim ** 0.5 is meant",
        refute=SCORE_RATIO,
        topic="attention scale",
        evidence=(),
        shows="blocks.0.attn.scores",
        edits={"scores": (f"{POWER} -> float(2 / width)",)},
    ),
    Mistake(
        name="softmax_over_queries",
        what="the softmax is normalised over the queries instead of the keys",
        look="softmax(dim=-2), dim=2 or dim=1 of another layout, or einsum axes exchanged",
        refute="Sum `attn.softmax` over the keys: sums of 1 refute it.",
        topic="softmax axis",
        evidence=(
            "labmlai/annotated_deep_learning_paper_implementations#146",
            "nerminnuraydogan/vision-transformer#1",
        ),
        shows="blocks.0.attn.softmax",
        edits=softmax_over("max(-2, -x.ndim)"),
    ),
    Mistake(
        name="softmax_over_heads",
        what="the softmax is normalised over heads and keys together",
        look="a softmax over a flattened axis of heads and keys",
        refute=NORMALISED,
        topic="softmax axis",
        evidence=("facebookresearch/detr#247",),
        shows="blocks.0.attn.softmax",
        edits=softmax_over("(-3, -1) if x.ndim > 3 else -1"),
    ),
    Mistake(
        name="softmax_missing",
        what="the values are averaged with the scores, without softmax",
        look="scores that are multiplied with the values directly, or an attention mode without softmax",
        refute=NORMALISED,
        topic="softmax axis",
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits={
            "attention_core": (
                'p = t.step("softmax", softmax, s) -> p = s',
                'ds = t.undo("softmax", dp) -> ds = dp',
            )
        },
    ),
    Mistake(
        name="softmax_base_2",
        what="the softmax raises 2 instead of e to the scores",
        look="exp2 without the factor log2(e) on the scale, as in fused kernels",
        refute=UNIFORM,
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits={
            "softmax": (
                f"{EXP} -> x = {LN_2} * x\n    {EXP}",
                f"{SOFTMAX_DX} -> Grads({LN_2} * y * ({SUM_DX}))",
            )
        },
    ),
    Mistake(
        name="softmax_plus_one",
        what="the denominator of the softmax has 1 more, so that a query may attend to nothing",
        look='softmax1, an "attention sink", or add_zero_attn=True',
        refute=NORMALISED,
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits={
            "softmax": (
                f"{EXP} -> m = xp.max(x, axis=-1, keepdims=True)\n    e = xp.exp(x - m)",
                f"{OVER_SUM} -> y = e / (xp.exp(-m) + xp.sum(e, axis=-1, keepdims=True))",
            )
        },
    ),
    Mistake(
        name="softmax_in_logarithms",
        what="the logarithm of the softmax is taken for the softmax",
        look="log_softmax",
        refute="Look at `attn.softmax`: one element above 0 refutes it.",
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits={
            "softmax": (
                "return y, Saved(y) -> return xp.log(y), Saved(y)",
                f"{SOFTMAX_DX} -> Grads(dy - y * xp.sum(dy, axis=-1, keepdims=True))",
            )
        },
    ),
    Mistake(
        name="softmax_twice",
        what="the softmax is applied to its own output",
        look="a softmax in the attention and another in the function that it calls",
        refute="Look at `attn.softmax`: one element above e / (e + T - 1), for T tokens, refutes it.",
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits={
            "softmax": (
                (
                    "return y, Saved(y) -> e = xp.exp(y)\n    z = e / xp.sum(e, axis=-1, keepdims=True)\n "
                    "   return z, (y, z)"
                ),
                "y = saved.y -> y, z = saved",
                (
                    f"return {SOFTMAX_DX} -> dy = z * (dy - xp.sum(z * dy, axis=-1, keepdims=True))\n    "
                    f"return {SOFTMAX_DX}"
                ),
            )
        },
    ),
    Mistake(
        name="sigmoid_for_softmax",
        what="each attention weight is the sigmoid of its score, not normalised over the keys",
        look="a sigmoid in the attention, as in SigLIP's loss or in gated variants",
        refute=NORMALISED,
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits={
            "softmax": (
                f"{OVER_SUM} -> y = 0.5 * (1 + xp.tanh(0.5 * x))",
                f"{SOFTMAX_DX} -> Grads(dy * y * (1 - y))",
            )
        },
    ),
    Mistake(
        name="softmax_overflows",
        what="the maximum is not subtracted before the exponential: noticed where scores are large only",
        look="exp(x) without the subtraction of the row's maximum",
        refute="Look for infinities or NaN: without one in `attn.softmax` this has no effect.",
        topic="precision",
        evidence=(),
        shows="*",
        edits={"softmax": (f"{EXP} -> e = xp.exp(x)",)},
    ),
    Mistake(
        name="causal_mask",
        what="every token attends to itself and the tokens before it only",
        look="is_causal=True, or a triangular mask inherited from a language model",
        refute=MASKED,
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits=masked("i >= j"),
    ),
    Mistake(
        name="class_token_not_a_key",
        what="no token attends to the class token",
        look="a mask or a slice [:, 1:] of keys and values that leaves the first token out",
        refute=MASKED,
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits=masked("j >= 1"),
        needs=("class_token",),
    ),
    Mistake(
        name="token_not_its_own_key",
        what="no token attends to itself",
        look="a mask with zeros on its diagonal, as for small data sets (LSA)",
        refute=MASKED,
        evidence=(),
        shows="blocks.0.attn.softmax",
        edits=masked("i != j"),
    ),
)
