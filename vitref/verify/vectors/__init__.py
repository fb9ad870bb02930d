"""Test vectors for implementations in any language: a folder of safetensors files and a JSON manifest.

    summary = vectors.write("vectors")

`component`, `model`, `refusals` and `pixels` make the groups, `manifest` describes them, `pack` writes them.
The format is specified in docs/vectors.md.
"""

from vitref.verify.vectors.pack import write
from vitref.verify.vectors.vector import FORMAT

__all__ = ["FORMAT", "write"]
