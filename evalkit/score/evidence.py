"""What metrics are computed from: features of a model's images and prompts, and the reference.

There is one `Evidence` per model and kind of encoder. An encoder that serves two kinds (mini-clip
stands in for both CLIPs) runs once, and every prompt is encoded once for all models.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalkit.core import (
    Encoder,
    EncoderKind,
    FailedMetricWarning,
    Metric,
    StoppedScorerWarning,
    TextEncoder,
)
from evalkit.encoders import batches
from evalkit.features.answers import ScorerFailed, answers
from evalkit.features.calls import made_on
from evalkit.features.encode import (
    Encoding,
    Features,
    encode_images,
    encode_shard,
    text_features,
)
from evalkit.features.groups import group_features
from evalkit.features.image_sets import ImageSet
from evalkit.reference.files import Reference
from evalkit.run_folder import Run
from evalkit.score.sample import draws
from evalkit.scorer import LoadedScorer, Parts, encoders_only, scorers_only
from evalkit.seeds import kind_of
from evalkit.shards import WHOLE, Shard
from evalkit.statistics import intervals

NO_PROMPTS = "a folder of images has no prompts"
TEXTS = "_prompts"  # the folder of the prompts' features, beside those of the models


class Texts(NamedTuple):
    """Features of prompts."""

    rows: Mapping[str, int]  # prefix + prompt -> row
    values: Tensor  # float32 [P, D]

    def of(self, texts: Sequence[str]) -> Tensor:
        """One row for each text, float32 [N, D]; no copy if these are all, in their order."""
        rows = [self.rows[text] for text in texts]
        return self.values if rows == list(range(len(self.values))) else self.values[rows]


@dataclass(frozen=True)
class Evidence:
    """Features of one model under one encoder; rows of `fake`, `texts`, `clusters` correspond."""

    encoder: str
    fake: dict[str, Tensor]  # "pool" and maybe "logits", float32 [N, D]
    clusters: NDArray[np.int64]  # [N], the number of each image's prompt
    texts: Mapping[str, Tensor]  # by prefix: features of prefix + prompt, float32 [N, D]
    reference: Reference | None
    no_text: str = "there are no prompts"  # the reason where texts is empty
    no_reference: str = "there is no reference"  # the reason where reference is None
    made_on: frozenset[str] = frozenset()  # devices and number formats, see features/cache.py
    no_fake: str = ""  # the reason where fake is empty
    failed: bool = False  # the reason is a fault of the scorer
    reasons: Sequence[str] = ()  # of a scorer: why an image has no answer, "" where it has one
    parts: Sequence[Parts] = ()  # of a scorer: the numbers of single questions of each image
    draws: NDArray[np.uint64] | None = None  # [N], see sample.py; None: by place


class Setup(NamedTuple):
    """What all models of a run are measured with."""

    run: Run
    metrics: Sequence[Metric]
    encoders: Mapping[EncoderKind, Encoder | LoadedScorer]
    references: Mapping[EncoderKind, Reference]
    no_reference: Mapping[EncoderKind, str]  # the reason, for the kinds without one
    texts: Mapping[str, Texts]  # by name of the encoder
    batch_size: int | None  # None: as many as suit the device of each encoder
    shard: Shard = WHOLE  # whose files of the caches are written


def encode_prompts(
    run: Run,
    prompts: Sequence[str],
    metrics: Sequence[Metric],
    encoders: Mapping[EncoderKind, Encoder | LoadedScorer],
    shard: Shard = WHOLE,
) -> dict[str, Texts]:
    """Features of all prompts, with every prefix that a metric puts before them."""
    wanted: dict[str, tuple[TextEncoder, list[str]]] = {}
    known = encoders_only(encoders)
    for metric in metrics:
        encoder = known.get(metric.encoder)
        reader = _as_text_encoder(encoder) if encoder is not None else None
        if "text" in metric.needs and reader is not None:
            texts = wanted.setdefault(reader.name, (reader, []))[1]
            texts.extend(metric.prefix + prompt for prompt in prompts)
    found: dict[str, Texts] = {}
    for name, (reader, texts) in wanted.items():
        unique = list(dict.fromkeys(texts))
        if unique:
            values = text_features(unique, reader, run.features_path(TEXTS, name), shard)
            found[name] = Texts({text: row for row, text in enumerate(unique)}, values)
    return found


def fill(images: ImageSet, setup: Setup) -> None:
    """Add what `gather` needs of these images of a shard to the files of the shard."""
    if not images.files:
        return
    grouped, others = _encodings(images, setup)
    title = f"{images.model}: "
    for one in grouped if images.texts is not None else ():
        _of_groups(images, one, title)
    encode_shard(images.files, others, title)
    for kind, scorer in scorers_only(setup.encoders).items():
        _scored(images, kind, scorer, setup)


def gather(images: ImageSet, setup: Setup) -> dict[EncoderKind, Evidence]:
    """The evidence on one model for every kind of encoder; {} if it has no images."""
    features = _features(images, setup) if images.files else {}
    evidence: dict[EncoderKind, Evidence] = {}
    labels, numbers = images.texts, draws(images.records)
    if labels is None:
        labels = [str(place) for place in range(len(images.files))]
    for kind, encoder in encoders_only(setup.encoders).items() if images.files else ():
        no_text = f"the encoder {encoder.name} does not read text"
        if images.texts is None:
            no_text = NO_PROMPTS
        evidence[kind] = Evidence(
            encoder.name,
            features[encoder.name].values,
            intervals.cluster_numbers(labels),
            _texts(images, kind, encoder, setup),
            setup.references.get(kind),
            no_text,
            setup.no_reference.get(kind, ""),
            features[encoder.name].made_on,
            draws=numbers,
        )
    scored: dict[tuple[str, str, bool], Evidence] = {}
    for kind, scorer in scorers_only(setup.encoders).items() if images.files else ():
        same = scorer.name, scorer.fingerprint, _reads_prompts(kind, setup)
        if same not in scored:  # answers that are not kept are also requested once
            scored[same] = _scored(images, kind, scorer, setup)
        evidence[kind] = _of_output(scored[same], kind, setup)
    return evidence


def _of_output(found: Evidence, kind: EncoderKind, setup: Setup) -> Evidence:
    """The evidence for the number of one scorer; an answer may lack a value that others have."""
    output = next((one.feature for one in setup.metrics if one.encoder == kind), "")
    if output not in found.fake:
        return found
    lacks = f"the answer has no value {output!r}"
    gone = found.fake[output][:, 0].isnan().tolist()
    reasons = [why or lacks * nan for why, nan in zip(found.reasons, gone, strict=True)]
    return replace(found, reasons=reasons)


def _reads_prompts(kind: EncoderKind, setup: Setup) -> bool:
    """Whether a scorer reads the prompts."""
    return any(
        metric.scorer.reads_prompts
        for metric in setup.metrics
        if metric.encoder == kind and metric.scorer is not None
    )


def _scored(images: ImageSet, kind: EncoderKind, scorer: LoadedScorer, setup: Setup) -> Evidence:
    """The answers of a scorer on the images of a model."""
    reads = _reads_prompts(kind, setup)
    labels = images.texts
    if labels is None:
        labels = [str(place) for place in range(len(images.files))]
        if reads:
            clusters = intervals.cluster_numbers(labels)
            return Evidence(scorer.name, {}, clusters, {}, None, no_fake=NO_PROMPTS)
    clusters = intervals.cluster_numbers(labels)
    try:
        found = answers(
            images.files,
            images.texts if reads else None,
            scorer,
            setup.run.answers_path(images.model, scorer.name),
            batch_size=setup.batch_size or batches.USUAL,
            label=f"{images.model}: {scorer.name}",
            shard=setup.shard,
        )
    except ScorerFailed as error:  # no other result is lost
        if error.exit_code == 3:
            text = f"{error.message} {error.hint}".strip()
            warnings.warn(text, StoppedScorerWarning, stacklevel=2)
        else:
            warnings.warn(FailedMetricWarning(error.message, error.hint), stacklevel=2)
        return Evidence(scorer.name, {}, clusters, {}, None, no_fake=error.message, failed=True)
    return Evidence(
        scorer.name,
        found.values,
        clusters,
        {},
        None,
        made_on=made_on(scorer),
        reasons=found.reasons,
        parts=found.parts,
        draws=draws(images.records),
    )


def part(evidence: Evidence, places: Sequence[int]) -> Evidence:
    """The evidence on some of a model's images."""
    rows = torch.tensor(places, dtype=torch.long)
    fake, texts = (
        {name: values[rows] for name, values in table.items()}
        for table in (evidence.fake, evidence.texts)
    )
    reasons = [evidence.reasons[place] for place in places] if evidence.reasons else ()
    parts = [evidence.parts[place] for place in places] if evidence.parts else ()
    clusters = intervals.cluster_numbers(evidence.clusters[rows.numpy()].tolist())
    numbers = None if evidence.draws is None else evidence.draws[rows.numpy()]
    return replace(
        evidence,
        fake=fake,
        texts=texts,
        clusters=clusters,
        reasons=reasons,
        parts=parts,
        draws=numbers,
    )


