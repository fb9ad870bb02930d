"""A report as plain values, for JSON.

The object has every field of `vitref.verify.verdicts.Report`, and of what it holds, under its own name:
outcome, precision, taps, guilty, diagnosis, missing, pictures, about. A tuple is a list, a number that is not
finite is null. Beside them:

    format    "vitref report 1"
    agrees    true or false, as the exit code of `vitref compare`
    headline  the verdict in words
    first     the first wrong step; null when there is none

Of a picture it has title and shape; the values are in the candidate's file and on the page.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from vitref.verify.reports.summary import headline
from vitref.verify.verdicts import Picture, Report

FORMAT = "vitref report 1"


def plain(report: Report) -> dict[str, Any]:
    """The report as dictionaries, lists, text, numbers, booleans and None. Its keys: see this module."""
    first = None if report.first is None else report.first.step
    summary = {"format": FORMAT, "agrees": report.agrees, "headline": headline(report), "first": first}
    return {**summary, **_members(report)}


def _members(value: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Picture):
        return {"title": value.title, "shape": list(value.candidate.shape)}
    if is_dataclass(value):
        return _members(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, (tuple, list, set, frozenset)):
        return [_plain(entry) for entry in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
