"""Every test has an empty user's data folder and an empty current folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.reference import foreign


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's references, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data" / "evalkit" / "reference_stats"


@pytest.fixture
def eight_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """All encoders have 8 dimensions, so that files of statistics are small."""
    monkeypatch.setattr(foreign, "DIMENSIONS", dict.fromkeys(foreign.DIMENSIONS, 8))
