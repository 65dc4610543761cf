"""Files as other people have them: each kind is taken rightly, or named in one sentence.

Every entry says what the user has and what must happen. Prompt lists, folders and images have more
tests of their own; this is the list of all kinds.
"""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from models_for_tests import make_image
from PIL import Image, ImageCms

from evalkit.core import EvalkitError, Prompt, Refusal
from evalkit.generate.plan import requests_of
from evalkit.generators import folder
from evalkit.images import Unreadable, decode
from evalkit.prompts import prompts_from_list, read_prompts
from evalkit.reference import foreign
from evalkit.reference.build import reference_build
from evalkit.sources import open_source

RGB = make_image(0, "x", 32)


def saved(image: Image.Image = RGB, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(number: int) -> bytes:
    return saved(make_image(number, "image"))


# --- prompt lists: (what the user has, name, content, texts or message) ---
PROMPTS = [
    ("one prompt per line", "p.txt", "a\nb\n", ["a", "b"]),
    ("a byte order mark and Windows lines", "p.txt", "\ufeffa\r\nb\r\n", ["a", "b"]),
    ("an invisible line", "p.txt", "a\n\u200b\n\u2060\ufeff\n", ["a"]),
    ("a table named .txt", "p.txt", "Prompt\tCategory\na\tx\n", "every line has tabs"),
    ("a CSV named .txt", "p.txt", "prompt,category\na,x\n", "first line is the header"),
    ("JSON lines named .txt", "p.txt", '{"prompt": "a"}\n{"prompt": "b"}\n', "JSON objects"),
    ("JSON named .txt", "p.txt", '[\n"a",\n"b"]', "it is JSON"),
    ("PartiPrompts", "p.tsv", "Prompt\tCategory\tChallenge\tNote\na\tx\ty\t\n", ["a"]),
    ("an unclosed quote in TSV", "p.tsv", 'Prompt\tNote\na "b\tx\nc\ty\n', ['a "b', "c"]),
    ("a TSV of a spreadsheet", "p.tsv", 'Prompt\tNote\n"a ""b"""\tx\n', ['a "b"']),
    ("a line break in TSV", "p.tsv", 'Prompt\tNote\n"a\nb"\tx\nc\ty\n', "has 1 field; expected 2"),
    ("semicolons", "p.csv", "id;prompt\n1;a\n2;b\n", ["a", "b"]),
    ("tabs in .csv", "p.csv", "id\tprompt\n1\ta, b\n", ["a, b"]),
    ("an unquoted comma", "p.csv", "id,prompt\n1,a, b\n", "has 3 fields; expected 2"),
    ("no prompt column", "p.csv", "x,y\n1,2\n", "expected one of prompt"),
    ("GenEval", "p.jsonl", '{"tag": "two", "include": [], "prompt": "a"}\n', ["a"]),
    ("GenEval 2", "p.jsonl", '{"prompt": "a", "skills": ["count"], "vqa_list": []}\n', ["a"]),
    ("DSG", "p.csv", "item_id,text,proposition_id\n1,a,1\n1,a,2\n2,b,1\n", ["a", "b"]),
    ("questions of several kinds", "p.csv", "id,text,question,type\n1,a,q,x\n1,a,r,y\n", ["a"]),
    ("columns", "p.json", '{"prompt": ["a", "b"], "category": ["x", "y"]}', ["a", "b"]),
    ("columns of pandas", "p.json", '{"prompt": {"0": "a", "1": "b"}}', ["a", "b"]),
    ("columns of two lengths", "p.json", '{"prompt": ["a", "b"], "id": [1]}', "of the same length"),
    ("COCO", "p.json", '{"images": [{"id": 7}], "annotations": [{"id": 1, "image_id": 7,'
     ' "caption": "a"}]}', ["a"]),
    ("a mapping of ids", "p.json", '{"x": "a", "y": {"prompt": "b"}}', ["a", "b"]),
    ("a mapping with a key twice", "p.json", '{"x": "a", "x": "b"}', "the key 'x' twice"),
    ("HPSv2", "p.json", '{"anime": ["a"], "photo": ["b"]}', ["a", "b"]),
    ("an HTML page", "p.txt", "<!DOCTYPE html>\n<html>\n", "an HTML page"),
    ("a Git LFS pointer", "p.txt", "version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ("a server's error", "p.txt", "<?xml version='1.0'?>\n<Error>", "a text answer of a server"),
    ("RTF", "p.txt", "{\\rtf1\na\n}\n", "is RTF"),
    ("YAML", "p.yaml", "- a\n- b\n", "is YAML"),
    ("a prompt in braces", "p.txt", "{a cat|an error}\n", ["{a cat|an error}"]),
    ("a prompt that begins as a BMP file", "p.txt", "BMX, a bike\n", ["BMX, a bike"]),
    ("files joined with their marks", "p.txt", "a\n\ufeffb\n", ["a", "b"]),
    ("UTF-16", "p.txt", "a\nb\n".encode("utf-16"), "UTF-16"),
    ("Latin-1", "p.txt", "caf\u00e9\n".encode("latin-1"), "not valid UTF-8"),
    ("an image", "p.txt", png(0), "a PNG image"),
    ("a gzip file", "p.jsonl", gzip.compress(b"a", mtime=0), "a gzip file"),
    ("nothing", "p.txt", "", "is empty"),
    ("the same id twice", "p.csv", "id,prompt\n1,a\n1,b\n", "expected each id once"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "name", "content", "expected"), PROMPTS)
def test_prompts(what: str, name: str, content: str | bytes, expected, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    if isinstance(expected, list):
        assert [prompt.text for prompt in read_prompts(tmp_path / name)] == expected, what
        return
    with pytest.raises(EvalkitError, match=expected) as error:
        read_prompts(tmp_path / name)
    assert error.value.hint


def test_a_folder_of_prompts(tmp_path: Path) -> None:
    for number in (1, 10):
        (tmp_path / f"{number}.txt").write_text(f"prompt {number}\n")
    assert {(p.id, p.text) for p in read_prompts(tmp_path)} == {
        ("1", "prompt 1"),
        ("10", "prompt 10"),
    }


# --- folders of images: which file each of the prompts gets, or a message ---
class Case(NamedTuple):
    what: str
    files: list[str]
    expected: list[str | None] | str
    prompts: list[str]
    ids: list[str] | None = None
    extra: dict[str, str] = {}  # noqa: RUF012  # lists and the like


P = ["p zero", "p one", "p two"]
FOLDERS = [
    Case("positions", ["0.png", "1.png", "2.png"], ["0.png", "1.png", "2.png"], P),
    Case("ids", ["7.png", "9.png"], ["9.png", None, "7.png"], P, ["9", "8", "7"]),
    Case("COCO ids, stopped early", ["000000000009.png", "000000000025.png"],
         ["000000000009.png", "000000000025.png", None], P, ["9", "25", "30"]),
    Case("COCO names", ["COCO_val2014_000000000025.png"],
         [None, "COCO_val2014_000000000025.png", None], P, ["9", "25", "30"]),
    Case("ids with seeds", ["3-9001.png", "2-17.png", "1-5.png"],
         ["3-9001.png", "2-17.png", "1-5.png"], P, ["3", "2", "1"]),
    Case("ids against positions", ["0.png", "1.png", "2.png"], "by the prompt's id, it is", P,
         ["1", "2", "3"]),
    Case("from 0 or from 1", ["1.png"], "counted from 0, it is", P),
    Case("WebUI, small seeds", ["00000-0.png", "00001-1.png", "00002-2.png"],
         ["00000-0.png", "00001-1.png", "00002-2.png"], P),
    Case("a model's version", ["sd15_00000.png", "sd15_00001.png", "sd15_00002.png"],
         ["sd15_00000.png", "sd15_00001.png", "sd15_00002.png"], P),
    Case("WebUI's grid beside", ["00000-7.png", "00001-8.png", "00002-9.png", "grid-0000.png"],
         ["00000-7.png", "00001-8.png", "00002-9.png"], P),
    Case("two models in one folder", ["a_0.png", "a_1.png", "b_0.png", "b_1.png"],
         "two series of numbered images", P[:2]),
    Case("sample first", ["0-0.png", "0-1.png", "1-0.png", "1-1.png"], "as SAMPLE-PROMPT", P[:2]),
    Case("one image in two formats", ["0.png", "0.webp", "1.png"], "differ in the suffix only", P),
    Case("signs", ["a 1-1.png", "a 1+1.png"], ["a 1+1.png", "a 1-1.png"], ["a 1+1", "a 1-1"]),
    Case("emoji", ["a 😡.png", "a 😀.png"], ["a 😀.png", "a 😡.png"], ["a 😀", "a 😡"]),
    Case("vowel marks", ["नीला की.png", "नीला कि.png"], ["नीला कि.png", "नीला की.png"],
         ["नीला कि", "नीला की"]),
    Case("names of macOS", ["cafe\u0301.png", "a dog.png"], ["cafe\u0301.png", "a dog.png"],
         ["café", "a dog"]),
    Case("no order to see", ["x.png", "y.png"], "found 2 images", P),
    Case("imagefolder", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"metadata.csv": "file_name,text\n1.png,p zero\n0.png,p one\n"}),
    Case("imagefolder with semicolons", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"metadata.csv": "File_Name;Text\n1.png;p zero\n0.png;p one\n"}),
    Case("captions.csv", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"captions.csv": "image,caption\n1.png,p zero\n0.png,p one\n"}),
    Case("img2dataset", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"0.json": '{"caption": "p one"}', "1.json": '{"caption": "p zero"}'}),
    Case("a list of another name", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"labels.csv": "file_name,prompt\n1.png,p zero\n0.png,p one\n"}),
    Case("a mapping of file names", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"captions.json": '{"1.png": "p zero", "0.png": {"prompt": "p one"}}'}),
    Case("captions.txt", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"captions.txt": "image,caption\n1.png,p zero\n0.png,p one\n"}),
    Case("captions of COCO", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"captions.json": json.dumps({
             "images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "0.png"}],
             "annotations": [{"id": 1, "image_id": 1, "caption": "p zero"},
                             {"id": 2, "image_id": 2, "caption": "p one"}]})}),
    Case("imagefolder of two splits", ["test/0.png", "train/1.png"],
         ["train/1.png", "test/0.png", None], P,
         extra={"test/metadata.csv": "file_name,text\n0.png,p one\n",
                "train/metadata.csv": "file_name,text\n1.png,p zero\n"}),
    Case("a list of Windows", ["a/0.png", "a/1.png"], ["a/1.png", "a/0.png", None], P,
         extra={"Metadata.csv": "file_name,text\na\\1.png,p zero\na\\0.png,p one\n"}),
    Case("a list for the folder above", ["a/0.png", "a/1.png"], ["a/1.png", "a/0.png", None], P,
         extra={"a/metadata.csv": "file_name,text\na/1.png,p zero\na/0.png,p one\n"}),
    Case("0.png.txt", ["0.png", "1.png"], ["1.png", "0.png", None], P,
         extra={"0.png.txt": "p one", "1.png.txt": "p zero"}),
    Case("WebUI's text beside", ["00000-5.png", "00001-6.png"],
         ["00001-6.png", "00000-5.png", None], P,
         extra={"00000-5.txt": "p one\nNegative prompt: x\nSteps: 2", "00001-6.txt": "p zero"}),
    Case("two lists that differ", ["0.png", "1.png"], "name different images", P,
         extra={"metadata.csv": "file_name,text\n1.png,p zero\n",
                "metadata.jsonl": '{"file_name": "0.png", "text": "p zero"}\n'}),
    Case("a list of other prompts inside", ["0.png", "1.png"], "another prompt as number 0", P,
         extra={"prompts.txt": "p one\np zero\n"}),
    Case("captions of other prompts inside", ["0.png", "1.png"], "another prompt as number 0", P,
         extra={"captions.txt": "p one\np zero\n"}),
    Case("a file name with NUL", ["0.png"], "is not a file in the folder", P,
         extra={"metadata.jsonl": '{"file_name": "0\\u0000.png", "text": "p zero"}\n'}),
    Case("a lone surrogate", ["0.png"], "is not a file in the folder", P,
         extra={"metadata.jsonl": '{"file_name": "\\ud800.png", "text": "p zero"}\n'}),
    Case("a very long file name", ["0.png"], "is not a file in the folder", P,
         extra={"metadata.jsonl": json.dumps({"file_name": "x" * 9999, "text": "p zero"})}),
    Case("a file elsewhere", ["0.png"], "is not a file in the folder", P,
         extra={"metadata.jsonl": '{"file_name": "../0.png", "text": "p zero"}\n'}),
    Case("GenEval, one folder left", ["00001/samples/0000.png"], "counted from 0, it is", P),
    Case("GenEval with its grids", ["00000/grid.png", "00000/samples/0000.png", "00001/grid.png",
         "00001/samples/0000.png"], ["00001/samples/0000.png", "00000/samples/0000.png"], P[:2],
         extra={"00000/metadata.jsonl": '{"prompt": "p one"}',
                "00001/metadata.jsonl": '{"prompt": "p zero"}'}),
    Case("GenEval's grids without its lists", ["00000/grid.png", "00000/samples/0000.png",
         "00001/grid.png", "00001/samples/0000.png"],
         ["00000/samples/0000.png", "00001/samples/0000.png"], P[:2]),
    Case("a suffix that says nothing", ["0.png", "1.dat", "2"], ["0.png", "1.dat", "2"], P),
    Case("shards of images", ["0/0.png", "0/1.png", "1/2.png"],
         ["0/0.png", "0/1.png", "1/2.png"], P),
    Case("shards of images, one missing", ["0/0.png", "0/1.png", "1/3.png"],
         "The folders have two readings", [*P, "p three"]),
    Case("WebUI's own folders", ["txt2img-images/2024-01-01/00000-5.png"],
         ["txt2img-images/2024-01-01/00000-5.png", None, None], P),
    Case("downloads of one name", ["image (1).png", "image (2).png", "image.png"],
         ["image.png", "image (1).png", "image (2).png"], P),
    Case("seeds only", ["seed0.png", "seed1.png", "seed2.png"], "number seeds or steps", P),
    Case("checkpoints", ["epoch1.png", "epoch2.png", "epoch3.png"], "number seeds or steps", P),
    Case("a lone number in a name", ["holiday3.png"], "counted from 0, it is missing", P),
    Case("samples beyond the requested ones", ["p zero 1.png", "p zero 2.png", "p zero 3.png"],
         "by the text in the name, it is missing", P),
    Case("a name of a link", ["a%20red%20cube.png"], ["a%20red%20cube.png", None],
         ["a red cube", "a dog"]),
    Case("ids in other case", ["A1.png", "A2.png"], ["A2.png", "A1.png"], P[:2], ["a2", "a1"]),
    Case("ids with a slash", ["a_1.png", "a_2.png"], ["a_2.png", "a_1.png"], P[:2],
         ["a/2", "a/1"]),
    Case("ids that are file names", ["x.png", "y.png"], ["y.png", "x.png"], P[:2],
         ["y.jpg", "x.png"]),
    Case("a name with a point, without suffix", ["a cat at 3.5 m"], ["a cat at 3.5 m"],
         ["a cat at 3.5 m"]),
    Case("numbers beyond the list, and gaps", ["0.png", "1.png", "4.png"],
         "go to 4, beyond the 3", P),
    Case("a longer series", ["0.png", "1.png", "2.png", "3.png"], ["0.png", "1.png", "2.png"], P),
    Case("random names", ["img4d095eea.png", "img2c3f1e04.png", "img0011223a.png"],
         "found 3 images", P),
    Case("positions with hashes", ["00-4d095eea.png", "01-12345678.png", "02-1b2c3d4e.png"],
         ["00-4d095eea.png", "01-12345678.png", "02-1b2c3d4e.png"], P),
    Case("folders of seeds, or of prompts", ["0/0.png", "0/1.png", "1/0.png", "1/1.png"],
         "The folders have two readings", P[:2]),
    Case("one folder around all", ["images/0.png", "images/1.png"],
         ["images/0.png", "images/1.png", None], P),
]  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case.what)
def test_folders(case: Case, tmp_path: Path) -> None:
    pixels: dict[bytes, str] = {}
    for number, name in enumerate(case.files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(number))
        pixels[make_image(number, "image").tobytes()] = name
    for name, content in case.extra.items():
        (tmp_path / name).write_text(content)
    names = case.ids or [f"{at:05d}" for at in range(len(case.prompts))]
    prompts = [
        prompt.__class__(name, prompt.text)
        for name, prompt in zip(names, prompts_from_list(case.prompts), strict=True)
    ]
    per_prompt = 2 if isinstance(case.expected, str) and len(case.files) == 4 else 1
    wanted = requests_of(prompts, per_prompt, 0)
    if isinstance(case.expected, str):
        with pytest.raises(EvalkitError, match=case.expected) as error:
            folder.load(folder=str(tmp_path), requests=wanted)
        assert error.value.hint
        return
    made = folder.load(folder=str(tmp_path), requests=wanted)
    results = made([r.prompt.text for r in wanted], [r.seed for r in wanted])
    assert case.expected == [
        None if isinstance(item, Refusal) else pixels[item.tobytes()] for item in results
    ]
    taken = {name for name in case.expected if name}
    assert all(name in made.unmatched for name in {*case.files} - taken)


