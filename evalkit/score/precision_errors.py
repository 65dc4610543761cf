"""What a faster mode of an encoder changes, measured on some images of each model.

The first images are encoded exactly, too. The Fréchet distance between the exact and the faster
features of the same images would be 0 without an error; each metric is computed from both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from evalkit.core import Encoder, EncoderKind
from evalkit.encoders import batches
from evalkit.encoders.faster import exact_of
from evalkit.features.encode import image_features
from evalkit.features.image_sets import ImageSet
from evalkit.metrics.frechet import frechet_distance_of_features
from evalkit.score.evidence import Evidence, Setup, part
from evalkit.score.measure import Measurement, point
from evalkit.scorer import encoders_only

log = logging.getLogger(__name__)
IMAGES = 512  # the most that are encoded exactly, too


class PrecisionError(NamedTuple):
    """Of one encoder on the images of one model."""

    images: int  # the first ones of the model, encoded in both ways
    distance: float  # Fréchet distance between exact and faster "pool" features
    differences: dict[str, float]  # by metric: its faster value minus its exact one


def precision_errors(
    images: ImageSet, evidence: Mapping[EncoderKind, Evidence], setup: Setup
) -> dict[str, PrecisionError]:
    """By name of each encoder in a faster mode; {} if there are none, or fewer than two images."""
    found: dict[str, PrecisionError] = {}
    encoders = encoders_only(setup.encoders)
    for kind, whole in evidence.items():
        encoder = encoders.get(kind)
        if encoder is None or exact_of(encoder) is encoder:
            continue
        if len(images.files) < 2 or "pool" not in whole.fake:
            continue
        fast = part(whole, range(min(IMAGES, len(images.files))))
        exact = _exactly(images, encoder, fast, setup)
        known = found.get(encoder.name)
        differences = known.differences if known else {}
        for metric in setup.metrics:
            if metric.encoder == kind:
                values = point(metric, fast), point(metric, exact)
                if values[0] is not None and values[1] is not None:
                    differences[metric.name] = values[0] - values[1]
        distance = frechet_distance_of_features(fake=fast.fake["pool"], real=exact.fake["pool"])
        count = len(fast.clusters)
        found[encoder.name] = PrecisionError(count, max(0.0, float(distance)), differences)
    for name, error in found.items():
        log.info("%s: %s: %s", images.model, name, _sentence(error))
    return found


def with_errors(
    measured: Mapping[str, Measurement], errors: Mapping[str, PrecisionError], setup: Setup
) -> dict[str, Measurement]:
    """The measurements, with the error of the mode in the note of each value that has one."""
    noted = dict(measured)
    for metric in setup.metrics:
        encoder = setup.encoders.get(metric.encoder)
        error = errors.get(encoder.name) if encoder else None
        if error and metric.name in error.differences and noted[metric.name].value is not None:
            said = f"{error.differences[metric.name]:+.2g} from exact on {error.images} images"
            note = "; ".join(filter(None, [noted[metric.name].note, said]))
            noted[metric.name] = replace(noted[metric.name], note=note)
    return noted


def _exactly(images: ImageSet, faster: Encoder, fast: Evidence, setup: Setup) -> Evidence:
    """The same evidence from exact features, which have a cache of their own: it holds few."""
    encoder = exact_of(faster)
    features = image_features(
        images.files[: len(fast.clusters)],
        encoder,
        setup.run.features_path(images.model, f"{encoder.name}-sample"),
        wanted=sorted(fast.fake),
        batch_size=batches.size(encoder, setup.batch_size),
        label=f"{images.model}: {encoder.name}, to measure the error",
    )
    return replace(fast, encoder=encoder.name, fake=features.values)


def _sentence(error: PrecisionError) -> str:
    values = ", ".join(f"{name} {value:+.2g}" for name, value in error.differences.items())
    return (
        f"on the first {error.images} images, the Fréchet distance from exact features is"
        f" {error.distance:.2g}" + (f"; differences from exact values: {values}" if values else "")
    )
