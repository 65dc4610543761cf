"""What all tests need, whatever shell and machine they run on."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

# Ctrl-C must reach the tests and what they start; a shell that runs them in the background has it
# ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Small tensors gain nothing from more threads, which wait for each other badly where other programs
# keep the processors busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _without_the_disk(handle: int) -> None:
    """In place of os.fsync: no test loses its power, and a busy disk takes longer than most tests.

    A handle that is not open stays an error.
    """
    os.fstat(handle)


os.fsync = _without_the_disk


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist keeps the order below


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, then those with most tests: no process waits long at the end."""
    counts = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, -counts[item.path], item.path))
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(autouse=True)
def forget_modules_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module that a test writes and imports is not there for the next test with that name."""
    before, folder = set(sys.modules), str(tmp_path_factory.getbasetemp())
    yield
    for name in sys.modules.keys() - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
            del sys.modules[name]


@pytest.fixture
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights in any cache and no mirror. Returns evalkit's cache folder, not yet made."""
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EVALKIT_MIRROR", raising=False)
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path / "cache" / "weights"
