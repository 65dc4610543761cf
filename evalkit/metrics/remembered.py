"""Results that several metrics share, kept for a while: precision and recall of the same features,
the radii of one reference, a model's FID and its parts for the interval, the comparison with other
models and the report's second look.

A result is found again by the content of the features (SHA-256 of their bytes, which takes a
hundredth of the time of the work that it spares), so functions stay pure: changed features are
other features.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

KEPT = 64  # results of one function, each of a few numbers per image
P = ParamSpec("P")
R = TypeVar("R")
_all: list[OrderedDict[tuple[Any, ...], Any]] = []


def remembered(function: Callable[P, R], kept: int = KEPT) -> Callable[P, R]:
    """Keep the last results of a pure function of tensors and plain values; the caller must not
    change what it gets.
    """
    known: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
    _all.append(known)

    @functools.wraps(function)
    def found(*args: P.args, **kwargs: P.kwargs) -> R:
        key = (
            *map(_content, args),
            *((name, _content(value)) for name, value in sorted(kwargs.items())),
        )
        if key in known:
            known.move_to_end(key)
            return known[key]
        result = known[key] = function(*args, **kwargs)
        while len(known) > kept:
            known.popitem(last=False)
        return result

    return found


def forget() -> None:
    """Drop all results, as a benchmark must."""
    for known in _all:
        known.clear()


def _content(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_content, value))
    if not isinstance(value, Tensor):
        return value
    raw = value.detach().cpu().contiguous().view(torch.uint8).numpy()
    return (
        str(value.dtype),
        str(value.device),
        tuple(value.shape),
        hashlib.sha256(raw.data).digest(),
    )
