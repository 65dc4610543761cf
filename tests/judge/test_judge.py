"""Generators are judged on held-out scenes, and on prompts of the user."""

from pathlib import Path

import pytest
from judged_generators import SCENES
from PIL import Image

import evalkit
from evalkit.core import EvalkitError
from evalkit.judge.judge import judge_prompts


def test_the_bundled_models_follow_held_out_prompts(tmp_path: Path) -> None:
    """The project's first goal, on prompts and with a network that no training used."""
    rows = evalkit.judge(["dalle", "gan"], count=240, grid=tmp_path / "grid.png")
    value = {(row.model, row.prompts, row.question): row.value for row in rows}
    for model in ("dalle", "gan"):
        assert value[model, "single", "noun"] >= 0.6
        assert value[model, "single", "background"] >= 0.95
    assert value["dalle", "pair", "noun"] >= 0.6
    assert value["dalle", "pair", "relation"] >= 0.6  # chance is half of the pairs at best
    assert value["real scenes", "single", "everything"] > 0.97
    assert value["real scenes of other prompts", "single", "noun"] < 0.1
    assert all(row.low <= row.value <= row.high and row.images > 10 for row in rows)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width == 2 * 16 * 34  # scale, columns, pixels with their white lines


def test_colours_of_unknown_things_are_not_drawn_on_the_shape() -> None:
    """ "a red circle on a white background" is a red circle."""
    rows = evalkit.judge(["dalle", "gan"], count=100, phrases=True)
    value = {(row.model, row.question): row.value for row in rows}
    assert {row.prompts for row in rows} == {"single"}
    for model in ("dalle", "gan"):
        assert value[model, "noun"] >= 0.85
        assert value[model, "colour"] >= 0.85
    assert value["real scenes", "colour"] > 0.98
    assert value["real scenes of other prompts", "colour"] < 0.1


def test_noise_shows_nothing() -> None:
    rows = evalkit.judge(["noise"], count=64)
    assert all(
        row.value < 0.1
        for row in rows
        if row.model == "noise" and row.question in ("noun", "everything")
    )


def test_too_few_prompts_for_the_grid() -> None:
    with pytest.raises(EvalkitError, match="count is 10, expected at least 64"):
        evalkit.judge(["noise"], count=10)


def test_a_generator_that_refuses_is_not_judged() -> None:
    with pytest.raises(EvalkitError, match=r"refused a prompt of the bundled .*not today"):
        judge_prompts(["judged_generators:refusing"], ["a dog"])


def test_objects_that_prompts_mention_are_found_in_their_images() -> None:
    prompts = list(SCENES)[:100]
    rows = {
        row.question: row
        for row in judge_prompts(["judged_generators:perfect"], [*prompts, "nothing that is known"])
    }
    assert rows["first object"].value > 0.95
    assert rows["all objects"].value > 0.9
    assert rows["any object"].images == 100
    rows = {row.question: row for row in judge_prompts(["noise"], prompts)}
    assert rows["any object"].value < 0.1


def test_prompts_without_a_known_object() -> None:
    with pytest.raises(EvalkitError, match="No prompt mentions an object"):
        judge_prompts(["noise"], ["freedom", ""])
