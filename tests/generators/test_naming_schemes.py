"""Every naming scheme, in any order, with files missing, with N samples: right, or refused."""

import csv
import functools
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from evalkit.core import EvalkitError, Prompt, Refusal, Request
from evalkit.generate.plan import requests_of
from evalkit.generators import folder
from evalkit.generators.file_names import slug

UUID = "1a2b-4c3d-8e9f-0123456789ab"
WRONG = 99  # of an image that belongs to no prompt


class Task(NamedTuple):
    """What a folder is to hold."""

    prompts: list[Prompt]
    samples: int
    lost: set[int]  # images that are missing, by their number

    def images(self) -> list[tuple[int, int]]:
        """(prompt, sample) of every image that is there."""
        every = [(at, sample) for at in range(len(self.prompts)) for sample in range(self.samples)]
        return [pair for number, pair in enumerate(every) if number not in self.lost]


@functools.cache
def png(at: int, sample: int, text: str = "") -> bytes:
    """An image whose colour says which prompt and sample it was made for."""
    file, info = io.BytesIO(), PngInfo()
    if text:
        info.add_text("parameters", f"{text}\nSteps: 20, Seed: 1")
    Image.new("RGB", (4, 4), (at + 1, sample + 1, 0)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


Files = dict[str, bytes]
Scheme = Callable[[Task], Files]


def named(name: Callable[[Task, int, int], str]) -> Scheme:
    """A scheme of file names only."""
    return lambda task: {
        f"{name(task, at, sample)}.png": png(at, sample) for at, sample in task.images()
    }


def text_of(task: Task, at: int) -> str:
    return task.prompts[at].text


def in_group(task: Task, at: int) -> int:
    group = task.prompts[at].group
    return [p.id for p in task.prompts if p.group == group].index(task.prompts[at].id)


def listed(kind: str) -> Scheme:
    """Names that say nothing, or the opposite, beside a list."""

    def make(task: Task) -> Files:
        rows = [
            {"file_name": f"{number}.png", "text": text_of(task, at)}
            for number, (at, _) in enumerate(reversed(task.images()))
        ]
        files = {
            row["file_name"]: png(at, sample)
            for row, (at, sample) in zip(rows, reversed(task.images()), strict=True)
        }
        if kind.endswith("jsonl"):
            content = "".join(json.dumps(row) + "\n" for row in rows)
        elif kind.endswith("json"):
            content = json.dumps(rows)
        else:
            table = io.StringIO()
            writer = csv.DictWriter(table, ["file_name", "text"])
            writer.writeheader()
            writer.writerows(rows)
            content = table.getvalue()
        return files | {kind: content.encode()}

    return make


def beside(task: Task) -> Files:
    files: Files = {}
    for number, (at, sample) in enumerate(reversed(task.images())):
        files[f"{number}.png"] = png(at, sample)
        files[f"{number}.txt"] = text_of(task, at).encode()
    return files


def embedded(task: Task) -> Files:
    return {
        f"x{'abcdefghijklmnopqrstuvwxyz'[number]}.png": png(at, sample, text_of(task, at))
        for number, (at, sample) in enumerate(reversed(task.images()))
    }


def geneval(task: Task) -> Files:
    files = {f"{at:05d}/samples/{s:04d}.png": png(at, s) for at, s in task.images()}
    for at in {at for at, _ in task.images()}:
        files[f"{at:05d}/metadata.jsonl"] = json.dumps({"prompt": text_of(task, at)}).encode()
    return files


def with_masks(task: Task) -> Files:
    images = named(lambda _, at, s: f"image_{at:05d}-{s}")(task)
    return images | {f"mask_{at:05d}-{s}.png": png(WRONG, s) for at, s in task.images()[:-1]}


def midjourney(task: Task) -> Files:
    """A grid and the single images that were taken from it."""
    files: Files = {}
    for at, sample in task.images():
        name = f"ann_{slug(text_of(task, at)).replace('-', '_')}_{at:08x}-{UUID}"
        files[f"{name}.png"] = png(WRONG, 0)
        files[f"{name}_{sample + 1}.png"] = png(at, sample)
    return files


# What proves itself must be taken whole, whatever is missing.
PROVED: dict[str, Scheme] = {
    "text": named(lambda t, at, s: f"{text_of(t, at)}-{s}"),
    "text underscored": named(lambda t, at, s: f"{text_of(t, at).replace(' ', '_')}_{s}"),
    "text as a slug": named(lambda t, at, s: f"{slug(text_of(t, at))}-{s}"),
    "WebUI with text": named(lambda t, at, s: f"{at:05d}-{900000 + s}-{text_of(t, at)}"),
    "DALL-E": named(lambda t, at, s: f"DALL·E 2026-01-02 10.11.{10 + s} - {text_of(t, at)}"),
    "metadata.csv": listed("metadata.csv"),
    "metadata.jsonl": listed("metadata.jsonl"),
    "captions.jsonl": listed("captions.jsonl"),
    "captions.csv": listed("captions.csv"),
    "prompts.jsonl": listed("prompts.jsonl"),
    "metadata.json": listed("metadata.json"),
    "text beside": beside,
    "embedded text": embedded,
    "Midjourney": midjourney,
    "GenEval with prompts": geneval,
    "folder per prompt": named(lambda t, at, s: f"{text_of(t, at)}/{s}"),
    "folder per seed": named(lambda t, at, s: f"seed_{s}/{text_of(t, at)}"),
}
# Numbers show their meaning while all images are there.
NUMBERED: dict[str, Scheme] = {
    "index and sample": named(lambda t, at, s: f"{at:05d}-{s}"),
    "from 1": named(lambda t, at, s: f"{at + 1:05d}-{s}"),
    "prefix": named(lambda t, at, s: f"image_{at:04d}_{s}"),
    "ComfyUI": named(lambda t, at, s: f"ComfyUI_{at + 1 + 100 * s:05d}_"),
    "words": named(lambda t, at, s: f"prompt{at}_sample{s}"),
    "words, sample first": named(lambda t, at, s: f"seed{s}_prompt{at}"),
    "HPSv2": named(lambda t, at, s: f"{t.prompts[at].group}/{in_group(t, at):05d}-{s}"),
    "HPSv2 over all": named(lambda t, at, s: f"{t.prompts[at].group}/{at:05d}-{s}"),
    "GenEval": named(lambda t, at, s: f"{at:05d}/samples/{s:04d}"),
    "folders prompt_0": named(lambda t, at, s: f"prompt_{at}/{s}"),
}
# Which may have two readings even then.
AMBIGUOUS: dict[str, Scheme] = {
    "unpadded": named(lambda t, at, s: f"{at}-{s}"),
    "sample first": named(lambda t, at, s: f"{s}-{at}"),
    "sample first, padded": named(lambda t, at, s: f"{s}-{at:05d}"),
    "model of a version": named(lambda t, at, s: f"sd15_{at + 10 * s:05d}"),
    "word with a number": named(lambda t, at, s: f"img2img_{at + 10 * s:05d}"),
    "version apart": named(lambda t, at, s: f"flux-1-dev_{at:05d}" if s == 0 else f"more-{s}-{at}"),
    "WebUI, small seeds": named(lambda t, at, s: f"{at * t.samples + s:05d}-{at + s + 2}"),
    "WebUI": named(lambda t, at, s: f"{at * t.samples + s:05d}-{4000000000 - at - s}"),
    "beside masks": with_masks,
    "folder per index": named(lambda t, at, s: f"{at}/{s}"),
    "folder per sample": named(lambda t, at, s: f"{s}/{at}"),
    "two formats": lambda task: (
        named(lambda t, at, s: f"{at}-{s}")(task)
        | {f"{at}-{s}.webp": png(WRONG, s) for at, s in task.images()[:1]}
    ),
}
BY_ID: dict[str, Scheme] = {
    "id": named(lambda t, at, s: f"{t.prompts[at].id}-{s}"),
    "id with zeros": named(lambda t, at, s: f"{int(t.prompts[at].id):012d}_{s}"),
    "id and seed": named(lambda t, at, s: f"{t.prompts[at].id}-{900000 + s}"),
    "COCO": named(lambda t, at, s: f"COCO_val2014_{int(t.prompts[at].id):012d}"),
}
SCHEMES = PROVED | NUMBERED | AMBIGUOUS


def taken(files: Files, requests: list[Request]) -> dict[tuple[int, int], tuple[int, int]]:
    """(prompt, sample) -> those of the image that it gets."""
    root = Path(tempfile.mkdtemp())
    try:
        names = list(files)
        random.Random(len(names)).shuffle(names)
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(files[name])
        made = folder.load(folder=str(root), requests=requests)
        results = made([r.prompt.text for r in requests], [r.seed for r in requests])
        found = {}
        for request, image in zip(requests, results, strict=True):
            if not isinstance(image, Refusal):
                red, green, _ = image.getpixel((0, 0))  # type: ignore[misc]
                found[request.index, request.sample] = (red - 1, green - 1)
        return found
    finally:
        shutil.rmtree(root)


def check(task: Task, scheme: Scheme) -> int:
    """The number of images that are taken; each must be of its prompt, and none is given twice."""
    found = taken(scheme(task), requests_of(task.prompts, task.samples, 0))
    wrong = {wanted: got for wanted, got in found.items() if wanted[0] != got[0]}
    assert not wrong, f"image of another prompt: {wrong}"
    assert len(set(found.values())) == len(found)
    return len(found)


TEXTS = ["a red cube", "two dogs!", "a café", "1+1 = 2", "a face 😀", "नीला कि", "seven 7 up"]


def prompts_of(texts: list[str], ids: list[str] | None = None) -> list[Prompt]:
    names = ids or [f"{at:05d}" for at in range(len(texts))]
    half = (len(texts) + 1) // 2
    return [
        Prompt(name, text, "anime" if at < half else "photo")
        for at, (name, text) in enumerate(zip(names, texts, strict=True))
    ]


@settings(deadline=None, max_examples=150)
@given(
    scheme=st.sampled_from(sorted(SCHEMES)),
    count=st.integers(2, len(TEXTS)),
    samples=st.integers(1, 3),
    order=st.permutations(TEXTS),
    lost=st.sets(st.integers(0, 20), max_size=6),
)
@example(scheme="WebUI", count=2, samples=2, order=TEXTS, lost={2, 3})
@example(scheme="words", count=3, samples=3, order=TEXTS, lost={*range(6)})
def test_no_scheme_is_paired_wrongly_in_silence(scheme, count, samples, order, lost) -> None:
    task = Task(prompts_of(order[:count]), samples, lost)
    if not task.images():
        return
    try:
        number = check(task, SCHEMES[scheme])
    except EvalkitError as error:
        assert error.hint  # noqa: PT017
        # The words before a prompt are known by two prompts that have them.
        few = len({at for at, _ in task.images()}) < 2
        assert scheme not in PROVED or (few and scheme in ("DALL-E", "Midjourney"))
        return
    if scheme in PROVED:
        assert number == len(task.images())


@settings(deadline=None, max_examples=60)
@given(
    scheme=st.sampled_from(sorted(BY_ID)),
    ids=st.lists(
        st.integers(0, 12) | st.integers(100, 999999), min_size=2, max_size=6, unique=True
    ),
    samples=st.integers(1, 2),
    lost=st.sets(st.integers(0, 11), max_size=3),
)
def test_numbers_that_are_ids_are_not_read_as_positions(scheme, ids, samples, lost) -> None:
    task = Task(prompts_of(TEXTS[: len(ids)], [str(number) for number in ids]), samples, lost)
    try:
        check(task, BY_ID[scheme])
    except EvalkitError as error:
        assert error.hint  # noqa: PT017


@pytest.mark.parametrize("scheme", [*PROVED, *NUMBERED])
@pytest.mark.parametrize("samples", [1, 2])
def test_complete_folders_are_taken_whole(scheme: str, samples: int) -> None:
    if scheme == "ComfyUI" and samples > 1:
        return  # one counter for all samples says nothing about prompts
    task = Task(prompts_of(TEXTS[:5]), samples, set())
    assert check(task, SCHEMES[scheme]) == 5 * samples


@pytest.mark.parametrize("scheme", BY_ID)
def test_ids_are_taken_whole(scheme: str) -> None:
    task = Task(prompts_of(TEXTS[:4], ["139", "3", "785", "2"]), 1, set())
    assert check(task, BY_ID[scheme]) == 4


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("unpadded", "as PROMPT-SAMPLE, it is 0-1.png; as SAMPLE-PROMPT, it is 1-0.png"),
        ("sample first", "as PROMPT-SAMPLE, it is 0-1.png; as SAMPLE-PROMPT, it is 1-0.png"),
        ("folder per index", "The folders have two readings"),
        ("folder per sample", "The folders have two readings"),
        ("two formats", "differ in the suffix only"),
        ("version apart", "two readings|two series"),
    ],
)
def test_both_readings_are_shown(scheme: str, message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        check(Task(prompts_of(TEXTS[:2]), 2, set()), SCHEMES[scheme])
