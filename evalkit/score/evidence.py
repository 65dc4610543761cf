"""What the metrics see of a run: features of its pictures and prompts beside the reference, by kind
of encoder.

An encoder that serves two kinds (mini-clip stands in for both CLIPs) runs once; every prompt is
read once for all models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evalkit.core import Encoder, EncoderKind, Metric, TextEncoder
from evalkit.features.encode import Features, image_features, text_features
from evalkit.features.groups import group_features
from evalkit.features.image_sets import ImageSet
from evalkit.reference.files import Reference
from evalkit.run_folder import Run
from evalkit.score import measure
from evalkit.statistics import intervals

_TEXTS = "_prompts"  # the features of the prompts lie beside those of the models

Texts = Mapping[str, Tensor]  # prompt with its prefix -> float32 [D]


class Bench(NamedTuple):
    """What all models of a run are measured with."""

    run: Run
    table: Sequence[Metric]
    chosen: Mapping[EncoderKind, Encoder]
    references: Mapping[EncoderKind, Reference]
    no_reference: Mapping[EncoderKind, str]  # why, for the kinds without one
    texts: Mapping[str, Texts]  # by name of the encoder
    batch_size: int


def _as_text_encoder(encoder: Encoder) -> TextEncoder | None:
    """The encoder itself where it reads text too."""
    return encoder if hasattr(encoder, "text") else None  # pyright: ignore[reportReturnType]


def read_texts(
    run: Run, prompts: Sequence[str], table: Sequence[Metric], chosen: Mapping[EncoderKind, Encoder]
) -> dict[str, Texts]:
    """Features of all prompts under every prefix that a metric puts before them."""
    wanted: dict[str, tuple[TextEncoder, list[str]]] = {}
    for metric in table:
        encoder = chosen.get(metric.encoder)
        if (
            "text" in measure.requests(metric)
            and encoder is not None
            and (reader := _as_text_encoder(encoder)) is not None
        ):
            wanted.setdefault(encoder.name, (reader, []))[1].extend(
                metric.prefix + prompt for prompt in prompts
            )
    found: dict[str, Texts] = {}
    for name, (reader, texts) in wanted.items():
        unique = list(dict.fromkeys(texts))
        if unique:
            found[name] = dict(
                zip(
                    unique,
                    text_features(unique, reader, run.features_path(_TEXTS, name)),
                    strict=True,
                )
            )
    return found


def gather(images: ImageSet, bench: Bench) -> dict[EncoderKind, measure.Evidence]:
    """The evidence on one model for every kind of encoder; none where it has no pictures."""
    features: dict[str, Features] = {}
    evidence: dict[EncoderKind, measure.Evidence] = {}
    labels = (
        images.texts
        if images.texts is not None
        else [str(place) for place in range(len(images.files))]
    )
    for kind, encoder in bench.chosen.items() if images.files else ():
        if encoder.name not in features:
            features[encoder.name] = _features(images, encoder, bench)
        no_text = (
            "a bare folder of pictures has no prompts"
            if images.texts is None
            else f"the encoder {encoder.name} reads no text"
        )
        evidence[kind] = measure.Evidence(
            encoder.name,
            features[encoder.name].values,
            intervals.cluster_numbers(labels),
            _texts(images, kind, encoder, bench),
            bench.references.get(kind),
            no_text,
            bench.no_reference.get(kind, ""),
        )
    return evidence


def part(evidence: measure.Evidence, places: Sequence[int]) -> measure.Evidence:
    """The evidence on some of a model's pictures."""
    rows = torch.tensor(places, dtype=torch.long)
    fake, texts = (
        {name: values[rows] for name, values in table.items()}
        for table in (evidence.fake, evidence.texts)
    )
    return replace(
        evidence,
        fake=fake,
        texts=texts,
        clusters=np.unique(evidence.clusters[rows.numpy()], return_inverse=True)[1],
    )


def _features(images: ImageSet, encoder: Encoder, bench: Bench) -> Features:
    served = [kind for kind, other in bench.chosen.items() if other.name == encoder.name]
    wanted = sorted({metric.feature for metric in bench.table if metric.encoder in served})
    cache, label = (
        bench.run.features_path(images.model, encoder.name),
        f"{images.model}: {encoder.name}",
    )
    if getattr(encoder, "grouped", False):
        if images.texts is None:  # nobody knows which pictures belong together
            return Features({}, [])
        return group_features(
            images.files, images.texts, encoder, cache, wanted=wanted, label=label
        )
    return image_features(
        images.files, encoder, cache, wanted=wanted, batch_size=bench.batch_size, label=label
    )


def _texts(
    images: ImageSet, kind: EncoderKind, encoder: Encoder, bench: Bench
) -> dict[str, Tensor]:
    """By prefix: the features of the prompt of every picture, float32 [N, D]."""
    known = bench.texts.get(encoder.name)
    if images.texts is None or known is None:
        return {}
    prefixes = {
        metric.prefix
        for metric in bench.table
        if metric.encoder == kind and "text" in measure.requests(metric)
    }
    return {
        prefix: torch.stack([known[prefix + text] for text in images.texts])
        for prefix in sorted(prefixes)
    }
