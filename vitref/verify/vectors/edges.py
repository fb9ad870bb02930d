"""Boundary cases of the components, by hand: what is allowed, and where implementations break."""

from typing import Any, NamedTuple

from vitref.testing.shapes import Labels, Mask, Resampling, Shape


class Edge(NamedTuple):
    """arrays    argument -> its shape, its numbers as a list, or None where it is absent; in order
    settings  as the component takes them; a list is an array
    """

    note: str
    arrays: dict[str, Shape | list[Any] | None]
    settings: dict[str, Any] = {}


def _norm(note: str, x: Shape | list[Any], width: int, eps: float) -> Edge:
    return Edge(note, {"x": x, "weight": (width,), "bias": (width,)}, {"eps": eps})


CONFIDENT = [[1024.0, -1024.0, 0.5], [-96.0, 96.0, 95.0]]
TAILS = [[0.0, -0.0, 0.0078125, -0.0078125], [6.0, -6.0, 40.0, -40.0], [100.0, -100.0, 2.5, -2.5]]

EDGES: dict[str, tuple[Edge, ...]] = {
    "add": (
        Edge("single numbers", {"a": (), "b": ()}),
        Edge("sums of zero", {"a": [3.5, -2.0], "b": [-3.5, 2.0]}),
    ),
    "class_token": (Edge("one patch of one channel", {"x": (2, 1, 1), "token": (1, 1, 1)}),),
    "context": (
        Edge("one query and one key", {"p": (1, 1), "v": (1, 3)}),
        Edge("as many heads as queries and keys", {"p": (2, 3, 3, 3), "v": (2, 3, 3, 3)}),
        Edge("more keys than queries", {"p": (2, 2, 5), "v": (2, 5, 3)}),
    ),
    "cross_entropy": (
        Edge("logits 2048 apart, right", {"x": CONFIDENT}, {"labels": [0, 1]}),
        Edge("logits 2048 apart, wrong", {"x": CONFIDENT}, {"labels": [1, 0]}),
        Edge("one class: loss 0", {"x": (3, 1)}, {"labels": [0, 0, 0]}),
        Edge("one image", {"x": (1, 4)}, {"labels": Labels("probabilities", 1, 4)}),
        Edge("the last class of each image", {"x": (3, 4)}, {"labels": [3, 3, 3]}),
        Edge("as many images as classes", {"x": (3, 3)}, {"labels": Labels("probabilities", 3, 3)}),
    ),
    "drop_path": (
        Edge("nothing dropped, rate 0", {"x": (2, 3, 2)}, {"mask": [1.0, 1.0], "rate": 0.0}),
        Edge("everything dropped", {"x": (2, 3, 2)}, {"mask": [0.0, 0.0], "rate": 0.75}),
        Edge("as many tokens as images", {"x": (2, 2, 2)}, {"mask": [0.0, 1.0], "rate": 0.5}),
    ),
    "dropout": (
        Edge("nothing dropped, rate 0", {"x": (2, 2)}, {"mask": [[1.0, 1.0], [1.0, 1.0]], "rate": 0.0}),
        Edge("everything dropped", {"x": (2, 2)}, {"mask": [[0.0, 0.0], [0.0, 0.0]], "rate": 0.5}),
        Edge("nearly everything dropped", {"x": (4, 8)}, {"mask": Mask((4, 8)), "rate": 0.984375}),
    ),
    "gelu": (
        Edge("zeros of both signs, and far tails", {"x": TAILS}, {"form": "erf"}),
        Edge("zeros of both signs, and far tails", {"x": TAILS}, {"form": "tanh"}),
        Edge("a single number", {"x": ()}, {"form": "erf"}),
    ),
    "identity": (Edge("a single number", {"x": ()}), Edge("zeros of both signs", {"x": [0.0, -0.0]})),
    "layer_norm": (
        _norm("a row of one number: y is the bias", (3, 1), 1, 1e-6),
        _norm("a single row, without other axes", (5,), 5, 1e-6),
        _norm("rows of zeros", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], 3, 1e-12),
        _norm("a variance far below eps", [[1.0, 1.0078125, 1.0], [2.0, 2.0, 2.015625]], 3, 1e-2),
        _norm("a variance about eps", [[0.0009765625, -0.0009765625, 0.0, 0.0009765625]], 4, 1e-6),
        _norm(
            "a mean of 4096 deviations",
            [[4096.0, 4097.0, 4095.0, 4098.5], [-4096.0, -4095.5, -4097.0, -4098.0]],
            4,
            1e-6,
        ),
        _norm("as many rows as channels", (4, 4), 4, 1e-5),
    ),
    "layer_scale": (Edge("as many rows as channels", {"x": (3, 3), "gamma": (3,)}),),
    "linear": (
        Edge("a single row, without other axes", {"x": (4,), "weight": (3, 4), "bias": (3,)}),
        Edge("one input, one output", {"x": (2, 1), "weight": (1, 1), "bias": (1,)}),
        Edge("square, without bias", {"x": (2, 3, 3), "weight": (3, 3), "bias": None}),
        Edge("long sums", {"x": (2, 192), "weight": (2, 192), "bias": (2,)}),
    ),
    "mean_pool": (
        Edge("the last token alone", {"x": (2, 4, 3)}, {"start": 3}),
        Edge("one token", {"x": (2, 1, 3)}, {"start": 0}),
        Edge("without the class token", {"x": (2, 5, 3)}, {"start": 1}),
    ),
    "merge_heads": (
        Edge("one head", {"x": (2, 1, 3, 4)}),
        Edge("as many heads as tokens and channels", {"x": (2, 3, 3, 3)}),
    ),
    "patch_projection": (
        Edge("patches of one pixel", {"x": (2, 3, 2), "weight": (4, 2, 1, 1), "bias": (4,)}),
        Edge("rows, columns and channels alike", {"x": (2, 2, 27), "weight": (4, 3, 3, 3), "bias": None}),
    ),
    "position_embedding": (Edge("one token", {"x": (3, 1, 2), "table": (1, 1, 2)}),),
    "resized_position_embedding": (
        Edge(
            "as many places, another grid",
            {"x": (2, 7, 2), "table": (1, 7, 2)},
            {"rows": Resampling(3, 2), "columns": Resampling(2, 3), "prefix": 1},
        ),
        Edge(
            "the same grid: nothing is resized",
            {"x": (2, 6, 2), "table": (1, 6, 2)},
            {
                "rows": [[1.0, 0.0], [0.0, 1.0]],
                "columns": [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]],
                "prefix": 0,
            },
        ),
    ),
    "scores": (
        Edge("one query and one key of one channel", {"q": (1, 1), "k": (1, 1)}),
        Edge("as many heads as queries, keys and channels", {"q": (2, 3, 3, 3), "k": (2, 3, 3, 3)}),
        Edge("more keys than queries", {"q": (2, 2, 3), "k": (2, 5, 3)}),
    ),
    "select_token": (
        Edge("the last token", {"x": (2, 4, 3)}, {"index": 3}),
        Edge("the only token", {"x": (2, 1, 3)}, {"index": 0}),
    ),
    "sigmoid_cross_entropy": (
        Edge("logits of 1024, right", {"x": CONFIDENT}, {"labels": [[1.0, 0.0, 0.5], [0.0, 1.0, 1.0]]}),
        Edge("logits of 1024, wrong", {"x": CONFIDENT}, {"labels": [[0.0, 1.0, 0.5], [1.0, 0.0, 0.0]]}),
        Edge("one class", {"x": (3, 1)}, {"labels": [0, 0, 0]}),
        Edge("no class is right", {"x": (2, 3)}, {"labels": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]}),
    ),
    "softmax": (
        Edge("one number: y is 1", {"x": (3, 1)}),
        Edge("equal numbers", {"x": [[2.5, 2.5, 2.5], [0.0, 0.0, 0.0]]}),
        Edge("numbers whose exponentials overflow", {"x": [[1024.0, 1023.0, -1024.0], [96.0, 95.0, -96.0]]}),
        Edge("numbers whose exponentials all vanish", {"x": [[-1024.0, -1023.0, -1025.0]]}),
        Edge("as many heads as queries and keys", {"x": (2, 3, 3, 3)}),
        Edge("a single row, without other axes", {"x": (4,)}),
    ),
    "split_heads": (
        Edge("one head", {"qkv": (2, 3, 12)}, {"heads": 1}),
        Edge("as many heads as tokens and channels", {"qkv": (2, 3, 27)}, {"heads": 3}),
        Edge("heads of one channel", {"qkv": (2, 2, 9)}, {"heads": 3}),
    ),
    "tanh": (Edge("zeros of both signs, and far tails", {"x": TAILS}),),
    "unfold": (
        Edge("pixels left over at the bottom and right", {"image": (2, 3, 8, 7)}, {"patch_size": (3, 2)}),
        Edge("one patch", {"image": (2, 3, 2, 3)}, {"patch_size": (2, 3)}),
        Edge("patches of one pixel", {"image": (2, 2, 2, 3)}, {"patch_size": (1, 1)}),
        Edge("rows, columns and channels alike", {"image": (3, 3, 9, 9)}, {"patch_size": (3, 3)}),
    ),
}
"""Component -> its boundary cases."""
