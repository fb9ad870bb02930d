"""Planted in attention: the scale, the softmax, the heads, what meets what."""

import math
from typing import TYPE_CHECKING, Any

from vitref.benchmark.diagnosis import pieces
from vitref.benchmark.diagnosis.bug import Bug, Change
from vitref.benchmark.diagnosis.library import torch

if TYPE_CHECKING:
    from vitref.benchmark.diagnosis.program import Pass

SCORES, SOFTMAX, CONTEXT = (f"blocks.0.attn.{name}" for name in ("scores", "softmax", "context"))


def scaled(factor: Any) -> Any:
    """Scores times `factor(config)`."""
    return lambda m, at, q, k: q @ k.mT * factor(m.config)


def normalised(function: Any) -> Any:
    """`function(scores)` in place of the softmax."""
    return lambda m, at, s: function(pieces.widen(s)).to(s.dtype)


def masked(hidden: Any) -> Any:
    """Softmax where `hidden(queries, keys)` is not."""

    def softmax(m: "Pass", at: str, s: Any) -> Any:
        queries, keys = torch.meshgrid(*(torch.arange(n) for n in s.shape[-2:]), indexing="ij")
        return pieces.softmax(m, at, s.masked_fill(hidden(queries, keys), -math.inf))

    return softmax


def leaky(m: "Pass", at: str, s: Any) -> Any:
    """The last key hidden by a mask of minus two in place of minus infinity."""
    penalty = torch.zeros(s.shape[-1], dtype=s.dtype)
    penalty[-1] = -2
    return pieces.softmax(m, at, s + penalty)


def temperature(s: Any) -> Any:
    heads = torch.arange(s.shape[1], dtype=s.dtype).reshape(-1, 1, 1)
    return pieces.over(s / (1 + 0.15 * heads), -1)


def with_one(s: Any) -> Any:
    """One is added to the sum of exponentials."""
    top = s.amax(-1, keepdim=True).clamp(min=0)
    e = torch.exp(s - top)
    return e / (e.sum(-1, keepdim=True) + torch.exp(-top))


def one_head_silent(m: "Pass", at: str, p: Any, v: Any) -> Any:
    keep = torch.ones(v.shape[1], 1, 1, dtype=v.dtype)
    keep[1] = 0
    return p @ v * keep


def viewed(m: "Pass", qkv: Any, order: str) -> Any:
    """q, k, v when the last axis of qkv is read in this order of 3, head, d: "hds", say."""
    sizes = {"s": 3, "h": m.config.heads, "d": m.config.head_dim}
    parts = qkv.unflatten(-1, [sizes[letter] for letter in order])
    return parts.permute([2 + order.index("s"), 0, 2 + order.index("h"), 1, 2 + order.index("d")]).unbind(0)


def read_as(order: str) -> Any:
    return lambda m, at, qkv: viewed(m, qkv, order)


def arranged(order: str) -> Any:
    """q, k, v in another order."""

    def split(m: "Pass", at: str, qkv: Any) -> Any:
        parts = dict(zip("qkv", pieces.split(m, at, qkv), strict=True))
        return [parts[letter] for letter in order]

    return split


def split_by_view(m: "Pass", at: str, qkv: Any) -> Any:
    """(N, T, D) taken for (N, heads, T, d) in memory."""
    n, t, _ = qkv.shape
    return [part.reshape(n, m.config.heads, t, -1) for part in qkv.chunk(3, -1)]


def merged_by_view(m: "Pass", at: str, y: Any) -> Any:
    return y.reshape(y.shape[0], y.shape[2], -1)


def merged_heads_last(m: "Pass", at: str, y: Any) -> Any:
    """Channels before heads."""
    return y.permute(0, 2, 3, 1).flatten(2)


def across_images(m: "Pass", at: str, q: Any, k: Any, v: Any) -> Any:
    """Tokens of one place attend to each other over the batch, as a layer that wants (T, N, D) does."""
    q, k, v = (x.transpose(0, 2) for x in (q, k, v))
    p = pieces.softmax(m, at, pieces.scores(m, at, q, k))
    return m.keep((p @ v).transpose(0, 2), f"{at}.context")


def bug(name: str, what: str, first: str, piece: str, wrong: Any, *, at: str = "*") -> Bug:
    return Bug(name=name, what=what, first=first, changes=(Change(piece, wrong, at),))


ROOT2 = math.sqrt(2)
Q = "blocks.0.attn.q"

