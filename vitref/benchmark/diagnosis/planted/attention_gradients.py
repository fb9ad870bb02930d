"""Planted in the backward pass of attention: softmax, scores, values, heads."""

import math
from typing import Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.library import torch
from vitref.benchmark.diagnosis.planted.backward import L, backward, bug, only

SOFTMAX, CORE = f"{L}.attn.softmax", f"{L}.attn.scores"


def softmax_dx(function: Any) -> Any:
    def dx(dy: Any, right: Any, s: Any) -> Any:
        return function(pieces.widen(dy), pieces.over(pieces.widen(s), -1))

    return only(0, dx)


BUGS = (
    bug(
        "softmax_sum",
        "leaves the sum out of the softmax's dx",
        f"{CORE}:dy",
        SOFTMAX,
        backward("softmax", softmax_dx(lambda dy, p: p * dy)),
    ),
    bug(
        "softmax_diagonal",
        "takes p (1 - p) for the softmax's derivative",
        f"{CORE}:dy",
        SOFTMAX,
        backward("softmax", softmax_dx(lambda dy, p: p * (1 - p) * dy)),
    ),
    bug(
        "softmax_stops",
        "passes nothing back through the softmax",
        f"{CORE}:dy",
        SOFTMAX,
        backward("softmax", softmax_dx(lambda dy, p: 0 * dy)),
    ),
    bug(
        "softmax_sum_of_queries",
        "sums over the queries in the softmax's dx in block 1",
        "blocks.1.attn.scores:dy",
        "blocks.1.attn.softmax",
        backward(
            "softmax", softmax_dx(lambda dy, p: p * (dy - (p * dy).sum(-2, keepdim=True))), at="blocks.1.*"
        ),
    ),
    bug(
        "scale_of_dq",
        "does not scale dq",
        f"{L}.attn.q:dy",
        CORE,
        backward("scores", only(0, lambda dy, right, q, k: right * math.sqrt(q.shape[-1]))),
    ),
    bug(
        "scale_of_dk",
        "does not scale dk",
        f"{L}.attn.k:dy",
        CORE,
        backward("scores", only(1, lambda dy, right, q, k: right * math.sqrt(q.shape[-1]))),
    ),
    bug(
        "scale_of_both",
        "scales neither dq nor dk",
        f"{L}.attn.q:dy",
        CORE,
        backward("scores", lambda dy, g, q, k: tuple(x * math.sqrt(q.shape[-1]) for x in g)),
    ),
    bug(
        "scores_turned",
        "does not transpose the scores' cotangent in dk",
        f"{L}.attn.k:dy",
        CORE,
        backward("scores", only(1, lambda dy, right, q, k: dy @ q / math.sqrt(q.shape[-1]))),
    ),
    bug(
        "dq_and_dk",
        "exchanges dq and dk in block 1",
        "blocks.1.attn.q:dy",
        "blocks.1.attn.scores",
        backward("scores", lambda dy, g, q, k: (g[1], g[0]), at="blocks.1.*"),
    ),
    bug(
        "queries_stop",
        "passes nothing back to the queries",
        f"{L}.attn.q:dy",
        CORE,
        backward("scores", only(0, lambda dy, right, q, k: 0 * right)),
    ),
    bug(
        "keys_stop",
        "passes nothing back to the keys",
        f"{L}.attn.k:dy",
        CORE,
        backward("scores", only(1, lambda dy, right, q, k: 0 * right)),
    ),
    bug(
        "one_head_stops",
        "passes nothing back to the queries of head 1 in block 1",
        "blocks.1.attn.q:dy",
        "blocks.1.attn.scores",
        backward(
            "scores",
            only(0, lambda dy, right, q, k: right * (torch.arange(right.shape[1]) != 1).reshape(-1, 1, 1)),
            at="blocks.1.*",
        ),
    ),
    bug(
        "values_of_p",
        "does not transpose the probabilities in dv",
        f"{L}.attn.v:dy",
        f"{L}.attn.context",
        backward("context", only(1, lambda dy, right, p, v: p @ dy)),
    ),
    bug(
        "values_stop",
        "passes nothing back to the values",
        f"{L}.attn.v:dy",
        f"{L}.attn.context",
        backward("context", only(1, lambda dy, right, p, v: 0 * right)),
    ),
    bug(
        "merge_by_view",
        "splits the merged heads' cotangent without moving the axis",
        f"{L}.attn.context:dy",
        f"{L}.attn.merge",
        backward("merge", only(0, lambda dy, right, y: dy.reshape(y.shape))),
    ),
)
