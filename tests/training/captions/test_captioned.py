"""A user's own pictures and captions: every layout gives the same pairs, and what does not fit is
said in one sentence.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.training.captions import captioned as captioned_module
from evalkit.training.captions import files as files_module
from evalkit.training.captions.captioned import Captioned, read_captioned

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
PAIRS = {"red": ["a red wall"], "green": ["a green wall", "grass, close by"], "blue": ["the sky"]}


def picture(colour: tuple[int, ...], size: tuple[int, int] = (6, 4), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


PICTURES = {f"{name}.png": picture(colour) for name, colour in COLOURS.items()}


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


def read(data: Captioned) -> dict[str, list[str]]:
    """Captions by the colour of their picture, found through every public way to them."""
    found = {}
    for row in range(len(data)):
        pixels = data.pictures([row])[0]
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
LAYOUTS: dict[str, Callable[[Path], Path | str]] = {
    "texts": lambda place: write(place, PICTURES | TEXTS),
    "texts in subfolders": lambda place: write(
        place, {f"a/{name[0]}/{name}": data for name, data in (PICTURES | TEXTS).items()}
    ),
    "texts that begin with a byte order mark": lambda place: write(
        place, PICTURES | TEXTS | {"red.txt": "\ufeffa red wall"}
    ),
    "objects": lambda place: write(place, PICTURES | OBJECTS),
    "captions.jsonl": lambda place: write(place, PICTURES | {"captions.jsonl": lines(ROWS)}),
    "metadata.jsonl": lambda place: write(
        place, PICTURES | {"metadata.jsonl": "\n" + lines(ROWS[::-1])}
    ),
    "a table in a subfolder": lambda place: write(
        place, below("train", PICTURES) | {"train/metadata.jsonl": lines(ROWS)}
    ),
    "a table above": lambda place: write(
        place,
        below("train", PICTURES)
        | {
            "metadata.jsonl": lines(
                [{"file_name": f"train/{n}.png", "text": t} for n, t in PAIRS.items()]
            )
        },
    ),
    "captions.csv": lambda place: write(
        place,
        PICTURES
        | {
            "captions.csv": 'file_name,caption\nred.png,a red wall\ngreen.png,a green wall\ngreen.png,"grass, close by"\nblue.png,the sky\n'
        },
    ),
    "two tables": lambda place: write(
        place,
        PICTURES
        | {
            "metadata.csv": "Text,Image\nthe sky,blue.png\n\n",
            "captions.jsonl": lines(ROWS[1:] + ROWS[1:]),
        },
    ),
    "COCO": lambda place: write(place, PICTURES | {"captions_val2017.json": json.dumps(COCO)}),
    "COCO as it is unpacked": lambda place: write(
        place,
        below("val2017", PICTURES)
        | {
            "annotations/captions_val2017.json": json.dumps(COCO),
            "annotations/instances.json": "{",
        },
    ),
    "COCO by another name": lambda place: write(
        place, PICTURES | {"all.json": json.dumps(COCO), "info.json": "{}", "list.json": "[]"}
    ),
    "a tar file": lambda place: pack(place / "a.tar", PICTURES | TEXTS),
    "a tar file, texts first": lambda place: pack(place / "a.tar", TEXTS | PICTURES),
    "a compressed tar file": lambda place: pack(place / "a.tar.gz", PICTURES | TEXTS),
    "a tar file with objects": lambda place: pack(place / "a.tgz", OBJECTS | PICTURES),
    "a tar file with both": lambda place: pack(
        place / "a.tar.xz", dict.fromkeys(OBJECTS, '{"caption": "x"}') | PICTURES | TEXTS
    ),
    "a tar file with resource forks": lambda place: pack(
        place / "a.tar", PICTURES | TEXTS | {"__MACOSX/._red.txt": b"\xff", "._x.txt": b"\xff"}
    ),
}


def shards(place: Path, suffix: str = ".tar") -> Path:
    for number, name in enumerate(PAIRS):
        pack(
            place / f"s-{number:03d}{suffix}",
            {"x.png": PICTURES[f"{name}.png"], "x.txt": TEXTS[f"{name}.txt"], "x.cls": "3"},
        )
    return place


LAYOUTS |= {
    "shards by folder": lambda place: shards(place),
    "compressed shards by folder": lambda place: shards(place, ".tar.bz2"),
    "shards by numbers": lambda place: str(shards(place) / "s-{000..002}.tar"),
    "shards by list": lambda place: str(shards(place) / "s-{002,000,001}.tar"),
    "shards by wildcard": lambda place: str(shards(place, ".tgz") / "s-*.tgz"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pairs(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    place = LAYOUTS[layout](tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    data = read_captioned(place, 8)
    assert data.size == 8
    assert len(data) == 3
    assert read(data) == PAIRS
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked
    assert not caplog.records


def test_rows_come_in_natural_order_and_in_any_asked(tmp_path: Path):
    some = {f"{number}.png": picture((number, 0, 0)) for number in (10, 2, 1)}
    data = read_captioned(
        write(tmp_path, some | {f"{number}.txt": f"number {number}" for number in (10, 2, 1)}), 4
    )
    assert list(data.captions()) == ["number 1", "number 2", "number 10"]
    assert data.pictures([2, 0, 2])[:, 0, 0, 0].tolist() == [10, 1, 10]
    assert data.pictures([]).shape == (0, 3, 4, 4)


def test_what_training_asks_of_all_examples(tmp_path: Path):
    part = read_captioned(write(tmp_path, PICTURES | TEXTS), 4).split(1)[0]
    assert part.lots().tolist() == [0, 1]
    assert part.prompts() == [
        part.caption(row, Random(0)) if name != "green" else "a green wall"
        for row, name in enumerate(read(part))
    ]


def test_a_caption_among_one_draws_nothing(tmp_path: Path):
    data = read_captioned(write(tmp_path, PICTURES | TEXTS), 4)
    random = Random(3)
    row = list(data.captions()).index("the sky")
    assert data.caption(row, random) == "the sky"
    assert random.getstate() == Random(3).getstate()


def test_the_centre_is_cut_before_it_is_resized(tmp_path: Path):
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
    data = read_captioned(tmp_path, 5)
    found = dict(zip(data.captions(), data.pictures(range(3)), strict=True))
    for name in ("wide.png", "tall.png"):
        assert (found[name] == torch.tensor([0, 0, 255]).view(3, 1, 1)).all()
    assert (found["stripes.png"].int() - 128).abs().max() < 12  # antialiased to gray


def test_what_is_done_to_pictures_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    clear = {"red.png": picture((0, 0, 0, 0), mode="RGBA"), "green.png": picture((9,), mode="L")}
    with caplog.at_level(logging.INFO):
        data = read_captioned(write(tmp_path, PICTURES | clear | TEXTS), 4)
    assert data.pictures(range(3))[:, :, 0, 0].tolist() == [[0, 0, 255], [9, 9, 9], [255, 255, 255]]
    assert caplog.messages == [f"1 of 3 pictures of {tmp_path}: transparency composited on white"]


def many(folder: Path, count: int, text: str = "number") -> Path:
    files: dict[str, bytes | str] = {
        f"{number}.png": picture((number, 0, 0)) for number in range(count)
    }
    return write(folder, files | {f"{number}.txt": f"{text} {number}" for number in range(count)})


def held(data: Captioned) -> list[int]:
    return data.pictures(range(len(data)))[:, 0, 0, 0].tolist()


def test_a_split_is_disjoint_complete_and_depends_on_names_only(tmp_path: Path):
    whole = read_captioned(many(tmp_path / "a", 40), 4)
    training, rest = whole.split(10)
    assert (len(training), len(rest), training.size, rest.size) == (30, 10, 4, 4)
    assert sorted(held(training) + held(rest)) == list(range(40))
    assert held(rest) != sorted(held(rest))
    assert list(rest.captions()) == [f"number {number}" for number in held(rest)]
    assert [rest.caption(row, Random(0)) for row in range(10)] == list(rest.captions())
    other = read_captioned(many(tmp_path / "b", 40, "other words"), 8).split(10)
    assert (held(other[0]), held(other[1])) == (held(training), held(rest))
    assert held(whole.split(5)[1]) == held(rest)[5:]
    fewer = read_captioned(many(tmp_path / "c", 39), 4).split(10)[1]
    assert len(set(held(fewer)) & set(held(rest))) >= 9
    parts = training.split(3)  # of a part
    assert held(parts[0]) + held(parts[1]) == held(training)


@pytest.mark.parametrize("held_out", [0, 3, 4, -1])
def test_a_split_leaves_something_on_both_sides(held_out: int, tmp_path: Path):
    with pytest.raises(
        EvalkitError, match=rf"{held_out} pictures are to be held out of 3; expected 1 to 2\."
    ):
        read_captioned(write(tmp_path, PICTURES | TEXTS), 4).split(held_out)


def test_pictures_and_captions_that_are_alone_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def warned(place: Path) -> list[str]:
        caplog.clear()
        assert len(read_captioned(place, 4)) == 2
        assert all(record.levelname == "WARNING" for record in caplog.records)
        return [message.replace(str(place), "DATA") for message in caplog.messages]

    alone = "1 of 3 pictures of DATA have no caption and are left out, first green.png"
    files = PICTURES | TEXTS | {"green.txt": " \n"}
    assert warned(write(tmp_path / "a", files)) == [alone]
    more: dict[str, bytes | str] = {"z.txt": "x", "y.txt": "x"}
    assert warned(write(tmp_path / "b", files | more)) == [
        "DATA has captions of 2 pictures that it lacks, such as y.txt",
        alone,
    ]
    rows = lines(
        [
            *ROWS[::2],
            {"file_name": "../red.png", "text": "x"},
            {"file_name": "/etc/x.png", "text": "x"},
        ]
    )
    assert warned(write(tmp_path / "c", PICTURES | {"captions.jsonl": rows})) == [
        "DATA has captions of 2 pictures that it lacks, such as ../red.png",
        alone,
    ]
    coco = {"images": COCO["images"][:1] + COCO["images"][2:], "annotations": COCO["annotations"]}
    assert warned(write(tmp_path / "d", PICTURES | {"captions.json": json.dumps(coco)})) == [
        "DATA has captions of 1 picture that it lacks, such as image 8",
        alone,
    ]
    assert warned(pack(tmp_path / "e.tar", files | {"z.txt": "x"})) == [
        "DATA has captions of 1 picture that it lacks, such as z",
        alone,
    ]


def test_one_of_two_kinds_of_captions_is_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    data = read_captioned(
        write(
            tmp_path, PICTURES | TEXTS | {"red.txt": "another wall", "captions.jsonl": lines(ROWS)}
        ),
        4,
    )
    assert read(data) == PAIRS
    assert caplog.messages == [
        f"{tmp_path} has captions in a file of all pictures: 3 texts such as blue.txt are passed over"
    ]


def one_line(place: Path | str, message: str, size: int = 4) -> EvalkitError:
    with pytest.raises(EvalkitError, match=message) as found:
        read_captioned(place, size)
    assert "\n" not in str(found.value)
    assert found.value.hint
    return found.value


def test_places_without_pairs(tmp_path: Path):
    one_line(tmp_path / "absent", "There is no file or folder")
    one_line(str(tmp_path / "s-{0..2}.tar"), r"There is no file .*s-0\.tar")
    one_line(write(tmp_path / "a", TEXTS), "has no images")
    one_line(pack(tmp_path / "a.tar", TEXTS), "has no pictures in it")
    for place in (
        write(tmp_path / "b", PICTURES),
        pack(tmp_path / "b.tar", PICTURES | {"red.json": '{"label": 3}'}),
    ):
        error = one_line(place, r"has 3 pictures and no captions\.")
        assert "x.txt beside x.png" in error.hint
        assert "captions.jsonl" in error.hint
    one_line(
        write(tmp_path / "c", PICTURES | {"notes.txt": "x"}),
        r"captions of 1 name such as 'notes\.txt', and none is one of its 3",
    )
    one_line(
        write(tmp_path / "d", PICTURES | {"captions.csv": "file,text\nx.png,a\n"}),
        r"captions of 1 name such as 'x\.png', and none",
    )
    one_line(
        write(tmp_path / "e", PICTURES | {"red.txt": "x"}),
        "has 1 picture with a caption; expected at least 2",
    )
    (tmp_path / "x.npy").write_bytes(b"")
    one_line(tmp_path / "x.npy", "cannot be read")
    (tmp_path / "notes.txt").write_text("x")
    one_line(tmp_path / "notes.txt", "is not a source of images")


def test_other_kinds_of_places_are_named(tmp_path: Path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("red.png", PICTURES["red.png"])
    one_line(tmp_path / "a.zip", "is of the kind zip, of which captions are not read")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "captions.jsonl",
            '\n{"file_name": "red.png", "text": 3}',
            r"Line 2 of .*captions\.jsonl has a caption that is not a text but 3\.",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "text": ["a", null]}',
            "Line 1 of .* not a text but None",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "text": " "}',
            "Line 1 of .* has a caption that is empty",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "text": []}',
            "Line 1 of .* has a caption that is empty",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "text": "\\ud800"}',
            "Line 1 of .* lone surrogate",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "label": 1}',
            "Line 1 of .* has no caption; expected a text under one of: caption, text",
        ),
        (
            "captions.jsonl",
            '{"text": "a"}',
            "Line 1 of .* has no picture; expected a text under one of: file_name, image, file",
        ),
        ("captions.jsonl", '{"text": "a", "image": {}}', "Line 1 of .* has no picture"),
        ("captions.jsonl", "[]", "Line 1 of .* has no caption"),
        ("captions.jsonl", "{", "Line 1 of .* is not valid JSON"),
        ("captions.jsonl", b'{}\n"\xff"', "Line 2 of .* is not valid UTF-8"),
        (
            "captions.csv",
            "file,text\nred.png,\n",
            r"Line 2 of .*captions\.csv has a caption that is empty",
        ),
        (
            "captions.csv",
            "file,text\nred.png,a, b\n",
            "Line 2 of .* has 3 fields; expected those of the columns file, text",
        ),
        ("captions.csv", "file,name\nred.png,a\n", "Line 2 of .* has no caption"),
        ("captions.csv", "file,text,text\nred.png,a,b\n", "Line 2 of .* has 3 fields"),
        ("captions.csv", 'file,text\nred.png,"a', "Line 2 of .* is not valid CSV"),
        ("captions.json", "{", "is not valid JSON"),
        ("captions.json", "{}", "does not hold COCO captions"),
        ("captions.json", "[" * 100_000, "is not valid JSON"),
        ("all.json", '{"images": [{"id": 1}], "annotations": []}', "does not hold COCO captions"),
        (
            "all.json",
            json.dumps(COCO | {"annotations": [{"id": 5, "image_id": 7, "caption": ""}]}),
            "Annotation 5 of .* that is empty",
        ),
        (
            "all.json",
            json.dumps(COCO | {"annotations": [{"id": 5, "image_id": 7, "caption": 4}]}),
            "Annotation 5 of .* not a text but 4",
        ),
        ("red.txt", b"a\n\xff", r"Line 2 of .*red\.txt is not valid UTF-8"),
        ("red.json", '{"caption": 1}', r"red\.json has a caption that is not a text but 1"),
        ("red.json", "{", r"red\.json is not valid JSON"),
    ],
)
def test_captions_that_are_none_are_named(
    name: str, content: bytes | str, message: str, tmp_path: Path
):
    one_line(write(tmp_path / "a", PICTURES | {name: content}), message)
    if name.startswith("red"):
        one_line(pack(tmp_path / "a.tar", PICTURES | {name: content}), message)


def test_a_bare_name_of_two_pictures_is_refused(tmp_path: Path):
    files = below("a", PICTURES) | below("b", PICTURES) | {"captions.json": json.dumps(COCO)}
    one_line(write(tmp_path, files), r"names '\w+\.png', and there are a/\w+\.png and b/")


@pytest.mark.parametrize(
    "content", [PICTURES["red.png"][:-30], b"no picture", b""], ids=["torn", "text", "empty"]
)
def test_a_damaged_picture_is_named(content: bytes, tmp_path: Path):
    files = PICTURES | TEXTS | {"red.png": content}
    for place in (
        write(tmp_path / "a", files),
        pack(tmp_path / "a.tar", files),
        pack(tmp_path / "a.tar.gz", files),
    ):
        one_line(
            place,
            r"The picture red\.png of .* (is truncated or damaged|is in no known pixel format|is empty)",
        )
    assert (
        len(read_captioned(write(tmp_path / "a", {"red.txt": ""}), 4)) == 2
    )  # nobody looks at what has no caption


def test_too_many_pictures_for_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = write(tmp_path, PICTURES | TEXTS | {"red.png": b"not even opened"})
    one_line(
        place,
        r"3 pictures of 40000 x 40000 pixels take 13\.4 GiB of memory; expected at most 8\.",
        size=40_000,
    )
    monkeypatch.setattr(captioned_module, "MEMORY_LIMIT", 3 * 3 * 16)
    assert len(read_captioned(write(tmp_path, PICTURES), 4)) == 3


def test_shards_with_anything_odd_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("red.png", "red.txt"):
        path = pack(
            tmp_path / "a.tar",
            {key: data for key, data in (PICTURES | TEXTS).items() if key != name},
        )
        with tarfile.open(path, "a") as archive:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
        one_line(path, rf"(contains|holds) '{name}', which is a link")
    one_line(
        pack(tmp_path / "b.tar.gz", PICTURES | {"red.txt": bytes(3 << 20)}),
        r"holds 'red\.txt' of 3 MiB; expected captions of at most",
    )
    one_line(
        write(tmp_path / "b", PICTURES | {"red.txt": bytes(3 << 20)}),
        r"red\.txt have 3 MiB; expected at most 1",
    )
    whole = pack(tmp_path / "c.tar.gz", PICTURES | TEXTS).read_bytes()
    (tmp_path / "c.tar.gz").write_bytes(whole[: len(whole) // 2])
    one_line(tmp_path / "c.tar.gz", r"c\.tar\.gz cannot be read")
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        for _ in range(2):
            info = tarfile.TarInfo("red.png")
            info.size = len(PICTURES["red.png"])
            archive.addfile(info, io.BytesIO(PICTURES["red.png"]))
    one_line(tmp_path / "d.tar", r"holds several files named 'red\.png'")
    monkeypatch.setattr(files_module, "FILE_LIMIT", 10)
    one_line(
        write(tmp_path / "e", PICTURES | {"captions.jsonl": lines(ROWS)}), "MiB; expected at most 0"
    )


def test_more_pictures_than_are_decoded_at_once(tmp_path: Path):
    many(tmp_path / "a", 150)
    files: dict[str, bytes | str] = {
        path.name: path.read_bytes()
        for path in sorted((tmp_path / "a").iterdir())
        if path.name != "7.txt"
    }
    for place in (pack(tmp_path / "a.tar", files), pack(tmp_path / "a.tgz", files)):
        data = read_captioned(place, 2)
        assert len(data) == 149
        assert list(data.captions()) == [f"number {number}" for number in held(data)]


captions = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)
several = st.dictionaries(
    st.sampled_from(list(COLOURS)), st.lists(captions, min_size=1, max_size=3), min_size=2
)


def distinct(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in texts))


def by_name(folder: Path, files: dict[str, bytes | str]) -> dict[str, list[str]]:
    data = read_captioned(write(folder, files), 2)
    found = [
        name
        for row in data.pictures(range(len(data)))[:, :, 0, 0].tolist()
        for name in COLOURS
        if COLOURS[name] == tuple(row)
    ]
    texts = list(data.captions())
    result: dict[str, list[str]] = {}
    for row, name in enumerate(found):
        count = len({data.caption(row, Random(seed)) for seed in range(30)})
        result[name], texts = texts[:count], texts[count:]
    return result


@settings(deadline=None, max_examples=25)
@given(pairs=several)
def test_captions_survive_tables(
    pairs: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("tables")
    only: dict[str, bytes | str] = {f"{name}.png": PICTURES[f"{name}.png"] for name in pairs}
    expected = {name: distinct(texts) for name, texts in pairs.items()}
    rows = [{"file_name": f"{name}.png", "captions": texts} for name, texts in pairs.items()]
    assert by_name(folder / "jsonl", only | {"captions.jsonl": lines(rows)}) == expected
    unescaped = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert by_name(folder / "unescaped", only | {"captions.jsonl": unescaped}) == expected
    table = io.StringIO(newline="")
    csv.writer(table).writerows(
        [
            ("file_name", "caption"),
            *((f"{name}.png", text) for name, texts in pairs.items() for text in texts),
        ]
    )
    if "\0" not in table.getvalue():  # which csv does not write in Python 3.11 and reads in none
        assert by_name(folder / "csv", only | {"metadata.csv": table.getvalue()}) == expected
