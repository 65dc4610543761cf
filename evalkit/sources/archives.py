"""Pictures in zip and tar files, read where they lie: nothing is unpacked to the disk, so no name
in an archive can lead anywhere.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.sources.picture import MEMBER_LIMIT, Picture, Source, natural_path, unreadable, wanted
from evalkit.sources.replay import Replay

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


def zip_source(path: Path) -> Source:
    """The pictures of a zip file in natural order of their whole names, as the folder that it was
    made of would give them.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise EvalkitError(
            f"The zip file {path} cannot be read: {error}.", "It is damaged, or no zip file."
        ) from error
    members = sorted(
        (item for item in archive.infolist() if not item.is_dir() and wanted(item.filename)),
        key=_by_name,
    )
    twice = [
        name for name, times in Counter(item.filename for item in members).items() if times > 1
    ]
    if twice:
        raise EvalkitError(
            f"The zip file {path} holds several files named {twice[0]!r}.",
            "Nobody can say which one is meant: pack it anew.",
        )
    if any(item.flag_bits & 1 for item in members):
        raise EvalkitError(
            f"The zip file {path} is encrypted.", "Unpack it yourself and give the folder."
        )

    def read(item: zipfile.ZipInfo) -> bytes:
        if item.file_size > MEMBER_LIMIT:
            raise unreadable(_too_large(item.file_size))
        try:
            with archive.open(item) as file:
                return _limited(file.read(MEMBER_LIMIT + 1))
        except _DAMAGE as error:
            raise unreadable(error) from error

    def pictures() -> Iterator[Picture]:
        return (Picture(item.filename, partial(read, item)) for item in members)

    return Source(str(path), "zip", pictures, len(members))


def tar_source(paths: Sequence[Path], place: str) -> Source:
    """The pictures of tar files (webdataset shards), in the order of the files and, in each, of the
    archive.

    Folders, texts and labels are passed over; a link, device or sparse file with a picture's name
    is an error.
    """

    def pictures() -> Iterator[Picture]:
        for path in paths:
            label = path.name if len(paths) > 1 else ""
            yield from _packed(path, label) if _compressed(path) else _plain(path, label)

    return Source(place, "tar", pictures)


class _Member(NamedTuple):
    info: tarfile.TarInfo
    read: Callable[[], bytes]  # before the next member is asked for


class _Packed(NamedTuple):
    name: str
    content: bytes


def _plain(path: Path, label: str) -> Iterator[Picture]:
    """Members of a tar file that is not compressed: read by their place in it, in any order."""

    def read(offset: int, size: int) -> bytes:
        if size > MEMBER_LIMIT:
            raise unreadable(_too_large(size))
        with (
            path.open("rb") as file
        ):  # opened anew each time: a set may have more shards than a process may have open files
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise unreadable(f"the archive ends {size - len(data)} bytes too early")
        return data

    for member in _members(path, path.open("rb")):
        yield Picture(
            _label(label, member.info.name),
            partial(read, member.info.offset_data, member.info.size),
        )


def _packed(path: Path, label: str) -> Iterator[Picture]:
    """Members of a compressed tar file: read forwards."""
    replay = Replay(partial(_stream, path), lambda member: len(member.content))
    number = 0
    while True:
        try:
            member = replay.peek(number)
        except IndexError:
            return
        yield Picture(
            _label(label, member.name), partial(lambda at: replay.take(at).content, number)
        )
        number += 1


def _stream(path: Path) -> Iterator[_Packed]:
    name = path.name.lower()
    opener = (
        bz2.open
        if name.endswith((".tar.bz2", ".tbz2"))
        else lzma.open
        if name.endswith((".tar.xz", ".txz"))
        else gzip.open
    )
    for member in _members(path, opener(path, "rb")):
        if member.info.size > MEMBER_LIMIT:
            raise EvalkitError(
                f"{path} holds {member.info.name!r}, which {_too_large(member.info.size)}.",
                "Expected pictures.",
            )
        yield _Packed(member.info.name, member.read())


def _members(path: Path, opened: Any) -> Iterator[_Member]:
    """The pictures among the members; the archive is closed at the end."""
    try:
        with (
            contextlib.closing(opened),
            tarfile.open(fileobj=_Capped(opened), mode="r:") as archive,
        ):
            while (member := archive.next()) is not None:
                setattr(archive, "members", [])  # noqa: B010  # a list of all headers that tarfile would keep
                if member.isdir() or not wanted(member.name):
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
                        "Expected plain picture files: pack it anew.",
                    )
                yield _Member(member, partial(_extracted, path, archive, member))
    except _DAMAGE as error:
        raise _cannot(path, error) from error


def _extracted(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        file = archive.extractfile(member)
        assert file is not None  # it is a regular file
        return file.read()
    except _DAMAGE as error:
        raise _cannot(path, error) from error


class _Capped(io.RawIOBase):
    """A file of which nobody reads more than MEMBER_LIMIT at once: a header may claim any length,
    and tarfile believes it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def read(self, size: int = -1, /) -> bytes:
        if size > MEMBER_LIMIT:
            raise tarfile.ReadError(f"a header {_too_large(size)}")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.file.close()
        super().close()


def _compressed(path: Path) -> bool:
    return not path.name.lower().endswith(".tar")


def _label(shard: str, name: str) -> str:
    return f"{shard}/{name}" if shard else name


def _by_name(item: zipfile.ZipInfo) -> tuple[object, ...]:
    return natural_path(item.filename)


def _limited(data: bytes) -> bytes:
    if len(data) > MEMBER_LIMIT:
        raise unreadable(_too_large(len(data)))
    return data


def _too_large(size: int) -> str:
    return f"is {size / 2**20:.0f} MiB unpacked, more than {MEMBER_LIMIT >> 20}"


def _cannot(path: Path, error: Exception) -> EvalkitError:
    return EvalkitError(
        f"The tar file {path} cannot be read: {error}.", "It is damaged, or no tar file."
    )
