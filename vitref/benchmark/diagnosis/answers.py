"""What the diagnosis should say of each planted bug: names in the catalogue of `vitref.verify.mistakes`.

Which mistakes give the same numbers as a planted bug was measured in float64: each was planted in the same
model, and those listed here agree with the bug in everything that a candidate of the level shows, or do so
with the right constant or in the right blocks. A bug that is not listed is like no mistake that is known:
"none of the known causes" is right, with the guilty step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Right:
    """names    right wherever the bug can be seen
    alike    level -> names that are right as well where no more than that is shown
    because  why they cannot be told apart
    """

    names: tuple[str, ...] = ()
    alike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    because: str = ""


def outputs(*names: str) -> dict[str, tuple[str, ...]]:
    """The same in the blocks' outputs and in the logits."""
    return {"blocks": names, "logits": names}


def also(*names: str) -> dict[str, tuple[str, ...]]:
    """The same in everything."""
    return dict.fromkeys(("taps", "blocks", "logits", "cotangents", "gradients"), names)


def one(*names: str) -> Right:
    return Right(names)


PERMUTED = "the set of patches, each with its position, is the same, and attention does not ask for order"
IN_OUTPUT = "the rows of a weight in another order are the numbers of its output in that order"
FACTOR = "a known constant and the same one as a free constant"
KERNEL = "pixels in another order under the right kernel, or the kernel in the reverse of that order"
SOFTMAX_FACTOR = "a factor of the scores behind the product or within the softmax"
KEY_BIAS = "the bias of the keys adds one number to all scores of a query, which the softmax removes"

PIXELS = {
    "clip_statistics": one("clip_statistics"),
    "pixels_by_128": one("rescaled_by_256"),
    "pixels_from_0_to_1": one("not_normalised"),
    "pixels_by_255_twice": one("rescaled_twice"),
    "pixels_not_rescaled": one("not_rescaled"),
    "std_forgotten": Right(("not_divided_by_std",), also("pixels_by_a_factor"), FACTOR),
    "opencv_colours": Right(
        ("bgr", "channels_reversed"), outputs("kernel_bgr"), f"mean and std are those of grey; {KERNEL}"
    ),
    "triangle_filter": one("bilinear_for_bicubic"),
    "lanczos_filter": one("lanczos_for_bicubic"),
    "nearest_filter": one("nearest_for_bicubic"),
    "tensor_without_antialias": one("picture_without_antialias"),
    "tensor_with_antialias": one("picture_resized_in_float"),
    "squeezed": one("squashed"),
    "mirrored": one("mirrored"),
    "transposed": one("picture_transposed"),
}

LOADING = {
    "kernel_of_flax": one("kernel_hwio"),
    "kernel_rows_before_channels": Right(
        ("kernel_channels_last",), outputs("pixels_viewed_channels_first"), KERNEL
    ),
    "kernel_turned": Right(("kernel_transposed",), outputs("patches_transposed"), KERNEL),
    "kernel_of_opencv": Right(("kernel_bgr",), outputs("bgr", "channels_reversed"), KERNEL),
    "patch_bias_dropped": one("patch_bias_missing"),
    "rows_by_head": Right(
        ("qkv_rows_interleaved", "qkv_rows_grouped_by_head"),
        outputs("qkv_interleaved_per_head", "qkv_read_in_groups"),
        f"with three heads the order is its own reverse; {IN_OUTPUT}",
    ),
    "rows_heads_last": Right(("qkv_rows_heads_innermost",), outputs("heads_innermost"), IN_OUTPUT),
    "rows_q_v_exchanged": Right(
        ("queries_and_values_exchanged",), outputs("queries_and_values_swapped"), IN_OUTPUT
    ),
    "rows_k_v_exchanged": Right(
        ("keys_and_values_exchanged",), outputs("keys_and_values_swapped"), IN_OUTPUT
    ),
    "rows_k_v_q": Right(("qkv_filled_kvq",), outputs("qkv_read_kvq"), IN_OUTPUT),
    "projection_without_bias": Right(
        ("qkv_bias_missing", "qkv_bias_ignored"), outputs("query_and_value_bias_missing"), KEY_BIAS
    ),
    "query_bias_dropped": one("query_bias_missing"),
    "key_bias_dropped": one("key_bias_missing"),
    "value_bias_dropped": one("value_bias_missing"),
    "attention_bias_dropped": one("proj_bias_missing"),
    "hidden_bias_dropped_in_one": one("fc1_bias_missing"),
    "mlp_bias_dropped": one("fc2_bias_missing"),
    "head_bias_dropped": one("head_bias_missing"),
    "projection_untransposed": one("square_weights_transposed", "proj_transposed"),
    "projection_untransposed_in_one": one("square_weights_transposed", "proj_transposed"),
    "norms_mixed_up": one("norms_exchanged"),
    "norm1_for_both": one("norm1_for_both"),
    "norm_shift_dropped": one("norm_biases_missing"),
    "block_order_rotated": one("blocks_one_late"),
    "block_order_of_text": one("blocks_sorted_as_text"),
    "weights_of_half_precision": one("weights_in_float16"),
    "weights_of_bfloat16": one("weights_in_bfloat16"),
    "head_zero": one("zero_head"),
    "head_rows_off_by_one": one("head_rows_shifted"),
    "class_token_untrained": one("class_token_missing"),
    "positions_missing": one("positions_missing"),
    "positions_weakened": one("positions_by_a_factor"),
    "gamma_dropped": one("layer_scale_dropped", "layer_scale_skipped"),
    "gamma_squared": one("layer_scale_twice"),
}

