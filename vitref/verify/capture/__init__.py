"""Capture: the taps of a live candidate, forward and backward, in a file that `vitref compare` reads.

torch_module   a torch module, through hooks
onnx           an ONNX file, through ONNX Runtime
callable       a Python function that returns arrays
"""

from vitref.verify.capture.onnx_file import onnx
from vitref.verify.capture.python_function import callable
from vitref.verify.capture.sink import Captured
from vitref.verify.capture.torch_model import torch_module

__all__ = ["Captured", "callable", "onnx", "torch_module"]
