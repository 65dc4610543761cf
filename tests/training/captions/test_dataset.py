"""A dataset of a user's images: squares, order, split, memory, and what is left out."""

import json
import logging
import zipfile
from pathlib import Path
from random import Random

import pytest
import torch
from captioned_files import (
    COCO,
    IMAGES,
    ROWS,
    TEXTS,
    image_bytes,
    lines,
    pack,
    read,
    refused,
    write,
)
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.training.captions import dataset as module
from evalkit.training.captions.dataset import CaptionedDataset, read_dataset


def test_rows_have_natural_order_and_can_be_read_in_any_order(tmp_path: Path):
    some = {f"{number}.png": image_bytes((number, 0, 0)) for number in (10, 2, 1)}
    data = read_dataset(
        write(tmp_path, some | {f"{number}.txt": f"number {number}" for number in (10, 2, 1)}), 4
    )
    assert list(data.captions()) == ["number 1", "number 2", "number 10"]
    assert data.images([2, 0, 2])[:, 0, 0, 0].tolist() == [10, 1, 10]
    assert data.images([]).shape == (0, 3, 4, 4)


def test_a_dataset_has_the_interface_of_the_training(tmp_path: Path):
    part = read_dataset(write(tmp_path, IMAGES | TEXTS), 4).split(1)[0]
    assert part.epoch_rows().tolist() == [0, 1]
    assert part.prompts() == [
        part.caption(row, Random(0)) if name != "green" else "a green wall"
        for row, name in enumerate(read(part))
    ]


def test_a_single_caption_needs_no_random_number(tmp_path: Path):
    data = read_dataset(write(tmp_path, IMAGES | TEXTS), 4)
    random = Random(3)
    row = list(data.captions()).index("the sky")
    assert data.caption(row, random) == "the sky"
    assert random.getstate() == Random(3).getstate()


