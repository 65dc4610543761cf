"""Memoization of results that several metrics share.

Precision and recall share their distances, and the value, the interval and the comparison of models
share FID and its moments. The key is the content of the tensors (SHA-256 of their bytes, about a
hundredth of the time that it saves), not their identity: a tensor that was changed in place is a
new key.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

MAX_RESULTS = 64  # of one function, each of a few numbers per image
P = ParamSpec("P")
R = TypeVar("R")
_caches: list[OrderedDict[tuple[Any, ...], Any]] = []


def memoized(function: Callable[P, R], max_results: int = MAX_RESULTS) -> Callable[P, R]:
    """Keep the most recently used results of a pure function of tensors and plain values.

    The caller must not change a result in place.
    """
    cache: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
    _caches.append(cache)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        named = ((name, _content(value)) for name, value in sorted(kwargs.items()))
        key = (*map(_content, args), *named)
        if key in cache:
            cache.move_to_end(key)
            return cache[key]
        result = cache[key] = function(*args, **kwargs)
        while len(cache) > max_results:
            cache.popitem(last=False)
        return result

    return wrapper


def clear_memoized() -> None:
    """Drop all results, for benchmarks and tests."""
    for cache in _caches:
        cache.clear()


def _content(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_content, value))
    if not isinstance(value, Tensor):
        return value
    data = value.detach().cpu().contiguous().view(torch.uint8).numpy().data
    digest = hashlib.sha256(data).digest()
    return str(value.dtype), str(value.device), tuple(value.shape), digest
