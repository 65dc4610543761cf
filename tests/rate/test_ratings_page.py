"""docs/ratings.md: its columns, its formats, its study and its Python are those of the program."""

import dataclasses
import re
from pathlib import Path

import pytest
from forked import Command
from markdown_it import MarkdownIt

from evalkit.rate.formats.known import FORMATS
from evalkit.rate.rejected import REJECTED
from evalkit.ratings.rating import COLUMNS
from evalkit.ratings.study import Exclusion, Question, Study
from evalkit.ratings.study_file import from_toml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "ratings.md").read_text(encoding="utf-8")
BLOCKS = [
    (token.info, token.content) for token in MarkdownIt().parse(PAGE) if token.type == "fence"
]


def first_column(title: str) -> list[str]:
    """The names in the first column of the first table after a title."""
    text = PAGE.partition(f"{title}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table
    return [re.findall(r"`([^`]+)`", row.split("|")[1])[0] for row in table[0].splitlines()[2:]]


def test_every_column_is_explained_in_order() -> None:
    assert first_column("### Answers") == list(COLUMNS)


def test_every_format_is_listed() -> None:
    assert sorted(first_column("## Imports")) == sorted(FORMATS)


@pytest.mark.parametrize("page", ["ratings.md", "files.md"])
def test_every_column_of_the_files_is_named(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in (*COLUMNS, *REJECTED))


def test_the_study_of_the_page_is_valid_and_names_the_fields() -> None:
    [text] = [content for info, content in BLOCKS if info == "toml"]
    study = from_toml(text)
    assert study.exclude == Exclusion()
    for kind in (Study, Question, Exclusion):
        for field in dataclasses.fields(kind):
            assert field.name in PAGE


def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / "reports").symlink_to(ROOT / "reports")
    imported, agreement = [
        Command(code, tmp_path).done().stdout for info, code in BLOCKS if info == "python"
    ]
    assert "4 ('imported',) ('The scale of alignment is 1 to 5.',)" in imported
    assert agreement.split()[:5] == ["metric", "level", "accuracy", "correlation", "pairs"]
    assert "clip_score" in agreement
