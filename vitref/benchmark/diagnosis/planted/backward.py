"""How a wrong backward pass is planted: the forward pass is right, and what it passes back is not."""

from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.bug import Bug, Change, wrong_gradient

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass

BOTH = ("weight", "bias")
"""The parameters of LayerNorm and of linear layers."""

L = "blocks.{last}"
"""The block that the backward pass meets first."""


def backward(piece: str, wrong: Any, parameters: tuple[str, ...] = (), at: str = "*") -> Change:
    """The piece with the gradients `wrong(dy, gradients, *inputs, *parameters)`."""

    def run(m: "Pass", path: str, *inputs: Any) -> Any:
        names = [f"{path}.{name}" if name else path for name in parameters]

        def right(*tensors: Any) -> Any:
            local = m.with_weights(dict(zip(names, tensors[len(inputs) :], strict=True)))
            return getattr(pieces, piece)(local, path, *tensors[: len(inputs)])

        return wrong_gradient(right, wrong)(*inputs, *(m.weights[name] for name in names))

    return Change(piece, run, at)


def only(index: int, function: Any) -> Any:
    """Right gradients but for one, `function(dy, its right value, *inputs)`."""

    def wrong(dy: Any, gradients: Any, *inputs: Any) -> tuple[Any, ...]:
        changed = function(dy, gradients[index], *inputs)
        return (*gradients[:index], changed, *gradients[index + 1 :])

    return wrong


def rows(x: Any) -> Any:
    return x.reshape(-1, x.shape[-1])


def bug(name: str, what: str, first: str, step: str, change: Change, **rest: Any) -> Bug:
    return Bug(
        name=name,
        what=what,
        first=first,
        step=step,
        changes=(change,),
        hidden=("taps", "blocks", "logits", *rest.pop("hidden", ())),
        **{"because": "the forward pass is right", **rest},
    )
