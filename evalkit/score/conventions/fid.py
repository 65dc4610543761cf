"""FID of the same images under every known preprocessing convention.

Each image is decoded once. Features are cached as those of `score`, in the results folder of the
images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, Moments
from evalkit.encoders import inception
from evalkit.encoders.inception_conventions import CONVENTIONS, Convention, InceptionConventions
from evalkit.features.encode import image_features
from evalkit.features.image_sets import one_image_set
from evalkit.metrics import frechet
from evalkit.reference import files as reference_files
from evalkit.reference import foreign as foreign_statistics
from evalkit.score.conventions.table import ConventionRow, not_pinned
from evalkit.statistics import intervals

FULL_RANK = 2048  # images; with fewer, the covariance of 2048 features does not have full rank


@dataclass(frozen=True)
class _Real:
    """The moments of the reference under one convention, or the reason why there are none."""

    moments: Moments | None = None
    note: str = ""


def rows_of_fid(
    folder: Path, reference: str, weights: str, device: str, batch_size: int
) -> tuple[list[ConventionRow], list[str]]:
    """FID of a folder of images against a reference under each convention, and the notes.

    Raises EvalkitError if there are no images, no weights, no reference, or several models.
    """
    network, digest = inception.load_network(device=device, path=weights, fetch=False)
    real = _statistics(reference, network, digest) if _is_statistics(reference) else None
    used = [item for item in CONVENTIONS if real is None or real[item.name].moments is not None]
    if not used:
        reasons = "; ".join(dict.fromkeys(side.note for side in (real or {}).values()))
        raise EvalkitError(
            f"The reference {reference!r} has statistics for no convention: {reasons}.",
            "Give a folder of real images.",
            code="score-5",
        )
    encoder = InceptionConventions(network, digest, used)
    fake = _features(folder, encoder, batch_size)
    if real is None:
        features = _features(Path(reference), encoder, batch_size)
        real = {name: _Real(frechet.moments(values)) for name, values in features.items()}
    rows = [_row(item, fake.get(item.name), real[item.name]) for item in CONVENTIONS]
    return rows, _notes(rows, digest if weights else "")


# --- the two sides ---
def _is_statistics(reference: str) -> bool:
    """Whether a reference is a name or file of statistics; otherwise it is a path of images."""
    path = Path(reference)
    if path.is_dir():
        return (path / "card.toml").is_file()
    if not path.exists():
        # A pattern of shards and a missing path are paths of images; anything else is a name.
        return not any(sign in reference for sign in "*{/")
    try:
        return any(item.moments for item in foreign_statistics.read(path))
    except EvalkitError:
        return False


def _statistics(
    reference: str, network: inception.InceptionNetwork, digest: str
) -> dict[str, _Real]:
    """For each convention, the moments that the reference statistics hold."""
    reference_files.find(reference)  # an unknown name is an error, not a reason in every row
    found: dict[str, _Real] = {}
    for item in CONVENTIONS:
        if item.before is not None:
            note = "no reference statistics use this convention; give a folder of real images"
            found[item.name] = _Real(note=note)
            continue
        encoder: Encoder = inception.Inception(item.name, network, digest)
        try:
            loaded = reference_files.reference(reference, encoder)
        except EvalkitError as error:
            found[item.name] = _Real(note=error.message)
            continue
        moments = loaded.moments.get("pool")
        note = loaded.note if moments else "the reference holds no moments of pool features"
        found[item.name] = _Real(moments, note)
    return found


def _features(path: Path, encoder: InceptionConventions, batch_size: int) -> dict[str, Tensor]:
    """Features of the images at a path by convention, float32 [N, 2048] each."""
    run, images = one_image_set(path)
    model, files = images.model, images.files
    names = [item.name for item in encoder.conventions]
    found = image_features(
        files,
        encoder,
        run.features_path(model, f"{encoder.name}-{encoder.fingerprint[-8:]}"),
        wanted=names,
        batch_size=batch_size,
        label=f"{model}: {len(names)} conventions",
    )
    if len(files) < 2:
        raise EvalkitError(
            f"{path} has too few images ({len(files)}); FID needs at least 2.",
            "Give more images.",
            code="score-6",
        )
    return found.values


# --- rows ---
def _row(item: Convention, fake: Tensor | None, real: _Real) -> ConventionRow:
    row = ConventionRow(item.name, item.tools, item.description, note=real.note)
    if fake is None or real.moments is None:
        return replace(row, note=f"not measured: {real.note}")
    value = float(frechet.fid(fake=fake, real_moments=real.moments))
    low = high = None
    groups = intervals.groups_of_clusters(torch.arange(len(fake)).numpy())
    if groups is not None:
        left_out = frechet.fid_without(fake=fake, real_moments=real.moments, groups=groups)
        low, high, _ = intervals.group_jackknife(value, left_out, groups)
    row = replace(row, count=len(fake), reference_count=real.moments.count)
    return replace(row, value=value, low=low, high=high)


def _notes(rows: Sequence[ConventionRow], digest: str) -> list[str]:
    notes: list[str] = []
    if digest:
        notes.append(not_pinned(digest))
    measured = [row for row in rows if row.value is not None]
    counts = [count for row in measured for count in (row.count, row.reference_count) if count]
    if counts and min(counts) < FULL_RANK:
        real = measured[0].reference_count or "an unknown number of"
        notes.append(
            f"Below {FULL_RANK:,} images, FID depends mostly on the number of images: here"
            f" {measured[0].count:,} images against {real} real images. Compare only with values"
            " at the same counts."
        )
    return notes
