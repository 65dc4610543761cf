"""Pictures to moments and a sample of features, for one encoder, in bounded memory: one pass, no
picture kept longer than a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, Moments
from evalkit.metrics import frechet

SAMPLE = 2000  # rows of features that are kept for metrics that need more than moments
# rows per merge of moments: merging two D x D matrices costs as much as the products of some
# hundred rows
BLOCK = 512
FEATURES = ("pool", "spatial")  # those that metrics compare with a reference


class Tally:
    """Moments so far, and the features of the pictures with the smallest digests (or of all).

    Args:
        encoder: gives "pool", and maybe "spatial" (moments only).
        batch_size: pictures per call of the encoder; those of different prepared sizes are never in
            one call.
        keep_all: keep the features of all pictures, 4 D bytes each.
    """

    def __init__(self, encoder: Encoder, batch_size: int, keep_all: bool = False) -> None:
        self.encoder, self.batch_size, self.keep_all = encoder, batch_size, keep_all
        self.moments: dict[str, Moments] = {}
        self._waiting: dict[tuple[int, ...], list[tuple[bytes, Tensor]]] = {}
        self._blocks: dict[str, list[Tensor]] = {}
        self._fresh: list[tuple[bytes, Tensor]] = []
        self._kept: list[tuple[bytes, Tensor]] = []

    def add(self, digest: bytes, prepared: Tensor) -> None:
        """One picture as the encoder prepared it; its digest decides whether it is in the sample."""
        group = self._waiting.setdefault(tuple(prepared.shape), [])
        group.append((digest, prepared))
        if len(group) == self.batch_size:
            self._encode(tuple(prepared.shape))
        elif (
            sum(map(len, self._waiting.values())) >= 8 * self.batch_size
        ):  # of many sizes: too many pictures in memory
            self._encode(max(self._waiting, key=lambda shape: len(self._waiting[shape])))

    def finish(self) -> None:
        """Encode what waits and merge what is left. Raises EvalkitError for features that are not
        finite.
        """
        for shape in list(self._waiting):
            self._encode(shape)
        self._merge()
        if not all(bool(torch.isfinite(part.cov).all()) for part in self.moments.values()):
            raise EvalkitError(
                f"The encoder {self.encoder.name} gave features that are not finite.",
                "Its weights are damaged.",
            )

    @property
    def kept(self) -> int:
        """How many rows of features are kept."""
        return len(self._kept)

    def features(self) -> Tensor:
        """The kept rows, float32 [M, D], in the order of their digests."""
        self._kept.sort(key=lambda item: item[0])
        return torch.stack([row for _, row in self._kept])

    def _encode(self, shape: tuple[int, ...]) -> None:
        group = self._waiting.pop(shape)
        values = self.encoder(torch.stack([pixels for _, pixels in group]))
        for name in FEATURES:
            if name in values:
                self._blocks.setdefault(name, []).append(values[name].cpu().float())
        pool = values["pool"].cpu().float()
        self._fresh += [(digest, row) for (digest, _), row in zip(group, pool, strict=True)]
        if len(self._fresh) >= BLOCK:
            self._merge()

    def _merge(self) -> None:
        for name, blocks in self._blocks.items():
            part = _moments(torch.cat(blocks).double())
            self.moments[name] = (
                part
                if name not in self.moments
                else frechet.merge_moments(self.moments[name], part)
            )
        self._kept += self._fresh
        self._blocks, self._fresh = {}, []
        if not self.keep_all:
            self._kept = [
                (digest, row.clone())
                for digest, row in sorted(self._kept, key=lambda item: item[0])[:SAMPLE]
            ]

    def arrays(self) -> dict[str, Any]:
        """What is written: `mu`, `sigma`, `n`, `features`, and `mu_s`, `sigma_s` where there are
        spatial features.
        """
        pool = self.moments["pool"]
        arrays: dict[str, Any] = {
            "mu": pool.mean.numpy(),
            "sigma": pool.cov.numpy(),
            "n": pool.count,
            "features": self.features().numpy(),
        }
        if "spatial" in self.moments:
            arrays |= {
                "mu_s": self.moments["spatial"].mean.numpy(),
                "sigma_s": self.moments["spatial"].cov.numpy(),
            }
        return arrays


def _moments(rows: Tensor) -> Moments:
    """As `frechet.moments`, but of a single row too: the last block may be one."""
    mean = rows.mean(dim=0)
    centred = rows - mean
    return Moments(mean, centred.T @ centred / max(1, len(rows) - 1), len(rows))
