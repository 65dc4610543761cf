"""The example package, installed and run, and every block of code of the pages on plug-ins."""

import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks, code
from pages import commands as page_commands
from typer.main import get_command
from typer.testing import CliRunner

from evalkit import plugins
from evalkit.cli.app import app
from evalkit.config import Config
from evalkit.plugins.importing import entries
from evalkit.run_folder import Run

EXAMPLE = ROOT / "examples" / "evalkit-example-generator"
BLOCKS = blocks(
    "guides/own-model.md", "guides/own-metric.md", "plugins/generator.md", "plugins/serve.md"
)


def evalkit(*arguments: str) -> str:
    """The last line that a command in this process prints, in the current folder."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()[-1]


def run_tests_of(file: Path) -> int:
    """Call every test of a file that has no fixtures."""
    spec = importlib.util.spec_from_file_location(
        f"{file.stem}_of_{file.parent.name}".replace("-", "_"), file
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    for test in tests:
        test()
    return len(tests)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; sys.path is restored afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip installs it, in its own folder, without a network."""
    place = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, place / "source")
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *options]
    done = subprocess.run(
        [*command, "--target", str(place / "site"), str(place / "source")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return place / "site"


@pytest.fixture
def installed(site: Path, beside: Path) -> Iterator[Path]:
    """The package on the path of this process."""
    sys.path.insert(0, str(site))
    entries.cache_clear()
    yield beside
    sys.path.remove(str(site))
    entries.cache_clear()


def test_the_installed_example_is_listed_with_its_options(site: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from evalkit.cli.app import main; main()",
        "list",
        "generators",
        "--json",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    listed = {row["name"]: row for row in json.loads(done.stdout)}
    assert listed["example"]["options"] == "size=64, ground='lightgray'"
    assert listed["example"]["what it is"] == "Discs in the colours of the prompts."
    assert listed["diffusers"]["options"].startswith("model, dtype='auto'")
    assert "example" not in plugins.names("generator")


def test_the_installed_example_runs(installed: Path) -> None:
    (installed / "p.txt").write_text("a red circle\na dog\ntwo blue cats\n")
    options = ("--encoders", "pixels", "--out", "run", "--set", "example.size=16")
    evalkit("run", "--models", "example,noise", "--prompts", "p.txt", *options)
    run = Run(installed / "run")
    assert Counter(record.status for record in run.records("example")) == {
        "ok": 2,
        "refused_input": 1,
    }
    [rate] = [
        row for row in run.metrics() if (row.model, row.metric) == ("example", "refusal_rate")
    ]
    assert rate.value == pytest.approx(1 / 3)
    assert run.model("example")["fingerprint"]
    assert "example" in (run.report_path / "report.md").read_text("utf-8")


def test_the_example_s_own_tests_pass(installed: Path) -> None:
    assert run_tests_of(EXAMPLE / "test_example.py") == 2


def test_the_installed_package_holds_its_module_only(site: Path) -> None:
    names = {path.name for path in site.iterdir()}
    assert names - {"__pycache__"} == {
        "evalkit_example_generator.py",
        "evalkit_example_generator-0.1.0.dist-info",
    }


@pytest.fixture
def page(beside: Path) -> Path:
    """The current folder, with the Python files of the pages."""
    for info, content in BLOCKS:
        if info == "python":
            (beside / content.partition("\n")[0].removeprefix("# ")).write_text(
                content, encoding="utf-8"
            )
    return beside


def commands() -> Iterator[str]:
    return (line for info, content in BLOCKS if info == "bash" for line in content.splitlines())


@pytest.mark.parametrize(
    "line",
    [line for line in commands() if line.startswith("evalkit run") and "openai:" not in line],
)
def test_the_commands_of_the_page_run(line: str, page: Path) -> None:
    [_, *arguments] = shlex.split(line)
    made = Run(page / evalkit(*arguments))
    for model in made.models():
        assert {record.status for record in made.records(model)} == {"ok"}
    if "my_metric" in line:
        [row] = [row for row in made.metrics() if row.metric == "brightness"]
        assert row.encoder == "colours"
        assert 0 < (row.value or 0) < 1
        assert row.low is not None
        assert len(made.scores()) == row.count


def test_the_check_of_the_page_passes(page: Path) -> None:
    sys.path.append(str(page))
    assert run_tests_of(page / "test_my_models.py") == 1


LEFT_OUT = ("--encoders", "pixels", "--metrics", "vendi,duplicates")  # of scoring


def test_images_of_the_served_model_equal_those_of_a_local_run(page: Path) -> None:
    [serve] = [line for line in commands() if line.startswith("evalkit serve")]
    [fetch] = [line for line in commands() if "openai:" in line]
    code = "from evalkit.cli.app import main; main()"
    command = [sys.executable, "-c", code, *shlex.split(serve)[1:]]
    command[command.index("8000")] = "0"
    with subprocess.Popen(
        command, cwd=page, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            base = server.stdout.readline().strip()
            arguments = shlex.split(
                fetch.replace("http://127.0.0.1:8000/v1", base).replace(" run ", " generate ", 1)
            )
            far = Run(page / evalkit(*(part for part in arguments[1:] if part not in LEFT_OUT)))
        finally:
            server.kill()
    options = ("--set", "my_options:load.size=128")
    near = Run(
        page
        / evalkit(
            "generate",
            "--models",
            "my_options:load",
            "--prompts",
            "suite:colour",
            "--out",
            "near",
            *options,
        )
    )
    hashes = [record.sha256 for record in far.records("openai:my_options:load")]
    assert hashes == [record.sha256 for record in near.records("my_options:load")]
    assert "" not in hashes


def test_the_page_on_local_models_agrees_with_the_options() -> None:
    lines = page_commands("local-models.md")
    assert len(lines) == 3
    for line in lines:
        get_command(app).commands["run"].make_context("run", shlex.split(line)[2:])  # type: ignore[attr-defined]
    [settings] = code("toml", "local-models.md")
    config = Config.from_toml(settings)
    [model] = plugins.models(config.models, config.options)
    assert (
        model.options.items()
        >= {"model": "stabilityai/sdxl-turbo", "steps": 1, "guidance": 0.0, "batch": 8}.items()
    )
    table = re.findall(r"^\| (`.*?) \|", PAGES["local-models.md"], re.MULTILINE)
    named = {name.strip("`") for row in table for name in row.split(", ")}
    assert named == set(inspect.signature(model.target).parameters) - {"model", "device"}


def test_the_entry_point_of_the_page_is_the_example_s() -> None:
    [lines] = [content for info, content in BLOCKS if info == "toml"]
    assert lines in (EXAMPLE / "pyproject.toml").read_text("utf-8")


def test_the_source_archive_holds_the_examples() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "sdist" not in settings["tool"]["hatch"]["build"]["targets"]  # it holds what git holds
