"""Mistakes of how steps are joined in a block: residuals, norms, branches and LayerScale, forwards."""

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import EQUAL_FACTORS, RESIDUAL, ZERO_BRANCH

LAST = 'return t.undo("norm1", da, add=dx)'
NORM1 = 'a = t.step("norm1", layer_norm, x, eps=eps)'
NORM2 = 'm = t.step("norm2", layer_norm, x, eps=eps)'
ADD1 = 'x = t.step("add1", add, x, a)'
ADD2 = 'return t.step("add2", add, x, m)'
UNADD1 = 'dx, da = t.undo("add1", dx)'
UNADD2 = 'dx, dm = t.undo("add2", dy)'
UNNORM2 = 'dx = t.undo("norm2", dm, add=dx)'
ATTN = (
    'a = t.step("attn", attention, a, heads=heads, qkv_bias=qkv_bias, rate=rate, '
    "attention_rate=attention_rate)"
)
MLP = 'm = t.step("mlp", mlp, m, activation=activation, rate=rate)'
LS1, LS2 = 'a = t.step("ls1", layer_scale, a)', 'm = t.step("ls2", layer_scale, m)'
UNLS1, UNLS2 = 'da = t.undo("ls1", da)', 'dm = t.undo("ls2", dm)'
UNATTN, UNMLP = 'da = t.undo("attn", da)', 'dm = t.undo("mlp", dm)'
DROP2 = (
    'mask = t.mask("drop_path2", m.shape[:1], path_rate)\n        m = '
    't.step("drop_path2", drop_path, m, mask=mask, rate=path_rate)'
)
UNBRANCH2 = (
    'if path_rate:\n        dm = t.undo("drop_path2", dm)\n    if scaled:\n        '
    f"{UNLS2}\n    {UNMLP}\n    {UNNORM2}"
)

POST = ("tracel-ai/burn#1054", "Howuhh/faster-trajectory-transformer#3")
AFTER = ("pytorch/pytorch#61165", "SHI-Labs/Compact-Transformers#25")

