"""The metrics as `torchmetrics.Metric` objects for a training loop: update, compute, reset, states
gathered by torch.distributed.

    encoder = evalkit.encoder("inception")
    fid = FID(encoder, evalkit.reference("scenes", encoder))
    fid.update(images)  # uint8 [N, 3, H, W]
    fid.compute()

An object holds features or moments and calls the pure function of the metric table on them, so it
gives the numbers of `evalkit score`. Objects with one encoder that see the same tensor of images
share one pass through the network.

This is the one file of `evalkit.metrics` that imports torchmetrics, and that turns tensors into
pictures, for `Encoder.prepare`.
"""

from __future__ import annotations

import dataclasses
import inspect
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import torch
import torchmetrics
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, Metric, Moments, TextEncoder
from evalkit.images import to_images
from evalkit.metrics import frechet
from evalkit.metrics.alignment import CLIP_SCORE as _CLIP_SCORE
from evalkit.metrics.frechet import FID as _FID
from evalkit.metrics.inception_score import INCEPTION_SCORE as _INCEPTION_SCORE
from evalkit.metrics.kernel import KID as _KID
from evalkit.metrics.manifold import PRECISION as _PRECISION
from evalkit.metrics.manifold import RECALL as _RECALL
from evalkit.metrics.numeric import at_least, same_dimension

__all__ = ["FID", "KID", "ClipScore", "InceptionScore", "Precision", "Recall", "SetMetric"]


class Reference(Protocol):
    """What `evalkit.reference(name, encoder)` returns."""

    @property
    def moments(self) -> Mapping[str, Moments]: ...  # by name of the feature

    @property
    def features(self) -> Mapping[str, Tensor]: ...  # float32 [M, D]


class SetMetric(torchmetrics.Metric):
    """Any metric of the table, or your own, as a torchmetrics object. `compute` returns its value,
    the mean of values per image.

    Metrics that ask for `fake` keep the features, 4 D bytes per image; those that ask for
    `fake_moments` keep 8 D (D + 2) bytes in all, merged without cancellation. With several
    processes images count in the order of the ranks; that matters only where the pure function
    itself depends on the order (the splits of the inception score, the subsets of KID).

    Args:
        metric: a line of the metric table.
        encoder: the network, as from `evalkit.encoder(name)`; it stays where it is and is no part
            of the state_dict.
        reference: statistics of real images under this encoder, as from `evalkit.reference(name,
            encoder)`. Without one, real images come through `update(images, real=True)`.
        kwargs: those of torchmetrics.Metric.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(
        self, metric: Metric, encoder: Encoder, reference: Reference | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        parameters = inspect.signature(metric.compute).parameters.values()
        self.requests = tuple(item.name for item in parameters if item.default is item.empty)
        self.metric, self.encoder, self.reference = metric, encoder, reference
        self.dimension = self._probe()
        for request in self._states():
            if request.endswith("moments"):
                self.add_state(
                    request,
                    torch.zeros(self.dimension + 2, self.dimension, dtype=torch.float64),
                    dist_reduce_fx=_merged,
                )
            else:
                self.add_state(request, [], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.metric.better == "higher"

    def update(
        self, images: Tensor, prompts: Sequence[str] | None = None, real: bool = False
    ) -> None:
        """Take in a batch.

        images: uint8 [N, 3, H, W], 0 to 255; floats are refused, since nobody can tell their range.
        prompts: one per image, for metrics that read them. real: whether these are real images,
        where no reference was given.
        """
        if real and self.reference is not None:
            raise EvalkitError(
                "Real images were given, and a reference too.", "Leave out one of them."
            )
        if (
            "text" in self.requests
            and not real
            and (prompts is None or len(prompts) != len(images))
        ):
            found = "no prompts" if prompts is None else f"{len(prompts)} prompts"
            raise EvalkitError(
                f"{self.metric.name} was given {found} for {len(images)} images; expected one prompt per image."
            )
        features = _encoded(self.encoder, images)[self.metric.feature].to(self.device)
        for request in self._states():
            if request == "text" and not real:
                reader = cast(TextEncoder, self.encoder)
                self._list(request).append(
                    reader.text([self.metric.prefix + prompt for prompt in prompts or ()]).to(
                        self.device
                    )
                )
            elif request == ("real" if real else "fake"):
                self._list(request).append(features)
            elif request == ("real_moments" if real else "fake_moments"):
                setattr(self, request, _merge(getattr(self, request), _moments(features)))

    def compute(self) -> Tensor:
        """The value over all images of all processes, float64 []. Raises EvalkitError where there
        are too few.
        """
        inputs = {request: self._input(request) for request in self.requests}
        value = torch.as_tensor(self.metric.compute(**inputs)).double().mean()
        return torch.as_tensor(self.metric.in_range(float(value)), dtype=torch.float64)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As torchmetrics; a process that has seen no images takes part with none."""
        for request in self._states():
            if not request.endswith("moments") and not self._list(request):
                self._list(request).append(torch.zeros(0, self.dimension, device=self.device))
        super().sync(*args, **kwargs)

    def _states(self) -> list[str]:
        return [
            request
            for request in self.requests
            if self.reference is None or not request.startswith("real")
        ]

    def _list(self, request: str) -> list[Tensor]:
        return getattr(self, request)

    def _input(self, request: str) -> Tensor | Moments:
        if request not in self._states():
            return self._of_reference(request)
        side = "reference" if request.startswith("real") else "generated"
        if request.endswith("moments"):
            found = _unpacked(getattr(self, request))
            at_least(found.count, 2, side)
            return found
        rows: list[Tensor] | Tensor = getattr(
            self, request
        )  # one tensor once the processes were gathered
        at_least(len(rows), 1, side)
        return (torch.cat(rows) if isinstance(rows, list) else rows).cpu()

    def _of_reference(self, request: str) -> Tensor | Moments:
        reference, feature = cast(Reference, self.reference), self.metric.feature
        held: Mapping[str, Tensor | Moments] = (
            reference.moments if request == "real_moments" else reference.features
        )
        if feature not in held:
            kind = "moments" if request == "real_moments" else "features of single images"
            raise EvalkitError(
                f"The reference holds no {kind} of {feature!r}, which {self.metric.name} needs."
            )
        return held[feature]

    def _probe(self) -> int:
        """The dimension of the feature, found with one gray picture; whatever is missing is said
        now and not after an epoch.
        """
        name, feature = self.encoder.name, self.metric.feature
        if getattr(self.encoder, "grouped", False):
            raise EvalkitError(
                f"The encoder {name} needs all pictures of a prompt at once.",
                "Use `evalkit score` for it.",
            )
        if "text" in self.requests and not hasattr(self.encoder, "text"):
            raise EvalkitError(
                f"{self.metric.name} reads prompts, and the encoder {name} does not.",
                "Take one of CLIP's kind.",
            )
        found = _encoded(self.encoder, torch.full((1, 3, 64, 64), 128, dtype=torch.uint8))
        if feature not in found:
            raise EvalkitError(
                f"{self.metric.name} needs {feature!r} features; the encoder {name} has {', '.join(found)}."
            )
        dimension = found[feature].shape[1]
        for request in set(self.requests) - set(self._states()):
            real = self._of_reference(request)
            same_dimension(
                dimension, len(real.mean) if isinstance(real, Moments) else real.shape[1]
            )
        return dimension


