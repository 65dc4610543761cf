"""What `evalkit weights` does: list, verify, fetch and import the pinned files; twins of the four
commands.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.config import nearest
from evalkit.core import EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.weight_files import FILES, NEEDS, WeightFile, encoders_of
from evalkit.terminal import track


class Holding(NamedTuple):
    """One pinned file and what is known of it here."""

    name: str
    encoders: tuple[str, ...]  # that can be built with it
    state: str  # "missing", "present", "verified", "damaged", "fetched", "imported"
    path: str  # where it is; "" where it is missing
    size: int  # bytes, as pinned
    licence: str
    sha256: str  # as pinned
    what: str


def weights_list() -> list[Holding]:
    """Every pinned file with its place.

    "verified" is a file in evalkit's own cache, which takes none in unchecked, with its pinned
    size; "present" one in another tool's cache. The SHA-256 of both is computed anew whenever an
    encoder loads them.
    """
    return [_here(item) for item in FILES.values()]


def weights_verify(names: Sequence[str] = ()) -> list[Holding]:
    """Compute the SHA-256 of the named files, or of all that are here: "verified", "damaged" or
    "missing".

    Args:
        names: files (`evalkit weights list`) or encoders, for all their files. A named file that is
            missing is listed; of the formats of one encoder those that are not here are passed
            over.
    """
    rows: list[Holding] = []
    needed = _named(names, every_format=False)
    for item in _named(names, every_format=True) if names else FILES.values():
        path = weights.find(item.name)
        if path is None:
            if item in needed:
                rows.append(_holding(item, "missing", None))
            continue
        try:
            weights.verify(path, item.sha256)
            rows.append(_holding(item, "verified", path))
        except EvalkitError:
            rows.append(_holding(item, "damaged", path))
    return rows


def weights_fetch(names: Sequence[str], *, mirror: str = "") -> list[Holding]:
    """Download what is missing of the named files or encoders into evalkit's cache, checked and
    whole.

    Args:
        names: encoders or files.
        mirror: an address or a folder that holds the files under the names of `evalkit weights
            list`; it is asked first.
    """
    rows: list[Holding] = []
    if not names:
        raise EvalkitError("No weights are named.", f"Name encoders or files: {', '.join(NEEDS)}.")
    for item in _named(names, every_format=False):
        path = weights.find(item.name)
        if path is None:
            rows.append(
                _holding(item, "fetched", weights.fetch(item.urls, item.file, item.sha256, mirror))
            )
        else:
            weights.verify(path, item.sha256)
            rows.append(_holding(item, "verified", path))
    return rows


def weights_import(path: Path | str) -> list[Holding]:
    """Take pinned files from a file or a folder (searched recursively) into evalkit's cache,
    whatever their names.

    Files are known by their SHA-256. Returns every pinned file: "imported", "verified" or "present"
    where it was here before, "missing" where it still is. Raises EvalkitError where nothing is
    known.
    """
    path = Path(path)
    if not path.exists():
        raise EvalkitError(f"There is no file or folder {path}.", "Check the path.")
    by_size: dict[int, list[WeightFile]] = {}
    for item in FILES.values():
        by_size.setdefault(item.size, []).append(item)
    candidates = [found for found in _files(path) if found.stat().st_size in by_size]
    imported: dict[str, Path] = {}
    for found in track(candidates, "importing weights", len(candidates), "files"):
        digest = weights.verify(found, "")
        item = next((item for item in by_size[found.stat().st_size] if item.sha256 == digest), None)
        if item is None or item.name in imported:
            continue
        target = weights.cache_folder() / item.file
        if not (target.is_file() and target.samefile(found)):
            try:
                with found.open("rb") as source:
                    weights.store(source, target, item.sha256, item.size, f"importing {item.file}")
            except OSError as error:
                raise EvalkitError(
                    f"Could not copy {found} to {target}: {error.strerror}.",
                    "Free some space or set EVALKIT_CACHE.",
                ) from error
        imported[item.name] = target
    if not imported:
        raise EvalkitError(
            f"{path} holds none of the pinned weights.",
            "`evalkit weights list --json` shows their names, sizes and SHA-256.",
        )
    return [
        _holding(item, "imported", imported[item.name]) if item.name in imported else _here(item)
        for item in FILES.values()
    ]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        Path(folder) / name
        for folder, _, names in os.walk(path)
        for name in names
        if (Path(folder) / name).is_file()
    )


def _here(item: WeightFile) -> Holding:
    path = weights.find(item.name)
    if path is None:
        return _holding(item, "missing", None)
    if path.stat().st_size != item.size:
        return _holding(item, "damaged", path)
    return _holding(item, "verified" if path.parent == weights.cache_folder() else "present", path)


def _holding(item: WeightFile, state: str, path: Path | None) -> Holding:
    return Holding(
        item.name,
        tuple(encoders_of(item.name)),
        state,
        str(path or ""),
        item.size,
        item.licence,
        item.sha256,
        item.what,
    )


def _named(names: Sequence[str], every_format: bool) -> list[WeightFile]:
    """The files of these names; of an encoder one file for each part, or every format."""
    chosen: list[str] = []
    for name in names:
        if name in NEEDS:
            chosen += [
                file
                for part in NEEDS[name]
                for file in (part if every_format else _first_held(part))
            ]
        elif name in FILES:
            chosen.append(name)
        else:
            raise EvalkitError(
                f"There are no weights {name!r}.",
                f"{nearest(name, [*NEEDS, *FILES])} See `evalkit weights list`.",
            )
    return [FILES[name] for name in dict.fromkeys(chosen)]


def _first_held(part: tuple[str, ...]) -> tuple[str]:
    return (next((name for name in part if weights.find(name)), part[0]),)
