"""Reference statistics on disk: where they are found, read and checked, and what they say about FID
at small counts.

A reference is a folder with `card.toml` and one `<encoder>.npz` per encoder: `mu`, `sigma`
(float64, as pytorch-fid, clean-fid and EDM read them), `n`, `meta` (JSON) and `features`, a float32
sample of up to 2,000 rows (or all) for metrics that need more than moments; `mu_s`, `sigma_s`
(ADM's names) where the encoder gives spatial features. A file of another tool is a reference too.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from evalkit.config import nearest
from evalkit.core import Encoder, EvalkitError, Moments
from evalkit.metrics import frechet
from evalkit.reference import foreign as foreign_statistics
from evalkit.reference.card import Card, read_card
from evalkit.reference.foreign import Statistics


def floor_draws(dimension: int) -> int:
    """How many draws the floor of FID is averaged over: 20, or 5 where a draw costs about a second."""
    return 20 if dimension <= 512 else 5


@dataclass(frozen=True)
class Reference:
    """Statistics of real pictures under one encoder."""

    name: str
    encoder: str
    moments: Mapping[
        str, Moments
    ]  # by name of the feature: "pool", and "spatial" where the encoder gives it
    features: Mapping[
        str, Tensor
    ]  # float32 [M, D], a sample of the pictures or all; {} where the file holds moments only
    image_hash: str
    note: str = ""  # what the file cannot say, such as the number of its pictures

    @property
    def count(self) -> int:
        """How many pictures the moments are of; 0 where the file does not say."""
        return max((part.count for part in self.moments.values()), default=0)


def reference_list() -> list[Card]:
    """The references that are shipped or in the user's data folder, by name; a shipped one hides a
    user's of the same name.
    """
    found: dict[str, Card] = {}
    for root in _roots():
        for path in sorted(root.glob("*/card.toml")):
            found.setdefault(path.parent.name, read_card(path.parent))
    return [found[name] for name in sorted(found)]


def find(name_or_path: str) -> Path:
    """The folder (or single file) of a reference: a name among the shipped and the user's own ones,
    else a path.
    """
    given = Path(name_or_path)
    for root in _roots():
        if given.name == name_or_path and (root / name_or_path / "card.toml").is_file():
            return root / name_or_path
    if given.is_dir() or given.is_file():
        return given
    hint = f"{nearest(name_or_path, [card.name for card in reference_list()])} Or build one: `evalkit reference build IMAGES`."
    raise EvalkitError(f"There is no reference {name_or_path!r}.", hint)


def reference_show(name_or_path: str) -> str:
    """The card of a reference as it is written."""
    folder = find(name_or_path)
    if not folder.is_dir():
        raise EvalkitError(
            f"{folder} is a file and has no card.",
            f"Make a reference of it: `evalkit reference import {folder} --name NAME`.",
        )
    read_card(folder)  # a damaged one is an error
    return (folder / "card.toml").read_text(encoding="utf-8")


def encoders_of(name_or_path: str) -> set[str]:
    """The names of the encoders that a reference has statistics of; empty for a file that does not
    say its own.
    """
    folder = find(name_or_path)
    if folder.is_dir():
        return {path.stem for path in folder.glob("*.npz")}
    return {item.convention for item in foreign_statistics.read(folder)} - {""}


def reference(name_or_path: str, encoder: Encoder) -> Reference:
    """The statistics for an encoder, of a reference's folder or of a single file (see
    `foreign_statistics`).

    Raises EvalkitError where there are none, or those of another convention, dimension or weights.
    What a file of another tool cannot say (its encoder, its weights, its count) is in the
    reference's `note`.
    """
    folder = find(name_or_path)
    path = folder if folder.is_file() else folder / f"{encoder.name}.npz"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.npz"))) or "none"
        hint = f"It has: {known}. Build it: `evalkit reference build IMAGES --encoders {encoder.name}`."
        raise EvalkitError(
            f"The reference {name_or_path!r} has no statistics for the encoder {encoder.name}.",
            hint,
        )
    held = foreign_statistics.read(path)
    found = next((item for item in held if item.convention in (encoder.name, "")), None)
    if found is None:
        conventions = " and ".join(item.convention for item in held)
        hint = f"Use `--encoders {held[0].convention}`, or statistics that were made with {encoder.name}."
        raise EvalkitError(
            f"The reference {name_or_path!r} was made with {conventions}; the encoder is {encoder.name}.",
            hint,
        )
    fingerprint = found.meta.get("fingerprint", "")
    if fingerprint not in ("", encoder.fingerprint):
        raise EvalkitError(
            f"The reference {name_or_path!r} was built with {fingerprint}; the encoder {encoder.name} is {encoder.fingerprint}.",
            f"Build it again with this encoder: `evalkit reference build IMAGES --encoders {encoder.name}`.",
        )
    wanted, pool = foreign_statistics.DIMENSIONS.get(encoder.name), found.moments.get("pool")
    if pool is not None and wanted is not None and len(pool.mean) != wanted:
        message = f"The reference {name_or_path!r} has {len(pool.mean)} dimensions; the encoder {encoder.name} has {wanted}."
        raise EvalkitError(message, "It was made with another encoder.")
    name = found.meta.get("name", path.stem if folder.is_file() else folder.name)
    return Reference(
        name,
        encoder.name,
        found.moments,
        found.features,
        found.meta.get("image_hash", ""),
        _unsaid(found),
    )


def _unsaid(found: Statistics) -> str:
    missing = []
    if not found.convention:
        missing.append("with which encoder it was made")
    elif not found.meta.get("fingerprint"):
        missing.append("with which weights it was made")
    if not max((part.count for part in found.moments.values()), default=0):
        missing.append("of how many pictures it is")
    return f"the reference does not say {' and '.join(missing)}" if missing else ""


def fid_floor(reference: Reference, count: int) -> float | None:
    """FID of `count` real pictures against the other real pictures: what a perfect generator scores
    at this count on average.

    The mean of several draws from the stored sample, each taken out of the reference moments. Where
    fewer are stored (or half of all pictures is fewer), the floor at that smaller count is scaled
    by 1 / count, as the bias of FID falls.
    """
    if "pool" not in reference.features or "pool" not in reference.moments or count < 2:
        return None
    features, moments = reference.features["pool"].double(), reference.moments["pool"]
    drawn = min(count, len(features) * 4 // 5, moments.count // 2)
    if drawn < 2:
        return None
    random, values = np.random.RandomState(0), []
    for _ in range(floor_draws(features.shape[1])):
        rows = torch.from_numpy(random.permutation(len(features))[:drawn])
        rest = frechet.remove_moments(moments, frechet.moments(features[rows]))
        values.append(float(frechet.fid(fake=features[rows], real_moments=rest)))
    return float(np.mean(values)) * drawn / count


def user_folder() -> Path:
    """Where a user's own references are kept."""
    return Path(platformdirs.user_data_dir("evalkit", appauthor=False)) / "reference_stats"


def _roots() -> list[Path]:
    package = Path(str(importlib.resources.files("evalkit")))
    return [
        package / "reference_stats",
        package.parent / "reference_stats",
        user_folder(),
    ]  # wheel, editable install, user
