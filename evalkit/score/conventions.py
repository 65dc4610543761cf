"""FID of the same pictures under every known preprocessing convention, and which of them a quoted
number fits.

Each picture is decoded once. Features are cached as those of `score`, in the results folder of the
pictures.
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
from evalkit.features.image_sets import image_sets
from evalkit.metrics import frechet
from evalkit.reference import files as reference_files
from evalkit.reference import foreign as foreign_statistics
from evalkit.statistics import intervals

ENOUGH = 2048  # images, below which a covariance of 2048 features is not even of full rank
TOOLS_DIFFER = (
    1e-4  # relative: JPEG decoders and rounding, between two tools with the same convention
)
Fit = Literal["rounding", "interval", ""]


@dataclass(frozen=True)
class ConventionRow:
    """FID under one convention. Without a value, `note` says why."""

    convention: str
    tools: str
    description: str
    value: float | None
    low: float | None  # of the 95% sampling interval over images
    high: float | None
    count: int
    reference_count: int  # 0 where the reference does not say
    distance: float | None = None  # value - target
    fit: Fit = (
        ""  # how the target fits: to the last digit quoted, or within the sampling interval only
    )
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """What `conventions` found: one row per convention, and what follows from them in sentences."""

    rows: list[ConventionRow]
    verdict: str  # "" without a target
    notes: list[str]


@dataclass(frozen=True)
class _Real:
    """What the reference has for one convention, or why it has nothing."""

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
) -> Comparison:
    """FID of a folder of pictures against a reference under each convention; see `Comparison`.

    Args:
        folder: pictures (a folder, zip, tar or array), or a run of one model.
        reference: real pictures (the same), or reference statistics that hold some of the encoders
            `inception*`.
        target: a quoted FID; a text such as "12.60" keeps its number of digits. A convention fits
            it where the difference is within half of the last digit (and 1e-4 of the value), or
            else where it lies in the convention's 95% interval over images.
        weights: a file to use in place of the pinned one; the notes then name its SHA-256.
        device: where the network runs.
        batch_size: pictures per batch; no result depends on it.

    Raises EvalkitError where there are no pictures, no weights, no reference, or a run of several
    models.
    """
    wanted = None if target is None else _number(target)
    network, digest = inception.load_network(device=device, path=weights, fetch=False)
    held = _statistics(reference, network, digest)
    used = [item for item in CONVENTIONS if held is None or held[item.name].moments is not None]
    if not used:
        reasons = "; ".join(dict.fromkeys(real.note for real in (held or {}).values()))
        raise EvalkitError(
            f"The reference {reference!r} serves no convention: {reasons}.",
            "Give a folder of real pictures.",
        )
    encoder = InceptionConventions(network, digest, used)
    fake = _features(Path(folder), encoder, batch_size)
    if held is None:
        real = _features(Path(reference), encoder, batch_size)
        held = {name: _Real(frechet.moments(values)) for name, values in real.items()}
    rows = [_row(item, fake.get(item.name), held[item.name]) for item in CONVENTIONS]
    verdict = ""
    if wanted is not None:
        rows = [_with_target(row, *wanted) for row in rows]
        verdict = _verdict(rows, str(target))
    return Comparison(rows, verdict, _notes(rows, digest if weights else ""))


def _number(target: float | str) -> tuple[float, float]:
    """The value and half a unit of its last digit."""
    text = str(target).strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise EvalkitError(
            f"--target is {text!r}; expected an FID, a number from 0.",
            "For example `--target 12.6`.",
        )
    mantissa, _, exponent = text.lower().partition("e")
    return value, 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def _statistics(
    reference: str, network: inception.InceptionNetwork, digest: str
) -> dict[str, _Real] | None:
    """For each convention what the reference's statistics hold; None where the reference is
    pictures.
    """
    if not _is_statistics(reference):
        return None
    reference_files.find(
        reference
    )  # a name that is unknown is an error here, not a reason in every row
    found: dict[str, _Real] = {}
    for item in CONVENTIONS:
        if item.before is not None:
            found[item.name] = _Real(
                note="no statistics hold this convention; give a folder of real pictures"
            )
            continue
        encoder: Encoder = inception.Inception(item.name, network, digest)
        try:
            loaded = reference_files.reference(reference, encoder)
        except EvalkitError as error:
            found[item.name] = _Real(note=error.message)
            continue
        moments = loaded.moments.get("pool")
        found[item.name] = (
            _Real(moments, loaded.note)
            if moments
            else _Real(note="the reference holds no moments of pool features")
        )
    return found


def _is_statistics(reference: str) -> bool:
    """Whether a reference is a name or a file of statistics; else it is a place of pictures."""
    path = Path(reference)
    if path.is_dir():
        return (path / "card.toml").is_file()
    if not path.exists():
        return not any(
            sign in reference for sign in "*{/"
        )  # a name; a pattern of shards or a path that is not there is for pictures
    try:
        return any(item.moments for item in foreign_statistics.read(path))
    except EvalkitError:
        return False


def _features(place: Path, encoder: InceptionConventions, batch_size: int) -> dict[str, Tensor]:
    run, sets, _ = image_sets(place)
    if len(sets) > 1:
        names = ", ".join(images.model for images in sets)
        raise EvalkitError(
            f"{place} is a run of several models ({names}).",
            f"Give the pictures of one: {place}/images/{sets[0].model}.",
        )
    cache = run.features_path(sets[0].model, f"{encoder.name}-{encoder.fingerprint[-8:]}")
    names, label = (
        [item.name for item in encoder.conventions],
        f"{sets[0].model}: {len(encoder.conventions)} conventions",
    )
    found = image_features(
        sets[0].files, encoder, cache, wanted=names, batch_size=batch_size, label=label
    )
    if len(sets[0].files) < 2:
        raise EvalkitError(
            f"Found {len(sets[0].files)} pictures in {place}; FID needs at least 2.",
            "Give more pictures.",
        )
    return found.values


def _row(item: Convention, fake: Tensor | None, real: _Real) -> ConventionRow:
    row = ConventionRow(
        item.name,
        item.tools,
        item.description,
        None,
        None,
        None,
        0 if fake is None else len(fake),
        0,
        note=real.note,
    )
    if fake is None or real.moments is None:
        return replace(row, note=f"not measured: {real.note}")
    value = float(frechet.fid(fake=fake, real_moments=real.moments))
    low = high = None
    groups = intervals.groups_of_clusters(torch.arange(len(fake)).numpy())
    if groups is not None:
        left_out = frechet.fid_without(fake=fake, real_moments=real.moments, groups=groups)
        low, high, _ = intervals.group_jackknife(value, left_out, groups)
    return replace(row, value=value, low=low, high=high, reference_count=real.moments.count)


def _with_target(row: ConventionRow, target: float, half_a_digit: float) -> ConventionRow:
    if row.value is None:
        return row
    distance, fit = row.value - target, ""
    if abs(distance) <= half_a_digit + TOOLS_DIFFER * abs(row.value):
        fit: Fit = "rounding"
    elif row.low is not None and row.high is not None and row.low <= target <= row.high:
        fit = "interval"
    return replace(row, distance=distance, fit=fit)


def _verdict(rows: Sequence[ConventionRow], target: str) -> str:
    """Which conventions the target fits, in a sentence or two."""
    measured = sorted(
        (row for row in rows if row.value is not None), key=lambda row: abs(row.distance or 0)
    )
    exact = [row for row in measured if row.fit == "rounding"]
    possible = [row for row in measured if row.fit == "interval"]
    if exact:
        names = " and ".join(f"{row.convention} ({row.tools})" for row in exact)
        more = "" if len(exact) == 1 else " Between these the number cannot tell."
        return f"{target} fits {names} to the last digit quoted.{more}"
    nearest = measured[0]
    where = f"The nearest is {nearest.convention} ({nearest.tools}) with {nearest.value:.4g}"
    if possible:
        names = ", ".join(row.convention for row in possible)
        return (
            f"{target} fits no convention to the last digit quoted. {where}. It lies in the 95% sampling interval of {names}: these are "
            "possible if the quoted number is of other pictures of the same model."
        )
    return (
        f"{target} fits none of these conventions. {where}, {abs(nearest.distance or 0):.4g} away. Another number of pictures, other "
        "reference pictures, prompts or weights explain the difference sooner than preprocessing."
    )


def _notes(rows: Sequence[ConventionRow], digest: str) -> list[str]:
    notes = []
    if digest:
        notes.append(
            f"The weights are not the pinned ones: SHA-256 {digest}. These values compare with no published number."
        )
    measured = [row for row in rows if row.value is not None]
    counts = [count for row in measured for count in (row.count, row.reference_count) if count]
    if counts and min(counts) < ENOUGH:
        notes.append(
            f"Below {ENOUGH:,} images FID mostly measures the count: here {measured[0].count:,} images against "
            f"{measured[0].reference_count or 'an unknown number of'} real ones. Compare only with numbers of the same counts."
        )
    return notes
