"""Image validation: invalid and suspicious images are counted and listed, whatever their source."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packing import pack_folder, pack_zip
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.features import validation
from evalkit.features.encode import image_features
from evalkit.features.image_file import ImageFile
from evalkit.features.image_sets import ImageSet, image_sets
from evalkit.images import encode_png


def noise(seed: int, size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.fromarray(
        np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    )


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(noise(3, (40, 44)), "JPEG", exif=exif)


VALID = {f"valid-{seed}.png": encode_png(noise(seed)) for seed in range(4)}


WARNED = {
    "black.png": encode_png(Image.new("RGB", (40, 40))),
    "nearly.png": encode_png(Image.new("RGB", (40, 40), (2, 1, 0))),
    "red.png": encode_png(Image.new("RGB", (40, 40), (200, 0, 0))),
    "same.bmp": saved(noise(1), "BMP"),  # the pixels of valid-1.png in another format
    "small.png": encode_png(noise(9, (31, 40))),
    "turned.jpg": rotated(),
}


INVALID = {
    "animated.gif": (
        saved(noise(0).quantize(8), "GIF", save_all=True, append_images=[noise(1).quantize(8)]),
        "animated",
    ),
    "clear.png": (saved(Image.new("RGBA", (40, 40), (1, 2, 3, 4)), "PNG"), "partly transparent"),
    "cmyk.jpg": (saved(noise(0).convert("CMYK"), "JPEG"), "colour mode CMYK"),
    "cut.png": (VALID["valid-0.png"][:900], "truncated or damaged"),
    "deep.png": (
        saved(Image.fromarray(np.zeros((40, 40), np.uint16)), "PNG"),
        "more than 8 bits per sample",
    ),
    "text.png": (b"hello", "not an image"),
}


@pytest.fixture(autouse=True)
def results_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["folder", "zip"])
def everything(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    files = VALID | WARNED | {name: data for name, (data, _) in INVALID.items()}
    return (
        pack_folder(tmp_path / "images", files)
        if request.param == "folder"
        else pack_zip(tmp_path / "images.zip", files)
    )


def encode(images: ImageSet, place: Path) -> int:
    return len(image_features(images.files, Pixels(), place / "pixels.npz").values["pool"])


def test_invalid_images_refuse_the_set_and_are_listed(everything: Path, tmp_path: Path):
    [images] = image_sets(everything).sets
    with pytest.raises(EvalkitError, match="6 of 16 images are invalid") as error:
        encode(images, tmp_path)
    for name, (_, kind) in INVALID.items():
        assert f"1 {kind}" in error.value.message
        assert name in error.value.message
    assert "--on-bad skip" in error.value.hint


def test_skipped_images_are_left_out_and_listed(everything: Path, tmp_path: Path):
    [images] = image_sets(everything, on_bad="skip").sets
    assert (images.requested, len(images.files), len(images.records)) == (16, 10, 10)
    assert encode(images, tmp_path) == 10
    found = images.findings()
    assert (found["taken"], found["skipped"]) == (10, 6)
    assert found["skipped_kinds"] == dict.fromkeys((kind for _, kind in INVALID.values()), 1)
    assert {Path(item["name"]).name for item in found["skipped_names"]} == set(INVALID)
    assert "6 images skipped" in validation.notes(found)[0]
    assert json.loads(json.dumps(found)) == found


def test_warnings_list_the_images(tmp_path: Path):
    [images] = image_sets(pack_folder(tmp_path / "images", VALID | WARNED)).sets
    assert encode(images, tmp_path) == 10
    found = images.findings()

    def names(key: str) -> set[str]:
        return {Path(name).name for name in found[key]["names"]}

    assert (names("black"), names("one_colour"), names("tiny")) == (
        {"black.png", "nearly.png"},
        {"red.png"},
        {"small.png"},
    )
    assert [[Path(name).name for name in pair] for pair in found["duplicates"]["names"]] == [
        ["same.bmp", "valid-1.png"]
    ]
    assert found["applied"] == {"EXIF orientation applied": 1}
    assert found["sizes"] == {"40 x 40": 8, "31 x 40": 1, "44 x 40": 1}
    assert found["formats"] == {"PNG": 8, "BMP": 1, "JPEG": 1}
    text = "; ".join(validation.notes(found))
    for part in (
        "2 images all black",
        "1 image of one colour",
        "same pixels as an earlier one",
        "3 different sizes",
        "1 JPEG",
    ):
        assert part in text
    [clean] = image_sets(pack_folder(tmp_path / "clean", VALID)).sets
    assert validation.notes(clean.findings()) == []


def counted(images: ImageSet, reads: list[str]) -> ImageSet:
    """The same images, which list every reading of their content (and so every decoding)."""

    def counting(file: ImageFile) -> ImageFile:
        def content() -> bytes:
            reads.append(file.path.name)
            return file.path.read_bytes()

        return file._replace(content=content)

    return dataclasses.replace(images, files=[counting(file) for file in images.files])


def test_each_image_is_decoded_once(tmp_path: Path):
    reads: list[str] = []
    place = pack_folder(tmp_path / "images", VALID)

    def findings() -> dict[str, object]:
        images = counted(image_sets(place).sets[0], reads)
        encode(images, tmp_path)
        return images.findings()

    first = findings()
    assert sorted(reads) == sorted(VALID)
    assert findings() == first  # features and findings are cached
    assert len(reads) == len(VALID)
    [cache] = tmp_path.glob("reports/*/features/*/validation.json")
    cache.write_text("{")
    assert findings() == first
    assert len(reads) == 2 * len(VALID)


def test_arrays_of_zeros_and_ones_are_a_mistake_of_range(tmp_path: Path):
    np.savez(
        tmp_path / "range.npz",
        np.random.RandomState(0).randint(0, 2, (5, 40, 40, 3), dtype=np.uint8),
    )
    [images] = image_sets(tmp_path / "range.npz").sets
    with pytest.raises(
        EvalkitError, match=r"5 of 5 .* \(5 wrong range\): .*arr_0\[0\] contains only 0 and 1"
    ):
        encode(images, tmp_path)
    with pytest.raises(EvalkitError, match="5 of 5"):
        image_sets(tmp_path / "range.npz", on_bad="skip")


def test_a_damaged_member_of_an_archive_is_an_invalid_image(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in VALID.items():
            archive.writestr(name, data)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(VALID["valid-2.png"]) + 200] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    [images] = image_sets(tmp_path / "a.zip", on_bad="skip").sets
    assert [record.prompt for record in images.records] == ["0", "1", "3"]
    assert "CRC" in images.findings()["skipped_names"][0]["reason"]


def test_a_changed_file_is_not_cached_as_invalid(tmp_path: Path):
    place = pack_folder(tmp_path / "images", VALID)
    [images] = image_sets(place).sets
    (place / "valid-1.png").write_bytes(VALID["valid-2.png"])
    with pytest.raises(EvalkitError, match="1 changed"):
        encode(images, tmp_path)
    images.validation.complete(images.files)
    (place / "valid-1.png").write_bytes(VALID["valid-1.png"])
    [images] = image_sets(place).sets
    assert images.findings()["taken"] == 4
