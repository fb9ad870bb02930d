"""Counter-tests that serve several mistakes: each says what would show that the cause is another one."""

ONE_COLOUR = (
    "Feed a picture of one colour: the error of `image` must be one number per channel; "
    "if it varies from pixel to pixel, this is not the cause."
)
RIGHT_SIZE = (
    "Feed a picture that has the model's size already, so that nothing is resized or cut: "
    "an error of `image` that remains has another cause."
)
GREY = (
    "Feed a picture whose three channels are equal: an error of `image` that remains is "
    "not from the order of the channels."
)
SYMMETRIC = (
    "Feed a picture that equals its own image under this reflection: an error of `image` "
    "that remains has another cause."
)
SAME_PATCHES = (
    "Feed an image that repeats one patch all over: the order of patches cannot show, so "
    "an error that remains has another cause."
)
SAME_PIXELS = (
    "Feed an image with one value per patch and channel: the order of pixels within a "
    "patch cannot show, so an error that remains has another cause."
)
ONE_VALUE = (
    "Feed an image of one value in all channels: the layout of the kernel cannot show in "
    "`patch_embed.proj`, so an error that remains there has another cause."
)
ZERO_TABLE = "Set the position table to zero in both programs: an error that remains has another cause."
ZERO_BIAS = "Set this bias to zero in the reference too: unless the two then agree, this is not the cause."
PERMUTED = (
    "Sort the channels of `attn.qkv` in both programs: if the sorted values of a token "
    "differ, its rows are not merely in another order."
)
ONE_HEAD = (
    "Run a model with one head: the layouts of heads then coincide, so an error that "
    "remains has another cause."
)
SAME_GRID = (
    "Run at the image size at which the grid is that of the stored table, where nothing "
    "is resized: an error that remains has another cause."
)
LARGE_ROWS = (
    "Multiply the input of the LayerNorm by 1000: its eps no longer matters, so an error "
    "that remains has another cause."
)
ROW_FACTOR = (
    "Divide the outputs of the LayerNorm, without its bias, by the right ones: if the "
    "ratio varies within a token, this is not the cause."
)
UNIFORM = (
    "Give keys that are all alike, so that all scores of a query are equal: the weights "
    "are then 1 / T in any base, so an error that remains has another cause."
)
SCORE_RATIO = (
    "Divide `attn.scores` by the right ones: unless the ratio is the same everywhere, the "
    "scale is not the cause."
)
MASKED = (
    "Look at the elements of `attn.softmax` that this mask removes: if they are not "
    "exactly 0, it is not there."
)
HAND = (
    "Feed -3, -1, 0, 1 and 3 into the activation and compare with this formula: one value "
    "that is off refutes it."
)
RESIDUAL = (
    "Set `attn.proj` and `mlp.fc2` to zero: a right block then returns its input; if the "
    "candidate's does too, this is not the cause."
)
ZERO_BRANCH = (
    "Set the weight and bias of `attn.proj` and `mlp.fc2` to zero: branches then vanish, "
    "and an error that remains in a block has another cause."
)
EQUAL_FACTORS = "Set all factors of LayerScale to 1: an error that remains has another cause."
EQUAL_NORMS = (
    "Give all LayerNorms weight 1 and bias 0 in both programs: an error that remains has another cause."
)
EQUAL_BLOCKS = (
    "Give all blocks the same weights: their order cannot show, so an error that remains has another cause."
)
EQUAL_TOKENS = (
    "Give all tokens the same values behind the last block: all poolings then agree, so "
    "an error that remains has another cause."
)
ONE_IMAGE = "Use a batch of one image: an error of this gradient that remains has another cause."
ONE_ROW = (
    "Use a single row of inputs (one image, one token): an error of this gradient that "
    "remains has another cause."
)
ZERO_DY = "Give a cotangent of zero there: a gradient that is not zero then has another cause."
GRADIENT_ZERO = "Look for any element of this gradient that is not zero: one is enough to refute it."
GRADIENT_RATIO = (
    "Divide the gradient by the right one: unless the ratio is one number everywhere, this is not the cause."
)
FINITE = (
    "Take the difference quotient of the loss along one direction of the parameter: if it "
    "agrees with the candidate's gradient, this is not the cause."
)
NO_DROP = "Set all drop rates to zero: an error that remains has another cause."