FURTHER = [
    ("number", ["00000-0.png", "00000-1.png", "00001-0.png"], {}, "00000-1.png"),
    ("id", ["x-1.png", "x-2.png", "y.png"], {}, "x-2.png"),
    ("text", ["p zero 1.png", "p zero 2.png", "p one.png"], {}, "p zero 2.png"),
    ("folder", ["p zero/1.png", "p zero/2.png", "p one/1.png"], {}, "p zero/2.png"),
    ("list", ["a.png", "b.png"],
     {"metadata.csv": "file_name,text\na.png,p zero\nb.png,p zero\n"}, "b.png"),
    ("beside", ["a.png", "b.png"], {"a.txt": "p zero", "b.txt": "p zero"}, "b.png"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "files", "extra", "name"), FURTHER)
def test_further_images_of_a_prompt_are_named_as_such(
    how: str, files: list[str], extra: dict[str, str], name: str, tmp_path: Path
) -> None:
    for number, file in enumerate(files):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(png(number))
    for file, content in extra.items():
        (tmp_path / file).write_text(content)
    ids = ["x", "y"] if how == "id" else ["00000", "00001"]
    prompts = list(map(Prompt, ids, P))
    unmatched = folder.load(folder=str(tmp_path), requests=requests_of(prompts, 1, 0)).unmatched
    assert f"file\t{name}\ta further image of its prompt\n" in unmatched