EMBEDDING = {
    "patches_column_after_column": Right(
        ("patches_by_columns",), {"logits": ("positions_by_columns",)}, PERMUTED
    ),
    "patches_serpentine": Right(("patches_serpentine",), {"logits": ("positions_serpentine",)}, PERMUTED),
    "patches_from_the_end": Right(("patches_backwards",), {"logits": ("positions_backwards",)}, PERMUTED),
    "pixels_before_channels": Right(("pixels_channels_last",), outputs("kernel_channels_first"), KERNEL),
    "patches_turned": Right(("patches_transposed",), outputs("kernel_transposed"), KERNEL),
    "class_token_behind": one("class_token_last"),
    "class_token_behind_and_read": Right(
        (), {"logits": ("positions_one_late",)}, f"the class token has the last position in both; {PERMUTED}"
    ),
    "positions_from_row_0": one("positions_one_late"),
    "class_token_unplaced": one("class_token_without_position"),
    "class_token_placed_twice": one("class_position_twice"),
    "positions_column_after_column": Right(
        ("positions_by_columns",), {"logits": ("patches_by_columns",)}, PERMUTED
    ),
    "positions_twice": Right(("positions_twice",), also("positions_by_a_factor"), FACTOR),
    "table_bilinear": one("resize_bilinear", "resize_bilinear_antialias"),
    "table_aligned": one("resize_align_corners"),
    "table_antialiased": one("resize_with_antialias"),
    "table_by_factor": one("resize_by_factor"),
    "table_not_antialiased": one("resize_bilinear"),
    "table_cut": one("positions_cut"),
    "table_as_it_is": one("positions_resized_by_count", "positions_cut"),
}

NORMALISATION = {
    "eps_3e-6": one("eps"),
    "eps_2e-4": one("eps"),
    "eps_5e-3_in_one": one("eps"),
    "eps_1e-5": Right(("eps_1e-5",), also("eps"), FACTOR),
    "eps_0": Right(("eps_1e-12",), also("eps", "eps_1e-7"), "both are far below every variance there is"),
    "eps_4e-3_beside_root": one("eps_outside_the_root"),
    "bessel_everywhere": one("bessel"),
    "bessel_in_one": one("bessel"),
    "statistics_of_all_tokens": one("joint_statistics"),
    "statistics_over_tokens_in_one": one("statistics_over_tokens"),
    "root_mean_square": one("rms_norm"),
    "variance_for_deviation": one("variance_for_deviation"),
    "gain_one_plus": one("norm_weight_plus_one"),
    "gain_forgotten": one("norm_weights_missing"),
    "gain_and_shift_forgotten": one("norms_left_untrained"),
    "shift_before_gain": one("norm_bias_inside"),
    "last_norm_missing": one("final_norm_missing"),
    "last_norm_twice": one("final_norm_twice"),
    "last_norm_after_pooling": one("norm_after_pooling"),
}


def scale(*names: str) -> Right:
    """Of the scores: a known one, or a factor."""
    return Right(
        (*names, "scores_by_a_factor"), outputs("softmax_temperature"), f"{FACTOR}; {SOFTMAX_FACTOR}"
    )


SWAPPED = "the rows of the weight in that order give the same q, k and v"

