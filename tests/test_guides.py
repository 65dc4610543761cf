"""The start page and “Try it” of the guides, as a reader types them, in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from pages import PAGES, below
from typer.testing import CliRunner

from evalkit.cli.app import app

START, TRY = ("index.md", "## Five minutes"), "## Try it"
SECTIONS = [START, *((name, TRY) for name in PAGES if TRY in PAGES[name].splitlines())]
SAID: dict[str, str] = {}  # what each command printed: pages share some, and each runs once


def blocks(page: str, title: str, language: str) -> list[str]:
    tokens = MarkdownIt().parse(below(page, title))
    return [token.content for token in tokens if token.info == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guides")


@pytest.mark.slow
@pytest.mark.parametrize(("page", "title"), SECTIONS, ids=lambda part: part.split("/")[-1])
def test_the_commands_run(
    page: str, title: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    lines = [line for block in blocks(page, title, "bash") for line in block.splitlines()]
    assert lines
    for line in lines:
        if line not in SAID:
            done = CliRunner().invoke(app, shlex.split(line)[1:])
            assert done.exit_code == 0, f"{line}: {done.stderr}"
            SAID[line] = done.stdout + done.stderr


@pytest.mark.slow
def test_what_the_pages_show_is_what_is_printed(folder: Path) -> None:
    """The values agree to rounding on other machines, so only their names are compared."""
    [table] = blocks(*START, "text")
    said = next(text for line, text in SAID.items() if "--out reports/colours" in line)
    names = [re.split(r" {3,}", line.strip())[0] for line in table.splitlines() if line]
    assert names[-1] in said
    assert [name for name in names if name not in said] == []
    folder_guide = " ".join(PAGES["guides/score-a-folder.md"].split())
    [matched] = re.findall(r"`(dalle: matched [^`]+)`", folder_guide)
    assert any(matched in text for text in SAID.values())
    assert any("$15.19" in text for text in SAID.values())
    for path in ("reports/colours/report/index.html", "paper/metrics.tex", "paper/evalkit.bib"):
        assert (folder / path).is_file(), path
    assert (folder / "reports/colours/figures/icml/differences.pdf").is_file()
