"""Weight files of the standard encoders: where they may lie, how they are checked, and fetching
them without ever hanging.

`EVALKIT_CACHE` names another folder than the platform's cache, `EVALKIT_MIRROR` an address or a
folder that holds the files under their names here (see `weight_files`) and is asked before the
official addresses.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import platformdirs

from evalkit.core import EvalkitError
from evalkit.encoders.weight_files import FILES, NEEDS, WeightFile
from evalkit.terminal import progress

if TYPE_CHECKING:
    import torch

PATIENCE = 3.0  # seconds to wait for a sign of life from a server


def cache_folder() -> Path:
    """evalkit's own folder for weights: in `EVALKIT_CACHE` where that is set, else in the
    platform's cache.
    """
    chosen = os.environ.get("EVALKIT_CACHE")
    return (
        Path(chosen or platformdirs.user_cache_dir("evalkit", appauthor=False)).expanduser()
        / "weights"
    )


def cached(file: str) -> Path | None:
    """The file in evalkit's cache, in torch.hub's or in that of OpenAI's clip, where other tools
    keep it; None where in none.
    """
    import torch

    places = (
        cache_folder(),
        Path(torch.hub.get_dir()) / "checkpoints",
        Path.home() / ".cache" / "clip",
    )
    return next((folder / file for folder in places if (folder / file).is_file()), None)


def find(name: str) -> Path | None:
    """Where a file of the table lies: a cache as for `cached`, or that of Hugging Face, which names
    files by their SHA-256.
    """
    item = FILES[name]
    place = cached(item.file) or (cached(item.alias) if item.alias else None)
    if place is None and item.hub:
        repository = _hub_cache() / f"models--{item.hub.replace('/', '--')}"
        copies = repository.glob(
            f"snapshots/*/{item.urls[0].rpartition('/')[2]}"
        )  # where the system has no links to the blobs
        places = (
            repository / "blobs" / item.sha256,
            *(path for path in copies if path.stat().st_size == item.size),
        )
        place = next((path for path in places if path.is_file()), None)
    return place


def _hub_cache() -> Path:
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def missing(encoder: str) -> list[WeightFile]:
    """The files that would have to be fetched before the encoder could be loaded; [] where all are
    at hand.
    """
    return [
        FILES[part[0]] for part in NEEDS.get(encoder, ()) if not any(find(name) for name in part)
    ]


def obtain(encoder: str, fetch_missing: bool = True) -> list[tuple[WeightFile, Path]]:
    """One checked file for each part that an encoder needs, fetched where that is allowed and
    needed.

    Raises EvalkitError where a file is damaged, is in no cache, or cannot be fetched.
    """
    found: list[tuple[WeightFile, Path]] = []
    for part in NEEDS[encoder]:
        held = next(
            ((FILES[name], path) for name in part if (path := find(name)) is not None), None
        )
        if held is None and not fetch_missing:
            raise EvalkitError(
                f"The weights of {encoder} ({FILES[part[0]].file}) are in no cache.",
                how_to_get(encoder),
            )
        item, path = held or (
            FILES[part[0]],
            fetch(FILES[part[0]].urls, FILES[part[0]].file, FILES[part[0]].sha256),
        )
        verify(path, item.sha256)
        found.append((item, path))
    return found


def how_to_get(encoder: str) -> str:
    """What to type where the weights of an encoder are missing."""
    return f"Type `evalkit weights fetch {encoder}`; on a machine without a network `evalkit weights import FOLDER`."


def verify(path: Path, sha256_prefix: str) -> str:
    """The file's SHA-256 in hexadecimal. Raises EvalkitError where it does not start as pinned, or
    cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EvalkitError(
            f"The weights {path} cannot be read: {error.strerror}.",
            "Check the file and its permissions.",
        ) from error
    if not digest.startswith(sha256_prefix):
        raise EvalkitError(
            f"The weights {path} have the SHA-256 {digest[:16]}…; expected one that starts with {sha256_prefix[:16]}.",
            "The file is damaged or another one: delete it and fetch it again.",
        )
    return digest