ATTENTION = {
    "scale_of_2d": scale(),
    "scale_root_2_in_one": scale(),
    "scale_of_all_heads": scale("scale_of_width"),
    "scale_of_head_count": scale("scale_of_heads"),
    "scale_forgotten": scale("scale_missing"),
    "scale_divided_by": scale("scale_inverted"),
    "scale_on_both": scale("scale_twice"),
    "softmax_by_column": one("softmax_over_queries"),
    "softmax_by_column_in_one": one("softmax_over_queries"),
    "softmax_by_head_and_key": one("softmax_over_heads"),
    "softmax_forgotten": one("softmax_missing"),
    "softmax_of_base_2": Right(
        ("softmax_base_2", "softmax_temperature"), outputs("scores_by_a_factor"), SOFTMAX_FACTOR
    ),
    "softmax_with_one": one("softmax_plus_one"),
    "causal": Right(
        ("causal_mask",),
        {"logits": ("attention_over_the_batch",)},
        "the class token sees class tokens alone, which are the same in all images",
    ),
    "blind_to_itself": one("token_not_its_own_key"),
    "blind_to_class_token": one("class_token_not_a_key"),
    "heads_by_view": one("heads_split_without_permutation"),
    "merged_by_view": one("heads_merged_without_permutation"),
    "merged_heads_last": Right(
        ("heads_merged_innermost",),
        outputs("proj_columns_heads_innermost"),
        "the columns of the weight behind",
    ),
    "view_by_head": Right(
        ("qkv_interleaved_per_head", "qkv_read_in_groups"),
        outputs("qkv_rows_interleaved", "qkv_rows_grouped_by_head"),
        f"with three heads the order is its own reverse; {SWAPPED}",
    ),
    "view_heads_last": Right(("heads_innermost",), outputs("qkv_rows_heads_innermost"), SWAPPED),
    "k_q_v": Right(("queries_and_keys_swapped",), outputs("queries_and_keys_exchanged"), SWAPPED),
    "q_v_k": Right(("keys_and_values_swapped",), outputs("keys_and_values_exchanged"), SWAPPED),
    "k_for_v": one("keys_for_values"),
    "q_for_k": one("queries_for_keys"),
    "attends_over_the_batch": Right(
        ("attention_over_the_batch",),
        {"logits": ("causal_mask",)},
        "the class token sees class tokens alone, which are the same in all images",
    ),
    "attention_transposed": one("weights_transposed"),
}

MLP = {
    "tanh_form": one("gelu_tanh_for_erf"),
    "tanh_form_in_one": one("gelu_tanh_for_erf"),
    "erf_form": one("gelu_erf_for_tanh"),
    "sigmoid_1702": Right(("quick_gelu",), also("sigmoid_gelu"), FACTOR),
    "sigmoid_1702_in_one": Right(("quick_gelu",), also("sigmoid_gelu"), FACTOR),
    "sigmoid_155": one("sigmoid_gelu"),
    "sigmoid_1": Right(("silu",), also("sigmoid_gelu"), FACTOR),
    "tanh_without_cube": Right(
        ("gelu_without_cubic",), also("sigmoid_gelu", "gelu_cubic"), "it is x sigmoid(1.596 x)"
    ),
    "rectified": one("relu"),
    "activation_forgotten": one("activation_missing"),
    "activation_not_halved": Right(("gelu_not_halved",), also("activation_by_a_factor"), FACTOR),
    "hard_sigmoid": one("hard_swish"),
}

WIRING = {
    "residual_behind_norm": one("residuals_after_norms"),
    "residual_behind_norm_in_one": one("residuals_after_norms"),
    "post_norm": one("post_norm"),
    "parallel_branches": one("parallel_branches"),
    "mlp_first": one("mlp_before_attention"),
    "residual_of_input": one("mlp_beside_block_input"),
    "attention_without_residual": one("no_residual_beside_attention"),
    "mlp_without_residual": one("no_residual_beside_mlp"),
    "mlp_without_residual_in_one": one("no_residual_beside_mlp"),
    "residual_twice": one("residual_doubled"),
    "branch_forgotten": one("mlp_branch_missing"),
    "branches_subtracted": one("branches_subtracted"),
    "branch_weakened": one("branches_by_a_factor"),
    "scale_behind_sum": one("layer_scale_after_residual"),
    "scale_of_mlp_forgotten": one("layer_scale_beside_attention_only"),
}

