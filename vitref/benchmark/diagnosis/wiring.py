"""Which piece follows which: the whole model in plain PyTorch, every step kept under its name.

Each function takes the pass and is a piece itself, so that a bug can stand in its place.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass


def model(m: "Pass", at: str, image: Any) -> Any:
    x = m.piece("embed", "", image)
    for i in range(m.config.depth):
        x = m.keep(m.piece("block", f"blocks.{i}", x), f"blocks.{i}")
    return m.piece("top", "", x)


def embed(m: "Pass", at: str, image: Any) -> Any:
    x = m.step("unfold", "patch_embed.unfold", image)
    x = m.step("project", "patch_embed.proj", x)
    if m.config.class_token and m.config.class_position:
        x = m.step("class_token", "cls_token", x)
    x = m.step("positions", "pos_embed", x)
    if m.config.class_token and not m.config.class_position:
        x = m.step("class_token", "cls_token", x)
    return m.keep(x, "embed")


def block(m: "Pass", at: str, x: Any) -> Any:
    x = m.step("add", f"{at}.add1", x, branch(m, at, "norm1", "attn", "ls1", x))
    return m.step("add", f"{at}.add2", x, branch(m, at, "norm2", "mlp", "ls2", x))


def branch(m: "Pass", at: str, norm: str, part: str, scale: str, x: Any) -> Any:
    """LayerNorm, then attention or MLP, then LayerScale where the model has it."""
    y = m.step(part, f"{at}.{part}", m.step("norm", f"{at}.{norm}", x))
    return m.step("layer_scale", f"{at}.{scale}", y) if m.config.layer_scale else y


def attn(m: "Pass", at: str, x: Any) -> Any:
    qkv = m.step("linear", f"{at}.qkv", x)
    q, k, v = (m.keep(y, f"{at}.{name}") for y, name in zip(m.piece("split", at, qkv), "qkv", strict=True))
    y = m.piece("core", at, q, k, v)
    return m.step("linear", f"{at}.proj", m.step("merge", f"{at}.merge", y))


def core(m: "Pass", at: str, q: Any, k: Any, v: Any) -> Any:
    s = m.step("scores", f"{at}.scores", q, k)
    return m.step("context", f"{at}.context", m.step("softmax", f"{at}.softmax", s), v)


def mlp(m: "Pass", at: str, x: Any) -> Any:
    x = m.step("linear", f"{at}.fc1", x)
    x = m.step("activation", f"{at}.act", x)
    return m.step("linear", f"{at}.fc2", x)


def top(m: "Pass", at: str, x: Any) -> Any:
    """From the last block's output to the logits."""
    if m.config.final_norm == "tokens":
        x = m.step("norm", "norm", x)
    x = m.step("pool", "pool", m.keep(x, "tokens"))
    if m.config.final_norm == "pooled":
        x = m.step("norm", "fc_norm", x)
    return m.piece("classify", "", x)


def classify(m: "Pass", at: str, x: Any) -> Any:
    """From the pooled vector to the logits."""
    if m.config.pre_logits:
        x = m.step("linear", "pre_logits.fc", x)
        x = m.keep(m.step("tanh", "pre_logits.act", x), "pre_logits")
    x = m.step("linear", "head", m.keep(x, "pooled", "head_input"))
    return m.step("logits", "logits", x)
