"""The pinned weight files of the standard encoders and the scorers: `weight_files.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import NamedTuple


class WeightFile(NamedTuple):
    """One pinned file. The keys of `weight_files.toml` are explained there."""

    name: str
    file: str
    sha256: str
    size: int  # bytes
    licence: str
    what: str
    urls: tuple[str, ...]
    hub: str = ""
    alias: str = ""
    package: str = ""


_TABLE = tomllib.loads((files("evalkit.encoders") / "weight_files.toml").read_text("utf-8"))
FILES: dict[str, WeightFile] = {
    name: WeightFile(name, **row | {"urls": tuple(row["urls"])})
    for name, row in _TABLE["files"].items()
}
# For each encoder and scorer its parts, and for each part the files that can serve as it.
NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    name: tuple(tuple(part) for part in parts)
    for name, parts in (_TABLE["encoders"] | _TABLE["scorers"]).items()
}
# The library that runs an encoder, where torch alone is not enough.
LIBRARIES: dict[str, str] = {name: "transformers" for name in NEEDS if name.startswith("clip")}


def encoders_of(name: str) -> list[str]:
    """The encoders and scorers that can be built with this file."""
    return [encoder for encoder, parts in NEEDS.items() if any(name in part for part in parts)]


def licences(encoder: str) -> str:
    """The licences of an encoder's weights, joined by commas."""
    return ", ".join(dict.fromkeys(FILES[part[0]].licence for part in NEEDS[encoder]))
