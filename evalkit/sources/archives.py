"""Images in zip and tar files. Nothing is unpacked to disk, so names in an archive are harmless."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.images import MEMBER_LIMIT
from evalkit.images.kinds import HEAD
from evalkit.images.room import FILES
from evalkit.sources.image import (
    CONTENT,
    ImageSource,
    SourceImage,
    check_count,
    check_names,
    check_unpacked,
    check_zip_methods,
    natural_path,
    unreadable,
    why_not,
    why_not_content,
)
from evalkit.sources.replay import Replay

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_HEADER_LIMIT = 1 << 20  # bytes; a header is a name and some numbers
_BESIDE = (".txt", ".json", ".cls", ".caption")  # about the image of the same name
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


def zip_source(path: Path) -> ImageSource:
    """The images of a zip file in natural order of their paths, like those of a folder."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise EvalkitError(
            f"The zip file {path} cannot be read: {error}.",
            "It is damaged, or not a zip file: download or create it again.",
            code="sources-9",
        ) from error
    check_zip_methods(path, archive)
    left: dict[str, str] = {}
    members: list[zipfile.ZipInfo] = []
    for item in archive.infolist():
        reason = "" if item.is_dir() else _why_not(item.filename, partial(archive.open, item))
        if reason is None:
            members.append(item)
        elif reason:
            left[item.filename] = reason
    members.sort(key=lambda item: natural_path(item.filename))
    check_names(f"The zip file {path}", [item.filename for item in members])
    check_unpacked(path, sum(item.file_size for item in members), path.stat().st_size)
    if any(item.flag_bits & 1 for item in members):
        raise EvalkitError(
            f"The zip file {path} is encrypted.",
            "Unpack it and give the folder.",
            code="sources-10",
        )

    def read(item: zipfile.ZipInfo) -> bytes:
        if item.file_size > MEMBER_LIMIT:
            raise unreadable(_too_large(item.file_size))
        try:
            with FILES.take(item.file_size), archive.open(item) as file:
                data = file.read(MEMBER_LIMIT + 1)
        except _DAMAGE as error:
            raise unreadable(error) from error
        if len(data) > MEMBER_LIMIT:  # the archive's directory may state a smaller size
            raise unreadable(_too_large(len(data)))
        return data

    def images() -> Iterator[SourceImage]:
        return (SourceImage(item.filename, partial(read, item)) for item in members)

    return ImageSource(str(path), "zip", images, len(members), left)


def _why_not(name: str, start: Callable[[], IO[bytes] | None]) -> str | None:
    """Why a member is not taken (see `why_not`). Its first bytes are read where these decide."""
    reason = why_not(name.replace("\\", "/"))  # some programs of Windows write backslashes
    if reason != CONTENT:
        return reason
    try:
        with contextlib.closing(start() or io.BytesIO()) as file:
            return why_not_content(file.read(HEAD))
    except _DAMAGE:
        return "not readable"


def tar_source(paths: Sequence[Path], place: str) -> ImageSource:
    """The images of tar files (webdataset shards), file by file in the order of the archive.

    Texts, JSON and classes beside the images, as webdataset has them, are ignored; other members
    that are not images are in `left` once they were passed. A link, device or sparse file with the
    name of an image is an error.
    """
    left: dict[str, str] = {}

    def images() -> Iterator[SourceImage]:
        for path in paths:
            prefix = f"{path.name}/" if len(paths) > 1 else ""
            plain = path.name.lower().endswith(".tar")
            yield from (_plain if plain else _compressed)(path, prefix, left)

    return ImageSource(place, "tar", images, left=left)


class _Member(NamedTuple):
    info: tarfile.TarInfo
    read: Callable[[], bytes]  # to be called before the next member is read


class _Content(NamedTuple):
    name: str
    content: bytes


def _plain(path: Path, prefix: str, left: dict[str, str]) -> Iterator[SourceImage]:
    """The images of a tar file without compression, which are read at their offsets."""

    def read(offset: int, size: int) -> bytes:
        if size > MEMBER_LIMIT:
            raise unreadable(_too_large(size))
        # Opened for every read: there may be more shards than a process may have open files.
        with FILES.take(size), path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise unreadable(f"the archive ends {size - len(data)} bytes too early")
        return data

    for member in _members(path, path.open("rb"), prefix, left):
        info = member.info
        yield SourceImage(prefix + info.name, partial(read, info.offset_data, info.size))