class _Named(SetMetric):
    line: ClassVar[Metric]

    def __init__(self, encoder: Encoder, reference: Reference | None = None, **kwargs: Any) -> None:
        super().__init__(self.line, encoder, reference, **kwargs)


class FID(_Named):
    """Frechet distance from moments alone: memory does not grow with the images."""

    line = dataclasses.replace(_FID, compute=frechet.frechet_distance)


class KID(_Named):
    """Kernel distance; see `evalkit.metrics.kernel`."""

    line = _KID


class InceptionScore(_Named):
    """Inception score; see `evalkit.metrics.inception_score`."""

    line = _INCEPTION_SCORE


class Precision(_Named):
    """Improved precision; see `evalkit.metrics.manifold`."""

    line = _PRECISION


class Recall(_Named):
    """Improved recall; see `evalkit.metrics.manifold`."""

    line = _RECALL


class ClipScore(_Named):
    """100 times the cosine of pictures and prompts: `update(images, prompts)`."""

    line = _CLIP_SCORE


# --- moments as one tensor: mean, count, covariance ---
def _packed(moments: Moments) -> Tensor:
    """float64 [D + 2, D]."""
    return torch.cat(
        [moments.mean[None], torch.full_like(moments.mean, moments.count)[None], moments.cov]
    )


def _unpacked(state: Tensor) -> Moments:
    return Moments(state[0].cpu(), state[2:].cpu(), int(state[1, 0]))


def _moments(features: Tensor) -> Tensor:
    """Packed moments of float [N, D] features, N >= 1."""
    if len(features) > 1:
        return _packed(frechet.moments(features))
    row = features[0].double()
    return _packed(Moments(row, torch.zeros(len(row), len(row)).to(row), 1))


def _merge(first: Tensor, second: Tensor) -> Tensor:
    if first[1, 0] == 0 or second[1, 0] == 0:
        return first if second[1, 0] == 0 else second
    merged = frechet.merge_moments(_unpacked(first), _unpacked(second))
    return _packed(merged).to(first.device)


def _merged(states: Tensor) -> Tensor:
    """Of all processes, float64 [processes, D + 2, D]."""
    total = states[0]
    for state in states[1:]:
        total = _merge(total, state)
    return total


# --- features of the batch at hand ---
class _Batch(NamedTuple):
    images: weakref.ref[Tensor]
    version: int
    features: list[tuple[Encoder, dict[str, Tensor]]]


_batches: list[_Batch] = []  # the last one only, and only as long as its tensor lives


def _encoded(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    """Features of uint8 [N, 3, H, W] images. Those of the very tensor that was seen last, unchanged
    since, are known.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        found = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        raise EvalkitError(
            f"The images are {found}; expected uint8 [N, 3, H, W] with values from 0 to 255.",
            "Floats from 0 to 1 become that by `(images * 255).round().clamp(0, 255).to(torch.uint8)`.",
        )
    version = -1 if images.is_inference() else images._version
    batch = (
        _batches[0]
        if _batches and _batches[0].images() is images and _batches[0].version == version >= 0
        else None
    )
    for known, features in batch.features if batch else ():
        if known is encoder:
            return features
    features = encoder(torch.stack([encoder.prepare(picture) for picture in to_images(images)]))
    if batch is None:
        batch = _Batch(weakref.ref(images, lambda _: _batches.clear()), version, [])
        _batches[:] = [batch]
    batch.features.append((encoder, features))
    return features
