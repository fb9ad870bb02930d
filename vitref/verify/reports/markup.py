"""Elements of HTML and SVG: text and attributes are escaped by the standard library's serialiser."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Child = Element | str | None


def node(tag: str, *children: Child, **attributes: object) -> Element:
    """An element; a child or attribute that is None is left out.

    `class_` is written class, any other underscore as a hyphen. Control characters are replaced.
    """
    element = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            element.set(name.rstrip("_").replace("_", "-"), _printable(str(value)))
    for child in children:
        _append(element, child)
    return element


def _append(element: Element, child: Child) -> None:
    if child is None:
        return
    if isinstance(child, Element):
        element.append(child)
    elif len(element):
        element[-1].tail = (element[-1].tail or "") + _printable(child)
    else:
        element.text = (element.text or "") + _printable(child)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def document(root: Element) -> str:
    """The page of this <html> element."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"
