"""Mistakes of the backward pass of attention: softmax, scores, context, heads."""

from vitref.verify.mistakes.attention import SOFTMAX_DX
from vitref.verify.mistakes.heads import HEADS, UNSPLIT
from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import GRADIENT_RATIO, GRADIENT_ZERO, ONE_HEAD

SILENT = ("huggingface/candle#3613", "paiml/aprender#2196")
DQ, DK = "dq = xp.matmul(ds, k) * scale(q)", "dk = xp.matmul(xp.matrix_transpose(ds), q * scale(q))"
CONSTANT_DY = (
    "Give a cotangent of the weights that is the same for all keys: the right dx is 0, so "
    "a candidate's that is 0 too refutes it."
)
ZERO_SUM = "Sum `attn.scores:dy` over the keys: sums of 0 refute it."
ONE_TOKEN = "Use a single token: nothing can be transposed, so an error that remains has another cause."


def flows(dq: str, dk: str, dv: str) -> dict[str, tuple[str, ...]]:
    """Other cotangents on the way from the core to the fused projection."""
    return {"attention": (f'dqkv = t.undo("", (dq, dk, dv)) -> dqkv = t.undo("", ({dq}, {dk}, {dv}))',)}


MISTAKES = (
    Mistake(
        name="softmax_sum_missing_in_dx",
        what="softmax's dx is y dy, without the sum over the keys",
        look="the backward function of softmax: y * dy, the sum forgotten",
        refute=CONSTANT_DY,
        topic="gradients",
        evidence=(),
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(y * dy)",)},
    ),
    Mistake(
        name="softmax_diagonal_in_dx",
        what="softmax's dx is dy y (1 - y), the diagonal of its Jacobian only",
        look="the backward function of softmax written as that of a sigmoid",
        refute=CONSTANT_DY,
        topic="gradients",
        evidence=(),
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(dy * y * (1 - y))",)},
    ),
    Mistake(
        name="softmax_sum_over_queries_in_dx",
        what="the sum in softmax's dx runs over the queries instead of the keys",
        look="the axis of the sum in the backward function of softmax",
        refute=ZERO_SUM,
        topic="gradients",
        evidence=(),
        shows="*.attn.scores:dy",
        backward=True,
        edits={
            "softmax": (
                (f"{SOFTMAX_DX} -> Grads(y * (dy - xp.sum(y * dy, axis=max(-2, -y.ndim), keepdims=True)))"),
            )
        },
    ),
    Mistake(
        name="softmax_sum_unweighted_in_dx",
        what="the sum in softmax's dx is that of dy instead of y dy",
        look="the sum in the backward function of softmax: sum(dy) for sum(y * dy)",
        refute=ZERO_SUM,
        topic="gradients",
        evidence=(),
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(y * (dy - xp.sum(dy, axis=-1, keepdims=True)))",)},
    ),
    Mistake(
        name="softmax_mean_in_dx",
        what="softmax's dx has the mean of y dy over the keys where it has the sum",
        look="the reduction in the backward function of softmax: mean for sum",
        refute=ZERO_SUM,
        topic="gradients",
        evidence=(),
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(y * (dy - xp.mean(y * dy, axis=-1, keepdims=True)))",)},
    ),
    Mistake(
        name="softmax_factor_missing_in_dx",
        what="softmax's dx is dy minus its weighted sum, without the factor y",
        look="the backward function of softmax: the factor in front of the parenthesis",
        refute=(
            "Divide `attn.scores:dy` by the right one: unless the ratio is 1 / y everywhere, this "
            "is not the cause."
        ),
        topic="gradients",
        evidence=(),
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(dy - xp.sum(y * dy, axis=-1, keepdims=True))",)},
    ),
    Mistake(
        name="softmax_without_gradient",
        what="softmax passes no gradient on: its dx is zero",
        look=(
            "detach, stop_gradient or no_grad around the attention weights, or an operation "
            "without a backward function"
        ),
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=SILENT,
        shows="*.attn.scores:dy",
        backward=True,
        edits={"softmax": (f"{SOFTMAX_DX} -> Grads(0 * dy)",)},
    ),
    Mistake(
        name="scale_missing_in_dq",
        what="the scale is left out of the gradient of the queries",
        look="the backward function of the scores: the scale in dq",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": ("dq = xp.matmul(ds, k) * scale(q) -> dq = xp.matmul(ds, k)",)},
    ),
    Mistake(
        name="scale_missing_in_dk",
        what="the scale is left out of the gradient of the keys",
        look="the backward function of the scores: the scale in dk",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="*.attn.k:dy",
        backward=True,
        edits={"scores": ("xp.matrix_transpose(ds), q * scale(q)) -> xp.matrix_transpose(ds), q)",)},
    ),
    Mistake(
        name="scale_missing_in_dq_and_dk",
        what="the scale is left out of the gradients of queries and keys",
        look="the backward function of the scores: a scale applied in the forward pass alone",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="*.attn.q:dy",
        backward=True,
        edits={
            "scores": (
                f"{DQ} -> dq = xp.matmul(ds, k)",
                f"{DK} -> dk = xp.matmul(xp.matrix_transpose(ds), q)",
            )
        },
    ),
    Mistake(
        name="scale_twice_in_dq_and_dk",
        what="the gradients of queries and keys are scaled twice",
        look="a scale on ds and another on dq and dk",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": (f"{DQ} -> {DQ} * scale(q)", f"{DK} -> {DK} * scale(q)")},
    ),
    Mistake(
        name="ds_transposed_in_dq",
        what="the gradient of the scores is transposed once too often on the way to the queries",
        look="a transposition of ds in dq",
        refute=ONE_TOKEN,
        topic="gradients",
        evidence=("huggingface/diffusers#14338",),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": ("dq = xp.matmul(ds, k) -> dq = xp.matmul(xp.matrix_transpose(ds), k)",)},
    ),
    Mistake(
        name="ds_not_transposed_in_dk",
        what="the gradient of the scores is not transposed on the way to the keys",
        look="a transposition of ds that is missing in dk",
        refute=ONE_TOKEN,
        topic="gradients",
        evidence=(),
        shows="*.attn.k:dy",
        backward=True,
        edits={"scores": (f"{DK} -> dk = xp.matmul(ds, q * scale(q))",)},
    ),
    Mistake(
        name="dq_and_dk_exchanged",
        what="the gradients of queries and keys are exchanged",
        look="the order in which the backward function of the scores returns its results",
        refute=(
            "Compare the candidate's `attn.q:dy` with the right `attn.k:dy`: unless they agree, "
            "this is not the cause."
        ),
        topic="gradients",
        evidence=(),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": ("return Grads(dq, dk) -> return Grads(dk, dq)",)},
    ),
    Mistake(
        name="dk_and_dv_exchanged",
        what="the gradients of keys and values are exchanged",
        look="the order in which the gradients of q, k and v are joined",
        refute=(
            "Compare the candidate's `attn.k:dy` with the right `attn.v:dy`: unless they agree, "
            "this is not the cause."
        ),
        topic="gradients",
        evidence=(),
        shows="*.attn.k:dy",
        backward=True,
        edits=flows("dq", "dv", "dk"),
    ),
    Mistake(
        name="p_not_transposed_in_dv",
        what="the attention weights are not transposed in the gradient of the values",
        look="p @ dy for p.T @ dy",
        refute=ONE_TOKEN,
        topic="gradients",
        evidence=("huggingface/diffusers#14338",),
        shows="*.attn.v:dy",
        backward=True,
        edits={"context": ("xp.matmul(xp.matrix_transpose(p), dy) -> xp.matmul(p, dy)",)},
    ),
    Mistake(
        name="scores_for_weights_in_dv",
        what="the attention weights in dv are squared: weighted once more",
        look="a tensor that was overwritten in place before the backward pass used it",
        refute=(
            "Give a cotangent of one query: dv then is its row of weights times dy, which one product checks."
        ),
        topic="gradients",
        evidence=(),
        shows="*.attn.v:dy",
        backward=True,
        edits={
            "context": ("xp.matmul(xp.matrix_transpose(p), dy) -> xp.matmul(xp.matrix_transpose(p * p), dy)",)
        },
    ),
    Mistake(
        name="queries_without_gradient",
        what="no gradient reaches the queries",
        look="detach or stop_gradient on q",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*.attn.q:dy",
        backward=True,
        edits={"scores": ("return Grads(dq, dk) -> return Grads(0 * dq, dk)",)},
    ),
    Mistake(
        name="keys_without_gradient",
        what="no gradient reaches the keys",
        look="detach or stop_gradient on k, or keys from a cache",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*.attn.k:dy",
        backward=True,
        edits={"scores": ("return Grads(dq, dk) -> return Grads(dq, 0 * dk)",)},
    ),
    Mistake(
        name="values_without_gradient",
        what="no gradient reaches the values",
        look="detach or stop_gradient on v, or values from a cache",
        refute=GRADIENT_ZERO,
        topic="gradients",
        evidence=(),
        shows="*.attn.v:dy",
        backward=True,
        edits={"context": ("return Grads(dp, dv) -> return Grads(dp, 0 * dv)",)},
    ),
    Mistake(
        name="keys_gradient_twice",
        what="the gradient of the keys is counted twice",
        look="+= into a gradient that the same pass has filled before",
        refute=GRADIENT_RATIO,
        topic="gradients",
        evidence=(),
        shows="*.attn.k:dy",
        backward=True,
        edits={"scores": ("return Grads(dq, dk) -> return Grads(dq, 2 * dk)",)},
    ),
    Mistake(
        name="first_head_has_all_gradient",
        what="only the first head of the queries, keys and values gets a gradient",
        look="a loop over heads that overwrites, or an index of heads that stays at 0",
        refute=ONE_HEAD,
        topic="gradients",
        evidence=(),
        shows="*.attn.qkv:dy",
        backward=True,
        edits={
            "split_heads": (
                (
                    f"x = {UNSPLIT} -> x = {UNSPLIT} * xp.reshape(xp.astype(xp.arange(heads) < 1, "
                    "dy[0].dtype), (heads, 1))"
                ),
            )
        },
    ),
    Mistake(
        name="heads_not_unmerged",
        what="the gradient of the merged heads is reshaped without the permutation",
        look="a view of dy as (n, heads, t, d) without a transposition",
        refute=(
            "Give a cotangent of `attn.merge` for one token only: if `attn.context:dy` is zero "
            "for all other tokens, this is not the cause."
        ),
        topic="split into heads",
        evidence=HEADS,
        shows="*.attn.context:dy",
        backward=True,
        edits={
            "merge_heads": (
                "(n, t, saved.heads, width // saved.heads) -> (n, saved.heads, t, width // saved.heads)",
                "Grads(xp.permute_dims(x, (0, 2, 1, 3))) -> Grads(x)",
            )
        },
    ),
    Mistake(
        name="heads_not_unsplit",
        what="the gradients of q, k and v are reshaped to qkv without the permutation",
        look="gradients of q, k and v joined without the transposition back",
        refute=(
            "Give a cotangent of q for one token only: if `attn.qkv:dy` is zero for all other "
            "tokens, this is not the cause."
        ),
        topic="split into heads",
        evidence=HEADS,
        shows="*.attn.qkv:dy",
        backward=True,
        edits={"split_heads": (f"{UNSPLIT} -> xp.stack(dy, axis=2)",)},
    ),
    Mistake(
        name="dqkv_interleaved_per_head",
        what="the gradients of q, k and v are joined head by head instead of block by block",
        look="the axis on which the gradients of q, k and v are stacked",
        refute=ONE_HEAD,
        topic="fused projection",
        evidence=(),
        shows="*.attn.qkv:dy",
        backward=True,
        edits={"split_heads": ("for d_part in dy], axis=2) -> for d_part in dy], axis=3)",)},
    ),
)
