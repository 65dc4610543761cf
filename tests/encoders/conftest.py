"""Fixtures of the tests of encoders: a small CLIP, a table of weight files, caches, a mirror."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from openai_clip import OpenAI, network
from weight_server import CONTENT, QuietFiles, Server

from evalkit.encoders.weight_files import FILES, NEEDS, WeightFile


@pytest.fixture
def table(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of three small files for two encoders, and empty caches. Returns evalkit's cache."""
    for name in list(FILES):
        monkeypatch.delitem(FILES, name)
    for name in list(NEEDS):
        monkeypatch.delitem(NEEDS, name)
    for name, content in CONTENT.items():
        file = WeightFile(
            name=name,
            file=f"{name}.pt",
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            licence="MIT",
            what=name,
            urls=(f"http://127.0.0.1:9/{name}.pt",),  # a port on which nothing answers
            hub="maker/one" if name == "one-hub" else "",
        )
        monkeypatch.setitem(FILES, name, file)
    monkeypatch.setitem(NEEDS, "small", (("one", "one-hub"),))
    monkeypatch.setitem(NEEDS, "large", (("one", "one-hub"), ("two",)))
    return empty_caches


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server, and the folder that it serves."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = Server(partial(QuietFiles, directory=str(folder)))
    yield server.url, folder
    server.stop()


@pytest.fixture(scope="session")
def openai_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenAI, Path]:
    """A small CLIP in OpenAI's layout (float32), and its TorchScript archive (half precision)."""
    model, path = network(), tmp_path_factory.mktemp("openai") / "ViT.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but OpenAI's format
        torch.jit.trace(model, torch.zeros(1)).save(str(path))
    return model.float(), path


@pytest.fixture(scope="session")
def openai(openai_archive: tuple[OpenAI, Path]) -> OpenAI:
    return openai_archive[0]


@pytest.fixture(scope="session")
def archive(openai_archive: tuple[OpenAI, Path]) -> Path:
    return openai_archive[1]
