"""The functions behind `evalkit weights list`, `verify`, `fetch` and `import`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.config import split_names
from evalkit.core import EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.weight_files import FILES, NEEDS, WeightFile, encoders_of
from evalkit.files import remedy
from evalkit.hints import did_you_mean
from evalkit.terminal import track


class WeightStatus(NamedTuple):
    """A pinned file and its state on this machine."""

    name: str
    encoders: tuple[str, ...]  # the encoders and scorers that can be built with it
    state: str  # "missing", "present", "verified", "damaged", "fetched", "imported"
    path: str  # "" where the file is missing
    size: int  # bytes, as pinned
    licence: str
    sha256: str  # as pinned
    what: str


def weights_list() -> list[WeightStatus]:
    """Every pinned file with its path.

    "verified" means in evalkit's own cache with the pinned size (files are checked before they
    enter it), "present" in the cache of another tool. The SHA-256 of both is computed again
    whenever an encoder loads them.
    """
    return [_current(item) for item in FILES.values()]


def weights_verify(names: str | Sequence[str] = ()) -> list[WeightStatus]:
    """Compute the SHA-256 of files: "verified", "damaged" or "missing".

    Args:
        names: files (`evalkit weights list`), or encoders and scorers for all their files; without
            names, every file that is present. A missing file is listed only if it was named, or if
            its encoder or scorer was and has no other format of it.
    """
    rows: list[WeightStatus] = []
    needed = _named(names, every_format=False)
    for item in _named(names, every_format=True) if names else FILES.values():
        path = weights.find(item.name)
        if path is None:
            if item in needed:
                rows.append(_status(item, "missing", None))
            continue
        try:
            weights.verify(path, item.sha256)
            rows.append(_status(item, "verified", path))
        except EvalkitError:
            rows.append(_status(item, "damaged", path))
    return rows


def weights_fetch(names: str | Sequence[str] = (), *, mirror: str = "") -> list[WeightStatus]:
    """Download the missing ones of the named files into evalkit's cache, checked by SHA-256.

    Args:
        names: encoders, scorers or files, at least one.
        mirror: an address or a folder with the files under their names in `evalkit weights list`;
            it is tried first.
    """
    if not names:
        raise EvalkitError(
            "No weights are named; expected encoders, scorers or files.",
            f"Name some of these: {', '.join(NEEDS)}.",
            code="encoders-15",
        )
    rows: list[WeightStatus] = []
    for item in _named(names, every_format=False):
        path = weights.find(item.name)
        if path is None:
            rows.append(_status(item, "fetched", weights.fetch(item, mirror)))
        else:
            weights.verify(path, item.sha256, weights.how_to_replace(item, path))
            rows.append(_status(item, "verified", path))
    return rows


def weights_import(path: Path | str) -> list[WeightStatus]:
    """Copy pinned files from a file or a folder (searched recursively) into evalkit's cache.

    Files are recognised by their SHA-256, so their names do not matter. Returns every pinned file:
    "imported"; "verified" or "present" if it was there before; "missing" if it still is. Raises
    EvalkitError where no file is recognised.
    """
    path = Path(path)
    if not path.exists():
        raise EvalkitError(
            f"There is no file or folder {path}.", "Check the path.", code="encoders-16"
        )
    sizes = {item.size for item in FILES.values()}
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    candidates = [file for file in files if file.stat().st_size in sizes]
    by_digest = {item.sha256: item for item in FILES.values()}
    imported: dict[str, Path] = {}
    for file in track(candidates, "importing weights", len(candidates), "files"):
        item = by_digest.get(weights.sha256_of(file))
        if item is None or item.name in imported:
            continue
        target = weights.cache_folder() / item.file
        if not (target.is_file() and target.samefile(file)):
            try:
                with file.open("rb") as source:
                    weights.store(source, target, item.sha256, item.size, f"importing {item.file}")
            except OSError as error:
                raise EvalkitError(
                    f"Could not copy {file} to {target}: {error.strerror}.",
                    remedy(error, "set EVALKIT_CACHE to another folder"),
                    code="encoders-17",
                ) from error
        imported[item.name] = target
    if not imported:
        raise EvalkitError(
            f"{path} contains none of the pinned weights.",
            "`evalkit weights list --json` shows their names, sizes and SHA-256.",
            code="encoders-18",
        )
    return [
        _status(item, "imported", imported[item.name]) if item.name in imported else _current(item)
        for item in FILES.values()
    ]


def _current(item: WeightFile) -> WeightStatus:
    """The status of a file without reading it: its place and its size decide."""
    path = weights.find(item.name)
    if path is None:
        return _status(item, "missing", None)
    if path.stat().st_size != item.size:
        return _status(item, "damaged", path)
    return _status(item, "verified" if path.parent == weights.cache_folder() else "present", path)


def _status(item: WeightFile, state: str, path: Path | None) -> WeightStatus:
    return WeightStatus(
        item.name,
        tuple(encoders_of(item.name)),
        state,
        str(path or ""),
        item.size,
        item.licence,
        item.sha256,
        item.what,
    )


def _named(names: str | Sequence[str], every_format: bool) -> list[WeightFile]:
    """The files of these names; of an encoder one file for each part, or every format."""
    chosen: list[str] = []
    for name in split_names(names) if isinstance(names, str) else names:
        if name in NEEDS:
            for part in NEEDS[name]:
                present = next((file for file in part if weights.find(file)), part[0])
                chosen += part if every_format else (present,)
        elif name in FILES:
            chosen.append(name)
        else:
            raise EvalkitError(
                f"There are no weights {name!r}.",
                f"{did_you_mean(name, [*NEEDS, *FILES])} See `evalkit weights list`.",
                code="encoders-19",
            )
    return [FILES[name] for name in dict.fromkeys(chosen)]