def test_the_centre_is_cropped_before_it_is_resized(tmp_path: Path):
    wide = Image.new("RGB", (30, 10), (255, 0, 0))
    wide.paste((0, 0, 255), (10, 0, 20, 10))
    stripes = Image.new("L", (64, 64))
    stripes.putdata([255 * (number % 2) for number in range(64 * 64)])  # columns of one pixel
    for name, image in (
        ("wide.png", wide),
        ("tall.png", wide.transpose(Image.Transpose.ROTATE_90)),
        ("stripes.png", stripes),
    ):
        image.save(tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text(name)
    data = read_dataset(tmp_path, 5)
    found = dict(zip(data.captions(), data.images(range(3)), strict=True))
    for name in ("wide.png", "tall.png"):
        assert (found[name] == torch.tensor([0, 0, 255]).view(3, 1, 1)).all()
    assert (found["stripes.png"].int() - 128).abs().max() < 12  # antialiased to gray


def test_composited_transparency_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    clear = {
        "red.png": image_bytes((0, 0, 0, 0), mode="RGBA"),
        "green.png": image_bytes((9,), mode="L"),
    }
    with caplog.at_level(logging.INFO):
        data = read_dataset(write(tmp_path, IMAGES | clear | TEXTS), 4)
    assert data.images(range(3))[:, :, 0, 0].tolist() == [[0, 0, 255], [9, 9, 9], [255, 255, 255]]
    assert f"{tmp_path.name}: transparency composited on white to 1 image" in caplog.messages
    assert data.checks["applied"] == {"transparency composited on white": 1}


def many(folder: Path, count: int, text: str = "number") -> Path:
    files: dict[str, bytes | str] = {
        f"{number}.png": image_bytes((number, 0, 0)) for number in range(count)
    }
    return write(folder, files | {f"{number}.txt": f"{text} {number}" for number in range(count)})


def held(data: CaptionedDataset) -> list[int]:
    return data.images(range(len(data)))[:, 0, 0, 0].tolist()


def test_a_split_is_disjoint_complete_and_depends_on_names_only(tmp_path: Path):
    whole = read_dataset(many(tmp_path / "a", 40), 4)
    training, rest = whole.split(10)
    assert (len(training), len(rest), training.size, rest.size) == (30, 10, 4, 4)
    assert sorted(held(training) + held(rest)) == list(range(40))
    assert held(rest) != sorted(held(rest))
    assert list(rest.captions()) == [f"number {number}" for number in held(rest)]
    assert [rest.caption(row, Random(0)) for row in range(10)] == list(rest.captions())
    other = read_dataset(many(tmp_path / "b", 40, "other words"), 8).split(10)
    assert (held(other[0]), held(other[1])) == (held(training), held(rest))
    assert held(whole.split(5)[1]) == held(rest)[5:]
    fewer = read_dataset(many(tmp_path / "c", 39), 4).split(10)[1]
    assert len(set(held(fewer)) & set(held(rest))) >= 9
    parts = training.split(3)  # of a part
    assert held(parts[0]) + held(parts[1]) == held(training)


@pytest.mark.parametrize("held_out", [0, 3, 4, -1])
def test_a_split_has_two_parts(held_out: int, tmp_path: Path):
    with pytest.raises(EvalkitError, match=rf"is {held_out} of 3 images; expected 1 to 2\."):
        read_dataset(write(tmp_path, IMAGES | TEXTS), 4).split(held_out)


def test_unmatched_images_and_captions_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def warned(place: Path) -> list[str]:
        caplog.clear()
        assert len(read_dataset(place, 4)) == 2
        return [
            record.getMessage().replace(str(place), "DATA").replace(f"{place.name}:", "DATA:")
            for record in caplog.records
            if record.levelname == "WARNING"
        ]

    alone = "DATA: 1 file is not taken: 1 without a caption (green.png)"
    files = IMAGES | TEXTS | {"green.txt": " \n"}
    assert warned(write(tmp_path / "a", files)) == [alone]
    more: dict[str, bytes | str] = {"z.txt": "x", "y.txt": "x"}
    assert warned(write(tmp_path / "b", files | more)) == [
        alone,
        "DATA has captions of 2 missing images, such as y.txt",
    ]
    rows = lines(
        [
            *ROWS[::2],
            {"file_name": "../red.png", "text": "x"},
            {"file_name": "/etc/x.png", "text": "x"},
        ]
    )
    assert warned(write(tmp_path / "c", IMAGES | {"captions.jsonl": rows})) == [
        alone,
        "DATA has captions of 2 missing images, such as ../red.png",
    ]
    coco = {"images": COCO["images"][:1] + COCO["images"][2:], "annotations": COCO["annotations"]}
    assert warned(write(tmp_path / "d", IMAGES | {"captions.json": json.dumps(coco)})) == [
        alone,
        "DATA has captions of 1 missing image, such as image 8",
    ]
    assert warned(pack(tmp_path / "e.tar", files | {"z.txt": "x"})) == [
        alone,
        "DATA has captions of 1 missing image, such as z",
    ]


def test_places_without_pairs(tmp_path: Path):
    refused(tmp_path / "absent", "There is no file or folder")
    refused(str(tmp_path / "s-{0..2}.tar"), r"There is no file .*s-0\.tar")
    refused(write(tmp_path / "a", TEXTS), "no images")
    refused(pack(tmp_path / "a.tar", TEXTS), "no images")
    for place in (
        write(tmp_path / "b", IMAGES),
        pack(tmp_path / "b.tar", IMAGES | {"red.json": '{"label": 3}'}),
    ):
        error = refused(place, r"has 3 images and no captions\.")
        assert "x.txt beside x.png" in error.hint
        assert "captions.jsonl" in error.hint
    refused(
        write(tmp_path / "c", IMAGES | {"notes.txt": "x"}),
        r"captions of 1 name such as 'notes\.txt', and none matches one of its 3",
    )
    refused(
        write(tmp_path / "d", IMAGES | {"captions.csv": "file,text\nx.png,a\n"}),
        r"captions of 1 name such as 'x\.png', and none",
    )
    refused(
        write(tmp_path / "e", IMAGES | {"red.txt": "x"}),
        "has 1 image with a caption; expected at least 2",
    )
    (tmp_path / "x.npy").write_bytes(b"")
    refused(tmp_path / "x.npy", "is empty; expected a NumPy array")
    (tmp_path / "notes.txt").write_text("x")
    refused(tmp_path / "notes.txt", "is not a source of images")


def test_other_kinds_of_places_are_named(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("red.png", IMAGES["red.png"])
    refused(tmp_path / "a.zip", "is of the kind zip, from which captions cannot be read")


@pytest.mark.parametrize(
    "content", [IMAGES["red.png"][:-30], b"not an image", b""], ids=["torn", "text", "empty"]
)
def test_a_damaged_image_is_named(content: bytes, tmp_path: Path):
    files = IMAGES | TEXTS | {"red.png": content}
    for place in (
        write(tmp_path / "a", files),
        pack(tmp_path / "a.tar", files),
        pack(tmp_path / "a.tar.gz", files),
    ):
        refused(
            place,
            r"1 of 3 images is invalid \(.*\): .*red\.png "
            "(is truncated or damaged|is text|is empty)",
        )
    write(tmp_path / "a", {"red.txt": ""})  # an image without caption is not decoded
    assert len(read_dataset(tmp_path / "a", 4)) == 2


def test_too_many_images_for_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = write(tmp_path, IMAGES | TEXTS | {"red.png": b"not opened"})
    refused(
        place,
        r"3 images of 40000 x 40000 pixels take 13\.4 GiB of memory; expected at most 8\.",
        size=40_000,
    )
    monkeypatch.setattr(module, "MEMORY_LIMIT", 3 * 3 * 16)
    assert len(read_dataset(write(tmp_path, IMAGES), 4)) == 3


def test_more_images_than_are_decoded_at_once(tmp_path: Path):
    many(tmp_path / "a", 150)
    files: dict[str, bytes | str] = {
        path.name: path.read_bytes()
        for path in sorted((tmp_path / "a").iterdir())
        if path.name != "7.txt"
    }
    for place in (pack(tmp_path / "a.tar", files), pack(tmp_path / "a.tgz", files)):
        data = read_dataset(place, 2)
        assert len(data) == 149
        assert list(data.captions()) == [f"number {number}" for number in held(data)]
