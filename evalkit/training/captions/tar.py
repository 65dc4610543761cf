"""Captions in tar shards (webdataset): the texts among the members, read where they lie."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.sources import matching_files
from evalkit.sources.archives import TAR_SUFFIXES
from evalkit.sources.image import wanted
from evalkit.training.captions.files import TEXT_LIMIT, TEXT_SUFFIXES, Captions, beside, key_of

_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)


def shard_captions(place: Path | str, names: Sequence[str]) -> Captions:
    """The captions of the pictures `names` that `open_source` found in the shards of a place.

    It has read every header of the shards by then, none of which can claim gigabytes any more.
    """
    paths = _shards(place)
    several = len(paths) > 1  # then the name of a picture begins with that of its shard
    return beside(
        (text for path in paths for text in _texts(path, f"{path.name}/" if several else "")),
        names,
        "" if several else f"{place}/",
    )


def _texts(path: Path, label: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                # Hidden where a picture of this name would be.
                if (
                    member.isdir()
                    or not member.name.lower().endswith(TEXT_SUFFIXES)
                    or not wanted(f"{key_of(member.name)}.png")
                ):
                    continue
                if not member.isreg() or member.issparse():
                    kind = (
                        "sparse file"
                        if member.issparse()
                        else "link"
                        if member.issym() or member.islnk()
                        else "device"
                    )
                    raise EvalkitError(
                        f"{path} holds {member.name!r}, which is a {kind}.",
                        "Expected plain files: pack it anew.",
                    )
                if member.size > TEXT_LIMIT:
                    message = f"{path} holds {member.name!r} of {member.size / 2**20:.0f} MiB; expected captions of at most 1 MiB."
                    raise EvalkitError(message, "Take it out and pack it anew.")
                file = archive.extractfile(member)
                assert file is not None  # it is a regular file
                yield f"{label}{member.name}", file.read()
    except _DAMAGE as error:
        raise EvalkitError(
            f"The tar file {path} cannot be read: {error}.", "It is damaged, or no tar file."
        ) from error


def _shards(place: Path | str) -> list[Path]:
    """The files that `open_source` reads, in any order: it has checked that they are there."""
    path = Path(place)
    if path.is_dir():
        return [file for file in path.iterdir() if file.name.lower().endswith(TAR_SUFFIXES)]
    return [path] if path.is_file() else matching_files(str(place))
