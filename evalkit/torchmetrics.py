"""The metrics as `torchmetrics.Metric` objects for a training loop.

    fid = FID("inception", "my-photos")  # names, or the objects that they stand for
    fid.update(images)  # uint8 [N, 3, H, W]
    fid.compute()

They have `update`, `compute` and `reset`, and torch.distributed gathers their states. An object
keeps features or moments and calls the metric's pure function on them, so it gives the numbers of
`evalkit score`. Objects with the same encoder that are updated with the same tensor of images share
one pass through the network.

It stands above `evalkit.metrics`, whose functions know neither networks nor files: here names
become encoders and references, and tensors become images for `Encoder.prepare`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import torch
import torchmetrics
from torch import Tensor

from evalkit import plugins
from evalkit.core import Encoder, EvalkitError, Metric, Moments, TextEncoder
from evalkit.encoders.select import kinds_of, load, named
from evalkit.features.map_ahead import map_ahead
from evalkit.hints import plural
from evalkit.images import to_images
from evalkit.metrics import frechet
from evalkit.metrics.alignment import CLIP_SCORE as _CLIP_SCORE
from evalkit.metrics.frechet import FID as _FID
from evalkit.metrics.inception_score import INCEPTION_SCORE as _INCEPTION_SCORE
from evalkit.metrics.kernel import KID as _KID
from evalkit.metrics.manifold import PRECISION as _PRECISION
from evalkit.metrics.manifold import RECALL as _RECALL
from evalkit.metrics.numeric import at_least, same_dimension, valid
from evalkit.plugin_calls import is_own
from evalkit.reference import files

__all__ = ["FID", "KID", "ClipScore", "InceptionScore", "Precision", "Recall", "SetMetric"]


class Reference(Protocol):
    """What `evalkit.reference(name, encoder)` returns."""

    @property
    def moments(self) -> Mapping[str, Moments]: ...  # by name of the feature

    @property
    def features(self) -> Mapping[str, Tensor]: ...  # float32 [M, D]


class SetMetric(torchmetrics.Metric):
    """Any installed metric, or your own, as a torchmetrics object.

    `compute` returns the value, or the mean of the values per image. Metrics that request `fake`
    keep the features, 4 D bytes per image; those that request `fake_moments` keep 8 D (D + 2) bytes
    in total, merged without cancellation, and the features of the last batches, up to 512 images.
    Several processes are concatenated in the order of their ranks; this matters only if the pure
    function depends on the order of the images (the splits of the inception score, the subsets of
    KID).

    Args:
        metric: a name from `evalkit.list_metrics()`, or your own `Metric`.
        encoder: a name from `evalkit.list_encoders()`, or the network itself, as from
            `evalkit.encoder(name, device)`; it stays on its device and is not part of the
            state_dict. Objects with one name share one network.
        reference: statistics of real images with this encoder: a name from
            `evalkit.reference_list()`, a path, or what `evalkit.reference(name, encoder)` returns.
            Without it, pass real images to `update(images, real=True)`.
        kwargs: those of torchmetrics.Metric.

    Raises EvalkitError for unknown names, an encoder of another kind than the metric is defined on,
    and a reference that was made with another encoder.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(
        self,
        metric: Metric | str,
        encoder: Encoder | str,
        reference: Reference | str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        metric = plugins.metric(metric) if isinstance(metric, str) else metric
        encoder = _shared(encoder) if isinstance(encoder, str) else encoder
        if isinstance(reference, str | Path):
            reference = files.reference(str(reference), encoder)
        parameters = inspect.signature(metric.compute).parameters.values()
        self.requests = tuple(item.name for item in parameters if item.default is item.empty)
        self.metric, self.encoder, self.reference = metric, encoder, reference
        self.dimension = self._probe()
        for request in self._states():
            if request.endswith("moments"):
                # No matrix before the first images: torchmetrics keeps a copy for `reset`.
                empty = torch.zeros(0, self.dimension, dtype=torch.float64)
                self.add_state(request, empty, dist_reduce_fx=_merged)
                self.add_state(f"{request}_rows", [], dist_reduce_fx="cat")  # not merged yet
            else:
                self.add_state(request, [], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.metric.better == "higher"

    def update(
        self, images: Tensor, prompts: Sequence[str] | None = None, real: bool = False
    ) -> None:
        """Add a batch.

        Args:
            images: uint8 [N, 3, H, W], 0 to 255; floats are refused, since their range is unknown.
            prompts: one per image, for metrics that read them.
            real: whether these are real images, if no reference was given.
        """
        if real and self.reference is not None:
            raise EvalkitError(
                "Real images were given, and a reference too.",
                "Leave out one of them.",
                code="torchmetrics-1",
            )
        count = 0 if prompts is None else len(prompts)
        _check_layout(images)
        if "text" in self.requests and not real and count != len(images):
            raise EvalkitError(
                f"{self.metric.name} was given {plural(count, 'prompt') if count else 'no prompts'}"
                f" for {plural(len(images), 'image')}; expected one prompt per image.",
                code="torchmetrics-2",
            )
        if not all(isinstance(prompt, str) for prompt in prompts or ()):
            raise EvalkitError(
                "The prompts are not all texts.",
                "Give one string per image.",
                code="torchmetrics-3",
            )
        features = _encoded(self.encoder, images)[self.metric.feature].to(self.device)
        self._fill()
        for request in self._states():
            if request == "text" and not real:
                texts = [self.metric.prefix + prompt for prompt in prompts or ()]
                encoded = cast(TextEncoder, self.encoder).text(texts)
                self._list(request).append(encoded.to(self.device))
            elif request == ("real" if real else "fake"):
                self._list(request).append(features)
            elif request == ("real_moments" if real else "fake_moments"):
                self._list(f"{request}_rows").append(features)
                if sum(map(len, self._list(f"{request}_rows"))) >= _MERGED:
                    self._merge_rows(request)

    def compute(self) -> Tensor:
        """The value over all images of all processes, float64 [].

        Raises EvalkitError if there are too few images.
        """
        inputs = {request: self._input(request) for request in self.requests}
        if not is_own(self.metric.compute):  # it may work in place, on features that others share
            inputs = copy.deepcopy(inputs)
        value = torch.as_tensor(self.metric.compute(**inputs)).double().mean()
        return torch.as_tensor(self.metric.in_range(float(value)), dtype=torch.float64)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As in torchmetrics: `update`, and the value of this batch alone."""
        self._fill()
        return super().forward(*args, **kwargs)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As in torchmetrics; a process without images contributes empty tensors."""
        self._fill()
        for request in self._states():
            name = request
            if request.endswith("moments"):
                self._merge_rows(request)
                name = f"{request}_rows"
            if not self._list(name):
                self._list(name).append(torch.zeros(0, self.dimension, device=self.device))
        super().sync(*args, **kwargs)

    def _states(self) -> list[str]:
        return [
            request
            for request in self.requests
            if self.reference is None or not request.startswith("real")
        ]

    def _list(self, state: str) -> list[Tensor]:
        return getattr(self, state)

    def _fill(self) -> None:
        """Give moments that have no image yet the shape of the others, to be reduced with them."""
        for request in self._states():
            if request.endswith("moments"):
                setattr(self, request, _full(getattr(self, request)))

    def _merge_rows(self, request: str) -> None:
        """Add the features that wait to the moments."""
        rows, packed = self._rows(f"{request}_rows"), getattr(self, request)
        if len(rows):
            setattr(self, request, _added(packed, rows.to(packed.device)))
        setattr(self, f"{request}_rows", [])

    def _with_rows(self, request: str) -> Tensor:
        """The moments with the features that wait, in a tensor of its own where there are any."""
        rows = self._rows(f"{request}_rows")
        packed: Tensor = getattr(self, request)
        return _added(packed.clone(), rows.to(packed.device)) if len(rows) else packed

    def _rows(self, state: str) -> Tensor:
        """The features of a state, [N, D]; one tensor after the processes were gathered."""
        rows: list[Tensor] | Tensor = getattr(self, state)
        return torch.cat(rows) if isinstance(rows, list) and rows else torch.as_tensor(rows)

    def _input(self, request: str) -> Tensor | Moments:
        if request not in self._states():
            return self._of_reference(request)
        side = "reference" if request.startswith("real") else "generated"
        if request.endswith("moments"):
            found = _unpacked(self._with_rows(request))
            _require_images(found.count, 2, side)
            return found
        rows = self._rows(request)
        _require_images(len(rows), 1, side)
        return rows.cpu()

    def _of_reference(self, request: str) -> Tensor | Moments:
        reference, feature = cast(Reference, self.reference), self.metric.feature
        moments = request == "real_moments"
        found: Mapping[str, Tensor | Moments] = reference.moments if moments else reference.features
        if feature not in found:
            missing = "moments" if moments else "features of single images"
            raise EvalkitError(
                f"The reference holds no {missing} of {feature!r}, which {self.metric.name} needs.",
                "Give a reference that has them, or choose another metric.",
                code="torchmetrics-4",
            )
        return found[feature]

    def _probe(self) -> int:
        """The dimension of the feature, from one gray image.

        Raises EvalkitError if something is missing: at once, and not after an epoch.
        """
        name, feature = self.encoder.name, self.metric.feature
        if getattr(self.encoder, "grouped", False):
            raise EvalkitError(
                f"The encoder {name} needs all images of a prompt at once.",
                "Use `evalkit score` for it.",
                code="torchmetrics-5",
            )
        if "text" in self.requests and not hasattr(self.encoder, "text"):
            raise EvalkitError(
                f"{self.metric.name} reads prompts, and the encoder {name} does not.",
                "Use a CLIP encoder.",
                code="torchmetrics-6",
            )
        if self.metric.encoder not in kinds_of(self.encoder):
            raise EvalkitError(
                f"{self.metric.name} is defined on encoders of the kind {self.metric.encoder};"
                f" {name} is of the kind {' and '.join(kinds_of(self.encoder))}.",
                "See `evalkit list encoders`.",
                code="torchmetrics-7",
            )
        made_with = getattr(self.reference, "encoder", name)
        if made_with != name:
            raise EvalkitError(
                f"The reference was made with {made_with}; the encoder is {name}.",
                "Give both by name, or the reference of this encoder.",
                code="torchmetrics-8",
            )
        found = _encoded(self.encoder, torch.full((1, 3, 64, 64), 128, dtype=torch.uint8))
        if feature not in found:
            raise EvalkitError(
                f"{self.metric.name} needs {feature!r} features;"
                f" the encoder {name} has {', '.join(found)}.",
                "Choose another encoder: `evalkit list encoders` shows them.",
                code="torchmetrics-9",
            )
        dimension = found[feature].shape[1]
        for request in set(self.requests) - set(self._states()):
            real = self._of_reference(request)
            size = len(real.mean) if isinstance(real, Moments) else real.shape[1]
            same_dimension(dimension, size)
        return dimension


class _Named(SetMetric):
    entry: ClassVar[Metric]

    def __init__(
        self,
        encoder: Encoder | str,
        reference: Reference | str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(self.entry, encoder, reference, **kwargs)


class FID(_Named):
    """Fréchet distance from moments: memory does not grow with the number of images."""

    entry = dataclasses.replace(_FID, compute=frechet.frechet_distance)


class KID(_Named):
    """Kernel distance; see `evalkit.metrics.kernel`."""

    entry = _KID


class InceptionScore(_Named):
    """Inception score; see `evalkit.metrics.inception_score`."""

    entry = _INCEPTION_SCORE


class Precision(_Named):
    """Improved precision; see `evalkit.metrics.manifold`."""

    entry = _PRECISION


class Recall(_Named):
    """Improved recall; see `evalkit.metrics.manifold`."""

    entry = _RECALL


class ClipScore(_Named):
    """100 times the cosine of images and prompts: `update(images, prompts)`."""

    entry = _CLIP_SCORE


# Encoders by name while an object uses them: two objects share one network and its features.
_by_name: weakref.WeakValueDictionary[str, Encoder] = weakref.WeakValueDictionary()


def _shared(name: str) -> Encoder:
    named(name)  # the usual sentence for a wrong name
    found = _by_name.get(name) or load(name)
    with contextlib.suppress(TypeError):  # a tuple, which no weak reference can point to
        _by_name[name] = found
    return found


# --- moments as one tensor: mean, count, covariance ---
_MERGED = 512  # images: to merge each batch by itself costs more than the network on a GPU


def _packed(moments: Moments) -> Tensor:
    """float64 [D + 2, D]."""
    count = torch.full_like(moments.mean, moments.count)
    return torch.cat([moments.mean[None], count[None], moments.cov])


def _full(packed: Tensor) -> Tensor:
    """The packed moments; zeros where there are none yet."""
    dimension = packed.shape[1]
    return packed if len(packed) else packed.new_zeros(dimension + 2, dimension)


def _unpacked(state: Tensor) -> Moments:
    state = _full(state)
    return Moments(state[0].cpu(), state[2:].cpu(), int(state[1, 0]))


def _added(packed: Tensor, features: Tensor) -> Tensor:
    """Packed moments with float [N, D] features added, in place; Chan et al. 1983.

    In place, since further matrices of this size would be most of the memory of a training loop.
    """
    packed = _full(packed)
    before, added = int(packed[1, 0]), len(features)
    count, rows = before + added, valid(features, "given").double()
    mean = rows.mean(dim=0)
    centred, step = rows - mean, mean - packed[0]
    cov, rest = packed[2:], max(count - 1, 1)
    cov *= max(before - 1, 0) / rest
    cov.addmm_(centred.T, centred, alpha=1 / rest)
    cov.addr_(step, step, alpha=before * added / count / rest)
    packed[0] += step * (added / count)
    packed[1] = count
    return packed


def _merge(first: Tensor, second: Tensor) -> Tensor:
    if first[1, 0] == 0 or second[1, 0] == 0:
        return first if second[1, 0] == 0 else second
    merged = frechet.merge_moments(_unpacked(first), _unpacked(second))
    return _packed(merged).to(first.device)


def _merged(states: Tensor) -> Tensor:
    """Packed moments of all processes, from float64 [processes, D + 2, D]."""
    return functools.reduce(_merge, states)


# --- features of the last batch, shared between objects ---
class _Batch(NamedTuple):
    images: weakref.ref[Tensor]
    version: int  # changes when the tensor is changed in place
    features: list[tuple[Encoder, dict[str, Tensor]]]


_batches: list[_Batch] = []  # the last one, until its tensor is deleted


_TO_BYTES = ".clamp(0, 255).to(torch.uint8)"
_CONVERT = f"Convert floats from 0 to 1 by `(images * 255).round(){_TO_BYTES}`."


def _require_images(count: int, needed: int, side: str) -> None:
    if not count and side == "reference":
        raise EvalkitError(
            "No reference images were given.",
            "Give them with `update(images, real=True)`, or name a reference: `reference=`.",
            code="torchmetrics-13",
        )
    at_least(count, needed, side)


def _check_layout(images: Tensor) -> None:
    """Raise EvalkitError unless these are uint8 [N, 3, H, W] images."""
    if not isinstance(images, Tensor):
        raise EvalkitError(
            f"The images are {type(images).__name__}; expected a tensor, uint8 [N, 3, H, W].",
            "Convert them with `torch.from_numpy` or `torch.stack`.",
            code="torchmetrics-10",
        )
    shape = tuple(images.shape)
    good = images.ndim == 4 and shape[1] == 3 and 0 not in shape
    if good and images.dtype == torch.uint8:
        return
    hint = _CONVERT
    if images.ndim == 4 and shape[1] != 3 and shape[3] == 3:
        hint = "Put the channels first: `images.permute(0, 3, 1, 2)`."
    elif images.ndim == 3:
        hint = "Add the batch dimension to a single image: `images[None]`."
    elif images.ndim == 4 and shape[1] == 1:
        hint = "Repeat the channel of gray images: `images.expand(-1, 3, -1, -1)`."
    elif images.ndim == 4 and shape[1] == 4:
        hint = "Leave out the alpha channel: `images[:, :3]`."
    elif not good:
        hint = "Give a batch of RGB images with at least one pixel."
    elif images.is_complex() or not bool(images.isfinite().all()):
        hint = "Some values are no finite numbers: find out where they come from."
    elif images.dtype == torch.bool:
        hint = "Convert truth values by `images.to(torch.uint8) * 255`."
    elif not images.is_floating_point():
        hint = f"Convert integers from 0 to 255 by `images{_TO_BYTES}`."
    elif float(images.min()) < 0:
        hint = f"Convert floats from -1 to 1 by `((images + 1) * 127.5).round(){_TO_BYTES}`."
    elif float(images.max()) > 1.5:
        hint = f"Convert floats from 0 to 255 by `images.round(){_TO_BYTES}`."
    raise EvalkitError(
        f"The images are {str(images.dtype).removeprefix('torch.')} {shape}{_ends(images)};"
        " expected uint8 [N, 3, H, W] with values from 0 to 255.",
        hint,
        code="torchmetrics-11",
    )


def _ends(images: Tensor) -> str:
    """The smallest and the largest value in words, by which the range is known; "" without any."""
    if not images.numel() or images.is_complex() or images.dtype == torch.bool:
        return ""
    return f" with values from {images.min().item():.4g} to {images.max().item():.4g}"


def _encoded(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    """Features of uint8 [N, 3, H, W] images; encoded once for the same unchanged tensor."""
    _check_layout(images)
    version = -1 if images.is_inference() else images._version
    batch = _batches[0] if _batches else None
    if batch is None or batch.images() is not images or not batch.version == version >= 0:
        if bool((images.flatten(1).amax(1) == 1).any()):  # as `score` does
            raise EvalkitError(
                "An image of the batch contains only 0 and 1 (values of 0 to 1 as integers);"
                " expected values from 0 to 255.",
                _CONVERT,
                code="torchmetrics-12",
            )
        batch = _Batch(weakref.ref(images, lambda _: _batches.clear()), version, [])
        _batches[:] = [batch]
    for known, features in batch.features:
        if known is encoder:
            return features
    prepared = map_ahead(encoder.prepare, to_images(images), len(images))
    features = encoder(torch.stack([pixels for _, pixels in prepared]))
    batch.features.append((encoder, features))
    return features
