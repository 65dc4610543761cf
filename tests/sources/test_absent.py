"""What is taken of a folder and what is not: the same words and counts in every command."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from models_for_tests import make_image
from PIL import ImageCms

import evalkit
from evalkit.core import EvalkitError
from evalkit.images import encode_png

LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
LEFT = (
    "7 files are not taken: 2 not an image (caf⟨U+DCE9⟩.md, page); 1 hidden (.h.png);"
    " 1 in @eaDir (@eaDir/t.jpg); 1 an unfinished download (f.png.part); 1 a broken link (gone);"
    " 1 an archive inside (more.zip)"
)
PROFILE = "colour profile Lab identity built-in not applied to 2 images"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images with captions, two of them with a wide-gamut profile, and much else."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "m"
    (place / "@eaDir").mkdir(parents=True)
    for at in range(3):
        file = io.BytesIO()
        profile = {"icc_profile": LAB} if at else {}
        make_image(at, "").save(file, "PNG", **profile)
        (place / f"{at:05d}.png").write_bytes(file.getvalue())
    (place / "page").write_bytes(b"<!doctype html><html></html>")
    os.symlink("/not/there", place / "gone")
    for name in ("@eaDir/t.jpg", ".h.png", "f.png.part"):
        (place / name).write_bytes(b"x")
    (Path(os.fsdecode(os.fsencode(place) + b"/caf\xe9.md"))).write_text("notes")
    with zipfile.ZipFile(place / "more.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    return place


def by_run(place: Path) -> Path:
    return evalkit.run(
        [place], ["a", "b", "c", "d"], out="run", encoders="pixels", metrics=["duplicates"]
    ).path


def by_score(place: Path) -> Path:
    evalkit.score(place, encoders="pixels", metrics=["duplicates"])
    [results] = Path("reports").iterdir()
    return results


def by_reference(place: Path) -> Path:
    return evalkit.reference_build(place, encoders="pixels", out="reference")


def by_training(place: Path) -> Path:
    for at in range(3):
        (place / f"{at:05d}.txt").write_text(f"caption {at}")
    evalkit.train("mini-clip", out="weights", data=place, steps=1, batch=2)
    return Path("weights")


COMMANDS = (by_run, by_score, by_reference, by_training)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_and_keeps_the_same(
    command: Callable[[Path], Path], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "evalkit")
    found = json.loads((command(folder) / "image_checks.json").read_text("utf-8"))
    found = found.get("m", found)
    assert sorted(map(parts, caplog.messages)).count(parts(f"m: {LEFT}")) == 1
    assert f"m: {PROFILE}" in caplog.messages
    assert (found["taken"], found["skipped"], found["not_taken"]["count"]) == (3, 0, 7)
    assert found["not_taken"]["reasons"]["a broken link"] == {"count": 1, "names": ["gone"]}
    assert found["applied"] == {PROFILE.removesuffix(" to 2 images"): 2}


def parts(message: str) -> list[str]:
    """The reasons of a message, in any order."""
    head, _, rest = message.partition(" taken: ")
    return [head, *sorted(rest.split("; "))]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_all_invalid_images(
    command: Callable[[Path], Path], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.symlink("/not/there.png", folder / "00000.gone.png")
    (folder / "00001.png").write_bytes(b"<!doctype html><html></html>")
    (folder / "00002.png").write_bytes(encode_png(make_image(0, ""))[:-30])
    (folder / "00003.png").write_bytes(encode_png(make_image(3, "")))
    if command is by_run:
        (folder / "prompts.jsonl").write_text(
            "".join(
                json.dumps({"file": name, "prompt": text}) + "\n"
                for name, text in zip(("00001.png", "00002.png", "00003.png"), "bcd", strict=True)
            )
        )
    with pytest.raises(EvalkitError) as caught:
        command(folder)
    assert "00001.png is an HTML page, not what it links to" in caught.value.message
    assert "00002.png is truncated or damaged (" in caught.value.message
    assert "1 not an image" in caught.value.message
    assert any(" not taken: " in message for message in caplog.messages)


def test_the_report_and_the_checks_name_missing_images(folder: Path) -> None:
    run = by_run(folder)
    [found] = json.loads((run / "image_checks.json").read_text("utf-8")).values()
    assert found["missing"] == {"count": 1, "requested": 4, "names": ["00003-0 d"]}
    page = (run / "report" / "report.md").read_text("utf-8")
    assert "3 of 4 images were read from folders (1 missing)" in page
    assert "1 of 4 requested images is missing" in page
    assert "7 files are not taken" in page


def test_a_set_of_images_whose_names_are_not_utf8_is_scored(folder: Path) -> None:
    for name in (b"caf\xe9.png", b"damaged\xe9.png"):
        place = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        place.write_bytes(encode_png(make_image(0, ""))[: 50 if b"d" in name else None])
    evalkit.score(folder, encoders="pixels", metrics=["duplicates"], on_bad="skip")
    [results] = Path("reports").iterdir()
    [found] = json.loads((results / "image_checks.json").read_text("utf-8")).values()
    assert found["skipped_names"][0]["name"].endswith("m/damaged⟨U+DCE9⟩.png")
    assert found["duplicates"]["names"][0][1].endswith("m/caf⟨U+DCE9⟩.png")
