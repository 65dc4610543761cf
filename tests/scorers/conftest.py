"""Weights of scorers that a test makes: pinned in place of the published files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.encoders.weight_files import FILES

Pin = Callable[[str, Callable[[Path], object]], None]


@pytest.fixture
def pin(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """A function that writes a file of the table into the cache, and pins what it wrote."""

    def write(name: str, save: Callable[[Path], object]) -> None:
        path = empty_caches / FILES[name].file
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(FILES, name, FILES[name]._replace(sha256=digest, size=len(content)))

    return write
