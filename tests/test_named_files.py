"""Files that a user names are read within limits, or are one sentence that names them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app

TOML = {
    "run": ("run", "--config", "f.toml"),
    "generate": ("generate", "--config", "f.toml"),
    "gate": ("gate", "run", "--baseline", "run", "--config", "f.toml"),
    "gate selftest": ("gate", "selftest", "run", "--config", "f.toml"),
    "rate serve": ("rate", "serve", "run", "--raters", "anna", "--config", "f.toml"),
    "template": ("run", "--models", "http-template:f.toml", "--prompts", "p.txt"),
    "study": ("rate", "summary", "run"),
    "run.toml": ("score", "run"),
}
OTHERS = {
    "baseline": ("gate", "run", "--baseline", "f.json"),
    "baseline update": ("baseline", "update", "run", "--baseline", "f.json", "--reason", "a test"),
    "rate import": ("rate", "import", "f.csv", "--run", "run"),
    "prompts": ("run", "--models", "noise", "--prompts", "f.txt"),
}
PLACES = {"study": "run/ratings/f.toml", "run.toml": "run/run.toml"}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scored") / "run"
    evalkit.generate("noise", ["a cat", "a dog"], out=path)
    evalkit.score(path, metrics="vendi", encoders="pixels")
    return path


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


def deep(path: Path) -> None:
    path.write_text(f"[{'.'.join('a' * 100_000)}]\n")


CASES = [
    pytest.param(place, make, id=f"{place}-{make.__name__}")
    for place in TOML | OTHERS
    for make in (device, pipe, huge, *[deep] * (place in TOML))
]


@pytest.mark.parametrize(("place", "make"), CASES)
def test_a_file_without_an_end_or_a_limit_is_refused(
    place: str,
    make: Callable[[Path], None],
    scored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    link_run(scored, tmp_path / "run")
    Path("p.txt").write_text("a cat\n")
    command = (TOML | OTHERS)[place]
    name = next((part for part in command if "f." in part), "").rpartition(":")[2]
    path = Path(PLACES.get(place, name))
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.stderr.count("error: ")) == (2, 1), (done.stderr, done.exception)
    assert path.name in done.stderr


def link_run(scored: Path, place: Path) -> None:
    """A copy of a run whose files are links: the damage replaces one of them."""
    for path in scored.rglob("*"):
        copy = place / path.relative_to(scored)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)


def test_a_baseline_of_another_kind_in_git_is_refused(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00\xd8" * 30)
    huge(tmp_path / "huge.json")
    os.truncate(tmp_path / "huge.json", 300 << 20)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "base"]):
        subprocess.run([*git, *arguments], check=True)
    for name, said in (("bytes", "is not JSON"), ("huge", "has 300 MiB; expected a baseline")):
        command = ["gate", str(scored), "--baseline", f"git:main:{name}.json"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2, done.stderr
        assert f"git:main:{name}.json {said}" in done.stderr


@pytest.mark.parametrize("command", [("score", "run"), ("run", "--out", "run"), ("run", "other")])
def test_a_metric_that_does_not_exist_is_named_with_its_file(
    command: tuple[str, ...], scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    link_run(scored, tmp_path / "run")
    text = Path("run/run.toml").read_text()
    assert 'metrics = [\n    "vendi",\n]' in text
    Path("run/run.toml").unlink()
    Path("run/run.toml").write_text(text.replace('"vendi"', '"duuplicates"'))
    if "other" in command:
        command = ("run", "--config", "run/run.toml", "--out", "other")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2, done.stderr
    assert "run/run.toml: There is no metric 'duuplicates'." in " ".join(done.stderr.split())
