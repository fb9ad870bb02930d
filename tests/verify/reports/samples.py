"""Reports as comparisons give them, made by hand: a wrong softmax, honest rounding, the logits alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vitref.verify.verdicts import (
    Cause,
    Diagnosis,
    Element,
    Guilty,
    Picture,
    Report,
    TapVerdict,
)

STEM = ("image", "patch_embed.unfold", "patch_embed.proj", "cls_token", "pos_embed", "embed")
INSIDE = (
    *("norm1", "attn.qkv", "attn.q", "attn.k", "attn.v", "attn.scores", "attn.softmax", "attn.context"),
    *("attn.merge", "attn.proj", "attn", "add1", "norm2", "mlp.fc1", "mlp.act", "mlp.fc2", "mlp", "add2"),
)
HEAD = ("norm", "tokens", "pool", "pooled", "head_input", "head", "logits", "loss")
PARAMETERS = ("norm1.weight", "attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")

SOFTMAX = Cause(
    mistake="softmax_over_queries",
    what="the scores are normalised over the queries instead of the keys",
    places=("blocks.0.attn.softmax", "blocks.1.attn.softmax", "blocks.2.attn.softmax"),
    confidence="certain",
    residual=0.94,
    before=3.4e5,
    neighbours=("softmax_of_transposed_scores",),
    lines="-    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))\n+    e = xp.exp(x - xp.max(x, axis=-2))",
    evidence=("huggingface/candle#3613", "paiml/aprender#2196"),
    refute="The rows of blocks.0.attn.softmax sum to one: then it is not the cause.",
)
EPS = Cause(
    mistake="eps_other",
    what="LayerNorm adds another eps to the variance",
    places=(),
    confidence="likely",
    residual=1.2,
    before=24.0,
    value=1e-5,
    share=0.998,
    lines="The eps given to LayerNorm; torch's default is 1e-5.",
)


def verdict(
    tap: str, kind: str = "rounding", local: float = 0.8, end_to_end: float = 0.9, **more: Any
) -> TapVerdict:
    known = {
        "step": tap.partition(":")[0],
        "format": "float32",
        "threshold": 8.0,
        "threshold_end_to_end": 16.0,
    }
    known |= {"error": local * 2e-7, "noise": 2e-7, "shape": (1, 17, 48)}
    return TapVerdict(tap=tap, verdict=kind, local=local, end_to_end=end_to_end, **{**known, **more})


def forward(depth: int) -> list[str]:
    return [*STEM, *(f"blocks.{block}.{name}" for block in range(depth) for name in INSIDE), *HEAD]


def all_taps(depth: int) -> list[str]:
    """Those of a pass forward and back."""
    there = forward(depth)
    gradients = (f"blocks.{block}.{name}:grad" for block in range(depth) for name in PARAMETERS)
    return [
        *there,
        *(f"{tap}:dy" for tap in reversed(there)),
        "cls_token:grad",
        *gradients,
        "head.weight:grad",
    ]


def wrong_softmax(depth: int = 3, diagnosis: bool = True) -> Report:
    """Every softmax is wrong; what follows inherits it."""
    return Report(
        outcome="differ",
        precision="float32",
        taps=tuple(_wrong_taps(depth)),
        guilty=tuple(
            Guilty(
                step=(step := f"blocks.{block}.attn.softmax"),
                span=(step,),
                passes="forward",
                taps=(step,),
                ratio=3.4e5 / (block + 1),
            )
            for block in range(depth)
        ),
        diagnosis=_diagnosis(SOFTMAX) if diagnosis else None,
        missing=("blocks.0.drop_path1", "blocks.1.drop_path1"),
        pictures=(attention(),),
        about={
            "reference": "trace.safetensors",
            "candidate": "port[1].safetensors",
            "images": 1,
            "seconds": 3.21,
            "rule": {"runs": 3, "threshold": {"float32": 8}, "limit": float("inf")},
        },
    )


def _wrong_taps(depth: int) -> Iterator[TapVerdict]:
    random = np.random.default_rng(0)
    wrong = False
    for tap in all_taps(depth):
        local, noisy = float(random.lognormal(-0.2, 0.5)), float(random.lognormal(0, 0.3))
        if tap.endswith(".softmax"):
            wrong = True
            ratio = 3.4e5 / (int(tap.split(".")[1]) + 1)
            yield verdict(tap, "bug", ratio, ratio, token=(0, 5), worst=_worst(), shape=(1, 3, 17, 17))
        elif tap in ("image", "cls_token"):
            yield verdict(tap, "exact", 0.0, 0.0)
        else:
            yield verdict(tap, "inherited" if wrong else "rounding", local, 4e4 * noisy if wrong else noisy)


def _worst() -> tuple[Element, ...]:
    return tuple(
        Element((0, 1, query, 3), 0.75 - query / 10, 1 / 3, 4.2e5 / (query + 1)) for query in range(3)
    )


def _diagnosis(*causes: Cause, unexplained: tuple[str, ...] = ()) -> Diagnosis:
    return Diagnosis(
        causes=causes,
        unexplained=unexplained,
        ranked={"softmax_over_queries": 0.94, "causal_mask": 4.1e3, "scale_missing": 2.2e5},
        undecided=("eps_outside_root",),
        tried=163,
        seconds=4.2,
    )


def attention() -> Picture:
    scores = np.random.default_rng(1).normal(size=(17, 17)) * 2
    scores[:, 0] += 2
    weights = np.exp(scores)
    return Picture(
        "blocks.0.attn.softmax, image 0, head 1",
        weights / weights.sum(0),
        weights / weights.sum(1, keepdims=True),
    )


def honest(kind: str = "rounding") -> Report:
    """All taps within rounding."""
    taps = tuple(verdict(tap, kind, 0.0 if kind == "exact" else 0.9) for tap in forward(2))
    return Report(
        "agree", "float32", (*taps[:-1], verdict("loss", kind, 0.0 if kind == "exact" else 2.31)), ()
    )


def lower_precision() -> Report:
    """One step accumulates in bfloat16."""
    low = verdict("blocks.0.mlp.fc1", "lower precision", 900.0, why="bfloat16 products")
    return Report("agree in lower precision", "float32", (verdict("embed"), low, verdict("logits")), ())


def systematic() -> Report:
    """Below the noise, yet all of a known mistake."""
    taps = (verdict("embed"), verdict("blocks.0.norm1", "systematic", 2.0, why="eps 1e-5"), verdict("logits"))
    return Report("differ", "bfloat16", taps, (), diagnosis=_diagnosis(EPS))


def only_logits(*causes: Cause) -> Report:
    """No step can be told from another: a span, and perhaps its causes."""
    span = tuple(forward(1)[:-1])
    tap = verdict("logits", "bug", 1.3e7, 1.3e7, span=span, shape=(1, 1000))
    guilty = Guilty("logits", span, "both", ("logits",), 1.3e7)
    return Report(
        "differ", "float32", (tap,), (guilty,), diagnosis=_diagnosis(*causes, unexplained=("logits",))
    )
