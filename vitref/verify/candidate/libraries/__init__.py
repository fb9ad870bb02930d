"""The names that modules have in other libraries: one table per library, from module to tap.

`LIBRARIES` is the list. A library is added by a module that fills a `Table` and one row here.
"""

from vitref.verify.candidate.libraries import google, huggingface, timm, torchvision
from vitref.verify.candidate.libraries.table import Table

__all__ = ["LIBRARIES", "Table"]

LIBRARIES: dict[str, Table] = {
    "timm": timm.TABLE,
    "huggingface": huggingface.TABLE,
    "torchvision": torchvision.TABLE,
    "google": google.TABLE,
}
"""Name -> its table; where two recognise the same names, the first is taken."""
