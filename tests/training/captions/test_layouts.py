"""Every layout of captions gives the same pairs; invalid captions are named."""

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from captioned_files import (
    COCO,
    COLOURS,
    IMAGES,
    OBJECTS,
    PAIRS,
    ROWS,
    TEXTS,
    below,
    lines,
    pack,
    read,
    refused,
    shards,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.training.captions import tables
from evalkit.training.captions.dataset import read_dataset

LAYOUTS: dict[str, Callable[[Path], Path | str]] = {
    "texts": lambda place: write(place, IMAGES | TEXTS),
    "texts in subfolders": lambda place: write(
        place, {f"a/{name[0]}/{name}": data for name, data in (IMAGES | TEXTS).items()}
    ),
    "texts that begin with a byte order mark": lambda place: write(
        place, IMAGES | TEXTS | {"red.txt": "\ufeffa red wall"}
    ),
    "objects": lambda place: write(place, IMAGES | OBJECTS),
    "captions.jsonl": lambda place: write(place, IMAGES | {"captions.jsonl": lines(ROWS)}),
    "metadata.jsonl": lambda place: write(
        place, IMAGES | {"metadata.jsonl": "\n" + lines(ROWS[::-1])}
    ),
    "a table in a subfolder": lambda place: write(
        place, below("train", IMAGES) | {"train/metadata.jsonl": lines(ROWS)}
    ),
    "a table above": lambda place: write(
        place,
        below("train", IMAGES)
        | {
            "metadata.jsonl": lines(
                [{"file_name": f"train/{n}.png", "text": t} for n, t in PAIRS.items()]
            )
        },
    ),
    "captions.csv": lambda place: write(
        place,
        IMAGES
        | {
            "captions.csv": "file_name,caption\nred.png,a red wall\ngreen.png,a green wall\n"
            'green.png,"grass, close by"\nblue.png,the sky\n'
        },
    ),
    "two tables": lambda place: write(
        place,
        IMAGES
        | {
            "metadata.csv": "Text,Image\nthe sky,blue.png\n\n",
            "captions.jsonl": lines(ROWS[1:] + ROWS[1:]),
        },
    ),
    "COCO": lambda place: write(place, IMAGES | {"captions_val2017.json": json.dumps(COCO)}),
    "COCO as it is unpacked": lambda place: write(
        place,
        below("val2017", IMAGES)
        | {
            "annotations/captions_val2017.json": json.dumps(COCO),
            "annotations/instances.json": "{",
        },
    ),
    "COCO by another name": lambda place: write(
        place, IMAGES | {"all.json": json.dumps(COCO), "info.json": "{}", "list.json": "[]"}
    ),
    "a tar file": lambda place: pack(place / "a.tar", IMAGES | TEXTS),
    "a tar file, texts first": lambda place: pack(place / "a.tar", TEXTS | IMAGES),
    "a compressed tar file": lambda place: pack(place / "a.tar.gz", IMAGES | TEXTS),
    "a tar file with objects": lambda place: pack(place / "a.tgz", OBJECTS | IMAGES),
    "a tar file with both": lambda place: pack(
        place / "a.tar.xz", dict.fromkeys(OBJECTS, '{"caption": "x"}') | IMAGES | TEXTS
    ),
    "a tar file with resource forks": lambda place: pack(
        place / "a.tar", IMAGES | TEXTS | {"__MACOSX/._red.txt": b"\xff", "._x.txt": b"\xff"}
    ),
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
    data = read_dataset(place, 8)
    assert data.size == 8
    assert len(data) == 3
    assert read(data) == PAIRS
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_the_ignored_kind_of_captions_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = read_dataset(
        write(
            tmp_path, IMAGES | TEXTS | {"red.txt": "another wall", "captions.jsonl": lines(ROWS)}
        ),
        4,
    )
    assert read(data) == PAIRS
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        f"{tmp_path} has captions in one file for all images: 3 texts such as blue.txt are ignored"
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "captions.jsonl",
            '\n{"file_name": "red.png", "text": 3}',
            r"Line 2 of .*captions\.jsonl has a caption that is not text but 3\.",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "text": ["a", null]}',
            "Line 1 of .* not text but None",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "text": " "}',
            "Line 1 of .* has an empty caption",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "text": []}',
            "Line 1 of .* has an empty caption",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "text": "\\ud800"}',
            "Line 1 of .* lone surrogate",
        ),
        (
            "captions.jsonl",
            '{"file_name": "red.png", "label": 1}',
            "Line 1 of .* has no caption; expected text under one of: caption, text",
        ),
        (
            "captions.jsonl",
            '{"text": "a"}',
            "Line 1 of .* has no image; expected text under one of: file_name, image, file",
        ),
        ("captions.jsonl", '{"text": "a", "image": {}}', "Line 1 of .* has no image"),
        ("captions.jsonl", "[]", "Line 1 of .* has no caption"),
        ("captions.jsonl", "{", "Line 1 of .* is not valid JSON"),
        ("captions.jsonl", b'{}\n"\xff"', "Line 2 of .* is not valid UTF-8"),
        (
            "captions.csv",
            "file,text\nred.png,\n",
            r"Line 2 of .*captions\.csv has an empty caption",
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
        ("captions.json", "{}", "does not contain COCO captions"),
        ("captions.json", "[" * 100_000, "is not valid JSON"),
        (
            "all.json",
            '{"images": [{"id": 1}], "annotations": []}',
            "does not contain COCO captions",
        ),
        (
            "all.json",
            json.dumps(COCO | {"annotations": [{"id": 5, "image_id": 7, "caption": ""}]}),
            "Annotation 5 of .* has an empty caption",
        ),
        (
            "all.json",
            json.dumps(COCO | {"annotations": [{"id": 5, "image_id": 7, "caption": 4}]}),
            "Annotation 5 of .* not text but 4",
        ),
        ("red.txt", b"a\n\xff", r"Line 2 of .*red\.txt is not valid UTF-8"),
        ("red.json", '{"caption": 1}', r"red\.json has a caption that is not text but 1"),
        ("red.json", "{", r"red\.json is not valid JSON"),
    ],
)
def test_invalid_captions_are_named(name: str, content: bytes | str, message: str, tmp_path: Path):
    refused(write(tmp_path / "a", IMAGES | {name: content}), message)
    if name.startswith("red"):
        refused(pack(tmp_path / "a.tar", IMAGES | {name: content}), message)


