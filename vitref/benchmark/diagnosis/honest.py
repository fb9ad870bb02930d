"""Honest candidates: right programs by others, or written otherwise; any alarm on one of them is false.

Each engine takes a problem and a format and returns taps: as many as it shows. Engines whose library is not
installed are left out. Of the 16-bit formats each has those that it is used with.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitref import api
from vitref.array import HostArray
from vitref.benchmark.diagnosis import jax_model, onnx_model, pieces, program
from vitref.benchmark.diagnosis.bug import Bug, Change
from vitref.benchmark.diagnosis.library import torch
from vitref.benchmark.diagnosis.problem import Problem

Taps = Mapping[str, HostArray]


@dataclass(frozen=True)
class Engine:
    """formats   in which it runs
    run       (problem, format, whether gradients are wanted) -> taps
    needs     the libraries that must be installed
    backward  whether it gives gradients
    takes     problem -> whether it has this model
    """

    formats: tuple[str, ...]
    run: Callable[[Problem, str, bool], Taps]
    needs: tuple[str, ...] = ("torch",)
    backward: bool = True
    takes: Callable[[Problem], bool] = lambda problem: True

    @property
    def is_installed(self) -> bool:
        return all(importlib.util.find_spec(name) for name in self.needs)


def in_torch(*changes: Change) -> Callable[[Problem, str, bool], Taps]:
    """The plain program with other, equally right pieces."""
    other = Bug(name="honest", what="", first="", changes=changes)

    def run(problem: Problem, dtype: str, gradients: bool) -> Taps:
        labels = problem.labels if gradients else None
        return program.taps(problem.weights, problem.config, problem.image, labels, dtype=dtype, bugs=[other])

    return run


def layer_norm(m: Any, at: str, x: Any) -> Any:
    weight, bias = m.weights[f"{at}.weight"], m.weights[f"{at}.bias"]
    return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, m.config.eps)


def gelu(m: Any, at: str, x: Any) -> Any:
    form = "tanh" if m.config.activation == "gelu_tanh" else "none"
    return torch.nn.functional.gelu(x, approximate=form)


def softmax(m: Any, at: str, s: Any) -> Any:
    return torch.softmax(s, -1)


def scores(m: Any, at: str, q: Any, k: Any) -> Any:
    return (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)


def fused_attention(m: Any, at: str, q: Any, k: Any, v: Any) -> Any:
    return m.keep(torch.nn.functional.scaled_dot_product_attention(q, k, v), f"{at}.context")


def convolution(m: Any, at: str, image: Any) -> Any:
    """The patches' projection as a convolution; without the tap of the patches."""
    name, step = "patch_embed.proj", m.config.patch_size
    weight, bias = m.weights[f"{name}.weight"], m.weights[f"{name}.bias"]
    y = torch.nn.functional.conv2d(image, weight, bias, stride=step)
    x = m.keep(y.flatten(2).transpose(-2, -1), name)
    if m.config.class_token and m.config.class_position:
        x = m.step("class_token", "cls_token", x)
    x = m.step("positions", "pos_embed", x)
    if m.config.class_token and not m.config.class_position:
        x = m.step("class_token", "cls_token", x)
    return m.keep(x, "embed")


def loss(m: Any, at: str, logits: Any) -> Any:
    return torch.nn.functional.cross_entropy(pieces.widen(logits), m.labels)


def through_head(m: Any, at: str, y: Any) -> Any:
    """Merged with one reshape of a transposed array."""
    return y.transpose(1, 2).reshape(y.shape[0], y.shape[2], -1)


FUNCTIONS = (
    Change("norm", layer_norm),
    Change("activation", gelu),
    Change("softmax", softmax),
    Change("loss", loss),
)
FUSED = (*FUNCTIONS, Change("core", fused_attention), Change("embed", convolution))


def on_backend(name: str) -> Callable[[Problem, str, bool], Taps]:
    """vitref's own graph on another array library, or with kernels."""

    def run(problem: Problem, dtype: str, gradients: bool) -> Taps:
        labels = problem.labels if gradients else None
        return api.trace(problem.weights, problem.image, labels, backend=name, dtype=dtype)

    return run


