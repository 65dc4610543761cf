"""The bundled prompt suite: reproducible, and every truth matches its text."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.config import load_config
from evalkit.core import EvalkitError
from evalkit.prompts import read_prompts
from evalkit.scenes import suite
from evalkit.scenes.tables import (
    BACKGROUNDS,
    COLOUR_WORDS,
    COLOURS,
    COUNT_WORDS,
    NOUN_FORMS,
    RELATIONS,
    SHAPES,
)
from evalkit.scenes.vocabulary import mentions, words
from evalkit.scenes.words import split_words

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in suite.FILE.read_text(encoding="utf-8").splitlines()
]
BY_GROUP = {group: [row for row in ROWS if row["group"] == group] for group in suite.GROUPS}


def test_the_script_reproduces_the_file() -> None:
    assert suite.FILE.read_text(encoding="utf-8") == suite.lines(), (
        "run `python -m evalkit.scenes.suite`"
    )


def test_the_numbers_of_prompts() -> None:
    assert len(ROWS) >= 300
    assert tuple(dict.fromkeys(row["group"] for row in ROWS)) == suite.GROUPS
    assert len({row["id"] for row in ROWS}) == len({row["text"] for row in ROWS}) == len(ROWS)
    assert {row["truth"]["items"][0]["noun"] for row in BY_GROUP["object"]} == set(NOUN_FORMS)
    pairs = {
        (item["noun"], item["colour"])
        for row in BY_GROUP["colour"]
        for item in row["truth"]["items"]
    }
    assert pairs == {(shape, colour) for shape in SHAPES for colour in COLOURS}
    assert Counter(row["truth"]["count"] for row in BY_GROUP["count"]) == dict.fromkeys(
        (2, 3, 4), suite.PER_COUNT
    )
    assert Counter(row["truth"]["relation"] for row in BY_GROUP["position"]) == dict.fromkeys(
        RELATIONS, suite.PER_RELATION
    )
    assert len(BY_GROUP["two objects"]) == suite.TWO_OBJECTS
    assert len(BY_GROUP["free"]) >= 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_the_truth_matches_the_text(row: dict[str, Any]) -> None:
    text, truth = row["text"], row["truth"]
    plain, items = f" {' '.join(split_words(text))} ", truth["items"]
    assert set(truth) == {"items", "count", "relation", "background"}
    named = mentions(text)
    nouns = [item["noun"] for item in items]
    assert [
        noun
        for noun in named.nouns
        if noun in nouns or not any(item["colour"] == "orange" for item in items)
    ] == nouns
    assert named.backgrounds == ((truth["background"],) if truth["background"] else ())
    assert truth["background"] in ("", *BACKGROUNDS)
    for item in items:
        assert bool(item["colour"]) == (item["noun"] in SHAPES)
        assert not item["colour"] or any(
            f" {word} " in plain for word in COLOUR_WORDS[item["colour"]]
        )
    if truth["count"] > 1:
        assert any(f" {word} " in plain for word in COUNT_WORDS[truth["count"]])
    if truth["relation"]:
        assert len(items) == 2
        assert any(f" {phrase} " in plain for phrase in RELATIONS[truth["relation"]])
    if row["group"] != "free":
        assert set(split_words(text)) <= set(words())
        assert (len(items) == 2) == (row["group"] in ("position", "two objects"))


def test_every_free_prompt_has_words_outside_the_vocabulary() -> None:
    unknown = [row for row in BY_GROUP["free"] if not set(split_words(row["text"])) <= set(words())]
    assert len(unknown) == len(BY_GROUP["free"])


def test_the_suite_and_its_groups_are_selected_by_name() -> None:
    everything = read_prompts("suite")
    assert [prompt.id for prompt in everything] == [row["id"] for row in ROWS]
    assert {prompt.group for prompt in everything} == set(suite.GROUPS)
    assert [prompt.text for prompt in read_prompts("suite:two objects")] == [
        row["text"] for row in BY_GROUP["two objects"]
    ]
    for wrong in ("suite:objects", "suite:"):
        with pytest.raises(EvalkitError, match="no group") as caught:
            read_prompts(wrong)
        assert "object, colour, count, position, two objects, free" in caught.value.hint


def test_a_file_named_suite_is_read_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("suite").write_text("a cat\n")
    assert len(read_prompts("suite")) == len(ROWS)
    assert len(read_prompts("./suite")) == 1


def test_a_run_of_the_suite_is_repeated_from_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = evalkit.generate("noise", "suite:position", options={"noise": {"size": 8}})
    assert made.path.name.startswith("noise-suite-position-")
    assert "suite:position" in made.config_path.read_text().splitlines()[0]
    again = evalkit.generate(config=made.config_path, out="again")
    assert again.prompts() == made.prompts()


def test_a_configuration_can_name_the_suite(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('models = ["noise"]\nprompts = "suite:count"\n')
    assert load_config(tmp_path / "a.toml", {}).prompts == "suite:count"
