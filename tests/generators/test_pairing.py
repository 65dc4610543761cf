"""Which image belongs to which prompt: every naming scheme rightly, or an error that shows why."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import make_image
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from evalkit.config import Config
from evalkit.core import EvalkitError, Prompt, Request
from evalkit.generate.generate import generate
from evalkit.generate.plan import requests_of
from evalkit.generators import folder
from evalkit.generators.file_names import prompts_in_names, slug
from evalkit.generators.midjourney import without_grids
from evalkit.generators.pairing import pair
from evalkit.images import natural

UUID = "0123abcd-1a2b-4c3d-8e9f-0123456789ab"
TEXTS = [
    "a red cube",
    "two dogs on the beach",
    "a café in Paris",
    "नीला कि",
    "a face 😀",
    "1+1 = 2",
]


def requests(texts: list[str], per_prompt: int = 1, ids: list[str] | None = None) -> list[Request]:
    names = ids or [f"{at:05d}" for at in range(len(texts))]
    return requests_of(list(map(Prompt, names, texts)), per_prompt, 0)


def by_name(names: list[str], wanted: list[Request], **options: str) -> dict[int, str]:
    """Index of the prompt -> name of its file (first sample)."""
    files = [Path("nowhere") / name for name in sorted(names, key=natural)]
    paired = pair(files, wanted, **options)  # type: ignore[arg-type]
    return {r.index: item.name for r, item in paired.found.items() if r.sample == 0}  # type: ignore[union-attr]


SCHEMES = {
    "index": lambda at, text: f"{at:05d}",
    "from 1": lambda at, text: f"{at + 1}",
    "sampled": lambda at, text: f"{at:05d}-0",
    "prefix": lambda at, text: f"image_{at}",
    "comfyui": lambda at, text: f"ComfyUI_{at + 1:05d}_",
    "webui": lambda at, text: f"{at:05d}-{4000000000 - at}",
    "webui small seeds": lambda at, text: f"{at:05d}-{at + 3}",
    "text": lambda at, text: text.replace("/", "_"),
    "text underscored": lambda at, text: text.replace(" ", "_"),
    "webui text": lambda at, text: f"{at:05d}-123456-{text}",
    "dall-e": lambda at, text: f"DALL·E 2026-01-02 10.11.{at:02d} - {text}",
    "midjourney": lambda at, text: f"ann_{slug(text).replace('-', '_')}_{at:08x}{UUID[8:]}_0",
}


@settings(deadline=None, max_examples=300)
@given(
    texts=st.lists(
        st.text("ab é日+!?-'😀\u093f\u0940", min_size=1, max_size=8).map(
            lambda text: f"picture {text}".strip()
        ),
        min_size=3,
        max_size=8,
        unique=True,
    ),
    scheme=st.sampled_from(sorted(SCHEMES)),
    order=st.randoms(use_true_random=False),
    lost=st.sets(st.integers(0, 7), max_size=3),
)
def test_no_scheme_pairs_wrongly_in_silence(texts, scheme, order, lost) -> None:
    named = {f"{SCHEMES[scheme](at, text)}.png": at for at, text in enumerate(texts)}
    if len(named) < len(texts):
        return  # two prompts with one name: the second image has replaced the first
    kept = [name for name, at in named.items() if at not in lost]
    order.shuffle(kept)
    try:
        found = by_name(kept, requests(texts))
    except EvalkitError as error:
        assert "two readings" in error.message  # noqa: PT017
        assert scheme not in ("text", "dall-e")
        return
    assert all(named[name] == index for index, name in found.items())
    if scheme in ("text", "webui text"):
        assert len(found) == len(kept)


@settings(deadline=None, max_examples=100)
@given(
    names=st.lists(st.text(st.characters(codec="utf-8"), max_size=20), unique=True, max_size=6),
    texts=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4),
    per_prompt=st.integers(1, 2),
)
def test_no_image_is_assigned_twice(names: list[str], texts: list[str], per_prompt: int) -> None:
    files = [Path(name + ".png") for name in names]
    try:
        paired = pair(files, requests(texts, per_prompt))
    except EvalkitError:
        return
    assert len(set(paired.found.values())) == len(paired.found)
    assert bool(paired.rule) == bool(paired.found)
    assert {*paired.found.values(), *paired.left} >= set(files)  # nothing vanishes


def test_ids_come_before_positions() -> None:
    ids = ["9", "25", "30", *map(str, range(200, 240))]
    wanted = requests([f"caption {name}" for name in ids], ids=ids)
    found = by_name([f"{int(name):012d}.png" for name in ids[:3]], wanted)
    assert found == {at: f"{int(name):012d}.png" for at, name in enumerate(ids[:3])}
    named = requests(["a", "b", "c"], ids=["cat-1", "cat-2", "cat-3"])
    assert by_name(["cat-2.png", "cat-3.png"], named) == {1: "cat-2.png", 2: "cat-3.png"}
    # All positions, of which a few are also ids: the positions cover every prompt.
    assert by_name([f"{at}.png" for at in range(43)], wanted) == {
        at: f"{at}.png" for at in range(43)
    }
    with pytest.raises(EvalkitError, match=r"by the prompt's id, it is .*; counted from 0, it is"):
        by_name([f"{at}.png" for at in range(40)], wanted)


@pytest.mark.parametrize(
    ("numbers", "rule"),
    [
        (range(5), "from0"),
        (range(1, 6), "from1"),
        ([0, 2], "from0"),
        ([2, 5], "from1"),
        ([1, 2, 3, 4], ""),
        ([2], ""),
        (range(7), "from0"),
        (range(1, 8), "from1"),
    ],
)
def test_counting_from_0_or_from_1_is_proved_or_refused(numbers, rule: str) -> None:
    names, wanted = [f"{number}.png" for number in numbers], requests(list("abcde"))
    if rule:
        first = int(rule[-1])
        inside = [number for number in numbers if 0 <= number - first < 5]
        assert by_name(names, wanted) == {number - first: f"{number}.png" for number in inside}
        return
    with pytest.raises(EvalkitError, match=r"counted from 0, it is .*; counted from 1, it is") as e:
        by_name(names, wanted)
    assert "`--set LABEL.match=from0` or `--set LABEL.match=from1`" in e.value.hint
    number = numbers[0]
    assert by_name(names, wanted, rule="from0")[number] == f"{number}.png"
    assert by_name(names, wanted, rule="from1")[number - 1] == f"{number}.png"


def test_several_images_per_prompt_numbered_through_are_refused() -> None:
    names = [f"{at:05d}-{1000 + at}.png" for at in range(6)]
    for per_prompt in (1, 2):
        with pytest.raises(EvalkitError, match="6 images numbered from 0 for 3 prompts"):
            by_name(names, requests(["a", "b", "c"], per_prompt))
    sampled = [f"{at:05d}-{sample}.png" for at in range(3) for sample in range(2)]
    paired = pair([Path(name) for name in sampled], requests(["a", "b", "c"], 2))
    assert [str(item) for item in paired.found.values()] == sampled


def test_numbers_after_dates_say_nothing_about_positions() -> None:
    names = [f"DALL·E 2026-01-02 10.11.{second}.png" for second in (1, 2, 3)]
    assert by_name(names, requests(["a", "b", "c"])) == {}
    assert len(by_name(names, requests(["a", "b", "c"]), rule="order")) == 3


def test_spellings_of_two_prompts_match_neither_unless_exact() -> None:
    prompts = ["a dog?", "a dog!", "Café", "a face 😡", "a face 😀", "a face"]
    found = prompts_in_names(
        [
            "a dog?",
            "a-dog",
            "cafe\u0301",
            "00012-a face 😀",
            f"ann_a_face_{UUID}",  # the service may have removed the emoji
            "a face",
        ],
        prompts,
    )
    assert found == {
        "a dog?": "a dog?",
        "cafe\u0301": "Café",
        "00012-a face 😀": "a face 😀",
        "a face": "a face",
    }


def test_a_text_against_numbers_that_match_more_is_refused() -> None:
    with pytest.raises(
        EvalkitError, match=r"prompt 00001 .*name, it is 2\.png; counted from 0, it is 1\.png"
    ):
        by_name(["0.png", "1.png", "2.png"], requests(["a", "2", "b"]))


def test_midjourney_grids_beside_their_single_images() -> None:
    names = [f"ann_a_red_cube_{UUID}.png"] + [f"ann_a_red_cube_{UUID}_{at}.png" for at in (1, 3)]
    names.append(f"ann_two_dogs_{UUID}.png")  # alone: perhaps an upscaled image
    wanted = requests(["a red cube", "two dogs"])
    assert by_name(names, wanted) == {0: names[1], 1: names[3]}
    assert by_name(names, wanted, grids="grid") == {0: names[0], 1: names[3]}
    _, left = without_grids([Path(name) for name in names], "upscale")
    assert left == {Path(names[0]): "a grid beside its single images"}


# --- folders on the disk ---
def fill(root: Path, names: list[str]) -> dict[bytes, str]:
    """A different image in each file: pixels -> name."""
    pixels = {}
    for at, name in enumerate(names):
        image = make_image(at, name)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
        pixels[image.tobytes()] = name
    return pixels


def taken(root: Path, wanted: list[Request], pixels: dict[bytes, str], **options: str) -> list[str]:
    made = folder.load(folder=str(root), requests=wanted, **options)
    results = made([r.prompt.text for r in wanted], [r.seed for r in wanted])
    return [pixels.get(result.tobytes(), "?") for result in results]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "captions.jsonl"])
def test_lists_of_other_tools(name: str, tmp_path: Path) -> None:
    pixels = fill(tmp_path, ["0.png", "1.png", "sub/2.png"])
    order = {"sub/2.png": 0, "0.png": 1, "1.png": 2}
    rows = [{"file_name": file, "text": TEXTS[at]} for file, at in order.items()]
    if name.endswith("csv"):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["file_name", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert taken(tmp_path, requests(TEXTS[:3]), pixels) == list(order)


def test_a_text_file_beside_every_image(tmp_path: Path) -> None:
    pixels = fill(tmp_path, ["0.png", "1.png"])
    (tmp_path / "0.txt").write_text(TEXTS[1])
    (tmp_path / "1.txt").write_text(TEXTS[0] + "\n")
    assert taken(tmp_path, requests(TEXTS[:2]), pixels) == ["1.png", "0.png"]


def test_the_layout_of_geneval(tmp_path: Path) -> None:
    names = [f"{at:05d}/samples/{sample:04d}.png" for at in range(2) for sample in range(2)]
    pixels = fill(tmp_path, names)
    wanted = requests(TEXTS[:2], per_prompt=2)
    assert taken(tmp_path, wanted, pixels) == names
    for at in range(2):  # its own prompts prove another order
        (tmp_path / f"{at:05d}/metadata.jsonl").write_text(json.dumps({"prompt": TEXTS[1 - at]}))
    assert taken(tmp_path, wanted, pixels) == names[2:] + names[:2]
    (tmp_path / "00001/metadata.jsonl").write_text("{}")
    with pytest.raises(EvalkitError, match=r"00001/metadata\.jsonl has no prompt"):
        taken(tmp_path, wanted, pixels)


def test_geneval_with_grids_four_samples_and_prompts_in_another_order(tmp_path: Path) -> None:
    names = [f"{at:05d}/samples/{sample:04d}.png" for at in range(3) for sample in range(4)]
    grids = [f"{at:05d}/grid.png" for at in range(3)]
    pixels = fill(tmp_path, names + grids)
    for at in range(3):
        (tmp_path / f"{at:05d}/metadata.jsonl").write_text(json.dumps({"prompt": TEXTS[at]}))
    wanted = requests(TEXTS[2::-1], per_prompt=4)
    assert taken(tmp_path, wanted, pixels) == names[8:] + names[4:8] + names[:4]
    unmatched = folder.load(folder=str(tmp_path), requests=wanted).unmatched
    assert unmatched == "".join(f"file\t{grid}\ta grid beside its samples\n" for grid in grids)


def test_folders_of_groups_count_within_the_group(tmp_path: Path) -> None:
    names = [f"{style}/{at:05d}.jpg" for style in ("anime", "concept-art") for at in range(2)]
    names = [name.replace("jpg", "png") for name in names]
    pixels = fill(tmp_path, names)
    prompts = [
        Prompt("a", "one", "concept-art"),
        Prompt("b", "two", "anime"),
        Prompt("c", "three", "Anime"),
        Prompt("d", "four", "concept-art"),
    ]
    assert taken(tmp_path, requests_of(prompts, 1, 0), pixels) == [
        "concept-art/00000.png", "anime/00000.png", "anime/00001.png", "concept-art/00001.png",
    ]  # fmt: skip


def test_a_folder_per_prompt(tmp_path: Path) -> None:
    names = [f"{TEXTS[at]}/{sample}.png" for at in (1, 0) for sample in (2, 10)]
    pixels = fill(tmp_path, names)
    assert taken(tmp_path, requests(TEXTS[:2], per_prompt=2), pixels) == names[2:] + names[:2]


def test_images_in_subfolders_beside_images_are_listed(tmp_path: Path) -> None:
    pixels = fill(tmp_path, ["0.png", "1.png", "thumbnails/0.png"])
    made = folder.load(folder=str(tmp_path), requests=requests(["a", "b"]))
    assert made.unmatched == "file\tthumbnails/0.png\tin a subfolder\n"
    assert taken(tmp_path, requests(["a", "b"]), pixels) == ["0.png", "1.png"]


@pytest.mark.parametrize("kind", ["webui", "webui jpeg", "midjourney", "invokeai"])
def test_the_prompt_inside_of_the_file(kind: str, tmp_path: Path) -> None:
    texts = ["a red cube", "two dogs, on the beach"]
    for name, text in zip("xy", reversed(texts), strict=True):
        image = Image.new("RGB", (8, 8), "red" if name == "x" else "blue")
        if kind == "webui jpeg":
            exif = Image.Exif()
            ifd = exif.get_ifd(0x8769)
            ifd[0x9286] = b"UNICODE\0" + f"{text}\nSteps: 20".encode("utf-16-be")
            image.save(tmp_path / f"{name}.jpg", exif=exif)
            continue
        info = PngInfo()
        if kind == "webui":
            info.add_text("parameters", f"{text}\nNegative prompt: bad\nSteps: 20, Seed: 1")
        elif kind == "midjourney":
            info.add_itxt("Description", f"{text} --v 6 Job ID: {UUID}")
        else:
            info.add_itxt("invokeai_metadata", json.dumps({"positive_prompt": text}))
        image.save(tmp_path / f"{name}.png", pnginfo=info)
    made = folder.load(folder=str(tmp_path), requests=requests(texts))
    [first] = made([texts[1]], [requests(texts)[1].seed])
    assert first.getpixel((0, 0))[0] > 200  # type: ignore[union-attr, index]
    shutil.rmtree(tmp_path)


def test_the_manifest_names_the_source(tmp_path: Path) -> None:
    fill(tmp_path / "m", ["two dogs/7.png", "a red cube/1.png"])
    prompts = tuple(request.prompt for request in requests(["a red cube", "two dogs"]))
    run = generate(Config(models=(f"{tmp_path}/m",), prompts=prompts, out=str(tmp_path / "run")))
    assert [r.source for r in run.records("m")] == ["a red cube/1.png", "two dogs/7.png"]


def test_folders_of_seeds_are_not_prompts(tmp_path: Path) -> None:
    texts = ["a red circle", "two dogs", "a cat"]
    names = [f"seed_{seed}/{text}.png" for seed in range(2) for text in texts]
    pixels = fill(tmp_path / "named", names)
    found = taken(tmp_path / "named", requests(texts, per_prompt=2), pixels)
    assert [name.split("/")[1] for name in found] == [f"{t}.png" for t in texts for _ in "ab"]
    for folders in ("seed_{}", "{}"):
        root = tmp_path / folders.format("n")
        fill(root, [f"{folders.format(seed)}/{at:05d}.png" for seed in range(2) for at in range(3)])
        with pytest.raises(EvalkitError, match="found 6 images"):
            folder.load(folder=str(root), requests=requests(texts, per_prompt=2))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("file_name,id,prompt\n0.png,00000,b\n", "names the prompt '00000', but its text"),
        ("file_name,prompt\n0.png,a, on a mat\n", "has 3 fields; expected 2"),
        ("file_name,prompt,prompt\n0.png,a,b\n", "expected each column once"),
        ("file_name,prompt\n0.png,a\nx/../0.png,b\n", "and so does line 2"),
    ],
)
def test_mistakes_in_metadata(rows: str, message: str, tmp_path: Path) -> None:
    fill(tmp_path, ["0.png"])
    (tmp_path / "metadata.csv").write_text(rows)
    with pytest.raises(EvalkitError, match=message):
        folder.load(folder=str(tmp_path), requests=requests(["a", "b"]))


def test_names_that_only_end_with_a_prompt_are_not_taken() -> None:
    prompts = ["a cat", "a dog", "cats", "a red circle on the grass near the river"]
    names = ["a-dog-1", "two-dogs-and-a-cat-1", "2 cats", "a red circle on the grass"]
    assert prompts_in_names(names, prompts) == {"a-dog-1": "a dog"}


def test_a_text_inside_against_the_name_is_refused(tmp_path: Path) -> None:
    for name, text in (("a", "b"), ("b", "a")):
        info = PngInfo()
        info.add_text("parameters", f"{text}\nSteps: 20")
        make_image(0, text).save(tmp_path / f"{name}.png", pnginfo=info)
    with pytest.raises(EvalkitError, match="by the text in the name, it is"):
        folder.load(folder=str(tmp_path), requests=requests(["a", "b"]))


def test_replaced_images_of_a_complete_run_are_noticed(tmp_path: Path) -> None:
    fill(tmp_path / "m", ["0.png", "1.png"])
    config = Config(
        models=(f"{tmp_path}/m",),
        prompts=tuple(request.prompt for request in requests(["a", "b"])),
        out=str(tmp_path / "run"),
    )
    generate(config)
    later = (tmp_path / "run/images/m/manifest.0.jsonl").stat().st_mtime + 5
    os.utime(tmp_path / "m/0.png", (later, later))  # the same content is no change
    generate(config)
    make_image(77, "other").save(tmp_path / "m/0.png")
    os.utime(tmp_path / "m/0.png", (later, later))
    with pytest.raises(EvalkitError, match="has another image, or none, for 1 of the 2 images"):
        generate(config)