def in_transformers(attention: str) -> Callable[[Problem, str, bool], Taps]:
    """ViTForImageClassification: the hidden states, the logits, and the gradients of the weights."""

    def run(problem: Problem, dtype: str, gradients: bool) -> Taps:
        stored = getattr(torch, dtype)
        model = transformers_model(problem, attention).to(stored)
        pixels = torch.from_numpy(np.array(problem.image)).to(stored)
        out = model(pixels, output_hidden_states=True, interpolate_pos_encoding=False)
        found = {f"blocks.{i}": x for i, x in enumerate(out.hidden_states[1:])}
        found = {"embed": out.hidden_states[0], **found, "logits": out.logits}
        taps = {name: program.host(x) for name, x in found.items()}
        if not gradients:
            return taps
        torch.nn.functional.cross_entropy(
            pieces.widen(out.logits), torch.from_numpy(problem.labels)
        ).backward()
        return taps | canonical_gradients(problem, model)

    return run


def transformers_model(problem: Problem, attention: str) -> Any:
    """transformers' model with the problem's weights, in float64."""
    library, c = importlib.import_module("transformers"), problem.config
    settings = library.ViTConfig(
        hidden_size=c.width,
        num_hidden_layers=c.depth,
        num_attention_heads=c.heads,
        intermediate_size=c.mlp_width,
        hidden_act={"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}[c.activation],
        layer_norm_eps=c.eps,
        image_size=c.image_size,
        patch_size=c.patch_size,
        num_labels=c.classes,
        attn_implementation=attention,
    )
    model = library.ViTForImageClassification(settings).double().eval()
    state = {name: torch.from_numpy(array.astype(np.float64)) for name, array in _exported(problem).items()}
    model.load_state_dict(_named_as(model, state))
    return model


def _exported(problem: Problem) -> dict[str, HostArray]:
    return problem.weights.export(format="huggingface")


HUB = (
    ("encoder.layer.", "layers."),
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
)
"""Names in the files of the hub -> names of the modules of transformers 5."""


def _named_as(model: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The tensors under the model's own names, which are the hub's or, since transformers 5, others."""
    known = dict(model.state_dict())
    return {name if name in known else _module(name): tensor for name, tensor in state.items()}


def _module(name: str) -> str:
    for old, new in HUB:
        name = name.replace(old, new)
    return name


def canonical_gradients(problem: Problem, model: Any) -> dict[str, HostArray]:
    """The gradients of transformers' parameters under vitref's names: three layers to one of q, k and v."""
    given = {name: program.host(program.gradient(p)) for name, p in model.named_parameters()}
    found: dict[str, HostArray] = {}
    for name in problem.weights:
        one = problem.weights.config.parameter_shapes()[name]
        names = [n if n in given else _module(n) for n in _hub_names(problem, name)]
        arrays = [given[n] for n in names]
        found[f"{name}:grad"] = np.concatenate(arrays).reshape(one)
    return found


def _hub_names(problem: Problem, name: str) -> list[str]:
    return list(problem.weights.export({name: problem.weights[name]}, format="huggingface"))


def keeps_grid(problem: Problem) -> bool:
    """Whether positions are added as they are stored."""
    return problem.config.grid == problem.config.position_grid


def is_plain(problem: Problem) -> bool:
    """Whether transformers' ViTForImageClassification is this model."""
    c = problem.config
    plain = c.pool == "token" and c.class_position and not c.layer_scale and not c.pre_logits
    return plain and c.grid == c.position_grid and c.classes > 0


def engines() -> dict[str, Engine]:
    """Name -> engine."""
    half = ("float32", "bfloat16", "float16")
    return {
        "torch": Engine(("float32", "bfloat16", "float16", "autocast"), in_torch()),
        "torch functions": Engine((*half, "autocast"), in_torch(*FUNCTIONS)),
        "torch, q scaled": Engine(half, in_torch(*FUNCTIONS, Change("scores", scores))),
        "torch SDPA": Engine((*half, "autocast"), in_torch(*FUSED)),
        "transformers eager": Engine(
            half[:2], in_transformers("eager"), ("torch", "transformers"), True, is_plain
        ),
        "transformers SDPA": Engine(
            half[:2], in_transformers("sdpa"), ("torch", "transformers"), True, is_plain
        ),
        "jax": Engine(half[:2], jax_model.run, ("jax",), True, keeps_grid),
        "onnxruntime": Engine(("float32",), onnx_model.runner(FUNCTIONS), ONNX, backward=False),
        "onnxruntime SDPA": Engine(("float32", "float16"), onnx_model.runner(FUSED), ONNX, backward=False),
        "vitref on jax": Engine(("float32",), on_backend("jax"), ("jax",)),
        "vitref on torch": Engine(("float32",), on_backend("torch"), ("torch", "array_api_compat")),
        "vitref on numba": Engine(("float32",), on_backend("numba"), ("numba",)),
        "vitref on cupy": Engine(half, on_backend("cupy"), ("cupy",)),
    }


ONNX = ("torch", "onnx", "onnxruntime")