def reachable(url: str, seconds: float = PATIENCE) -> bool:
    """Whether the server answers a HEAD request in time. Name look-ups know no time limit, hence
    the thread.
    """
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, method="HEAD"), timeout=seconds
            ) as answer:
                answers.append((answer.status or 200) < 400)
        except (OSError, ValueError, HTTPException):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return bool(answers) and answers[0]


def sources(urls: str | Sequence[str], file: str, mirror: str = "") -> list[str]:
    """The addresses of a file in the order in which they are asked: a mirror (given, or
    EVALKIT_MIRROR), then the official ones.
    """
    official = [urls] if isinstance(urls, str) else list(urls)
    mirror = mirror or os.environ.get("EVALKIT_MIRROR", "")
    if not mirror:
        return official
    if urllib.parse.urlsplit(mirror).scheme in ("http", "https", "file"):
        return [f"{mirror.rstrip('/')}/{urllib.parse.quote(file)}", *official]
    return [(Path(mirror).expanduser().resolve() / file).as_uri(), *official]


def fetch(urls: str | Sequence[str], file: str, sha256_prefix: str, mirror: str = "") -> Path:
    """Download into evalkit's cache: checked, then renamed, so that the file is whole or not there.

    The addresses are tried in turn. Raises EvalkitError with what went wrong at each of them.
    """
    target = cache_folder() / file
    failures: list[str] = []
    for url in sources(urls, file, mirror):
        if not reachable(url):
            failures.append(f"{url} cannot be reached or does not have it")
            continue
        try:
            with urllib.request.urlopen(url, timeout=10 * PATIENCE) as answer:
                return store(
                    answer,
                    target,
                    sha256_prefix,
                    int(answer.headers.get("Content-Length") or 0),
                    f"fetching {file}",
                )
        except (OSError, HTTPException) as error:
            failures.append(f"{url}: {error}")
        except EvalkitError as error:
            failures.append(f"{url}: {error.message}")
    raise EvalkitError(
        f"The weights {file} are in no cache and could not be fetched: {'; '.join(failures)}.",
        f"Name another place with `--mirror`, put the file there by hand ({target}), or use `--encoders mini`.",
    )


def store(source: BinaryIO, target: Path, sha256_prefix: str, size: int, label: str) -> Path:
    """Copy a stream to its place in the cache if its SHA-256 is right; else nothing is left behind.

    Raises EvalkitError where the stream ends early or is another file, OSError where it cannot be
    read or written.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if size > shutil.disk_usage(target.parent).free:
            raise EvalkitError(
                f"There is no room for {target.name} ({size:,} bytes) in {target.parent}.",
                "Set EVALKIT_CACHE to another disk.",
            )
        with partial.open("wb") as out:
            copied, digest = _copy(source, out, label, size)
            out.flush()
            os.fsync(out.fileno())
        if size and copied != size:
            raise EvalkitError(
                f"{target.name} broke off after {copied:,} of {size:,} bytes.", "Try again."
            )
        if not digest.startswith(sha256_prefix):
            raise EvalkitError(
                f"It has the SHA-256 {digest[:16]}…; expected one that starts with {sha256_prefix[:16]}.",
                "It is another file.",
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _copy(source: BinaryIO, target: BinaryIO, label: str, size: int) -> tuple[int, str]:
    """The number of bytes and their SHA-256."""
    copied, digest = 0, hashlib.sha256()
    with progress(label, size, "bytes") as advance:
        while chunk := source.read(1 << 20):
            target.write(chunk)
            digest.update(chunk)
            copied += len(chunk)
            advance(len(chunk))
    return copied, digest.hexdigest()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that `torch.save` wrote; nothing else in it is read. Raises
    EvalkitError where it is no such file.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.float() for name, tensor in state.items()}
    except Exception as error:  # damaged files raise nearly everything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise EvalkitError(
            f"{path} holds no weights that can be read: {reason}",
            "Expected a file of plain tensors.",
        ) from error
