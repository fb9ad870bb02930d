"""Names of values in an ONNX graph that torch.onnx exported: /module/path/Operator_output_0.

The module's path is the library's; the operator tells whether the value is the module's output or something
inside it. Only what is unambiguous is here: a MatMul within a linear layer comes before the bias, and the
first MatMul within attention stands before or after the scale.
"""

import re

_NAME = re.compile(r"/(?:(?P<module>.+)/)?(?P<operator>[A-Za-z]+(_\d+)?)_output_\d+")

ENDS = {
    "patch_embed.proj": ("Conv", "Transpose"),
    "norm": ("LayerNormalization",),
    "linear": ("Add", "Gemm"),
    "act": ("Gelu", "Mul_1"),
    "embed": ("Add",),
    "block": ("Add_1",),
}
"""Kind of tap -> the operators that end the module."""

INSIDE = {"attn": {"Softmax": "attn.softmax", "MatMul_1": "attn.context"}, "": {"Add": "add1"}}
"""Tap of a module, within its block -> operator within it -> tap."""


def split(name: str) -> tuple[str, str] | None:
    """("blocks.0.norm1", "LayerNormalization") of "/blocks/blocks.0/norm1/LayerNormalization_output_0".

    None for a name of another kind; the module is "" for a value of the outermost one.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    parts = (match["module"] or "").split("/")
    following = [*parts[1:], ""]
    kept = [part for part, after in zip(parts, following, strict=True) if not after.startswith(f"{part}.")]
    return ".".join(kept), match["operator"]


def tap_of(tap: str, operator: str) -> str | None:
    """The tap of an operator's output in the module whose output is `tap`; None when that is not clear."""
    block = re.match(r"blocks\.\d+\.?", tap)
    inner = tap[block.end() :] if block else tap
    inside = INSIDE.get(inner, {})
    if block and operator in inside:
        return f"{block[0].rstrip('.')}.{inside[operator]}"
    return tap if operator in ENDS.get(_kind(tap, inner), ()) else None


def _kind(tap: str, inner: str) -> str:
    if tap in ("patch_embed.proj", "embed"):
        return tap
    if not inner:
        return "block"
    last = inner.rpartition(".")[2]
    if last in ("norm1", "norm2", "norm", "fc_norm", "act"):
        return "norm" if "norm" in last else "act"
    return "linear" if last in ("qkv", "q", "k", "v", "proj", "fc1", "fc2", "fc", "head") else ""
