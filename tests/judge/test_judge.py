from pathlib import Path

import pytest
from PIL import Image

import evalkit
from evalkit.core import EvalkitError


def test_the_bundled_models_draw_what_they_are_asked_for(tmp_path: Path) -> None:
    """The first level that the project set itself, on prompts that no training saw and by a network
    that no training used.
    """
    rows = evalkit.judge(["dalle", "gan"], count=240, grid=tmp_path / "grid.png")
    right = {(row.model, row.prompts, row.question): row for row in rows}
    for model in ("dalle", "gan"):
        assert right[model, "single", "noun"].right >= 0.6
        assert right[model, "single", "background"].right >= 0.95
    assert right["dalle", "pair", "noun"].right >= 0.6
    assert right["dalle", "pair", "relation"].right >= 0.6  # chance is half of the pairs at best
    assert right["real scenes", "single", "everything"].right > 0.97
    assert right["real scenes of other prompts", "single", "noun"].right < 0.1
    assert all(row.low <= row.right <= row.high and row.asked > 10 for row in rows)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width == 2 * 16 * 34


def test_noise_shows_nothing() -> None:
    rows = evalkit.judge(["noise"], count=64)
    assert all(
        row.right < 0.1
        for row in rows
        if row.model == "noise" and row.question in ("noun", "everything")
    )


def test_too_few() -> None:
    with pytest.raises(EvalkitError, match="count is 10, expected at least 64"):
        evalkit.judge(["noise"], count=10)
