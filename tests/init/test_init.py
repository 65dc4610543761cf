"""The starter files: complete, valid as they are and with every key in use, never overwriting."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from report_runs import make_run
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.config import KEYS, load_config, read_values
from evalkit.core import EvalkitError
from evalkit.gate.config import read_config
from evalkit.init.init import NAMES


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_use(path: Path) -> Path:
    """A copy of a file with every key in use: `#key = value` without the #."""
    text = re.sub(r"^#(?=[\[\w])", "", path.read_text("utf-8"), flags=re.MULTILINE)
    made = path.with_name(f"all-{path.name}")
    made.write_text(text, encoding="utf-8")
    return made


def known_keys(read: Callable[[Path], object], before: str = "") -> set[str]:
    """The keys that a reader takes, as its error on an unknown one lists them."""
    Path("wrong.toml").write_text(f"{before}\n'?????' = 1\n")
    with pytest.raises(EvalkitError, match="unknown key") as error:
        read(Path("wrong.toml"))
    return set(error.value.hint.removeprefix("Known: ").rstrip(".").split(", "))


def test_the_files_are_valid_as_they_are(here: Path) -> None:
    written = evalkit.init()
    assert [path.name for path in written] == list(NAMES)
    config = load_config("evalkit.toml", {})
    assert (config.models, config.prompts, config.out) == (("mine=gan",), "suite", "")
    gate = read_config("gate.toml")
    assert (gate.baseline, gate.metrics, gate.groups) == ("baseline.json", {}, None)


def test_the_baseline_of_a_configuration_is_relative_to_its_file(here: Path) -> None:
    path = evalkit.init("checks")[1]
    assert Path(read_config(path).baseline) == Path("checks/baseline.json")
    for given in ("git:main:baseline.json", str(here / "base.json")):
        path.write_text(f'baseline = "{given}"\n')
        assert read_config(path).baseline == given


def test_every_key_of_a_run_is_in_its_file() -> None:
    path = in_use(evalkit.init()[0])
    assert (
        known_keys(read_values)
        == set(tomllib.loads(path.read_text("utf-8")))
        == {*KEYS, "model", "scorer"}
    )
    config = load_config(path, {})
    assert config.options == {"mine": {"weights": "path/to/weights"}}


def test_the_defaults_that_the_file_of_a_run_states_are_the_defaults() -> None:
    plain, full = (read_values(path) for path in (evalkit.init()[0], in_use(Path("evalkit.toml"))))
    config = load_config("evalkit.toml", {})
    for key in ("per_prompt", "seed", "encoders", "device", "precision"):
        assert key not in plain
        assert full[key] == getattr(config, key)


def test_every_key_of_the_gate_is_in_its_file() -> None:
    path = in_use(evalkit.init()[1])
    gate, values = read_config(path), tomllib.loads(path.read_text("utf-8"))
    assert known_keys(read_config) == set(values)
    rules = [*values["metrics"].values(), values["groups"]]
    assert known_keys(read_config, "[groups]") == {key for rule in rules for key in rule}
    assert gate.metrics["fid"].direction == "lower"
    assert gate.metrics["clip_score"].direction == "higher"
    assert gate.alpha == values["alpha"] == read_config("gate.toml").alpha
    assert gate.on_inconclusive == read_config("gate.toml").on_inconclusive


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_a_key_a_table_or_a_comment_and_no_key_is_without_one(name: str) -> None:
    evalkit.init()
    lines = Path(name).read_text("utf-8").splitlines()
    kinds = [
        "comment" if re.match(r"# \S", line) else "blank" if not line else "key" for line in lines
    ]
    assert all(
        re.match(r"#?(\w+ = |\[[\w.]+\]$)", line)
        for line, kind in zip(lines, kinds, strict=True)
        if kind == "key"
    )
    for block in "\n".join(lines).split("\n\n"):
        assert block.startswith("# ")


def test_no_files_are_written_into_a_run(here: Path) -> None:
    make_run(here / "run", 4, ("dalle",))
    with pytest.raises(EvalkitError, match="is a run folder"):
        evalkit.init(here / "run")
    assert not (here / "run" / "gate.toml").exists()


def test_nothing_is_overwritten_and_nothing_half_written(here: Path) -> None:
    Path("gate.toml").write_text("mine")
    found = CliRunner().invoke(app, ["init"])
    assert (found.exit_code, found.stdout) == (2, "")
    assert "gate.toml exists; nothing was written." in found.stderr
    assert Path("gate.toml").read_text() == "mine"
    assert not Path("evalkit.toml").exists()
    with pytest.raises(EvalkitError, match=r"gate\.toml is a file; expected a folder"):
        evalkit.init("gate.toml")


def test_models_and_prompts_are_filled_in_as_seen_from_the_folder(here: Path) -> None:
    for name in ("ckpt", "a b"):
        Path(name).mkdir()
    Path("prompts.txt").write_text("a cat\n")
    models = ["new=./ckpt", "a b", "dalle", "my_models:plain"]
    [path, _] = evalkit.init("checks/one", models=models, prompts="prompts.txt")
    config = load_config(path, {})
    assert Path(str(config.prompts)).read_text() == "a cat\n"
    labels = [text.rpartition("/")[2] for text in config.models]
    assert labels == ["ckpt", "a b", "dalle", "my_models:plain"]
    assert [Path(text.removeprefix("new=")).is_dir() for text in config.models[:2]] == [True, True]
    assert load_config(in_use(path), {}).options == {"new": {"weights": "path/to/weights"}}
    [path, _] = evalkit.init("two", models=here / "ckpt", prompts="suite:colour")
    assert load_config(path, {}).models == (str(here / "ckpt"),)
    assert load_config(path, {}).prompts == "suite:colour"


@pytest.mark.parametrize("given", [{"models": []}, {"models": "a,a"}, {"prompts": ""}])
def test_what_cannot_be_models_or_prompts_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(EvalkitError):
        evalkit.init(**given)
    assert not Path("evalkit.toml").exists()


def test_the_command_prints_its_files_and_the_next_commands(here: Path) -> None:
    found = CliRunner().invoke(
        app, ["init", "checks", "--models", "a=gan,b=dalle", "--models", "noise"]
    )
    assert found.exit_code == 0, found.stderr
    assert found.stdout.split() == ["checks/evalkit.toml", "checks/gate.toml"]
    assert load_config("checks/evalkit.toml", {}).models == ("a=gan", "b=dalle", "noise")
    steps = [line.removeprefix("next: ").split()[:2] for line in found.stderr.splitlines()]
    assert steps == [["cd", "checks"], ["evalkit", "run"], ["evalkit", "baseline"],
                     ["evalkit", "run"], ["evalkit", "gate"]]  # fmt: skip
