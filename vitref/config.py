"""Config: every fact that fixes the graph of a model, and the published variants.

No field on which official sources disagree (eps, activation, ...) has a default: a value is given,
read from a file, or taken from a named convention (`vitref.conventions`).
"""

import math
import numbers
from dataclasses import asdict, dataclass, fields
from typing import Any

from vitref import conventions
from vitref.errors import ConfigError
from vitref.resampling import RECIPES

CHOICES = {
    "activation": ("gelu", "gelu_tanh"),
    "pool": ("token", "mean", "mean_all"),
    "final_norm": ("tokens", "pooled"),
    "position_resize": ("", *RECIPES),
}
"""Field -> the values it may have."""

SWITCHES = ("qkv_bias", "class_token", "class_position", "layer_scale")
"""The fields that are True or False."""

LARGEST = 2**31
"""No size or count reaches it."""

LARGEST_TABLE = 2**28
"""Most numbers in a position table, or in a matrix that resizes one: 2 GiB in float64."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The plain pre-norm Vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929).

    image_size     (H, W) in pixels at which the model runs
    patch_size     (h, w) in pixels; a remainder of H by h or W by w at the bottom or right is not
                   read, as in a convolution of stride (h, w) without padding
    channels       of the image (C)
    width          of a token (D)
    depth          number of blocks
    heads          attention heads (h)
    head_dim       of one head; `width / heads` when not given
    mlp_width      hidden units of the MLP
    classes        rows of the classifier; 0 for a model without head
    eps            of every LayerNorm, inside the root
    activation     "gelu" (exact, with erf) or "gelu_tanh"
    pool           "token": the class token; "mean": the mean over the patches; "mean_all": over all tokens
    qkv_bias       whether the fused query-key-value projection has a bias
    position_grid  (rows, columns) of patches in the stored position table
    class_token    whether a class token stands in front of the patches
    class_position whether the position table has a row for it (the first); else positions are added
                   to the patches before the class token is put in front
    final_norm     "tokens": the last LayerNorm (`norm`) is on all tokens, before pooling; "pooled": it
                   is on the pooled vector (`fc_norm`)
    layer_scale    whether each branch of a block is scaled per channel (`ls1.gamma`, `ls2.gamma`)
    pre_logits     width of the linear layer with tanh between pooling and head; 0 for none
    position_resize  how the position table is resized when `grid` is not `position_grid`: a name in
                   `vitref.resampling.RECIPES`, or "" when not known; official sources disagree

    Numbers of NumPy become plain ones. Raises ConfigError when a field has the wrong type or value, two
    fields contradict, or a position table or a matrix that resizes it would exceed `LARGEST_TABLE` numbers.
    """

    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    channels: int
    width: int
    depth: int
    heads: int
    head_dim: int = 0
    mlp_width: int
    classes: int
    eps: float
    activation: str
    pool: str
    qkv_bias: bool
    position_grid: tuple[int, int]
    class_token: bool = True
    class_position: bool = True
    final_norm: str = "tokens"
    layer_scale: bool = False
    pre_logits: int = 0
    position_resize: str = ""

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "position_grid"):
            object.__setattr__(self, name, pair(name, getattr(self, name)))
        for name in ("channels", "width", "depth", "heads", "mlp_width"):
            object.__setattr__(self, name, whole(name, getattr(self, name), least=1))
        for name in ("classes", "head_dim", "pre_logits"):
            object.__setattr__(self, name, whole(name, getattr(self, name), least=0))
        if not isinstance(self.eps, numbers.Real) or isinstance(self.eps, bool) or not 0 < self.eps < 1:
            raise _wrong("eps", self.eps, "a number above 0 and below 1")
        object.__setattr__(self, "eps", float(self.eps))
        for name, choices in CHOICES.items():
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in choices:
                raise _wrong(name, getattr(self, name), f"one of {', '.join(map(repr, choices))}")
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, getattr(self, name), "True or False")
        if self.pool == "token" and not self.class_token:
            raise ConfigError(
                "Config.pool",
                found="'token' for a model without class token",
                expected="'mean', or class_token=True",
                remedy="Correct one of the two.",
            )
        if self.head_dim == 0:
            if self.width % self.heads:
                raise ConfigError(
                    "Config.heads",
                    found=f"{self.heads} heads for width {self.width}",
                    expected="a number of heads that divides the width",
                    remedy="Give the right heads=, or head_dim= if a head is not width / heads wide.",
                )
            object.__setattr__(self, "head_dim", self.width // self.heads)
        for size, patch, what in zip(self.image_size, self.patch_size, ("height", "width"), strict=True):
            if size < patch:
                raise ConfigError(
                    "Config.image_size",
                    found=f"an image {what} of {size} pixels with patches of {patch}",
                    expected="an image of at least one patch",
                    remedy="Give a larger image_size= or a smaller patch_size=.",
                )
        self._check_table("position_grid", self.position_grid)
        self._check_table("image_size", self.grid)

    def _check_table(self, field: str, grid: tuple[int, int]) -> None:
        """Neither the table of a grid nor the matrices that resize it may exceed `LARGEST_TABLE`."""
        sides = (old * new for old, new in zip(self.position_grid, grid, strict=True))
        if max(grid[0] * grid[1] * self.width, *sides) > LARGEST_TABLE:
            raise ConfigError(
                f"Config.{field}",
                found=f"{getattr(self, field)}: a grid of {grid[0]} x {grid[1]} positions, {self.width} wide",
                expected=f"a table, and matrices that resize it, of at most {LARGEST_TABLE} numbers (2 GiB)",
                remedy=f"Give a smaller {field}=.",
            )

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches at `image_size`."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def tokens(self) -> int:
        """Length of the sequence that enters the blocks: the class token, if any, and the patches."""
        return self.class_token + self.grid[0] * self.grid[1]

    @property
    def position_prefix(self) -> int:
        """Rows of the position table that belong to no patch."""
        return int(self.class_token and self.class_position)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    @property
    def flops(self) -> int:
        """Floating-point operations of a forward pass of one image in its matrix products, at `image_size`.

        A multiplication and an addition count as two; norms, softmax and GELU are not counted, as in
        the published figures (timm counts each such pair once, as one MAC).
        """
        tokens, width, inner = self.tokens, self.width, self.heads * self.head_dim
        patches = self.grid[0] * self.grid[1] * self.channels * math.prod(self.patch_size) * width
        products = width * 4 * inner + 2 * tokens * inner + 2 * width * self.mlp_width
        head_width = self.pre_logits or width
        head = width * self.pre_logits + head_width * self.classes
        return 2 * (patches + self.depth * tokens * products + head)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape of every parameter, in the order of the forward pass.

        Names and layouts are timm's (`timm/models/vision_transformer.py`): weights are (out, in).
        """
        width, inner, hidden = self.width, self.heads * self.head_dim, self.mlp_width
        rows, columns = self.position_grid
        shapes: dict[str, tuple[int, ...]] = {
            "patch_embed.proj.weight": (width, self.channels, *self.patch_size),
            "patch_embed.proj.bias": (width,),
        }
        if self.class_token:
            shapes["cls_token"] = (1, 1, width)
        shapes["pos_embed"] = (1, self.position_prefix + rows * columns, width)
        for i in range(self.depth):
            block = f"blocks.{i}."
            shapes |= {f"{block}norm1.weight": (width,), f"{block}norm1.bias": (width,)}
            shapes[f"{block}attn.qkv.weight"] = (3 * inner, width)
            if self.qkv_bias:
                shapes[f"{block}attn.qkv.bias"] = (3 * inner,)
            shapes |= {f"{block}attn.proj.weight": (width, inner), f"{block}attn.proj.bias": (width,)}
            if self.layer_scale:
                shapes[f"{block}ls1.gamma"] = (width,)
            shapes |= {f"{block}norm2.weight": (width,), f"{block}norm2.bias": (width,)}
            shapes |= {f"{block}mlp.fc1.weight": (hidden, width), f"{block}mlp.fc1.bias": (hidden,)}
            shapes |= {f"{block}mlp.fc2.weight": (width, hidden), f"{block}mlp.fc2.bias": (width,)}
            if self.layer_scale:
                shapes[f"{block}ls2.gamma"] = (width,)
        norm = "norm" if self.final_norm == "tokens" else "fc_norm"
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
        if self.pre_logits:
            shapes |= {
                "pre_logits.fc.weight": (self.pre_logits, width),
                "pre_logits.fc.bias": (self.pre_logits,),
            }
        if self.classes:
            features = self.pre_logits or width
            shapes |= {"head.weight": (self.classes, features), "head.bias": (self.classes,)}
        return shapes

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as JSON stores them; `Config(**...)` accepts them again."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def variant(cls, name: str, *, convention: str, **given: Any) -> "Config":
        """The Config of a published model, `"ViT-B/16"` say, with the numerics of `convention`.

        `given` overrides any field; `image_size` (224, 224) and `classes` (1000) are those of the
        ImageNet-1k checkpoints. Raises ConfigError for an unknown name or convention.
        """
        values: dict[str, Any] = {
            "image_size": (224, 224),
            "classes": 1000,
            **conventions.variant(name),
            **{field: fact.value for field, fact in conventions.model_facts(convention).items()},
            "qkv_bias": True,
            **given,
        }
        unknown = sorted(set(values) - FIELDS)
        if unknown:
            raise ConfigError(
                "Config.variant",
                found=f"unknown field {', '.join(unknown)}",
                expected=f"fields of Config ({', '.join(sorted(FIELDS))})",
                remedy="Correct the spelling.",
            )
        size, patch = pair("image_size", values["image_size"]), pair("patch_size", values["patch_size"])
        values.setdefault("position_grid", (max(size[0] // patch[0], 1), max(size[1] // patch[1], 1)))
        return cls(**values)


FIELDS = frozenset(field.name for field in fields(Config))
"""The names of Config's fields."""


def pair(name: str, value: Any, *, of: str = "Config") -> tuple[int, int]:
    """(rows, columns) from two whole numbers, or from one that stands for both.

    Raises ConfigError naming the field `name` of `of`.
    """
    both = (value, value) if isinstance(value, numbers.Integral) else value
    if not isinstance(both, (tuple, list)) or len(both) != 2:
        raise _wrong(name, value, "two whole numbers (rows, columns), or one for both", of)
    return whole(name, both[0], least=1, of=of), whole(name, both[1], least=1, of=of)


def whole(name: str, value: Any, *, least: int, of: str = "Config") -> int:
    """The value as an int, when it is a whole number (NumPy's too) of at least `least`; else ConfigError
    naming the field."""
    if (
        not isinstance(value, numbers.Integral)
        or isinstance(value, bool)
        or not least <= int(value) < LARGEST
    ):
        raise _wrong(name, value, f"a whole number of at least {least}, below 2**31", of)
    return int(value)


def _wrong(name: str, value: Any, expected: str, of: str = "Config") -> ConfigError:
    return ConfigError(
        f"{of}.{name}", found=repr(value), expected=expected, remedy=f"Give {name}= a value of this kind."
    )
