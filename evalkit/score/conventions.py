"""FID of the same images under every known preprocessing convention.

It also states which conventions a quoted FID fits. Each image is decoded once. Features are cached
as those of `score`, in the results folder of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

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
from evalkit.statistics import intervals

FULL_RANK = 2048  # images; with fewer, the covariance of 2048 features does not have full rank
# Relative: JPEG decoders and rounding differ between two tools of the same convention.
TOOLS_DIFFER = 1e-4
Fit = Literal["rounding", "interval", ""]


@dataclass(frozen=True)
class ConventionRow:
    """FID under one convention."""

    convention: str
    tools: str
    description: str
    value: float | None = None  # None: not measured, and `note` gives the reason
    low: float | None = None  # of the 95% sampling interval over images
    high: float | None = None
    count: int = 0
    reference_count: int = 0  # 0 if the reference does not state it
    distance: float | None = None  # value - target
    fit: Fit = ""  # the target agrees to its last digit, or lies in the sampling interval
    note: str = ""


@dataclass(frozen=True)
class ConventionTable:
    """The result of `conventions`: one row per convention, and the conclusion in sentences."""

    rows: list[ConventionRow]
    verdict: str  # "" without a target
    notes: list[str]


@dataclass(frozen=True)
class _Real:
    """The moments of the reference under one convention, or the reason why there are none."""

    moments: Moments | None = None
    note: str = ""


def conventions(
    folder: Path | str,
    *,
    reference: str,
    target: float | str | None = None,
    weights: str = "",
    device: str = "auto",
    batch_size: int = 32,
) -> ConventionTable:
    """FID of a folder of images against a reference under each convention.

    Args:
        folder: images (a folder, zip, tar or array), or a run of one model.
        reference: real images (the same), or reference statistics of some of the encoders
            `inception*`.
        target: a quoted FID; a text such as "12.60" keeps its number of digits. A convention fits
            it if the difference is within half of the last digit (and 1e-4 of the value), or
            otherwise if it lies in the convention's 95% interval over images.
        weights: a file to use in place of the pinned one; the notes then state its SHA-256.
        device: where the network runs.
        batch_size: images per batch; results agree up to rounding.

    Raises EvalkitError if there are no images, no weights, no reference, or several models.
    """
    quoted = None if target is None else _number(target)
    network, digest = inception.load_network(device=device, path=weights, fetch=False)
    real = _statistics(reference, network, digest) if _is_statistics(reference) else None
    used = [item for item in CONVENTIONS if real is None or real[item.name].moments is not None]
    if not used:
        reasons = "; ".join(dict.fromkeys(side.note for side in (real or {}).values()))
        raise EvalkitError(
            f"The reference {reference!r} has statistics for no convention: {reasons}.",
            "Give a folder of real images.",
        )
    encoder = InceptionConventions(network, digest, used)
    fake = _features(Path(folder), encoder, batch_size)
    if real is None:
        features = _features(Path(reference), encoder, batch_size)
        real = {name: _Real(frechet.moments(values)) for name, values in features.items()}
    rows = [_row(item, fake.get(item.name), real[item.name]) for item in CONVENTIONS]
    verdict = ""
    if quoted is not None:
        rows = [_with_target(row, *quoted) for row in rows]
        verdict = _verdict(rows, str(target))
    return ConventionTable(rows, verdict, _notes(rows, digest if weights else ""))


def _number(target: float | str) -> tuple[float, float]:
    """The value and half a unit of its last digit."""
    text = str(target).strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise EvalkitError(
            f"target is {text!r}; expected an FID, a number of at least 0.",
            "For example `--target 12.6`.",
        )
    mantissa, _, exponent = text.lower().partition("e")
    return value, 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


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
            f"Found {len(files)} images in {path}; FID needs at least 2.", "Give more images."
        )
    return found.values


# --- rows and sentences ---
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


def _with_target(row: ConventionRow, target: float, half_a_digit: float) -> ConventionRow:
    if row.value is None:
        return row
    distance = row.value - target
    fit: Fit = ""
    if abs(distance) <= half_a_digit + TOOLS_DIFFER * abs(row.value):
        fit = "rounding"
    elif row.low is not None and row.high is not None and row.low <= target <= row.high:
        fit = "interval"
    return replace(row, distance=distance, fit=fit)


def _verdict(rows: Sequence[ConventionRow], target: str) -> str:
    """Which conventions the target fits, in one or two sentences."""
    measured = [row for row in rows if row.value is not None]
    measured.sort(key=lambda row: abs(row.distance or 0))
    exact = [row for row in measured if row.fit == "rounding"]
    if exact:
        names = " and ".join(f"{row.convention} ({row.tools})" for row in exact)
        more = "" if len(exact) == 1 else " The value does not distinguish between them."
        return f"{target} fits {names} to the last digit quoted.{more}"
    nearest = measured[0]
    closest = f"The nearest is {nearest.convention} ({nearest.tools}) with {nearest.value:.4g}"
    possible = ", ".join(row.convention for row in measured if row.fit == "interval")
    if possible:
        return (
            f"{target} fits no convention to the last digit quoted. {closest}. It lies in the 95%"
            f" sampling interval of {possible}: these are possible if the quoted value is of other"
            " images of the same model."
        )
    return (
        f"{target} fits none of these conventions. {closest}, {abs(nearest.distance or 0):.4g}"
        " away. A different number of images, or different reference images, prompts or weights"
        " explain the difference better than preprocessing."
    )


def _notes(rows: Sequence[ConventionRow], digest: str) -> list[str]:
    notes: list[str] = []
    if digest:
        notes.append(
            f"The weights are not the pinned ones: SHA-256 {digest}. These values are not"
            " comparable with published values."
        )
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
