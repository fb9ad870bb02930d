"""The checkpoint that comes with vitref: a small Vision Transformer for handwritten digits.

README.md beside this file is its model card. The files are found through `importlib.resources`, so
that they are the same in a checkout and in an installed wheel. Its classes are the digits 0 to 9.
"""

from importlib.resources import files
from pathlib import Path


def checkpoint() -> Path:
    """The weights, in vitref's own format: `vitref.load` needs nothing else."""
    return _folder() / "digits.safetensors"


def images() -> list[Path]:
    """Twenty digits that were held out of the training, two of each, as 8 x 8 grey PNG files.

    They are the first two of each, right or wrong: the model misses one of them. The names state the
    label and the position in the data set: `digit_7_index_1234.png`.
    """
    return sorted((_folder() / "images").glob("digit_*.png"))


def _folder() -> Path:
    """Of this package; vitref is installed as plain files, never run from a zip archive."""
    return Path(str(files(__name__)))
