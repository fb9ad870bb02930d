"""A Vision Transformer in plain torch, whose modules are named as vitref's taps; for tests of the capture."""

from typing import Any

import numpy as np

from vitref.array import HostArray
from vitref.config import Config
from vitref.weights import Weights

CONFIG = Config(
    image_size=(6, 9),
    patch_size=(3, 3),
    channels=2,
    width=12,
    depth=2,
    heads=3,
    head_dim=4,
    mlp_width=10,
    classes=5,
    eps=1e-5,
    activation="gelu",
    pool="token",
    qkv_bias=True,
    position_grid=(2, 3),
)


def weights() -> Weights:
    """Random parameters, none of them zero or one."""
    rng = np.random.default_rng(3)
    shapes = CONFIG.parameter_shapes()
    return Weights({name: 0.4 * rng.standard_normal(shape) for name, shape in shapes.items()}, CONFIG)


def image(n: int = 2) -> HostArray:
    return np.random.default_rng(4).standard_normal((n, CONFIG.channels, *CONFIG.image_size))


def build(torch: Any, *, fused: bool = False) -> Any:
    """The model with `weights()`, in float64 and evaluation mode; fused attention is one call of torch."""
    nn: Any = torch.nn
    width = CONFIG.width

    class Attention(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            n, t, _ = x.shape
            parts = self.qkv(x).reshape(n, t, 3, CONFIG.heads, CONFIG.head_dim).permute(2, 0, 3, 1, 4)
            q, k, v = parts.unbind(0)
            if fused:
                y = nn.functional.scaled_dot_product_attention(q, k, v)
            else:
                y = (q @ k.transpose(-2, -1) * CONFIG.head_dim**-0.5).softmax(dim=-1) @ v
            return self.proj(y.transpose(1, 2).reshape(n, t, width))

    class Mlp(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(width, CONFIG.mlp_width)
            self.fc2 = nn.Linear(CONFIG.mlp_width, width)

        def forward(self, x: Any) -> Any:
            return self.fc2(nn.functional.gelu(self.fc1(x)))

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = (nn.LayerNorm(width, eps=CONFIG.eps) for _ in range(2))
            self.attn, self.mlp = Attention(), Mlp()

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Patches(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Conv2d(CONFIG.channels, width, CONFIG.patch_size, CONFIG.patch_size)

        def forward(self, x: Any) -> Any:
            return self.proj(x).flatten(2).transpose(1, 2)

    class Model(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.patch_embed = Patches()
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
            self.pos_embed = nn.Parameter(torch.zeros(1, CONFIG.tokens, width))
            self.blocks = nn.Sequential(*(Block() for _ in range(CONFIG.depth)))
            self.norm = nn.LayerNorm(width, eps=CONFIG.eps)
            self.head = nn.Linear(width, CONFIG.classes)

        def forward(self, x: Any) -> Any:
            x = self.patch_embed(x)
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
            return self.head(self.norm(self.blocks(x))[:, 0])

    model = Model().double().eval()
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights().items()}
    model.load_state_dict(tensors)
    return model
