"""The names of a model's classes, as the file beside the weights or vitref's own record has them."""

from vitref.conventions import Fact

TOPIC = "class names"
"""Of the remark that says where they came from."""


def names(stated: Fact | None, count: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """One name per class, or () where there are none; and a remark that says so, by topic.

    stated  a list, or {"0": name, ...}, as the file has it
    count   of classes in the model

    `LABEL_0`, `LABEL_1`, ..., which transformers writes for classes without name, are no names.
    """
    if stated is None or not count:
        return (), {}
    value = stated.value
    if isinstance(value, dict):
        value = [value.get(str(k)) for k in range(count)] if len(value) == count else None
    if not isinstance(value, list) or len(value) != count or not all(isinstance(name, str) for name in value):
        return (), {TOPIC: f"none: {stated.source} has not one name for each of the {count} classes"}
    if value == [f"LABEL_{k}" for k in range(count)]:
        return (), {}
    return tuple(value), {TOPIC: stated.source}
