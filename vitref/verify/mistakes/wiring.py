"""Mistakes of how steps are joined: residuals and LayerScale, forwards and backwards."""

from vitref.verify.mistakes.mistake import Mistake

LAST = 'return t.undo("norm1", da, add=dx)'
NORM1 = 'a = t.step("norm1", layer_norm, x, eps=eps)'

MISTAKES = (
    Mistake(
        name="residual_after_norm",
        what="the residual is taken after the norm: x = norm(x), then x + attn(x)",
        topic="residual",
        evidence=("pytorch/pytorch#61165", "SHI-Labs/Compact-Transformers#25"),
        shows="blocks.0.add1",
        edits={"block": (f"{NORM1} -> x = {NORM1}", f'{LAST} -> return t.undo("norm1", da + dx)')},
    ),
    Mistake(
        name="norm_after_attention",
        what="the norm stands behind the attention instead of before it",
        topic="residual",
        evidence=("tracel-ai/burn#1054", "Howuhh/faster-trajectory-transformer#3"),
        shows="blocks.0.norm1",
        edits={
            "block": (
                f"{NORM1} -> a = x",
                "rate=rate, attention_rate=attention_rate) -> rate=rate, attention_rate=attention_rate)\n"
                '    a = t.step("norm1", layer_norm, a, eps=eps)',
                'da = t.undo("attn", da) -> da = t.undo("attn", t.undo("norm1", da))',
                f"{LAST} -> return da + dx",
            )
        },
    ),
    Mistake(
        name="no_residual_beside_mlp",
        what="the block ends with the MLP's output, without the residual",
        topic="residual",
        evidence=(),
        shows="blocks.0.add2",
        edits={
            "block": (
                'return t.step("add2", add, x, m) -> return m',
                'dx, dm = t.undo("add2", dy) -> dx, dm = None, dy',
            )
        },
    ),
    Mistake(
        name="layer_scale_skipped",
        what="the branches are not scaled although the model has LayerScale",
        topic="LayerScale",
        evidence=("riccardomusmeci/mlx-image#26", "tgo-app-dev/vpipe#2"),
        shows="blocks.0.ls1",
        edits={
            "block": (
                'a = t.step("ls1", layer_scale, a) -> pass',
                'm = t.step("ls2", layer_scale, m) -> pass',
                'dm = t.undo("ls2", dm) -> pass',
                'da = t.undo("ls1", da) -> pass',
            )
        },
    ),
    Mistake(
        name="layer_scale_after_residual",
        what="LayerScale is applied to the sum of residual and branch instead of to the branch",
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.ls1",
        edits={
            "block": (
                'a = t.step("ls1", layer_scale, a) -> pass',
                'x = t.step("add1", add, x, a) -> x = t.step("add1", add, x, a)\n'
                '    x = t.step("ls1", layer_scale, x) if scaled else x',
                'da = t.undo("ls1", da) -> pass',
                'dx, da = t.undo("add1", dx) -> dx, da = t.undo("add1", t.undo("ls1", dx) if scaled else dx)',
            )
        },
    ),
    Mistake(
        name="residual_without_gradient_beside_mlp",
        what="the cotangent beside the MLP is dropped",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": ('dx = t.undo("norm2", dm, add=dx) -> dx = t.undo("norm2", dm)',)},
    ),
    Mistake(
        name="residual_without_gradient_beside_attention",
        what="the cotangent beside the attention is dropped",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": (f'{LAST} -> return t.undo("norm1", da)',)},
    ),
    Mistake(
        name="residual_gradient_twice",
        what="the cotangent beside the attention is counted twice",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"block": (f'{LAST} -> return t.undo("norm1", da, add=dx + dx)',)},
    ),
    Mistake(
        name="cotangent_halved_at_sums",
        what="the cotangent of a sum is shared between its summands instead of given to both",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"add": ("return Grads(dy, dy) -> return Grads(0.5 * dy, 0.5 * dy)",)},
    ),
    Mistake(
        name="layer_scale_gradient_averaged",
        what="the gradient of LayerScale's factors is that of their mean",
        topic="gradients",
        evidence=(),
        shows="*.gamma:grad",
        backward=True,
        edits={
            "layer_scale": (
                "xp.sum(dy * x, axis=tuple(range(dy.ndim - 1))) -> "
                "0 * gamma + xp.mean(xp.sum(dy * x, axis=tuple(range(dy.ndim - 1))))",
            )
        },
    ),
)
