"""Planted in the residual stream of a block."""

from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces, wiring
from vitref.benchmark.diagnosis.bug import Bug, Change

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass

ADD1, ADD2 = "blocks.0.add1", "blocks.0.add2"


def after_norm(m: "Pass", at: str, x: Any) -> Any:
    """Each residual is taken behind the LayerNorm."""
    for add, norm, part, scale in (("add1", "norm1", "attn", "ls1"), ("add2", "norm2", "mlp", "ls2")):
        x = m.step("norm", f"{at}.{norm}", x)
        x = m.step("add", f"{at}.{add}", x, _scaled(m, f"{at}.{scale}", m.step(part, f"{at}.{part}", x)))
    return x


def post_norm(m: "Pass", at: str, x: Any) -> Any:
    """LayerNorm behind each sum in place of in front of each branch."""
    y = m.step("add", f"{at}.add1", x, _scaled(m, f"{at}.ls1", m.step("attn", f"{at}.attn", x)))
    x = m.step("norm", f"{at}.norm1", y)
    y = m.step("add", f"{at}.add2", x, _scaled(m, f"{at}.ls2", m.step("mlp", f"{at}.mlp", x)))
    return m.step("norm", f"{at}.norm2", y)


def parallel(m: "Pass", at: str, x: Any) -> Any:
    """The MLP reads what attention reads."""
    a = m.step("add", f"{at}.add1", x, wiring.branch(m, at, "norm1", "attn", "ls1", x))
    return m.step("add", f"{at}.add2", a, wiring.branch(m, at, "norm2", "mlp", "ls2", x))


def mlp_first(m: "Pass", at: str, x: Any) -> Any:
    x = m.step("add", f"{at}.add2", x, wiring.branch(m, at, "norm2", "mlp", "ls2", x))
    return m.step("add", f"{at}.add1", x, wiring.branch(m, at, "norm1", "attn", "ls1", x))


def scale_after_sum(m: "Pass", at: str, x: Any) -> Any:
    for add, norm, part, scale in (("add1", "norm1", "attn", "ls1"), ("add2", "norm2", "mlp", "ls2")):
        y = m.step(part, f"{at}.{part}", m.step("norm", f"{at}.{norm}", x))
        x = m.keep(m.piece("layer_scale", f"{at}.{scale}", x + y), f"{at}.{add}")
    return x


def from_input(m: "Pass", at: str, x: Any) -> Any:
    """The second residual is the block's input."""
    a = m.step("add", f"{at}.add1", x, wiring.branch(m, at, "norm1", "attn", "ls1", x))
    return m.step("add", f"{at}.add2", x, wiring.branch(m, at, "norm2", "mlp", "ls2", a))


def _scaled(m: "Pass", at: str, x: Any) -> Any:
    return m.step("layer_scale", at, x) if m.config.layer_scale else x


def sum_of(function: Any) -> Any:
    return lambda m, at, x, branch: function(x, branch)


def block(name: str, what: str, first: str, wrong: Any, at: str = "*", **rest: Any) -> Bug:
    return Bug(name=name, what=what, first=first, changes=(Change("block", wrong, at),), **rest)


def add(name: str, what: str, first: str, wrong: Any, at: str = "*") -> Bug:
    return Bug(name=name, what=what, first=first, changes=(Change("add", sum_of(wrong), at),))


def scale(name: str, what: str, wrong: Any) -> Bug:
    """With another LayerScale beside the MLP."""
    changes = (Change("layer_scale", wrong, "*.ls2"),)
    return Bug(name=name, what=what, first="blocks.0.ls2", changes=changes, **SCALED)


SCALED: dict[str, Any] = {"model": "mean", "needs": lambda c: c.layer_scale}

BUGS = (
    block("residual_behind_norm", "takes each residual behind the LayerNorm", ADD1, after_norm),
    block(
        "residual_behind_norm_in_one",
        "takes each residual behind the LayerNorm in block 1",
        "blocks.1.add1",
        after_norm,
        at="blocks.1",
    ),
    block("post_norm", "normalises behind the sums", "blocks.0.norm1", post_norm),
    block("parallel_branches", "gives the MLP the input of attention", "blocks.0.norm2", parallel),
    block("mlp_first", "has the MLP in front of attention", "blocks.0.norm1", mlp_first),
    block("residual_of_input", "adds the block's input to the MLP's branch", ADD2, from_input),
    add("attention_without_residual", "has no residual beside attention", ADD1, lambda x, b: b, at="*.add1"),
    add("mlp_without_residual", "has no residual beside the MLP", ADD2, lambda x, b: b, at="*.add2"),
    add(
        "mlp_without_residual_in_one",
        "has no residual beside the MLP of block 1",
        "blocks.1.add2",
        lambda x, b: b,
        at="blocks.1.add2",
    ),
    add(
        "residual_twice",
        "adds the residual twice",
        ADD1,
        lambda x, b: 2 * x + b,
    ),
    add(
        "branch_forgotten", "forgets the MLP in block 1", "blocks.1.add2", lambda x, b: x, at="blocks.1.add2"
    ),
    add("branches_subtracted", "subtracts attention and MLP", ADD1, lambda x, b: x - b),
    add(
        "stream_over_root_2",
        "divides every sum by the square root of two",
        ADD1,
        lambda x, b: (x + b) / 2**0.5,
    ),
    add(
        "branch_weakened",
        "adds 0.97 of the attention of block 1",
        "blocks.1.add1",
        lambda x, b: x + 0.97 * b,
        at="blocks.1.add1",
    ),
    block(
        "scale_behind_sum",
        "applies LayerScale behind the sum",
        ADD1,
        scale_after_sum,
        **SCALED,
    ),
    scale("scale_of_mlp_forgotten", "applies no LayerScale to the MLP", lambda m, at, x: x),
    scale(
        "scale_of_the_other",
        "applies the LayerScale of attention to the MLP",
        lambda m, at, x: pieces.layer_scale(m, at.replace("ls2", "ls1"), x),
    ),
)
