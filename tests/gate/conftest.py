"""Scored runs of folders: images of a bundled model, and damaged copies of them."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gated_runs import DAMAGES, Images, prompts, score_folder
from PIL import Image
from unchecked_runs import unchecked

import evalkit


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Images of the bundled GAN, in the order of the prompts."""
    run = evalkit.generate("gan", prompts(), out=tmp_path_factory.mktemp("gan") / "run")
    return [
        Image.open(run.image_path("gan", record)).convert("RGB") for record in run.records("gan")
    ]


@pytest.fixture(scope="session")
def runs(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The scored run of a kind of damage; made once."""
    made: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("runs")

    def run(damage: str) -> Path:
        if damage not in made:
            folder = root / damage
            folder.mkdir()
            for at, image in enumerate(DAMAGES[damage](images)):
                image.save(folder / f"{at:05d}.png")
            made[damage] = score_folder(folder, prompts(), root / f"run-{damage}")
        return made[damage]

    return run


@pytest.fixture
def copy(runs: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a run that a test may change."""

    def made(damage: str) -> Path:
        return unchecked(Path(shutil.copytree(runs(damage), tmp_path / damage)))

    return made


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page takes seconds; what the gate writes into it is tested in tests/report/test_gate.py."""
    module = importlib.import_module("evalkit.gate.gate")  # evalkit.gate is the function
    monkeypatch.setattr(module, "_write_report", lambda run: None)
