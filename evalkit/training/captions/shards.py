"""Captions in tar shards (webdataset), read in place from the texts among the members."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.sources import matching_files
from evalkit.sources.archives import TAR_SUFFIXES
from evalkit.sources.image import why_not
from evalkit.training.captions.texts import (
    TEXT_LIMIT,
    TEXT_SUFFIXES,
    Captions,
    captions_of_texts,
    key_of,
)

_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)


def shard_captions(place: Path | str, names: Sequence[str]) -> Captions:
    """The captions of the images `names` that `open_source` found in the shards of a place.

    `open_source` has checked every header of the shards, so sizes can be trusted here.
    """
    paths = _shards(place)
    several = len(paths) > 1  # then the name of an image starts with that of its shard
    texts = (text for path in paths for text in _texts(path, f"{path.name}/" if several else ""))
    return captions_of_texts(texts, names, "" if several else f"{place}/")


def _texts(path: Path, label: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                # Names are skipped under which an image would be skipped, too (hidden files).
                text = not member.isdir() and member.name.lower().endswith(TEXT_SUFFIXES)
                if text and why_not(f"{key_of(member.name)}.png") is None:
                    yield f"{label}{member.name}", _content(archive, member, path)
    except _DAMAGE as error:
        raise EvalkitError(
            f"The tar file {path} cannot be read: {error}.",
            "It is damaged, or not a tar file: download or create it again.",
            code="training-15",
        ) from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    if not member.isreg() or member.issparse():
        link = member.issym() or member.islnk()
        kind = "sparse file" if member.issparse() else "link" if link else "device"
        raise EvalkitError(
            f"{path} contains {member.name!r}, which is a {kind}.",
            "Create the archive again with plain files.",
            code="training-16",
        )
    if member.size > TEXT_LIMIT:
        raise EvalkitError(
            f"{path} contains {member.name!r} of {member.size / 2**20:.0f} MiB; "
            "expected captions of at most 1 MiB.",
            "Remove it and create the archive again.",
            code="training-17",
        )
    file = archive.extractfile(member)
    assert file is not None  # it is a regular file
    return file.read()


def _shards(place: Path | str) -> list[Path]:
    """The files that `open_source` has read, in any order."""
    path = Path(place)
    if path.is_dir():
        return [file for file in path.iterdir() if file.name.lower().endswith(TAR_SUFFIXES)]
    return [path] if path.is_file() else matching_files(str(place))
