"""The documents match the program: every command, every example."""

import ast
import dataclasses
import functools
import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from forked import Command
from markdown_it import MarkdownIt
from pages import PAGES, ROOT, code, commands
from typer.main import get_command

import evalkit
from evalkit.cli.app import app
from evalkit.config import Config
from evalkit.core import AgreementRow, ComparisonRow, Comparisons, MetricRow, Prompt, Record
from evalkit.ratings.exclusion import RaterCare
from evalkit.ratings.summary_file import ModelResult, PollSummary
from evalkit.run_folder import Run
from evalkit.score.select import DEFAULT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    (token.info, token.content) for token in MarkdownIt().parse(README) if token.type == "fence"
]
BASH = [line for info, content in BLOCKS if info == "bash" for line in content.splitlines()]
SH = [line for info, content in BLOCKS if info == "sh" for line in content.splitlines()]
FILES = "\n".join(text for name, text in PAGES.items() if name.startswith(("files", "inputs")))
RUN_BY = {  # the test that runs the Python of a page
    "figures.md": "test_docs.py",
    "guides/own-metric.md": "test_examples.py",
    "guides/own-model.md": "test_examples.py",
    "guides/training-loop.md": "test_metrics_page.py",
    "metrics/groups.md": "test_metrics_page.py",
    "plugins/generator.md": "test_examples.py",
    "plugins/metric.md": "test_metrics_page.py",
    "publish.md": "export/test_tracker.py",
    "python.md": "test_docs.py",
    "ratings.md": "rate/test_ratings_page.py",
    "ratings/imports.md": "rate/test_ratings_page.py",
}


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
    for line in SH + BASH
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


def test_the_pages_of_commands_are_complete() -> None:
    titles = [
        line.lstrip("# ")
        for name, text in PAGES.items()
        if name.startswith("cli")
        for line in text.splitlines()
        if re.match("#+ evalkit", line)
    ]
    assert sorted(titles) == sorted(" ".join(("evalkit", *path)) for path, _ in COMMANDS)


@functools.cache
def all_commands() -> Any:
    return get_command(app)


def parse(line: str) -> None:
    """Parse a command line of evalkit, without a call. Raises if it is not valid."""
    arguments, command, path = shlex.split(line, comments=True)[1:], all_commands(), []
    while arguments and arguments[0] in getattr(command, "commands", {}):
        path.append(arguments[0])
        command = command.commands[arguments.pop(0)]
    assert path, line
    command.make_context(" ".join(path), arguments, resilient_parsing=False)


def test_every_command_of_the_readme_parses() -> None:
    assert len(EVALKIT_LINES) >= 10
    for line in EVALKIT_LINES:
        parse(line)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_command_of_a_page_parses(page: str) -> None:
    for line in commands(page):
        parse(line)


def test_every_page_with_python_has_a_test_that_runs_it() -> None:
    assert {name for name in PAGES if code("python", name)} == set(RUN_BY)
    for page, test in RUN_BY.items():
        assert page in (ROOT / "tests" / test).read_text(encoding="utf-8"), test


def test_the_examples_of_the_help_parse() -> None:
    examples = [
        line.strip()
        for _, command in COMMANDS
        for line in (command.help or "").splitlines()
        if line.startswith("  evalkit ")
    ]
    assert len(examples) >= 10
    for line in examples:
        parse(line)


def test_the_readme_uses_programs_of_the_virtual_environment() -> None:
    lines = SH + BASH
    programs = {shlex.split(part)[0] for line in lines for part in line.split("&&")} - {"evalkit"}
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


def _python(code: str, folder: Path) -> str:
    """The output of a program in another process."""
    done = Command(code, folder).done()
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    run, generator = [content for info, content in BLOCKS if info == "python"]
    printed = [line.split() for line in _python(run, tmp_path).splitlines()]
    shown = {tuple(words[1:3]): words[3:] for words in printed}
    rows = {(row.model, row.metric): row for row in Run(tmp_path / "reports/colours").metrics()}
    for place in itertools.product(("dalle", "gan"), DEFAULT):
        row = rows[place]
        expected = [row.value, row.low, row.high]
        assert [float(word) for word in shown[place]] == pytest.approx(expected, abs=1e-5)
    assert (tmp_path / "reports/colours/report/index.html").is_file()
    (tmp_path / "my_models.py").write_text(generator, encoding="utf-8")
    images = (
        "evalkit.generate(['my_models:plain'], 'suite:colour', out='plain').path.rglob('*.png')"
    )
    assert _python(f"import evalkit; print(len(list({images})))", tmp_path) == "72\n"


@pytest.mark.slow
def test_the_python_of_its_page_runs(tmp_path: Path) -> None:
    """All blocks, one after the other, as a reader would enter them."""
    blocks = code("python", "python.md")
    assert len(blocks) >= 7
    printed = _python("\n".join(blocks), tmp_path)
    for part in ("inception_score", "a cat on the beach", "vendi", "per_prompt is 0; expected"):
        assert part in printed


@pytest.mark.slow
def test_the_python_of_the_page_of_figures_runs(tmp_path: Path) -> None:
    [block] = code("python", "figures.md")
    assert "['fid_by_count.pdf', 'images.pdf', 'pareto.pdf']" in _python(block, tmp_path)