def _compressed(path: Path, prefix: str, left: dict[str, str]) -> Iterator[SourceImage]:
    """The images of a compressed tar file, which can only be read forwards."""
    replay = Replay(partial(_stream, path, prefix, left), lambda member: len(member.content))
    for number, member in replay.peek_all():
        yield SourceImage(prefix + member.name, partial(lambda at: replay.take(at).content, number))


def _stream(path: Path, prefix: str, left: dict[str, str]) -> Iterator[_Content]:
    openers = {".bz2": bz2.open, ".tbz2": bz2.open, ".xz": lzma.open, ".txz": lzma.open}
    opener = openers.get(path.suffix.lower(), gzip.open)
    for member in _members(path, opener(path, "rb"), prefix, left):
        if member.info.size > MEMBER_LIMIT:
            raise EvalkitError(
                f"{path} contains {member.info.name!r}, which {_too_large(member.info.size)}.",
                "Create it again with images only.",
                code="sources-11",
            )
        yield _Content(member.info.name, member.read())


def _members(path: Path, opened: Any, prefix: str, left: dict[str, str]) -> Iterator[_Member]:
    """The images among the members; others go into `left`. The archive is closed at the end."""
    try:
        with (
            contextlib.closing(opened),
            tarfile.open(fileobj=_Capped(path, opened), mode="r:") as archive,
        ):
            seen: set[int] = set()
            while (member := archive.next()) is not None:
                # tarfile would keep all headers in memory.
                setattr(archive, "members", [])  # noqa: B010  # pyright does not know it
                if member.isdir():
                    continue
                if member.name.lower().endswith(_BESIDE):
                    continue
                reason = _why_not(member.name, partial(_started, opened, member))
                if reason is not None:
                    left |= {prefix + member.name: reason} if reason else {}
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
                        f"{path} contains {member.name!r}, which is a {kind}.",
                        "Create it again with regular image files.",
                        code="sources-12",
                    )
                if (key := hash(member.name)) in seen:
                    raise EvalkitError(
                        f"The tar file {path} contains several files named {member.name!r}, as"
                        " after an update.",
                        "Create it again with one file of each name.",
                        code="sources-13",
                    )
                seen.add(key)
                check_count(path, len(seen))
                yield _Member(member, partial(_extracted, path, opened, member))
            _check_end(_Capped(path, opened), archive.offset)
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _check_end(file: _Capped, at: int) -> None:
    """tarfile takes a damaged header for the end: what follows must be zeros, and must exist."""
    file.seek(at)
    rest = file.read(1 << 20)
    if not rest:
        raise tarfile.ReadError("it has no end: it is cut off")
    while rest:
        if rest.strip(b"\0"):
            raise tarfile.ReadError(f"it has a damaged header, or data after its end, at byte {at}")
        rest = file.read(1 << 20)


def _started(file: IO[bytes], member: tarfile.TarInfo) -> IO[bytes] | None:
    if not member.isreg() or member.issparse():
        return None
    file.seek(member.offset_data)
    return io.BytesIO(file.read(min(member.size, HEAD)))


def _extracted(path: Path, file: IO[bytes], member: tarfile.TarInfo) -> bytes:
    try:
        file.seek(member.offset_data)
        data = file.read(member.size)
        if len(data) < member.size:
            raise tarfile.ReadError("unexpected end of data")
        return data
    except _DAMAGE as error:
        raise _damaged(path, error) from error


class _Capped(io.RawIOBase):
    """A tar file with limits, since tarfile trusts the sizes in its headers.

    No header is large, and a stream that was packed is not followed for ever.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file = path, file
        self.packed = 0 if path.name.lower().endswith(".tar") else path.stat().st_size

    def read(self, size: int = -1, /) -> bytes:
        if size > _HEADER_LIMIT:
            raise tarfile.ReadError(f"a header {_too_large(size, _HEADER_LIMIT)}")
        self._check(self.file.tell() + size)
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._check(offset)
        return self.file.seek(offset, whence)

    def _check(self, end: int) -> None:
        if self.packed:
            check_unpacked(self.path, end, self.packed)

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.file.close()
        super().close()


def _too_large(size: int, limit: int = 0) -> str:
    limit = limit or MEMBER_LIMIT
    return f"is {size / 2**20:.0f} MiB unpacked, more than {limit >> 20} MiB"


def _damaged(path: Path, error: Exception) -> EvalkitError:
    return EvalkitError(
        f"The tar file {path} cannot be read: {error}.",
        "It is damaged, or not a tar file: download or create it again.",
        code="sources-14",
    )
