"""Weight files of the standard encoders: where they may lie, how they are checked, and fetching them without ever hanging."""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

import platformdirs

from evalkit.core import EvalkitError
from evalkit.terminal import progress

PATIENCE = 3.0  # seconds to wait for a sign of life from a server


def cache_folder() -> Path:
    """evalkit's own folder for weights, in the platform's cache."""
    return Path(platformdirs.user_cache_dir("evalkit", appauthor=False)) / "weights"


def cached(file: str) -> Path | None:
    """The file in evalkit's cache or in that of torch.hub, where torch-fidelity keeps it; None where it is in neither."""
    import torch

    places = (cache_folder() / file, Path(torch.hub.get_dir()) / "checkpoints" / file)
    return next((path for path in places if path.is_file()), None)


def verify(path: Path, sha256_prefix: str) -> str:
    """The file's SHA-256 in hexadecimal. Raises EvalkitError where it does not start as pinned."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(sha256_prefix):
        raise EvalkitError(
            f"The weights {path} have the SHA-256 {digest[:16]}…; expected one that starts with {sha256_prefix}.",
            "The file is damaged or another one: delete it and fetch it again.",
        )
    return digest


def reachable(url: str, seconds: float = PATIENCE) -> bool:
    """Whether the server answers a HEAD request in time. Name look-ups know no time limit, hence the thread."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds) as answer:
                answers.append(answer.status < 400)
        except (OSError, ValueError, HTTPException):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return bool(answers) and answers[0]


def fetch(url: str, file: str, sha256_prefix: str) -> Path:
    """Download into evalkit's cache: checked, then renamed, so that the file is whole or not there."""
    target = cache_folder() / file
    hint = f"Put the file there by hand ({target}), or use `--encoders mini`."
    if not reachable(url):
        raise EvalkitError(f"The weights {file} are in no cache and {url} cannot be reached.", hint)
    partial = target.with_name(f".{file}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=10 * PATIENCE) as answer, partial.open("wb") as out:
            _copy(answer, out, f"fetching {file}", int(answer.headers.get("Content-Length") or 0))
        verify(partial, sha256_prefix)
        os.replace(partial, target)
    except (OSError, HTTPException) as error:
        raise EvalkitError(f"The weights {file} could not be fetched from {url}: {error}.", hint) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _copy(source: BinaryIO, target: BinaryIO, label: str, size: int) -> None:
    with progress(label, size, "bytes") as advance:
        while chunk := source.read(1 << 20):
            target.write(chunk)
            advance(len(chunk))