def test_the_page_of_figures_names_every_figure_function_and_width() -> None:
    from evalkit.figures.collect import COLLECT
    from evalkit.figures.pages import WIDTHS

    page = PAGES["figures.md"]
    for name in (*COLLECT, *evalkit.figures.__all__, *(one for one in WIDTHS if one != "page")):
        assert f"`{name}`" in page, name
    for width in ("icml", "cvpr", "aaai"):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{width}`"))
        for inches in WIDTHS[width]:
            assert f"{inches:g} in" in row


def test_the_configuration_of_the_readme_is_valid() -> None:
    [text] = [content for info, content in BLOCKS if info == "toml"]
    config = Config.from_toml(text)
    assert config.options == {"dalle": {"temperature": 0.9}}
    assert tomllib.loads(config.to_toml())["models"] == ["dalle", "gan"]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_table_of_the_readme_is_that_of_the_example() -> None:
    run = Run(ROOT / "reports/example")
    comparisons = run.comparisons()
    assert comparisons is not None
    measured = {(row.model, row.metric): row for row in run.metrics()}
    for title, name in (("FID ↓", "fid"), ("CLIP score ↑", "clip_score")):
        [row] = [row for row in comparisons.rows if row.metric == name]
        cells = [title]
        for model in ("dalle", "gan"):
            value = measured[model, name]
            cells.append(f"{value.value:.1f} ({value.low:.1f} to {value.high:.1f})")
        adjusted = f"({row.low_adjusted:.1f} to {row.high_adjusted:.1f})"
        cells += [f"{row.difference:.1f} {adjusted}", row.verdict]
        assert f"| {' | '.join(cells)} |" in README


def test_the_tree_in_the_readme_is_complete() -> None:
    """The first column of the tree: all of the package, and what else there is, on one or more
    lines.
    """
    [tree] = [content for info, content in BLOCKS if info == "text"]
    listed: set[str] = set()
    for line in tree.splitlines():
        names = [name.rstrip("/") for name in re.split(r" {2,}", line.strip())[0].split()]
        folder = ROOT / "evalkit" if line.startswith("  ") else ROOT
        assert all((folder / name).exists() for name in names), line
        listed |= set(names) if line.startswith("  ") else set()
    assert listed == {
        path.name for path in (ROOT / "evalkit").iterdir() if path.name != "__pycache__"
    }
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


def _tables(text: str) -> list[list[str]]:
    """The names in the first column of every table, in backticks."""
    return [
        re.findall(r"`([^`]+)`", " ".join(row.split("|")[1] for row in table.splitlines()))
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    ]


@pytest.mark.parametrize(
    "kind",
    [
        *(MetricRow, AgreementRow, ComparisonRow, Comparisons, Record),
        *(PollSummary, ModelResult, RaterCare),
    ],
)
def test_the_page_of_files_names_every_field(kind: type) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    assert sorted(names) in [sorted(table) for table in _tables(FILES)]


def test_the_page_of_files_names_every_key_of_a_run(tmp_path: Path) -> None:
    page, tables = FILES, [set(table) for table in _tables(FILES)]
    run = evalkit.generate(["noise"], ["a cat", "two dogs"], out=tmp_path / "run")
    evalkit.score(run.path, encoders="pixels")
    assert set(run.protocol()) in tables
    [findings] = json.loads((run.path / "image_checks.json").read_text("utf-8")).values()
    assert set(findings) in tables
    for kind in (Prompt, Config):
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in page or field.name in ("options", "scorers", "functions")
    files = [*run.path.iterdir(), *run.image_folder("noise").iterdir()]
    for path in files:
        if path.is_file() and path.suffix != ".png":
            assert re.sub(r"\.\d+\.", ".<rank>.", path.name) in page


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = {ROOT / "README.md": README} | {
        ROOT / "docs" / name: text for name, text in PAGES.items()
    }
    for path, text in pages.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"https?:|gallery/", link):  # docs/make_gallery.py makes these reports
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.exists(), f"{path.name}: {link}"
            if anchor:
                titles = re.findall(r"^#+ (.*)", target.read_text("utf-8"), re.MULTILINE)
                anchors = [
                    re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles
                ]
                assert anchor in anchors, f"{path.name}: {link}"


WIDE = ("scale.md", "scorers.md", "question-answering.md", "judges.md", "training-log.md")


def test_the_pages_are_at_most_100_columns_wide() -> None:
    """Tables and code apart."""
    pages = {name: PAGES[name] for name in PAGES if not name.startswith("cli") and name not in WIDE}
    for name, page in (pages | {"README.md": README}).items():
        text = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
        long = [line for line in text.splitlines() if len(line) > 100 and "|" not in line]
        assert not long, name


def _modules(path: Path) -> set[str]:
    """The modules of evalkit that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_the_reading_path_exists_and_is_connected() -> None:
    """Every file is imported by one that stands before it."""
    text = PAGES["architecture.md"].partition("## Reading path")[2]
    to_metrics, to_page, of_ratings = (
        re.findall(r"^\d+\. `(evalkit/[^`]+)`", part, re.MULTILINE)
        for part in text.split("And from ")
    )
    assert 1 <= len(to_metrics) <= 12
    assert 1 <= len(to_page) <= 5
    assert 1 <= len(of_ratings) <= 9
    reached = {"evalkit.cli.run", "evalkit.cli.rate"}
    for name in to_metrics + to_page + of_ratings:
        module = ".".join(Path(name).with_suffix("").parts).removesuffix(".__init__")
        assert module in reached, name
        reached |= _modules(ROOT / name)


def test_the_rooms_of_the_architecture_are_those_of_the_package() -> None:
    [table] = [table for table in _tables(PAGES["architecture.md"]) if "cli/" in table]
    rooms = {path.name for path in (ROOT / "evalkit").iterdir() if path.is_dir()} - {"__pycache__"}
    assert {name.rstrip("/") for name in table if name.endswith("/")} == rooms
    assert all((ROOT / "evalkit" / name).exists() for name in table)
