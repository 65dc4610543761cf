"""Moments and a sample of features for one encoder, from one pass over images in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, Moments
from evalkit.features.batches import Same, Waiting
from evalkit.features.calls import Arrays, launch, stacked
from evalkit.metrics import frechet
from evalkit.plugin_calls import DECODING, apart

SAMPLE = 2000  # stored rows of features, for metrics that need more than moments
# Rows per merge of moments. To merge two D x D matrices costs as much as the products of some
# hundred rows.
BLOCK = 512
FEATURES = ("pool", "spatial")  # those that metrics compare with a reference


class Accumulator:
    """The moments of all images, and the features of those with the smallest digests (or of all).

    Args:
        encoder: its features "pool" and, if it has them, "spatial" (moments only) are used.
        batch_size: images per call of the encoder; one call has images of one prepared size.
        keep_all: store the features of all images, 4 D bytes each.
        compact: store the features of all images as float16, 2 D bytes each, and no moments.
    """

    def __init__(
        self, encoder: Encoder, batch_size: int, keep_all: bool = False, compact: bool = False
    ) -> None:
        self.encoder, self.batch_size = encoder, batch_size
        self.keep_all, self.compact = keep_all or compact, compact
        self.moments: dict[str, Moments] = {}
        self._waiting = Waiting[bytes](batch_size)
        self._launched: tuple[list[bytes], Callable[[], Arrays]] | None = None
        self._blocks: dict[str, list[Tensor]] = {}  # features that are not in the moments yet
        self._new: list[tuple[bytes, Tensor]] = []  # rows that are not in the sample yet
        self._stored: list[tuple[bytes, Tensor]] = []

    def add(self, digest: bytes, prepared: Tensor) -> None:
        """Add an image as the encoder prepared it; its digest decides if its row is stored."""
        if (full := self._waiting.add(digest, prepared)) is not None:
            self._encode(full)

    def finish(self) -> None:
        """Encode the remaining images. Raises EvalkitError if features are not finite."""
        for some in self._waiting.rest():
            self._encode(some)
        self._collect()
        self._merge()
        if not all(bool(torch.isfinite(part.cov).all()) for part in self.moments.values()):
            raise EvalkitError(
                f"The encoder {self.encoder.name} returned features that are not finite.",
                "Check its weights with `evalkit weights verify`, or correct the encoder.",
                code="reference-1",
            )

    @property
    def stored_rows(self) -> int:
        return len(self._stored)

    def features(self) -> Tensor:
        """The stored rows, float32 [M, D], in the order of their digests."""
        self._stored.sort(key=lambda item: item[0])
        return torch.stack([row for _, row in self._stored])

    def arrays(self) -> dict[str, Any]:
        """The arrays of the reference file (see `files`)."""
        pool = self.moments["pool"]
        if self.compact:
            rounded = self.features().half()
            if not bool(torch.isfinite(rounded).all()):
                raise EvalkitError(
                    f"The encoder {self.encoder.name} has features above 65504, the largest number"
                    " of float16.",
                    "Build the reference without --compact.",
                    code="reference-2",
                )
            return {"n": pool.count, "features": rounded.numpy()}
        arrays: dict[str, Any] = {
            "mu": pool.mean.numpy(),
            "sigma": pool.cov.numpy(),
            "n": pool.count,
            "features": self.features().numpy(),
        }
        if "spatial" in self.moments:
            spatial = self.moments["spatial"]
            arrays |= {"mu_s": spatial.mean.numpy(), "sigma_s": spatial.cov.numpy()}
        return arrays

    def _encode(self, images: Same[bytes]) -> None:
        """Launch a batch, and take the features of the one before."""
        with apart(self.encoder, DECODING):
            finish = launch(stacked(images.pixels, self.encoder), self.encoder, FEATURES)
        self._collect()
        self._launched = images.items, finish

    def _collect(self) -> None:
        if self._launched is None:
            return
        (digests, finish), self._launched = self._launched, None
        values = {name: torch.from_numpy(array) for name, array in finish().items()}
        if "pool" not in values:
            raise EvalkitError(
                f"The encoder {self.encoder.name!r} has no 'pool' features; expected those that"
                " distances are measured on.",
                "See docs/plugins/encoder.md.",
                code="reference-3",
            )
        for name in values:
            self._blocks.setdefault(name, []).append(values[name])
        rows = values["pool"]
        self._new += zip(digests, rows, strict=True)
        if len(self._new) >= BLOCK:
            self._merge()

    def _merge(self) -> None:
        for name, blocks in self._blocks.items():
            part = _moments(torch.cat(blocks).double())
            if name in self.moments:
                part = frechet.merge_moments(self.moments[name], part)
            self.moments[name] = part
        self._stored += self._new
        self._blocks, self._new = {}, []
        if not self.keep_all:
            smallest = sorted(self._stored, key=lambda item: item[0])[:SAMPLE]
            # A clone, since a row would keep the features of its whole batch in memory.
            self._stored = [(digest, row.clone()) for digest, row in smallest]


def _moments(rows: Tensor) -> Moments:
    """Like `frechet.moments`, but also of a single row: the last block may have one."""
    mean = rows.mean(dim=0)
    centred = rows - mean
    return Moments(mean, centred.T @ centred / max(1, len(rows) - 1), len(rows))
