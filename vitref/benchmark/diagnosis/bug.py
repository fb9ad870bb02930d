"""What a planted bug is, and how a wrong backward pass is written in PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from vitref.array import HostArray
from vitref.benchmark.diagnosis.library import torch
from vitref.config import Config
from vitref.preprocessing import Preprocessing

LEVELS = ("taps", "blocks", "logits", "cotangents", "gradients")
"""How much of itself a candidate shows: every activation; the blocks' outputs and the logits; the logits
alone; every activation, cotangent and gradient; the gradients of the parameters alone."""


class Change(NamedTuple):
    """`wrong` stands in the place of a piece, in the steps whose path fits the pattern `at`."""

    piece: str
    wrong: Callable[..., Any]
    at: str = "*"


@dataclass(frozen=True, kw_only=True)
class Bug:
    """name      short, unique
    what      one sentence: what the program does
    first     the first tap that it moves: of the forward pass, or of the backward pass for one that leaves
              the forward pass as it is; "{last}" stands for the last block; a pattern where it moves
              gradients of parameters alone
    step      the guilty step, or a pattern, where it has not the tap's own name
    hidden    levels at which it changes nothing at all
    because   why
    model     the small model in which it is planted: a name in `problem.MODELS`
    needs     Config -> whether a given checkpoint can have it; None when all can
    is_precision  no bug: steps or weights in a lower precision, which the verdict is to say
    changes   what stands in the place of which piece
    weights   (tensors, Config) -> what a wrong loader makes of them
    pixels    (picture uint8 (H, W, 3), Preprocessing) -> what enters the model, (3, H, W)

    What the diagnosis should say of it stands apart: in `vitref.benchmark.diagnosis.answers`.
    """

    name: str
    what: str
    first: str
    step: str = ""
    hidden: tuple[str, ...] = ()
    because: str = ""
    model: str = "token"
    needs: Callable[[Config], bool] | None = None
    is_precision: bool = False
    changes: tuple[Change, ...] = ()
    weights: Callable[[dict[str, Any], Config], dict[str, Any]] | None = None
    pixels: Callable[[HostArray, Preprocessing], HostArray] | None = None

    @property
    def is_backward(self) -> bool:
        """Whether the forward pass, up to the logits, is right."""
        return "logits" in self.hidden and "taps" in self.hidden

    def first_tap(self, config: Config) -> str:
        return self.first.format(last=config.depth - 1)

    def guilty(self, config: Config) -> str:
        """The step to blame."""
        tap = self.first_tap(config).removesuffix(":dy").removesuffix(":grad")
        return self.step.format(last=config.depth - 1) or tap


def wrong_gradient(right: Callable[..., Any], wrong: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """A function that computes as `right`, and whose gradients `wrong` gives.

    `wrong(dy, gradients, *inputs)` takes the cotangent of the result, the right gradients of all inputs,
    and the inputs; it returns the gradients that are passed on.
    """

    class Wrong(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, *inputs: Any) -> Any:
            context.save_for_backward(*inputs)
            return right(*inputs)

        @staticmethod
        def backward(context: Any, dy: Any) -> Any:
            inputs = [x.detach().requires_grad_() for x in context.saved_tensors]
            with torch.enable_grad():
                y = right(*inputs)
            gradients = torch.autograd.grad(y, inputs, dy)
            passed = wrong(dy, gradients, *context.saved_tensors)
            return tuple(g.to(x.dtype) for g, x in zip(passed, inputs, strict=True))

    applied: Callable[..., Any] = Wrong.apply
    return applied
