"""What the selftest resamples: features of one model's images, as they are and damaged.

Undamaged images have their features in the run's cache. Damaged ones are written to a temporary
folder, encoded once, and removed; nothing in the run changes.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.features.image_file import ImageFile
from evalkit.features.image_sets import ImageSet, image_sets
from evalkit.features.validation import ImageValidation
from evalkit.gate.conditions import requests_of
from evalkit.gate.selftest.damage import (
    ABSENT,
    DAMAGES,
    HALF_GUIDANCE,
    Damage,
    write_black,
    write_changed,
)
from evalkit.gate.selftest.generate import with_half_guidance
from evalkit.gate.selftest.sides import Features, Pool, units_of
from evalkit.run_folder import Run
from evalkit.score.evidence import Setup, encode_prompts, gather
from evalkit.score.protocol import encoder_names
from evalkit.score.resources import load, only_bundled
from evalkit.score.settings import measured as scored_with
from evalkit.score.settings import resolve
from evalkit.scorer import encoders_only
from evalkit.specs import split_run

Images = Callable[[Path], Sequence[ImageFile]]  # given a folder to write to


def read_pool(text: str, label: str, metrics: Sequence[str], half_guidance: bool = False) -> Pool:
    """The images of a model of a scored run under its encoders, with damage of their pixels.

    half_guidance: the model makes its images again, with half the guidance.
    """
    path, _ = split_run(text)
    run = Run(path)
    protocol = run.protocol()
    own = {plugins.metric(spec).name: spec for spec in scored_with(run) if ":" in spec}
    encoders = encoder_names(protocol.get("encoders", {}))
    chosen = resolve(
        path,
        metrics=[own.get(name, name) for name in metrics] or ["fid"],  # some name is needed
        only=True,
        models=[label],
        encoders=",".join(encoders) or None,
    )
    found = load(chosen, only_bundled(run, run.models()))
    skipped = protocol.get("counts", {}).get(label, {}).get("skipped", 0)
    _, [images], prompts = image_sets(path, "skip" if skipped else "refuse", (label,))
    images = images.originals()
    table = [one for one in found.metrics if one.name in metrics and one.scorer is None]
    kinds = {metric.encoder for metric in table}
    used = {
        kind: one for kind, one in encoders_only(found.choice.encoders).items() if kind in kinds
    }
    texts = encode_prompts(run, prompts, table, used)
    setup = Setup(run, table, used, found.references, found.why, texts, 32)
    if not images.files:
        raise EvalkitError(
            f"{label} has no usable image.", "Generate its images first.", code="gate-50"
        )
    facts = images.validation.complete(images.files)
    [(size, _)] = Counter((one.width, one.height) for one in facts).most_common(1)
    changed = {one.name: _changed(images, setup, one) for one in DAMAGES if one.pixels is not None}
    if half_guidance:
        shown = replace(images, model=HALF_GUIDANCE.name)
        changed[HALF_GUIDANCE.name] = encoded(
            shown, setup, lambda folder: with_half_guidance(run, label, images, folder)
        )
    sharpness = {"": np.array([one.sharpness for one in facts])}
    records = run.records(label)
    requests = requests_of(run, records)
    usable = {(one.index, one.sample): row for row, one in enumerate(images.records)}
    refused = {(one.index, one.sample) for one in records if one.status.startswith("refused")}
    return Pool(
        label,
        setup,
        _with_row(
            gather(images, setup),
            encoded(images.keep([0]), setup, lambda folder: [write_black(size, folder)])[0],
        ),
        (*DAMAGES, *([HALF_GUIDANCE] if half_guidance else [])),
        {name: features for name, (features, _) in changed.items()},
        np.array([usable.get(request, ABSENT) for request in requests], dtype=np.int64),
        np.array([request in refused for request in requests], dtype=bool),
        np.array([one.black for one in facts], dtype=bool),
        sharpness | {name: sharp for name, (_, sharp) in changed.items()},
        units_of(run.prompts(), [index for index, _ in requests]),
    )


def _changed(images: ImageSet, setup: Setup, damage: Damage) -> tuple[Features, np.ndarray]:
    assert damage.pixels is not None
    change, label = damage.pixels, f"damage: {damage.name}"
    shown = replace(images, model=damage.name)  # the name in the progress of the encoders
    return encoded(shown, setup, lambda folder: write_changed(images.files, change, folder, label))


def encoded(images: ImageSet, setup: Setup, files: Images) -> tuple[Features, np.ndarray]:
    """Features and sharpness of other files in place of those of a set; the files are removed."""
    with tempfile.TemporaryDirectory(prefix="evalkit-selftest-") as folder:
        place, validation = Path(folder), ImageValidation()
        written = [file._replace(on_decoded=validation.add) for file in files(place)]
        features = gather(replace(images, files=written), setup._replace(run=Run(place)))
        facts = validation.complete(written)
        return features, np.array([one.sharpness for one in facts])


def _with_row(features: Features, black: Features) -> Features:
    """The features with those of one further image at the end."""

    def joined(kind: str) -> Mapping[str, torch.Tensor]:
        return {
            name: torch.cat([values, black[kind].fake[name]])  # pyright: ignore
            for name, values in features[kind].fake.items()  # pyright: ignore
        }

    return {kind: replace(one, fake=joined(kind)) for kind, one in features.items()}
