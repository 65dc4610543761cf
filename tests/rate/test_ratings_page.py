"""The pages on ratings: columns, formats, study and Python are those of the program."""

import dataclasses
import re
from pathlib import Path

import pytest
from forked import Command
from pages import PAGES, ROOT, code

from evalkit.rate.formats.known import FORMATS
from evalkit.rate.rejected import REJECTED
from evalkit.ratings.rating import COLUMNS
from evalkit.ratings.study import Exclusion, Question, Study
from evalkit.ratings.study_file import from_toml

NAMES = ("ratings.md", "ratings/files.md", "ratings/imports.md")
PAGE = "\n".join(PAGES[name] for name in NAMES)


def first_column(title: str) -> list[str]:
    """The names in the first column of the first table after a title."""
    text = PAGE.partition(f"{title}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table
    return [re.findall(r"`([^`]+)`", row.split("|")[1])[0] for row in table[0].splitlines()[2:]]


def test_every_column_is_explained_in_order() -> None:
    assert first_column("## Answers") == list(COLUMNS)


def test_every_format_is_listed() -> None:
    assert sorted(first_column("## Imports")) == sorted(FORMATS)


@pytest.mark.parametrize("page", ["ratings/files.md", "files/ratings.md"])
def test_every_column_of_the_files_is_named(page: str) -> None:
    assert all(f"`{name}`" in PAGES[page] for name in (*COLUMNS, *REJECTED))


def test_the_study_of_the_page_is_valid_and_names_the_fields() -> None:
    [text] = code("toml", *NAMES)
    study = from_toml(text)
    assert study.exclude == Exclusion()
    for kind in (Study, Question, Exclusion):
        for field in dataclasses.fields(kind):
            assert field.name in PAGE


def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / "reports").symlink_to(ROOT / "reports")
    agreement, imported = [
        Command(block, tmp_path).done().stdout for block in code("python", *NAMES)
    ]
    assert "4 ('imported',) ('The scale of alignment is 1 to 5.',)" in imported
    assert agreement.split()[:5] == ["metric", "level", "accuracy", "correlation", "pairs"]
    assert "clip_score" in agreement
