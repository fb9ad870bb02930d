"""Mistakes of dropout and DropPath, which only a training pass shows."""

from vitref.verify.mistakes.mistake import Mistake
from vitref.verify.mistakes.refutations import NO_DROP

MISTAKES = (
    Mistake(
        name="dropout_without_scale",
        what="what dropout keeps is not divided by the probability of being kept",
        look="x * mask without the division by 1 - p",
        refute=NO_DROP,
        evidence=(),
        shows="*drop*",
        edits={"dropout": ("scale = 1 / (1 - rate) -> scale = 1.0",)},
    ),
    Mistake(
        name="dropout_scaled_by_rate",
        what="what dropout keeps is divided by the probability of being dropped",
        look="a rate that means dropped in one place and kept in another",
        refute="Set the rate to 0.5: both then agree, so an error that remains has another cause.",
        evidence=(),
        shows="*drop*",
        edits={"dropout": ("scale = 1 / (1 - rate) -> scale = 1 / rate if rate else 1.0",)},
    ),
    Mistake(
        name="drop_path_without_scale",
        what="the branches that DropPath keeps are not divided by the probability of being kept",
        look="DropPath with scale_by_keep=False",
        refute=NO_DROP,
        evidence=(),
        shows="*.drop_path1",
        edits={"drop_path": ("rate=rate -> rate=0.0",)},
    ),
    Mistake(
        name="drop_path_in_every_block",
        what="DropPath has the same rate in every block instead of growing from 0",
        look="one drop_path rate for all blocks instead of linspace(0, rate, depth)",
        refute=NO_DROP,
        evidence=(),
        shows="blocks.0.*",
        edits={"vit": ("train.drop_path_of(i, config.depth) if train -> train.drop_path if train",)},
    ),
    Mistake(
        name="drop_path_below_its_rate",
        what="DropPath's rate grows to rate (depth - 1) / depth instead of to the full rate",
        look="rate * i / depth for rate * i / (depth - 1)",
        refute=NO_DROP,
        evidence=(),
        shows="blocks.*.*",
        edits={"vit": ("train.drop_path_of(i, config.depth) -> train.drop_path_of(i, config.depth + 1)",)},
    ),
    Mistake(
        name="drop_path_per_token",
        what="DropPath drops tokens of a branch instead of the branch of an image",
        look="a mask of shape (N, T, 1) or x.shape instead of (N, 1, 1)",
        refute=NO_DROP,
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
        look="a mask that is drawn anew, or not saved, for the backward pass",
        refute=NO_DROP,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"dropout": ("Grads(dy * saved.mask * saved.scale) -> Grads(dy * saved.scale)",)},
    ),
    Mistake(
        name="scale_missing_in_dropout_backward",
        what="the gradient of what dropout kept is not divided by the probability of being kept",
        look="the backward function of dropout: dy * mask without the scale",
        refute=NO_DROP,
        topic="gradients",
        evidence=(),
        shows="*:dy",
        backward=True,
        edits={"dropout": ("Grads(dy * saved.mask * saved.scale) -> Grads(dy * saved.mask)",)},
    ),
)