MISTAKES = (
    Mistake(
        name="residual_after_norm",
        what="the residual is taken after the norm: x = norm(x), then x + attn(x)",
        look="x = norm(x); x = x + attn(x): the name x used again for the norm's output",
        refute=RESIDUAL,
        topic="residual",
        evidence=("pytorch/pytorch#61165", "SHI-Labs/Compact-Transformers#25"),
        shows="blocks.0.add1",
        edits={"block": (f"{NORM1} -> x = {NORM1}", f'{LAST} -> return t.undo("norm1", da + dx)')},
    ),
    Mistake(
        name="residual_after_norm2",
        what="the residual beside the MLP is taken after the norm: x = norm(x), then x + mlp(x)",
        look="x = norm(x); x = x + mlp(x): the name x used again for the norm's output",
        refute=RESIDUAL,
        topic="residual",
        evidence=(),
        shows="blocks.0.add2",
        edits={"block": (f"{NORM2} -> x = {NORM2}", f'{UNNORM2} -> dx = t.undo("norm2", dm + dx)')},
    ),
    Mistake(
        name="residuals_after_norms",
        what="both residuals of a block are taken after the norm",
        look="x = norm(x); x = x + f(x) in both halves of the block",
        refute=RESIDUAL,
        topic="residual",
        evidence=AFTER,
        shows="blocks.0.add1",
        edits={
            "block": (
                f"{NORM1} -> x = {NORM1}",
                f'{LAST} -> return t.undo("norm1", da + dx)',
                f"{NORM2} -> x = {NORM2}",
                f'{UNNORM2} -> dx = t.undo("norm2", dm + dx)',
            )
        },
    ),
    Mistake(
        name="post_norm",
        what="the norms stand behind the sums: norm(x + f(x)), as in the first Transformer",
        look="norm_first=False, the default of nn.TransformerEncoderLayer",
        refute=(
            "Set norm2's weight to 1 and bias to 0: a token of a block's output whose mean is not "
            "0 then refutes it."
        ),
        topic="residual",
        evidence=POST,
        shows="blocks.0.norm1",
        edits={
            "block": (
                f"{NORM1} -> a = x",
                f'{ADD1} -> x = t.step("norm1", layer_norm, t.step("add1", add, x, a), eps=eps)',
                f"{NORM2} -> m = x",
                (
                    f'{ADD2} -> x = t.step("add2", add, x, m)\n    return t.step("norm2", layer_norm, '
                    "x, eps=eps)"
                ),
                f'{UNADD2} -> dx, dm = t.undo("add2", t.undo("norm2", dy))',
                f"{UNNORM2} -> dx = dm + dx",
                f'{UNADD1} -> dx, da = t.undo("add1", t.undo("norm1", dx))',
                f"{LAST} -> return da + dx",
            )
        },
    ),
    Mistake(
        name="norm_after_attention",
        what="the norm stands behind the attention instead of before it",
        look="norm1(attn(x)): the norm behind the branch, as in post-norm variants",
        refute=(
            "Compare the input of `attn.qkv` with the block's input: if they differ, there is a norm between."
        ),
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
        name="norm_after_mlp",
        what="the second norm stands behind the MLP instead of before it",
        look="norm2(mlp(x)): the norm behind the branch",
        refute="Compare the input of `mlp.fc1` with `add1`: if they differ, there is a norm between.",
        topic="residual",
        evidence=(),
        shows="blocks.0.norm2",
        edits={
            "block": (
                f"{NORM2} -> m = x",
                f'{MLP} -> {MLP}\n    m = t.step("norm2", layer_norm, m, eps=eps)',
                f'{UNMLP} -> dm = t.undo("mlp", t.undo("norm2", dm))',
                f"{UNNORM2} -> dx = dm + dx",
            )
        },
    ),
    Mistake(
        name="norms_after_branches",
        what="both norms stand behind their branch instead of before it: x + norm(f(x))",
        look="norm(f(x)) in both halves of the block (res-post-norm, as in Swin V2)",
        refute=(
            "Compare the input of `attn.qkv` with the block's input: if they differ, there is a norm between."
        ),
        topic="residual",
        evidence=(),
        shows="blocks.0.norm1",
        edits={
            "block": (
                f"{NORM1} -> a = x",
                f'{ATTN} -> {ATTN}\n    a = t.step("norm1", layer_norm, a, eps=eps)',
                f'{UNATTN} -> da = t.undo("attn", t.undo("norm1", da))',
                f"{LAST} -> return da + dx",
                f"{NORM2} -> m = x",
                f'{MLP} -> {MLP}\n    m = t.step("norm2", layer_norm, m, eps=eps)',
                f'{UNMLP} -> dm = t.undo("mlp", t.undo("norm2", dm))',
                f"{UNNORM2} -> dx = dm + dx",
            )
        },
    ),
    Mistake(
        name="norm1_missing",
        what="there is no norm before the attention",
        look="attn(x) for attn(norm1(x))",
        refute=(
            "Compare the input of `attn.qkv` with the block's input: if they differ, there is a norm between."
        ),
        topic="residual",
        evidence=(),
        shows="blocks.0.norm1",
        edits={"block": (f"{NORM1} -> a = x", f"{LAST} -> return da + dx")},
    ),
    Mistake(
        name="norm2_missing",
        what="there is no norm before the MLP",
        look="mlp(x) for mlp(norm2(x))",
        refute="Compare the input of `mlp.fc1` with `add1`: if they differ, there is a norm between.",
        topic="residual",
        evidence=(),
        shows="blocks.0.norm2",
        edits={"block": (f"{NORM2} -> m = x", f"{UNNORM2} -> dx = dm + dx")},
    ),
    Mistake(
        name="no_residual_beside_attention",
        what="the MLP half begins with the attention's output, without the residual",
        look="x = attn(norm1(x)) for x = x + attn(norm1(x))",
        refute=RESIDUAL,
        topic="residual",
        evidence=(),
        shows="blocks.0.add1",
        edits={"block": (f"{ADD1} -> x = a", f"{UNADD1} -> dx, da = None, dx")},
    ),
    Mistake(
        name="no_residual_beside_mlp",
        what="the block ends with the MLP's output, without the residual",
        look="return mlp(norm2(x)) for return x + mlp(norm2(x))",
        refute=RESIDUAL,
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
        name="attention_branch_missing",
        what="the attention's output is not added",
        look="a result of the attention that is computed and never used",
        refute="Compare `add1` with the block's input: if they differ, something is added.",
        topic="residual",
        evidence=(),
        shows="blocks.0.add1",
        edits={"block": (f"{ADD1} -> pass", f"{UNADD1} -> da = None")},
    ),
    Mistake(
        name="mlp_branch_missing",
        what="the MLP's output is not added",
        look="a result of the MLP that is computed and never used",
        refute="Compare the block's output with `add1`: if they differ, something is added.",
        topic="residual",
        evidence=(),
        shows="blocks.0.add2",
        edits={"block": (f"{ADD2} -> return x", f"{UNADD2} -> dx, dm = dy, None")},
    ),
    Mistake(
        name="residual_doubled",
        what="the residual is added twice in each sum",
        look="x = x + drop(x + attn(norm1(x))), a sum inside a branch that is added again",
        refute=RESIDUAL,
        topic="residual",
        evidence=(),
        shows="blocks.0.add1",
        edits={
            "add": (
                "return a + b, None -> return 2 * a + b, None",
                "return Grads(dy, dy) -> return Grads(2 * dy, dy)",
            )
        },
    ),
    Mistake(
        name="branches_averaged",
        what="each sum of residual and branch is halved",
        look="0.5 * (x + f(x)), or a mean over stacked branches",
        refute=RESIDUAL,
        topic="residual",
        evidence=(),
        shows="blocks.0.add1",
        edits={
            "add": (
                "return a + b, None -> return 0.5 * (a + b), None",
                "return Grads(dy, dy) -> return Grads(0.5 * dy, 0.5 * dy)",
            )
        },
    ),
    Mistake(
        name="branches_subtracted",
        what="the branches are subtracted from the residual",
        look="the sign of a branch",
        refute=ZERO_BRANCH,
        topic="residual",
        evidence=(),
        shows="blocks.0.add1",
        edits={
            "add": (
                "return a + b, None -> return a - b, None",
                "return Grads(dy, dy) -> return Grads(dy, -dy)",
            )
        },
    ),
    Mistake(
        name="mlp_beside_block_input",
        what="the residual beside the MLP is the block's input, so that the attention's output gets lost",
        look="a residual that is saved once at the beginning of the block and added twice",
        refute=(
            "Set `attn.proj` to zero: the block's input and `add1` then agree, so an error that "
            "remains has another cause."
        ),
        topic="residual",
        evidence=(),
        shows="blocks.0.add2",
        edits={
            "block": (
                f"{NORM1} -> first = x\n    {NORM1}",
                f'{ADD2} -> return t.step("add2", add, first, m)',
                f'{UNADD2} -> dfirst, dm = t.undo("add2", dy)',
                f'{UNNORM2} -> dx = t.undo("norm2", dm)',
                f'{LAST} -> return t.undo("norm1", da, add=dx + dfirst)',
            )
        },
    ),
    Mistake(
        name="parallel_branches",
        what="attention and MLP both read the block's input and are added together",
        look="a parallel block, as in GPT-J, PaLM and ViT-22B",
        refute=(
            "Set `attn.proj` to zero: the two wirings then agree, so an error that remains has another cause."
        ),
        topic="residual",
        evidence=(),
        shows="blocks.0.norm2",
        edits={
            "block": (
                f"{NORM1} -> first = x\n    {NORM1}",
                f'{NORM2} -> m = t.step("norm2", layer_norm, first, eps=eps)',
                f'{UNNORM2} -> dfirst = t.undo("norm2", dm)',
                f'{LAST} -> return t.undo("norm1", da, add=dx + dfirst)',
            )
        },
    ),
    Mistake(
        name="mlp_before_attention",
        what="the MLP half of each block comes before the attention half",
        look="the order of the two halves in the block's forward function",
        refute="Set `mlp.fc2` to zero: the order cannot show, so an error that remains has another cause.",
        topic="residual",
        evidence=(),
        shows="blocks.0.*",
        edits={
            "block": (
                (
                    f"{NORM1} -> {NORM2}\n    {MLP}\n    if scaled:\n        {LS2}\n    if path_rate:\n    "
                    f'    {DROP2}\n    x = t.step("add2", add, x, m)\n    {NORM1}'
                ),
                (
                    f"{ADD1}\n    {NORM2}\n    {MLP}\n    if scaled:\n        {LS2}\n    if path_rate:\n   "
                    f"     {DROP2}\n    {ADD2} -> return {ADD1[4:]}"
                ),
                f'{UNADD2}\n    {UNBRANCH2}\n    {UNADD1} -> dx, da = t.undo("add1", dy)',
                (
                    f'{LAST} -> dx, dm = t.undo("add2", t.undo("norm1", da, add=dx))\n    '
                    f"{UNBRANCH2}\n    return dx"
                ),
            )
        },
    ),
    Mistake(
        name="layer_scale_skipped",
        what="the branches are not scaled although the model has LayerScale",
        look=(
            "ls1 and ls2 left out of the block, or Identity in their place because init_values was not given"
        ),
        refute=EQUAL_FACTORS,
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
        needs=("layer_scale",),
        alike=("layer_scale_dropped",),
    ),
    Mistake(
        name="layer_scale_after_residual",
        what="LayerScale is applied to the sum of residual and branch instead of to the branch",
        look="gamma * (x + f(x)) for x + gamma * f(x)",
        refute=EQUAL_FACTORS,
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.ls1",
        edits={
            "block": (
                'a = t.step("ls1", layer_scale, a) -> pass',
                'x = t.step("add1", add, x, a) -> x = t.step("add1", add, x, a)\n'
                '    x = t.step("ls1", layer_scale, x) if scaled else x',
                'da = t.undo("ls1", da) -> pass',
                (
                    'dx, da = t.undo("add1", dx) -> dx, da = t.undo("add1", t.undo("ls1", dx) if scaled '
                    "else dx)"
                ),
            )
        },
        needs=("layer_scale",),
    ),
    Mistake(
        name="layer_scale_twice",
        what="the branches are multiplied by LayerScale's factors twice",
        look="factors that were folded into the weights of a file and are applied again",
        refute=EQUAL_FACTORS,
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.ls1",
        edits={
            "layer_scale": (
                "return x * gamma, Saved(x, gamma) -> return x * gamma * gamma, Saved(x, gamma)",
                "dy * gamma, xp.sum(dy * x, -> dy * gamma * gamma, xp.sum(2 * gamma * dy * x,",
            )
        },
    ),
    Mistake(
        name="layer_scale_beside_attention_only",
        what="LayerScale is applied to the attention and left out beside the MLP",
        look="ls2 in the block's forward function",
        refute=EQUAL_FACTORS,
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.ls2",
        edits={"block": (f"{LS2} -> pass", f"{UNLS2} -> pass")},
        needs=("layer_scale",),
    ),
    Mistake(
        name="layer_scale_beside_mlp_only",
        what="LayerScale is applied to the MLP and left out beside the attention",
        look="ls1 in the block's forward function",
        refute=EQUAL_FACTORS,
        topic="LayerScale",
        evidence=(),
        shows="blocks.0.ls1",
        edits={"block": (f"{LS1} -> pass", f"{UNLS1} -> pass")},
        needs=("layer_scale",),
    ),
)
