"""Backends that other packages offer: the entry points of the group `vitref.backends`."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vitref.errors import BackendError

GROUP = "vitref.backends"


def found() -> dict[str, list[EntryPoint]]:
    """Name -> who offers a backend of this name, in installed packages."""
    offers: dict[str, list[EntryPoint]] = {}
    for offer in entry_points(group=GROUP):
        offers.setdefault(offer.name, []).append(offer)
    return offers


def creator(name: str, offers: list[EntryPoint]) -> Callable[..., Any]:
    """The function that makes this backend: what the entry point names, or its `create`.

    Raises BackendError when several packages offer the name or the entry point names no function, and
    whatever importing it raises.
    """
    if len(offers) > 1:
        raise BackendError(
            f"backend {name}",
            found=f"several packages with a backend of this name: {', '.join(map(package, offers))}",
            expected="one",
            remedy="Uninstall the others.",
        )
    loaded = offers[0].load()
    create: Any = getattr(loaded, "create", loaded)
    if not callable(create):
        raise BackendError(
            f"backend {name}",
            found=f"the entry point {offers[0].value} of {package(offers[0])}, which names no function",
            expected="a function that returns a Backend, or a module with such a function `create`",
            remedy="Correct the entry point of that package.",
        )
    return create  # type: ignore[no-any-return]


def package(offer: EntryPoint) -> str:
    """The name of the package that an entry point belongs to."""
    return offer.dist.name if offer.dist else offer.value
