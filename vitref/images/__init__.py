"""Pictures in, model input out: `decode` files, `sources` of pictures, `transform` them, make a `batch`."""

from vitref.images.batch import FLOATS, crop, preprocess, to_batch
from vitref.images.transform import level_table, normalise

__all__ = ["FLOATS", "crop", "level_table", "normalise", "preprocess", "to_batch"]
