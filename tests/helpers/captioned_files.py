"""Images with captions as files, in folders and tar shards, for tests."""

import io
import json
import tarfile
from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.training.captions.dataset import CaptionedDataset, read_dataset

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
PAIRS = {"red": ["a red wall"], "green": ["a green wall", "grass, close by"], "blue": ["the sky"]}


def image_bytes(
    colour: tuple[int, ...], size: tuple[int, int] = (6, 4), mode: str = "RGB"
) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


IMAGES = {f"{name}.png": image_bytes(colour) for name, colour in COLOURS.items()}


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def pack(path: Path, files: dict[str, bytes | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2", ".tgz": "w:gz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes | str]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(data: CaptionedDataset) -> dict[str, list[str]]:
    """Captions by the colour of their image, found through every public method."""
    found = {}
    for row in range(len(data)):
        pixels = data.images([row])[0]
        assert pixels.dtype == torch.uint8
        assert pixels.shape == (3, data.size, data.size)
        [colour] = [
            name
            for name, value in COLOURS.items()
            if (pixels == torch.tensor(value, dtype=torch.uint8).view(3, 1, 1)).all()
        ]
        found[colour] = sorted({data.caption(row, Random(seed)) for seed in range(20)})
    assert sorted(data.captions()) == sorted(
        caption for captions in found.values() for caption in captions
    )
    return found


TEXTS: dict[str, bytes | str] = {
    f"{name}.txt": "\n\n".join(captions) + "\r\n" for name, captions in PAIRS.items()
}
OBJECTS: dict[str, bytes | str] = {
    "red.json": '{"caption": "a red wall", "width": 6}',
    "green.json": json.dumps({"prompt": PAIRS["green"]}),
    "blue.json": '{"text": " the sky "}',
}
ROWS: list[dict[str, object]] = [
    {"file_name": "blue.png", "text": "the sky"},
    {"image": "green.png", "captions": PAIRS["green"]},
    {"file": "./red.png", "prompt": "a red wall"},
]
COCO = {
    "images": [
        {"id": number, "file_name": f"{name}.png"} for number, name in enumerate(COLOURS, 7)
    ],
    "annotations": [
        {"id": 9 - number, "image_id": 7 + list(PAIRS).index(name), "caption": caption}
        for number, (name, caption) in enumerate(
            (name, caption) for name in PAIRS for caption in PAIRS[name]
        )
    ],
}


def shards(place: Path, suffix: str = ".tar") -> Path:
    for number, name in enumerate(PAIRS):
        pack(
            place / f"s-{number:03d}{suffix}",
            {"x.png": IMAGES[f"{name}.png"], "x.txt": TEXTS[f"{name}.txt"], "x.cls": "3"},
        )
    return place


def refused(place: Path | str, message: str, size: int = 4) -> EvalkitError:
    """The error of a place, which must be one sentence with a hint."""
    with pytest.raises(EvalkitError, match=message) as found:
        read_dataset(place, size)
    assert "\n" not in str(found.value)
    assert found.value.hint
    return found.value
