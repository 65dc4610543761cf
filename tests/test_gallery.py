"""The page of the gallery says what docs/make_gallery.py does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
SPEC = importlib.util.spec_from_file_location("make_gallery", ROOT / "docs" / "make_gallery.py")
assert SPEC is not None
assert SPEC.loader is not None
made = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(made)


def sections() -> dict[str, str]:
    """The part of the page about each run, by the folder that it links to."""
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    links = [re.findall(r"\]\(gallery/([a-z]+)/report/index\.html\)", part) for part in parts]
    assert all(len(found) == 1 for found in links)
    return {found[0]: part for found, part in zip(links, parts, strict=True)}


def test_the_page_has_the_commands_of_every_run_in_their_order() -> None:
    shown = {
        run: tuple(line for line in part.splitlines() if line.startswith("evalkit "))
        for run, part in sections().items()
    }
    assert shown == made.PLAN
    assert list(shown) == list(made.PLAN)


@pytest.mark.parametrize("run", made.PLAN)
def test_the_last_command_writes_what_is_published(run: str) -> None:
    assert made.PLAN[run][-1] == f"evalkit report {run} --zip"
    assert any(line.endswith(f"--out {run}") for line in made.PLAN[run])


def test_the_page_is_short_and_names_every_photo() -> None:
    assert PAGE.count("\n") <= 80
    photos = sections()["photos"]
    assert all(f"`{photo}`" in photos for photo in made.PHOTOS)


def test_copies_are_degraded_the_same_way_every_time() -> None:
    tile = Image.linear_gradient("L").resize((made.TILE, made.TILE)).convert("RGB")
    first, second = made.degraded(tile, 3), made.degraded(tile, 3)
    assert list(first) == ["clean", "jpeg", "blur", "noisy"]
    content = {name: image.convert("RGB").tobytes() for name, image in first.items()}
    assert content == {name: image.convert("RGB").tobytes() for name, image in second.items()}
    assert len(set(content.values())) == 4  # the seed of the noise is that of the tile
    assert made.degraded(tile, 4)["noisy"].tobytes() != content["noisy"]
    assert content["clean"] == tile.tobytes()
