"""Config: every fact that fixes the graph of a model, and the published variants.

No field on which official sources disagree (eps, activation, ...) has a default: a value is given,
read from a file, or taken from a named convention (`vitref.conventions`).
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from vitref import conventions
from vitref.errors import ConfigError

ACTIVATIONS = ("gelu", "gelu_tanh")
POOLS = ("token",)
LARGEST = 2**31
"""No size or count reaches it."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The plain Vision Transformer with class token (Dosovitskiy et al. 2020, arXiv:2010.11929).

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
    pool           "token": the class token after the final norm
    qkv_bias       whether the fused query-key-value projection has a bias
    position_grid  (rows, columns) of patches in the stored position table

    Raises ConfigError when a field has the wrong type or value, or two fields contradict.
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

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "position_grid"):
            object.__setattr__(self, name, pair(name, getattr(self, name)))
        for name in ("channels", "width", "depth", "heads", "mlp_width"):
            whole(name, getattr(self, name), least=1)
        whole("classes", self.classes, least=0)
        whole("head_dim", self.head_dim, least=0)
        if not isinstance(self.eps, (int, float)) or isinstance(self.eps, bool) or not 0 < self.eps < 1:
            raise _wrong("eps", self.eps, "a number above 0 and below 1")
        if not isinstance(self.activation, str) or self.activation not in ACTIVATIONS:
            raise _wrong("activation", self.activation, f"one of {', '.join(ACTIVATIONS)}")
        if not isinstance(self.pool, str) or self.pool not in POOLS:
            raise _wrong("pool", self.pool, f"one of {', '.join(POOLS)}")
        if not isinstance(self.qkv_bias, bool):
            raise _wrong("qkv_bias", self.qkv_bias, "True or False")
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

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches at `image_size`."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def tokens(self) -> int:
        """Length of the sequence that enters the blocks: the class token and the patches."""
        return 1 + self.grid[0] * self.grid[1]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape of every parameter, in the order of the forward pass.

        Names and layouts are timm's (`timm/models/vision_transformer.py`): weights are (out, in).
        """
        width, inner, hidden = self.width, self.heads * self.head_dim, self.mlp_width
        rows, columns = self.position_grid
        shapes: dict[str, tuple[int, ...]] = {
            "patch_embed.proj.weight": (width, self.channels, *self.patch_size),
            "patch_embed.proj.bias": (width,),
            "cls_token": (1, 1, width),
            "pos_embed": (1, 1 + rows * columns, width),
        }
        for i in range(self.depth):
            block = f"blocks.{i}."
            shapes |= {f"{block}norm1.weight": (width,), f"{block}norm1.bias": (width,)}
            shapes[f"{block}attn.qkv.weight"] = (3 * inner, width)
            if self.qkv_bias:
                shapes[f"{block}attn.qkv.bias"] = (3 * inner,)
            shapes |= {f"{block}attn.proj.weight": (width, inner), f"{block}attn.proj.bias": (width,)}
            shapes |= {f"{block}norm2.weight": (width,), f"{block}norm2.bias": (width,)}
            shapes |= {f"{block}mlp.fc1.weight": (hidden, width), f"{block}mlp.fc1.bias": (hidden,)}
            shapes |= {f"{block}mlp.fc2.weight": (width, hidden), f"{block}mlp.fc2.bias": (width,)}
        shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
        if self.classes:
            shapes |= {"head.weight": (self.classes, width), "head.bias": (self.classes,)}
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
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, (tuple, list)) or len(both) != 2:
        raise _wrong(name, value, "two whole numbers (rows, columns), or one for both", of)
    return whole(name, both[0], least=1, of=of), whole(name, both[1], least=1, of=of)


def whole(name: str, value: Any, *, least: int, of: str = "Config") -> int:
    """The value, when it is a whole number of at least `least`; else ConfigError naming the field."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < LARGEST:
        raise _wrong(name, value, f"a whole number of at least {least}, below 2**31", of)
    return value


def _wrong(name: str, value: Any, expected: str, of: str = "Config") -> ConfigError:
    return ConfigError(
        f"{of}.{name}", found=repr(value), expected=expected, remedy=f"Give {name}= a value of this kind."
    )
