"""All planted bugs, pairs of them, and which of them the verdict was tuned on."""

import zlib

from vitref.benchmark.diagnosis.bug import Bug
from vitref.benchmark.diagnosis.planted import (
    attention,
    attention_gradients,
    embedding,
    flow_gradients,
    head,
    layer_gradients,
    loading,
    mlp,
    normalisation,
    pixels,
    precision,
    wiring,
)

FAMILIES = (
    pixels,
    loading,
    embedding,
    normalisation,
    attention,
    mlp,
    wiring,
    head,
    attention_gradients,
    layer_gradients,
    flow_gradients,
    precision,
)

BUGS: dict[str, Bug] = {bug.name: bug for family in FAMILIES for bug in family.BUGS}
"""Name -> bug."""

PAIRS = (
    ("eps_2e-4", "tanh_form"),
    ("opencv_colours", "scale_of_all_heads"),
    ("class_token_unplaced", "tanh_form"),
    ("bessel_everywhere", "sigmoid_1702"),
    ("patches_column_after_column", "projection_untransposed"),
    ("query_bias_dropped", "last_norm_missing"),
    ("eps_1e-5", "softmax_by_column"),
    ("kernel_turned", "head_bias_dropped"),
    ("activation_forgotten", "view_by_head"),
    ("class_token_behind", "tanh_form"),
    ("mlp_without_residual", "scale_forgotten"),
    ("norms_mixed_up", "sigmoid_1702_in_one"),
    ("positions_from_row_0", "tanh_form_in_one"),
    ("triangle_filter", "attention_bias_dropped"),
    ("class_token_pooled", "erf_form"),
    ("norm_mean_of_g", "slope_of_tanh_form"),
    ("bias_averaged", "loss_undivided"),
)
"""Bugs that are planted together: of one small model and of different pieces."""


def is_tuning(name: str) -> bool:
    """Whether the constants of the verdict may be chosen by looking at this candidate.

    A checksum of the name decides, so that nobody does. The other half is held out.
    """
    return zlib.crc32(name.encode()) % 2 == 0