BUGS = (
    bug(
        "scale_of_2d", "scales by (2 d)^-0.5", SCORES, "scores", scaled(lambda c: (2 * c.head_dim) ** (-0.5))
    ),
    bug(
        "scale_root_2_in_one",
        "scales by (d / 2)^-0.5 in block 2",
        "blocks.2.attn.scores",
        "scores",
        scaled(lambda c: (c.head_dim / 2) ** (-0.5)),
        at="blocks.2.*",
    ),
    bug("scale_of_all_heads", "scales by D^-0.5", SCORES, "scores", scaled(lambda c: c.width ** (-0.5))),
    bug("scale_of_head_count", "scales by heads^-0.5", SCORES, "scores", scaled(lambda c: c.heads ** (-0.5))),
    bug("scale_forgotten", "does not scale", SCORES, "scores", scaled(lambda c: 1.0)),
    bug("scale_divided_by", "divides by d^-0.5", SCORES, "scores", scaled(lambda c: c.head_dim**0.5)),
    bug(
        "scale_on_both",
        "scales queries by d^-0.5 and scores again",
        SCORES,
        "scores",
        scaled(lambda c: 1.0 / c.head_dim),
    ),
    bug(
        "softmax_by_column",
        "normalises over the queries",
        SOFTMAX,
        "softmax",
        normalised(lambda s: pieces.over(s, -2)),
    ),
    bug(
        "softmax_by_column_in_one",
        "normalises over the queries in block 1",
        "blocks.1.attn.softmax",
        "softmax",
        normalised(lambda s: pieces.over(s, -2)),
        at="blocks.1.*",
    ),
    bug(
        "softmax_by_head",
        "normalises over the heads",
        SOFTMAX,
        "softmax",
        normalised(lambda s: pieces.over(s, 1)),
    ),
    bug(
        "softmax_by_head_and_key",
        "normalises over heads and keys together",
        SOFTMAX,
        "softmax",
        normalised(lambda s: pieces.over(s, 1, 3)),
    ),
    bug("softmax_forgotten", "uses the scores as they are", SOFTMAX, "softmax", normalised(lambda s: s)),
    bug(
        "softmax_of_base_2",
        "raises 2 to the scores",
        SOFTMAX,
        "softmax",
        normalised(lambda s: pieces.over(s * math.log(2), -1)),
    ),
    bug("softmax_with_one", "adds one to the sum of exponentials", SOFTMAX, "softmax", normalised(with_one)),
    bug(
        "sigmoid_for_softmax",
        "uses the sigmoid of every score, over the number of keys",
        SOFTMAX,
        "softmax",
        normalised(lambda s: torch.sigmoid(s) * (2 / s.shape[-1])),
    ),
    bug(
        "temperature_by_head", "has a temperature for every head", SOFTMAX, "softmax", normalised(temperature)
    ),
    bug(
        "causal",
        "lets tokens attend to those before them alone",
        SOFTMAX,
        "softmax",
        masked(lambda i, j: j > i),
    ),
    bug(
        "blind_to_last_key", "leaves the last key out", SOFTMAX, "softmax", masked(lambda i, j: j == j.max())
    ),
    bug("leaky_mask", "adds minus two to the score of the last key", SOFTMAX, "softmax", leaky),
    bug("blind_to_itself", "lets no token attend to itself", SOFTMAX, "softmax", masked(lambda i, j: i == j)),
    bug(
        "blind_to_class_token",
        "lets no token attend to the class token",
        SOFTMAX,
        "softmax",
        masked(lambda i, j: j == 0),
    ),
    bug(
        "scores_capped",
        "caps scores at 3 by a tanh",
        SCORES,
        "scores",
        lambda m, at, q, k: 3 * torch.tanh(pieces.scores(m, at, q, k) / 3),
    ),
    bug(
        "cosine_attention",
        "takes the cosine of queries and keys",
        SCORES,
        "scores",
        lambda m, at, q, k: pieces.scores(
            m, at, *(torch.nn.functional.normalize(x, dim=-1) * math.sqrt(x.shape[-1]) for x in (q, k))
        ),
    ),
    bug("heads_by_view", "splits heads without moving the axis", Q, "split", split_by_view),
    bug(
        "merged_by_view",
        "merges heads without moving the axis",
        "blocks.0.attn.merge",
        "merge",
        merged_by_view,
    ),
    bug(
        "merged_heads_last",
        "merges heads with the head as last index",
        "blocks.0.attn.merge",
        "merge",
        merged_heads_last,
    ),
    bug("view_by_head", "reads q, k, v of every head side by side", Q, "split", read_as("hsd")),
    bug("view_heads_last", "reads the head as the last index", Q, "split", read_as("sdh")),
    bug("view_thirds_last", "reads q, k, v as the last index", Q, "split", read_as("hds")),
    bug("k_q_v", "takes keys for queries and queries for keys", Q, "split", arranged("kqv")),
    bug("q_v_k", "takes values for keys and keys for values", "blocks.0.attn.k", "split", arranged("qvk")),
    bug(
        "k_for_v",
        "uses the keys as values, too",
        CONTEXT,
        "core",
        lambda m, at, q, k, v: _core(m, at, q, k, k),
    ),
    bug(
        "q_for_k",
        "uses the queries as keys, too",
        SCORES,
        "core",
        lambda m, at, q, k, v: _core(m, at, q, q, v),
    ),
    bug("attends_over_the_batch", "attends over the images of a batch", CONTEXT, "core", across_images),
    bug("one_head_silent", "leaves head 1 at zero", CONTEXT, "context", one_head_silent),
    bug(
        "values_rolled",
        "takes the values of the next token",
        CONTEXT,
        "context",
        lambda m, at, p, v: p @ v.roll(-1, 2),
    ),
    bug(
        "attention_transposed",
        "multiplies by the transposed probabilities",
        CONTEXT,
        "context",
        lambda m, at, p, v: p.mT @ v,
    ),
)


def _core(m: "Pass", at: str, q: Any, k: Any, v: Any) -> Any:
    s = m.step("scores", f"{at}.scores", q, k)
    return m.step("context", f"{at}.context", m.step("softmax", f"{at}.softmax", s), v)
