"""Seeded samples of images, for metrics that compare every image with every other one.

Each image has a number that depends on its prompt and sample only, and those with the smallest
numbers are taken. So models with the same prompts are measured on the same images, whatever else
they lack, and a run that grows keeps most of its sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from evalkit.core import Record


def draws(records: Iterable[Record]) -> NDArray[np.uint64]:
    """The number of each image, uint64 [N]."""
    identities = (f"sample\0{one.prompt}\0{one.sample}".encode() for one in records)
    digests = b"".join(hashlib.sha256(one).digest()[:8] for one in identities)
    return np.frombuffer(digests, "<u8")


def sample(numbers: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """The places of the images with the smallest numbers, in the order of the images."""
    return np.sort(np.argsort(numbers, kind="stable")[:size])


def note(taken: int, images: int) -> str:
    """What a row says about its sample."""
    return f"a seeded sample of {taken:,} of {images:,} images"
