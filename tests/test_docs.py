"""The documents match the program: every command, every example."""

import importlib.util
import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt
from typer.main import get_command

import evalkit
from evalkit.cli.app import app
from evalkit.config import Config
from evalkit.metrics import DEFAULT

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    (token.info, token.content) for token in MarkdownIt().parse(README) if token.type == "fence"
]
BASH = [line for info, content in BLOCKS if info == "bash" for line in content.splitlines()]


def _make_cli() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMANDS = list(_make_cli().commands())
EVALKIT_LINES = [
    part.strip()
    for line in BASH
    for part in line.split("&&")
    if Path(shlex.split(part)[0]).name == "evalkit"
]


@pytest.mark.parametrize(
    ("path", "command"),
    COMMANDS,
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_command_and_option_is_explained(path: tuple[str, ...], command: object) -> None:
    assert getattr(command, "help", "")
    for parameter in getattr(command, "params", []):
        assert parameter.name == "help" or parameter.help, f"{' '.join(path)}: {parameter.name}"


def test_the_page_of_commands_is_complete() -> None:
    titles = [
        line
        for line in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert titles == [f"## {' '.join(('evalkit', *path))}" for path, _ in COMMANDS]


def test_every_command_of_the_readme_parses() -> None:
    assert len(EVALKIT_LINES) >= 10
    for line in EVALKIT_LINES:
        arguments, command, path = shlex.split(line)[1:], get_command(app), []
        while arguments and arguments[0] in getattr(command, "commands", {}):
            path.append(arguments[0])
            command = command.commands[arguments.pop(0)]
        assert path, line
        command.make_context(" ".join(path), arguments, resilient_parsing=False)


def test_the_examples_of_the_help_parse() -> None:
    examples = [
        line.strip()
        for _, command in COMMANDS
        for line in (command.help or "").splitlines()
        if line.startswith("  evalkit ")
    ]
    assert len(examples) >= 10
    for line in examples:
        arguments, command = shlex.split(line)[1:], get_command(app)
        while arguments and arguments[0] in getattr(command, "commands", {}):
            command = command.commands[arguments.pop(0)]
        command.make_context("evalkit", arguments, resilient_parsing=False)


def test_the_readme_uses_programs_of_the_virtual_environment() -> None:
    programs = {shlex.split(part)[0] for line in BASH for part in line.split("&&")} - {"evalkit"}
    assert programs <= {"python3", ".venv/bin/pip", ".venv/bin/evalkit", ".venv/bin/pytest"}
    assert all(
        "-c constraints.txt" in part
        for line in BASH
        for part in line.split("&&")
        if "pip install" in part
    )


def test_ci_runs_the_second_command() -> None:
    script = (ROOT / ".ci" / "run").read_text().replace('eval "$command"', "")
    said = subprocess.run(
        ["bash", "-s", str(ROOT / ".ci" / "run")],
        input=script.replace('"$0"', '"$1"'),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == BASH[1]
    assert BASH[1].endswith(".venv/bin/pytest -n 2")


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = [content for info, content in BLOCKS if info == "python"]
    assert len(blocks) == 3
    (tmp_path / "my_models.py").write_text(blocks[1], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", blocks[2]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tensor(")
    done = subprocess.run(
        [sys.executable, "-c", blocks[0]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "reports/noise/report/index.html" in done.stdout
    assert (tmp_path / "reports/noise/report/index.html").is_file()
    code = (
        "import evalkit\n"
        "made = evalkit.generate(['my_models:plain'], 'suite:colour', out='plain')\n"
        "print(len(list(made.path.rglob('*.png'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "72\n", done.stderr


def test_the_configuration_of_the_readme_is_valid() -> None:
    [text] = [content for info, content in BLOCKS if info == "toml"]
    config = Config.from_toml(text)
    assert config.options == {"dalle": {"temperature": 0.9}}
    assert tomllib.loads(config.to_toml())["per_prompt"] == 2


def test_the_tree_in_the_readme_is_complete() -> None:
    [tree] = [content for info, content in BLOCKS if info == "text"]
    folder = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith("  ") else ROOT
        assert (folder / name).exists(), name
        if line == "evalkit/":
            folder = ROOT / "evalkit"
    listed = {
        line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")
    } | {"chart_style.py", "__init__.py"}
    modules = {path.name for path in (ROOT / "evalkit").iterdir() if path.name != "__pycache__"}
    assert modules == listed
    for name in DEFAULT:
        assert f"`{name}`" in README


def test_the_documents_state_the_number_of_bundled_prompts() -> None:
    rows = [
        json.loads(line)
        for line in (ROOT / "evalkit/scenes/suite.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert f"{len(rows)} prompts" in README
    assert f"{len(rows)} prompts" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_public_names_have_docstrings() -> None:
    for name in evalkit.__all__:
        assert (getattr(evalkit, name).__doc__ or "").strip(), name
