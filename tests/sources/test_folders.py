"""A folder from anywhere: each file is an image or is named with the reason why it is not."""

import os
from pathlib import Path

import pytest
from models_for_tests import make_image

from evalkit.core import EvalkitError
from evalkit.images import encode_png
from evalkit.score.score import score
from evalkit.sources import open_source, survey

IMAGE = encode_png(make_image(0, ""))


def named(folder: Path) -> tuple[list[str], dict[str, str]]:
    images, left = survey(folder)
    return (
        [path.relative_to(folder).as_posix() for path in images],
        {path.relative_to(folder).as_posix(): reason for path, reason in left.items()},
    )


def test_the_content_decides_and_every_other_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    for name in ("10.png", "2.PNG", "b.jfif", "c.jpe", "d.apng", "no suffix", "sub/e.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(IMAGE)
    (folder / "page.png").write_bytes(b"<html></html>")  # looks like an image: it is invalid
    for name in ("notes.txt", "list.csv"):
        (folder / name).write_text("a,b")
    for name in ("f.png.part", ".hidden.png", "@eaDir/t.jpg", "__MACOSX/._a.png", "more.zip"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(IMAGE[:50])
    (folder / ".DS_Store").touch()
    images, left = named(folder)
    assert images == [
        *("2.PNG", "10.png", "b.jfif", "c.jpe", "d.apng", "no suffix", "page.png", "sub/e.png"),
    ]
    assert left == {
        "notes.txt": "not an image",
        "list.csv": "not an image",
        "f.png.part": "an unfinished download",
        ".hidden.png": "hidden",
        "@eaDir/t.jpg": "in @eaDir",
        "__MACOSX/._a.png": "in __MACOSX",
        "more.zip": "an archive inside",
    }


def test_links(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "m"
    for place in (elsewhere, folder):
        place.mkdir()
        (place / "0.png").write_bytes(IMAGE)
    os.symlink(elsewhere, folder / "linked")
    os.symlink(folder, folder / "loop")
    os.symlink("/not/there", folder / "gone")
    os.symlink("/not/there.png", folder / "1.png")
    images, left = named(folder)
    assert images == ["0.png", "1.png", "linked/0.png"]
    assert left == {"gone": "a broken link", "loop": "a link to another folder of the set"}
    with pytest.raises(EvalkitError, match=r"1 of 3 images is invalid .*is a broken link to"):
        score(folder, encoders="pixels", metrics=["duplicates"])


def test_what_is_not_taken_is_in_the_log_the_protocol_and_image_checks_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "m"
    folder.mkdir()
    for at in range(2):
        (folder / f"{at}.png").write_bytes(encode_png(make_image(at, "")))
    (folder / "a\u202eb.txt").touch()
    caplog.set_level("INFO", "evalkit")
    score(folder, encoders="pixels", metrics=["duplicates"])
    said = "1 file is not taken: 1 not an image (a⟨U+202E⟩b.txt)"
    assert f"m: {said}" in caplog.text
    [run] = (tmp_path / "reports").iterdir()
    assert said in (run / "protocol.json").read_text("utf-8")
    assert '"not an image"' in (run / "image_checks.json").read_text("utf-8")


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(EvalkitError, match=r"has no images: 1 file is not taken: 1 not an image"):
        open_source(tmp_path)


def test_a_run_inside_of_a_folder_of_images_is_not_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(IMAGE)
    run = tmp_path / "out"
    run.mkdir()
    for name, content in (("run.toml", b""), ("prompts.jsonl", b""), ("1.png", IMAGE)):
        (run / name).write_bytes(content)
    assert named(tmp_path) == (["0.png"], {"out": "a run of evalkit"})
    assert named(run)[0] == ["1.png"]


def test_a_pipe_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(IMAGE)
    for name in ("1.png", "pipe"):
        os.mkfifo(tmp_path / name)
    assert named(tmp_path) == (["0.png"], {"1.png": "not a file", "pipe": "not a file"})