def _as_text_encoder(encoder: Encoder | LoadedScorer) -> TextEncoder | None:
    """The encoder itself if it reads text."""
    return encoder if hasattr(encoder, "text") else None  # pyright: ignore[reportReturnType]


def _features(images: ImageSet, setup: Setup) -> dict[str, Features]:
    """Features of all images by the name of the encoder."""
    title, found = f"{images.model}: ", dict[str, Features]()
    grouped, others = _encodings(images, setup)
    for one in grouped:  # without prompts, the groups of images are unknown
        known = images.texts is not None
        found[one.encoder.name] = _of_groups(images, one, title) if known else Features({}, [])
    made = encode_images(images.files, others, title)
    return found | {one.encoder.name: values for one, values in zip(others, made, strict=True)}


def _of_groups(images: ImageSet, one: Encoding, title: str) -> Features:
    # The images of a variant of a prompt are a group of their own.
    kinds = [kind_of(record.prompt) for record in images.records]
    labels = [f"{text}\0{kind}" for text, kind in zip(images.texts or (), kinds, strict=True)]
    return group_features(
        images.files,
        labels,
        one.encoder,
        one.cache,
        wanted=one.wanted,
        label=title + one.encoder.name,
        shard=one.shard,
    )


def _encodings(images: ImageSet, setup: Setup) -> tuple[list[Encoding], list[Encoding]]:
    """The encoders of all metrics, each once: those that read groups of images, and others."""
    wanted: dict[str, set[str]] = {}
    encoders = encoders_only(setup.encoders)
    for kind, encoder in encoders.items():
        asked = {metric.feature for metric in setup.metrics if metric.encoder == kind}
        wanted.setdefault(encoder.name, set()).update(asked)
    grouped: list[Encoding] = []
    others: list[Encoding] = []
    for name, encoder in {one.name: one for one in encoders.values()}.items():
        cache, features = setup.run.features_path(images.model, name), sorted(wanted[name])
        size = batches.size(encoder, setup.batch_size)
        to = grouped if getattr(encoder, "grouped", False) else others
        to.append(Encoding(encoder, cache, features, size, shard=setup.shard))
    return grouped, others


def _texts(
    images: ImageSet, kind: EncoderKind, encoder: Encoder, setup: Setup
) -> dict[str, Tensor]:
    """By prefix: the features of every image's prompt, float32 [N, D]."""
    known = setup.texts.get(encoder.name)
    if images.texts is None or known is None:
        return {}
    asking = [one for one in setup.metrics if one.encoder == kind and "text" in one.needs]
    return {
        prefix: known.of([prefix + text for text in images.texts])
        for prefix in sorted({metric.prefix for metric in asking})
    }
