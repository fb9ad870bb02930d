"""The workspace of one step inside a kernel that does several."""

from vitref.backends.workspace import Scratch


def part(ws: Scratch, name: str) -> Scratch:
    """Buffers of the step `name` alone, and the arrays for the gradients of its parameters.

    Two norms of a block keep what has the same role and shape: under one name they would share it.
    """
    begin = f"{name}."
    outs = {full.removeprefix(begin): out for full, out in ws.outs.items() if full.startswith(begin)}
    return Scratch(ws.allocate, ws.workspace, f"{ws.step}.{name}", outs)
