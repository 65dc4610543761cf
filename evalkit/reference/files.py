"""Reference statistics on disk: how they are found, read and checked.

A reference is a folder with `card.toml` and one `<encoder>.npz` per encoder, which holds:

- `mu`, `sigma`: float64 moments, in the form that pytorch-fid, clean-fid and EDM read;
- `mu_s`, `sigma_s`: the same of spatial features (ADM's names), if the encoder has them;
- `features`: float32, 2,000 rows or all, for metrics that need more than moments; a compact file
  has those of all images as float16, and its moments follow from them;
- `n`: the number of images; `meta`: JSON.

A file of another tool is a reference too; see `foreign`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from torch import Tensor

from evalkit.core import Encoder, EvalkitError, Moments
from evalkit.encoders.faster import exact_of
from evalkit.files import path_of
from evalkit.hints import did_you_mean
from evalkit.reference import foreign
from evalkit.reference.card import Card, read_card
from evalkit.reference.foreign import Statistics
from evalkit.sources import images_below


@dataclass(frozen=True)
class Reference:
    """Statistics of real images under one encoder."""

    name: str
    encoder: str
    moments: Mapping[str, Moments]  # of "pool", and of "spatial" if the encoder has it
    # float32 [M, D], of a sample of the images or of all; empty if the file has moments only
    features: Mapping[str, Tensor]
    image_hash: str
    note: str = ""  # the facts that the file lacks, such as the number of images

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the statistics: other ones may have the same name and images."""
        digest = hashlib.sha256()
        for name, held in sorted(self.moments.items()):
            digest.update(f"moments {name} {held.count}".encode())
            for part in (held.mean, held.cov):
                digest.update(part.contiguous().numpy().data)
        for name, features in sorted(self.features.items()):
            digest.update(f"features {name} {list(features.shape)}".encode())
            digest.update(features.contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def count(self) -> int:
        """The number of images behind the moments; 0 if the file does not say."""
        return max((part.count for part in self.moments.values()), default=0)


def reference_list() -> list[Card]:
    """The shipped references and those in the user's data folder, sorted by name.

    A shipped reference hides a user's reference of the same name.
    """
    found: dict[str, Card] = {}
    for root in _roots():
        for path in sorted(root.glob("*/card.toml")):
            found.setdefault(path.parent.name, read_card(path.parent))
    return [found[name] for name in sorted(found)]


def find(name_or_path: str) -> Path:
    """The folder (or file) of a reference, given by a name from `reference_list` or by a path."""
    given = path_of(name_or_path, "reference")
    for root in _roots():
        if given.name == name_or_path and (root / name_or_path / "card.toml").is_file():
            return root / name_or_path
    if given.is_dir() or given.is_file():
        return given
    hint = did_you_mean(name_or_path, [card.name for card in reference_list()])
    raise EvalkitError(
        f"There is no reference {name_or_path!r}.",
        f"{hint} Or build one: `evalkit reference build IMAGES`.",
        code="reference-16",
    )


def reference_show(name_or_path: str) -> str:
    """The text of a reference's card.toml."""
    folder = find(name_or_path)
    if not folder.is_dir():
        raise EvalkitError(
            f"{folder} is a file and has no card.",
            f"To make it a reference: `evalkit reference import {folder} --name NAME`.",
            code="reference-17",
        )
    read_card(folder)  # a damaged card is an error
    return (folder / "card.toml").read_text(encoding="utf-8")


def encoders_of(name_or_path: str) -> set[str]:
    """The encoders that a reference has statistics for; empty if a file does not say."""
    folder = find(name_or_path)
    if folder.is_dir():
        return {path.stem for path in folder.glob("*.npz")}
    return {item.convention for item in foreign.read(folder)} - {""}


def reference(name_or_path: str, encoder: Encoder) -> Reference:
    """The statistics for an encoder, from a reference's folder or from a file (see `foreign`).

    Raises EvalkitError if there are none, or if they have another convention, dimension or weights.
    The facts that a file of another tool lacks (encoder, weights, count) are listed in `note`.
    """
    folder = find(name_or_path)
    if folder.is_file() or not (folder / f"{encoder.name}.npz").is_file():
        encoder = exact_of(encoder)  # exact statistics serve a faster mode
    path = folder if folder.is_file() else folder / f"{encoder.name}.npz"
    if not path.is_file():
        _check_folder(folder)
        names = ", ".join(sorted(file.stem for file in folder.glob("*.npz"))) or "none"
        raise EvalkitError(
            f"The reference {name_or_path!r} has no statistics for the encoder {encoder.name}.",
            f"It has: {names}. To build them: `evalkit reference build IMAGES --encoders "
            f"{encoder.name}`.",
            code="reference-18",
        )
    held = foreign.read(path)
    found = next((item for item in held if item.convention in (encoder.name, "")), None)
    if found is None:
        conventions = " and ".join(item.convention for item in held)
        raise EvalkitError(
            f"The reference {name_or_path!r} was made with {conventions}; the encoder is "
            f"{encoder.name}.",
            f"Use `--encoders {held[0].convention}`, or statistics that were made with "
            f"{encoder.name}.",
            code="reference-19",
        )
    fingerprint = found.meta.get("fingerprint", "")
    if fingerprint not in ("", encoder.fingerprint):
        raise EvalkitError(
            f"The reference {name_or_path!r} was built with {fingerprint}; the encoder "
            f"{encoder.name} is {encoder.fingerprint}.",
            f"Build it again with this encoder: `evalkit reference build IMAGES --encoders "
            f"{encoder.name}`.",
            code="reference-20",
        )
    wanted, pool = foreign.DIMENSIONS.get(encoder.name), found.moments.get("pool")
    if pool is not None and wanted is not None and len(pool.mean) != wanted:
        raise EvalkitError(
            f"The reference {name_or_path!r} has {len(pool.mean)} dimensions; the encoder "
            f"{encoder.name} has {wanted}.",
            "It was made with another encoder. Build it again with this one: `evalkit reference"
            f" build IMAGES --encoders {encoder.name}`.",
            code="reference-21",
        )
    return Reference(
        name=found.meta.get("name", path.stem if folder.is_file() else folder.name),
        encoder=encoder.name,
        moments=found.moments,
        features=found.features,
        image_hash=found.meta.get("image_hash", ""),
        note=_missing_facts(found),
    )


def _check_folder(folder: Path) -> None:
    """Raise EvalkitError for a folder of something else than statistics."""
    if (folder / "card.toml").is_file() or any(folder.glob("*.npz")):
        return
    if (folder / "run.toml").is_file():
        what, hint = "a run of evalkit", "Give the statistics of real images."
    elif images := images_below(folder):
        what = f"a folder of {len(images):,} images"
        hint = f"Build statistics of them: `evalkit reference build {folder}`."
    else:
        what = "a folder without statistics"
        hint = "To list the references: `evalkit reference list`."
    raise EvalkitError(
        f"{folder} is {what}; expected card.toml and <encoder>.npz files.",
        hint,
        code="reference-22",
    )


def _missing_facts(found: Statistics) -> str:
    missing = []
    if not found.convention:
        missing.append("its encoder")
    elif not found.meta.get("fingerprint"):
        missing.append("the weights of its encoder")
    if not found.count:
        missing.append("its number of images")
    return f"the reference does not state {' and '.join(missing)}" if missing else ""


def user_folder() -> Path:
    """The folder of a user's own references."""
    return Path(platformdirs.user_data_dir("evalkit", appauthor=False)) / "reference_stats"


def own_folder(name: str) -> Path:
    """The folder of a user's own reference. Raises EvalkitError for a name that is a path."""
    if name in (".", "..") or any(mark in name for mark in "/\\\0"):
        raise EvalkitError(
            f"A reference cannot have the name {name!r}: it is a path.",
            "Give a name without `/`, and the folder to write with `--out`.",
            code="reference-35",
        )
    return user_folder() / name


def _roots() -> list[Path]:
    package = Path(str(importlib.resources.files("evalkit")))
    shipped = [package, package.parent]  # of a wheel, of an editable install
    return [*(folder / "reference_stats" for folder in shipped), user_folder()]