def test_an_ambiguous_bare_name_is_refused(tmp_path: Path):
    files = below("a", IMAGES) | below("b", IMAGES) | {"captions.json": json.dumps(COCO)}
    refused(write(tmp_path, files), r"names '\w+\.png', which may be a/\w+\.png or b/")


def test_unexpected_members_of_shards_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("red.png", "red.txt"):
        path = pack(
            tmp_path / "a.tar",
            {key: data for key, data in (IMAGES | TEXTS).items() if key != name},
        )
        with tarfile.open(path, "a") as archive:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
        refused(path, rf"'{name}', which is a link")
    refused(
        pack(tmp_path / "b.tar.gz", IMAGES | {"red.txt": bytes(3 << 20)}),
        r"contains 'red\.txt' of 3 MiB; expected captions of at most",
    )
    refused(
        write(tmp_path / "b", IMAGES | {"red.txt": bytes(3 << 20)}),
        r"red\.txt cannot be read: 3 MiB, more than 1",
    )
    whole = pack(tmp_path / "c.tar.gz", IMAGES | TEXTS).read_bytes()
    (tmp_path / "c.tar.gz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "c.tar.gz", r"c\.tar\.gz cannot be read")
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        for _ in range(2):
            info = tarfile.TarInfo("red.png")
            info.size = len(IMAGES["red.png"])
            archive.addfile(info, io.BytesIO(IMAGES["red.png"]))
    refused(tmp_path / "d.tar", r"contains several files named 'red\.png'")
    monkeypatch.setattr(tables, "FILE_LIMIT", 10)
    refused(write(tmp_path / "e", IMAGES | {"captions.jsonl": lines(ROWS)}), "MiB, more than 0")


captions = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)
several = st.dictionaries(
    st.sampled_from(list(COLOURS)), st.lists(captions, min_size=1, max_size=3), min_size=2
)


def distinct(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in texts))


def by_name(folder: Path, files: dict[str, bytes | str]) -> dict[str, list[str]]:
    data = read_dataset(write(folder, files), 2)
    found = [
        name
        for row in data.images(range(len(data)))[:, :, 0, 0].tolist()
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
    only: dict[str, bytes | str] = {f"{name}.png": IMAGES[f"{name}.png"] for name in pairs}
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
    if "\0" not in table.getvalue():  # csv cannot write it in Python 3.11, nor read it in any
        assert by_name(folder / "csv", only | {"metadata.csv": table.getvalue()}) == expected
