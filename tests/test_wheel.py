"""The built wheel holds everything that a run needs, so that it works from any directory."""

import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from evalkit import __version__
from evalkit.core import DISTRIBUTION

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_file_of_the_package_is_inside(names: set[str]) -> None:
    files = [
        path.relative_to(ROOT).as_posix()
        for part in ("evalkit", "reference_stats")
        for path in (ROOT / part).rglob("*")
        if path.is_file()
    ]
    files = [
        path for path in files if "__pycache__" not in path and not Path(path).name.startswith(".")
    ]
    assert len(files) > 100
    assert {path if path.startswith("evalkit/") else f"evalkit/{path}" for path in files} <= names


@pytest.mark.parametrize(
    "name",
    [
        "evalkit/scenes/suite.jsonl",
        "evalkit/prompts/lists/parti.tsv",
        "evalkit/prompts/lists/t2i-compbench.tsv",
        "evalkit/prompts/lists/LICENSES.md",
        "evalkit/scenes/sprites/soft.webp",
        "evalkit/scenes/sprites/LICENSES.md",
        "evalkit/report/templates/report.html.j2",
        "evalkit/reference_stats/scenes/card.toml",
        "evalkit/reference_stats/scenes/mini-inception.npz",
        "evalkit/weights/dalle.safetensors",
        "evalkit/weights/gan.safetensors",
        "evalkit/weights/image-tokenizer.safetensors",
        "evalkit/weights/mini-clip.safetensors",
        "evalkit/weights/mini-inception.safetensors",
    ],
)
def test_what_a_run_needs_is_inside(names: set[str], name: str) -> None:
    assert name in names


def test_nothing_else_is_inside(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"evalkit"}
    assert not [
        name for name in names if "__pycache__" in name or name.endswith((".pyc", ".pt", ".pkl"))
    ]


def test_it_is_small(wheel: Path) -> None:
    """All weights together stay at 20 MiB at most."""
    sizes = {info.filename: info.file_size for info in zipfile.ZipFile(wheel).infolist()}
    assert (
        sum(size for name, size in sizes.items() if name.startswith("evalkit/weights/"))
        < 20 * 2**20
    )
    assert wheel.stat().st_size < 30e6


def test_the_metadata_name_licences_and_entry_points(wheel: Path, names: set[str]) -> None:
    [place] = {name.split("/")[0] for name in names if ".dist-info/" in name}
    with zipfile.ZipFile(wheel) as archive:
        metadata = message_from_string(archive.read(f"{place}/METADATA").decode())
        entries = archive.read(f"{place}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"]) == (DISTRIBUTION, __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("License-File") or []) == {
        "LICENSE",
        "evalkit/encoders/clip_merges.LICENSE",
        "evalkit/prompts/lists/LICENSES.md",
        "evalkit/scenes/sprites/LICENSES.md",
    }
    assert any(line.startswith("torchmetrics") for line in metadata.get_all("Requires-Dist") or [])
    assert "evalkit = evalkit.__main__:main" in entries
    assert "dalle = evalkit.generators.dalle:load" in entries


@pytest.mark.slow
def test_it_runs_from_another_directory(wheel: Path, tmp_path: Path) -> None:
    """The wheel alone on the path, without the clone: a run with the bundled prompts, references
    and templates.
    """
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site with space")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path / "site with space")!r})
import evalkit, pathlib
assert "site with space" in evalkit.__file__
made = evalkit.run("noise", "suite:position", encoders="mini", out="out")
rows = [row for row in made.metrics() if row.metric in ("fid", "clip_score")]
assert rows and all(row.value is not None for row in rows), rows
assert (made.report_path / "index.html").is_file()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