HEAD = {
    "mean_of_patches": one("mean_for_class_token"),
    "mean_of_all": one("mean_of_all_for_class_token"),
    "second_token": one("first_patch_for_class_token"),
    "last_token": one("last_patch_for_class_token"),
    "class_token_pooled": one("mean_with_class_token"),
    "class_token_for_the_mean": one("class_token_for_mean"),
    "sum_of_patches": one("sum_for_mean"),
    "divided_by_all": one("mean_over_all_places"),
    "largest": one("maximum_for_mean"),
    "class_token_left_out": one("mean_without_class_token"),
    "dense_without_tanh": one("pre_logits_without_tanh"),
    "probabilities": one("logits_softmaxed"),
    "logits_cooled": one("logits_by_a_factor"),
    "loss_added_up": Right(
        ("loss_summed", "loss_by_a_factor"),
        {"gradients": ("loss_gradient_summed", "gradients_by_a_factor")},
        "all gradients are those of the mean times the number of images",
    ),
    "loss_smoothed": one("labels_smoothed"),
}

BACKWARD = {
    "norm_mean_of_g": one("mean_of_g_missing"),
    "norm_mean_of_gy": one("mean_of_g_xhat_missing"),
    "norm_gain_in_one": one("weight_missing_in_dx"),
    "norm_by_d_minus_1": one("norm_means_over_fewer"),
    "norm_stops": one("norm_without_gradient"),
    "norm_of_one_image": one("norm_gradients_of_one_image"),
    "softmax_sum": one("softmax_sum_missing_in_dx"),
    "softmax_diagonal": one("softmax_diagonal_in_dx"),
    "softmax_stops": one("softmax_without_gradient"),
    "softmax_sum_of_queries": one("softmax_sum_over_queries_in_dx"),
    "scale_of_dq": one("scale_missing_in_dq"),
    "scale_of_dk": one("scale_missing_in_dk"),
    "scale_of_both": one("scale_missing_in_dq_and_dk"),
    "scores_turned": one("ds_not_transposed_in_dk"),
    "dq_and_dk": one("dq_and_dk_exchanged"),
    "queries_stop": one("queries_without_gradient"),
    "keys_stop": one("keys_without_gradient"),
    "values_of_p": one("p_not_transposed_in_dv"),
    "values_stop": one("values_without_gradient"),
    "merge_by_view": one("heads_not_unmerged"),
    "slope_first_term": one("gelu_slope_missing"),
    "slope_of_tanh_form": one("gelu_other_slope"),
    "slope_of_sigmoid_form": one("gelu_slope_of_quick_gelu"),
    "slope_of_rectifier": one("gelu_slope_of_relu"),
    "bias_averaged": one("dbias_averaged"),
    "weight_of_one_image": one("dweight_of_one_image"),
    "weight_untransposed": one("weight_transposed_in_dx"),
    "weight_gradient_twice": one("dweight_twice"),
    "residual_stops_at_mlp": one("residual_without_gradient_beside_mlp"),
    "residual_stops_at_attention": one("residual_without_gradient_beside_attention"),
    "residual_passes_twice": one("residual_gradient_twice_beside_mlp"),
    "sums_average": one("cotangent_halved_at_sums"),
    "positions_averaged": one("position_gradient_averaged"),
    "kernel_gradient_of_pixels_first": one("kernel_gradient_channels_last"),
    "image_gradient_turned": one("image_gradient_by_columns"),
    "pooling_to_all": one("token_gradient_everywhere"),
    "pooling_undivided": one("mean_gradient_not_divided"),
    "tanh_unsquared": one("tanh_slope_wrong"),
    "loss_undivided": Right(
        ("loss_gradient_summed",),
        {"cotangents": ("gradients_by_a_factor",), "gradients": ("gradients_by_a_factor", "loss_summed")},
        FACTOR,
    ),
    "loss_divided_twice": Right(("loss_gradient_averaged_twice",), also("gradients_by_a_factor"), FACTOR),
    "loss_without_label": one("loss_gradient_without_labels"),
}

ANSWERS: dict[str, Right] = {
    **PIXELS,
    **LOADING,
    **EMBEDDING,
    **NORMALISATION,
    **ATTENTION,
    **MLP,
    **WIRING,
    **HEAD,
    **BACKWARD,
}
"""Name of the bug -> what is right to say."""


def right_names(bug: str, level: str) -> frozenset[str]:
    """The names that are right of this bug where a candidate of this level shows it; none where none is."""
    right = ANSWERS.get(bug, Right())
    return frozenset((*right.names, *right.alike.get(level, ())))
