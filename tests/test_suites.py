"""Published prompt lists: what a file claims to be, and what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import evalkit
from evalkit.prompts import read_prompts
from evalkit.prompts.suites import claimed, suites


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("PartiPrompts.tsv", "parti"),
        ("data/parti-prompts_v2.csv", "parti"),
        ("DrawBench.csv", "drawbench"),
        ("geneval2_data.jsonl", "geneval2"),
        ("evaluation_metadata.jsonl", "geneval"),
        ("coco_30k.txt", "coco-30k"),
        ("party_prompts_of_mine.txt", ""),
        ("prompts.txt", ""),
    ],
)
def test_the_name_of_a_file_says_which_list_it_is(file: str, name: str) -> None:
    found = claimed(file)
    assert (found.name if found else "") == name


def test_a_list_that_is_not_what_its_name_says_is_said_to_be_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    file = tmp_path / "PartiPrompts.tsv"
    file.write_text("Prompt\tCategory\na red cat\tAnimals\na blue dog\tAnimals\n")
    evalkit.generate("noise", file, out=tmp_path / "part")
    assert "PartiPrompts.tsv has 2 prompts and PartiPrompts has 1,632" in caplog.text
    caplog.clear()
    evalkit.generate("noise", file.rename(tmp_path / "mine.tsv"), out=tmp_path / "mine")
    assert not caplog.text


def test_the_protocol_tells_two_lists_apart(tmp_path: Path) -> None:
    hashes = []
    for at, prompts in enumerate((["a cat", "a dog"], ["a dog", "a cat"], ["a cat", "a dog"])):
        run = evalkit.generate("noise", prompts, out=tmp_path / str(at))
        evalkit.score(run.path, encoders="pixels")
        hashes.append(run.protocol()["prompts"]["sha256"])
    assert hashes[0] == hashes[2] != hashes[1]


def test_bundled_lists_hold_what_is_stated() -> None:
    rows = {row["name"]: row for row in evalkit.list_suites()}
    assert rows.keys() == suites().keys()
    for name, row in rows.items():
        if row["use"] == f"`--prompts {name}`":
            assert len(read_prompts(name)) == suites()[name].prompts
        assert row["licence"]
