"""Weights: loading, drawing, holding and saving the parameters of a model."""

from vitref.weights.container import Source, Weights
from vitref.weights.initialise import init
from vitref.weights.loading import load

__all__ = ["Source", "Weights", "init", "load"]