def test_a_grid_is_known_by_its_size(tmp_path: Path) -> None:
    for number in range(5):
        name = f"p zero_{number}.png" if number else "p zero.png"
        make_image(number, "grid", 16 if number else 32).save(tmp_path / name)
    wanted = requests_of(prompts_from_list(["p zero"]), 4, 0)
    assert "p zero.png\ta grid" in folder.load(folder=str(tmp_path), requests=wanted).unmatched
    grid = folder.load(folder=str(tmp_path), requests=wanted[:1], midjourney="grid")
    assert "p zero.png" not in grid.unmatched
    assert "_4.png\ta single image" in grid.unmatched


# --- images: the note on a valid one, or why it is invalid ---
def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def keyed() -> bytes:
    """A gray PNG of 2 bits whose white is declared transparent."""
    header = struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)
    key, data = chunk(b"tRNS", struct.pack(">H", 3)), chunk(b"IDAT", zlib.compress(b"\0\x1b"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + data + chunk(b"IEND", b"")


def with_profile(name: str) -> bytes:
    """A PNG with an sRGB profile whose description is another one."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    old, new = ("sRGB built-in".encode("utf-16-be"), name.ljust(13).encode("utf-16-be"))
    assert old in profile
    return saved(icc_profile=profile.replace(old, new))


def many(kind: str) -> bytes:
    return saved(kind=kind, save_all=True, append_images=[make_image(1, "x", 32)])


TRANSPARENT = Image.merge("RGBA", (*RGB.split(), Image.new("L", RGB.size, 128)))
HALF = len(saved(kind="JPEG")) // 2
IMAGES: list[tuple[str, bytes, str]] = [
    ("PNG", saved(), "ok"),
    ("JPEG", saved(kind="JPEG"), "ok"),
    ("WebP", saved(kind="WEBP", lossless=True), "ok"),
    ("AVIF", saved(kind="AVIF"), "ok"),
    ("GIF of one frame", saved(kind="GIF"), "ok"),
    ("APNG of one frame", saved(save_all=True), "ok"),
    ("GIF of two frames", many("GIF"), "has 2 frames"),
    ("APNG of two frames", many("PNG"), "has 2 frames"),
    ("WebP of two frames", many("WEBP"), "has 2 frames"),
    ("16-bit gray", saved(Image.fromarray(np.zeros((8, 8), np.uint16))), "more than 8 bits"),
    ("palette", saved(RGB.quantize(16)), "ok"),
    ("palette with a transparent colour", saved(RGB.quantize(16), transparency=3), "transparent"),
    ("palette with opaque alpha", saved(RGB.quantize(16), transparency=b"\xff" * 16), "ok"),
    ("half transparent", saved(TRANSPARENT), "partly transparent"),
    ("gray with a key, 2 bits", keyed(), "partly transparent"),
    ("CMYK JPEG", saved(RGB.convert("CMYK"), "JPEG"), "colour mode CMYK"),
    ("Display P3", with_profile("Display P3"), "note: colour profile Display P3 not applied"),
    ("Adobe RGB", with_profile("Adobe RGB"), "note: colour profile Adobe RGB not applied"),
    ("damaged EXIF", saved(kind="WEBP", exif=b"Exif\0\0garbage"),
     "note: damaged EXIF orientation not applied"),
    ("sRGB", with_profile("sRGB IEC"), "ok"),
    ("PNG that states Display P3", saved()[:33] + chunk(b"cICP", b"\x0c\x0d\0\1") + saved()[33:],
     "note: colour profile Display P3 not applied"),
    ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is HEIC"),
    ("JPEG XL", b"\xff\x0a" + bytes(40), "is JPEG XL"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n", "is JPEG 2000"),
    ("HTML", b"<!DOCTYPE html><html>", "is an HTML page"),
    ("a server's error", b"<?xml version='1.0'?><Error><Code>x", "a text answer of a server"),
    ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ("text", b"not an image", "is text"),
    ("nothing", b"", "is empty"),
    ("half a JPEG", saved(kind="JPEG")[:HALF] + b"\xff\xd9", "truncated or damaged"),
    ("half a PNG", saved()[:200], "truncated or damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "content", "expected"), IMAGES)
def test_images(what: str, content: bytes, expected: str) -> None:
    found = decode(content)
    if isinstance(found, Unreadable):
        assert expected in found, what
    else:
        assert expected == (f"note: {found.note}" if found.note else "ok"), what


# --- folders and archives of images: how many are taken, and what is said of the others ---
def _write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def _broken_link(root: Path) -> None:
    _write(root, {"0.png": png(0)})
    os.symlink("/not/mounted/1.png", root / "1.png")


SOURCES: list[tuple[str, Callable[[Path], None] | dict[str, bytes], int, list[str]]] = [
    ("other suffixes", {"0.png": png(0), "1.jfif": png(1), "2.jpe": png(2), "3.apng": png(3),
                        "4": png(4), "5.tga": png(5)}, 6, []),
    ("an unfinished download", {"0.png": png(0), "1.png.part": b"x"}, 1, ["an unfinished"]),
    ("system folders", {"0.png": png(0), "@eaDir/0.png": png(0), "__MACOSX/._0.png": b"x"}, 1,
     ["in @eaDir", "in __MACOSX"]),
    ("an archive inside", {"0.png": png(0), "more.zip": b"PK\x03\x04"}, 1, ["an archive inside"]),
    ("a hidden image", {"0.png": png(0), ".1.png": png(1)}, 1, ["hidden"]),
    ("text beside images", {"0.png": png(0), "0.txt": b"a cat"}, 1, ["not an image"]),
    ("a broken link", _broken_link, 2, []),  # which is found invalid when it is read
]  # fmt: skip


@pytest.mark.parametrize(("what", "files", "count", "reasons"), SOURCES)
def test_sources(what: str, files, count: int, reasons: list[str], tmp_path: Path) -> None:
    files(tmp_path) if callable(files) else _write(tmp_path, files)
    source = open_source(tmp_path)
    assert len(list(source)) == count, what
    assert all(any(reason in said for said in source.left.values()) for reason in reasons)


NASTY = {
    **{"0.png": png(0), "1": png(1), "2.dat": png(2), "a/3.jpe": saved(kind="JPEG")},
    **{"4.png.part": b"x", "more.zip": b"PK\x03\x04", ".5.png": png(5), ".DS_Store": b"x"},
    **{"@eaDir/0.png/thumb.jpg": b"x", "@eaDir/x": b"x", "__MACOSX/._0.png": b"x"},
    **{"Thumbs.db": b"x", ".hidden/6.png": png(6)},
}


def _zip(place: Path) -> Path:
    with zipfile.ZipFile(place / "s.zip", "w") as archive:
        for name, content in NASTY.items():
            archive.writestr(name, content)
    return place / "s.zip"


def _tar(place: Path, suffix: str = ".tar") -> Path:
    with tarfile.open(place / f"s{suffix}", "w:gz" if suffix == ".tgz" else "w") as archive:
        for name, content in NASTY.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return place / f"s{suffix}"


def test_a_folder_and_its_archives_give_the_same_images_and_the_same_reasons(
    tmp_path: Path,
) -> None:
    _write(tmp_path / "s", NASTY)
    whole = open_source(tmp_path / "s")
    images = {image.name: image.read() for image in whole}
    assert set(images) == {"0.png", "1", "2.dat", "a/3.jpe"}
    assert len(whole.left) == 7
    for place in (_zip(tmp_path), _tar(tmp_path), _tar(tmp_path, ".tgz")):
        source = open_source(place)
        assert {image.name: image.read() for image in source} == images
        assert source.left == whole.left


def test_a_link_to_a_folder_above_adds_no_images(tmp_path: Path) -> None:
    _write(tmp_path, {"s/0.png": png(0), "other/1.png": png(1)})
    (tmp_path / "s" / "up").symlink_to("..")
    source = open_source(tmp_path / "s")
    assert [image.name for image in source] == ["0.png"]
    assert source.left == {"up": "a link to a folder around the set"}


# --- statistics and sources that are not what their name says ---
MISTAKEN = [
    ("an HTML page", b"<html>404 Not Found</html>", "an HTML page"),
    ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ("an image", png(0), r"an image \(PNG\)"),
    ("a pickle", pickle.dumps({"mu": 0}), "a Python pickle"),
    ("safetensors", b"\x40" + bytes(7) + b'{"a": 1}', "a safetensors file"),
    ("text", b"mu,sigma\n", "is text"),
    ("nothing", b"", "is empty"),
    ("a download that stopped", b"PK\x03\x04" + bytes(100), "without its end"),
]


@pytest.mark.parametrize("reader", [foreign.read, open_source, reference_build])
@pytest.mark.parametrize(("what", "content", "expected"), MISTAKEN)
def test_a_file_that_is_not_what_its_name_says(
    what: str, content: bytes, expected: str, reader: Callable, tmp_path: Path
) -> None:
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(EvalkitError, match=expected) as error:
        reader(tmp_path / "s.npz")
    assert "allow_pickle" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_statistics_of_python_objects_are_refused_without_advice_to_load_them(
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "s.npz", mu=np.array([None]), sigma=np.eye(1))
    with pytest.raises(EvalkitError, match="holds Python objects") as error:
        foreign.read(tmp_path / "s.npz")
    assert "allow_pickle" not in str(error.value)


def test_an_array_of_one_image_is_one_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", np.asarray(RGB))
    [image] = list(open_source(tmp_path / "one.npz"))
    assert np.array_equal(np.asarray(image.read()), np.asarray(RGB))


def test_texts_of_other_prompts_beside_numbered_images_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(number))
        (tmp_path / f"{number}.txt").write_text("a third thing" if number else "p zero, detailed")
    with caplog.at_level("WARNING", "evalkit"):
        folder.load(folder=str(tmp_path), requests=requests_of(prompts_from_list(P[:2]), 1, 0))
    [line] = [line for line in caplog.messages if "is not that of their prompts" in line]
    assert "1.png: 'a third thing'" in line
    assert "0.png" not in line
