"""Mistakes of dropout and DropPath, which only a training pass shows."""

from vitref.verify.mistakes.mistake import Mistake

MISTAKES = (
    Mistake(
        name="dropout_without_scale",
        what="what dropout keeps is not divided by the probability of being kept",
        evidence=(),
        shows="*drop*",
        edits={"dropout": ("scale = 1 / (1 - rate) -> scale = 1.0",)},
    ),
    Mistake(
        name="drop_path_without_scale",
        what="the branches that DropPath keeps are not divided by the probability of being kept",
        evidence=(),
        shows="*.drop_path1",
        edits={"drop_path": ("rate=rate -> rate=0.0",)},
    ),
    Mistake(
        name="drop_path_in_every_block",
        what="DropPath has the same rate in every block instead of growing from 0",
        evidence=(),
        shows="blocks.0.*",
        edits={"vit": ("train.drop_path_of(i, config.depth) if train -> train.drop_path if train",)},
    ),
    Mistake(
        name="drop_path_per_token",
        what="DropPath drops tokens of a branch instead of the branch of an image",
        evidence=(),
        shows="blocks.*.drop_path1",
        edits={
            "block": (
                'mask = t.mask("drop_path1", a.shape[:1], path_rate)\n'
                '        a = t.step("drop_path1", drop_path, a, -> '
                'mask = t.mask("drop_path1", a.shape, path_rate)\n'
                '        a = t.step("drop_path1", dropout, a,',
                "import add, drop_path, -> import add, drop_path, dropout,",
            )
        },
    ),
    Mistake(
        name="mask_missing_in_backward",
        what="the gradient passes through what dropout dropped",
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"dropout": ("Grads(dy * saved.mask * saved.scale) -> Grads(dy * saved.scale)",)},
    ),
)
