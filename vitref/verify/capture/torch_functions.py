"""Calls of torch functions inside a module that stand for steps without a module of their own.

    scaled_dot_product_attention   q, k, v, context
    softmax                        scores (its input), softmax
    matmul, bmm                    v, context: where the left operand has the shape of the last softmax
    gelu                           act

They are seen through a `TorchFunctionMode`; inside `multi_head_attention_forward`, which switches the mode
off, through the name by which it calls the attention.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

See: TypeAlias = Callable[[str, Any], None]
"""Called with the name of a step and its tensor."""


@contextmanager
def watched(torch: Any, see: See) -> Iterator[None]:
    """`see` is called for what the functions above take and return while the block runs."""
    functional = torch.nn.functional
    attention, multi_head = functional.scaled_dot_product_attention, functional.multi_head_attention_forward
    watches = _watches(torch, see)

    def seen_attention(*args: Any, **kwargs: Any) -> Any:
        result = attention(*args, **kwargs)
        watches[attention](args, kwargs, result)
        return result

    class Mode(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if function is multi_head:
                with _replaced(functional, "scaled_dot_product_attention", seen_attention):
                    return function(*args, **kwargs)
            result = function(*args, **kwargs)
            if function in watches:
                watches[function](args, kwargs, result)
            return result

    with Mode():
        yield


def _watches(torch: Any, see: See) -> dict[Any, Callable[[Any, Any, Any], None]]:
    """Function -> what is done with its arguments and its result."""
    functional = torch.nn.functional
    attending: list[tuple[int, ...]] = []

    def attention(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        for place, (name, step) in enumerate({"query": "q", "key": "k", "value": "v"}.items()):
            see(step, args[place] if place < len(args) else kwargs[name])
        see("context", result)

    def softmax(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        see("scores", args[0] if args else kwargs["input"])
        see("softmax", result)
        attending[:] = [tuple(result.shape)]

    def product(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        if attending and len(args) > 1 and tuple(args[0].shape) == attending[0]:
            attending.clear()
            see("v", args[1])
            see("context", result)

    def gelu(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        see("act", result)

    softmaxes = (functional.softmax, torch.softmax, torch.Tensor.softmax, torch.special.softmax)
    products = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm)
    return {
        functional.scaled_dot_product_attention: attention,
        **dict.fromkeys(softmaxes, softmax),
        **dict.fromkeys(products, product),
        functional.gelu: gelu,
    }


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)
