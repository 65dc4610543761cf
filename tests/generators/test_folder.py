"""A folder of existing images as a model: which image each prompt gets."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import make_image

from evalkit.config import Config
from evalkit.core import EvalkitError, Prompt, Refusal, Request
from evalkit.generate.generate import generate
from evalkit.generate.plan import requests_of
from evalkit.generators import folder, noise
from evalkit.generators.file_names import prompts_in_names, slug
from evalkit.generators.pairing import CUT, pair
from evalkit.images import encode_png


def requests(*texts: str, per_prompt: int = 1, ids: list[str] | None = None) -> list[Request]:
    ids = ids or [f"{at:05d}" for at in range(len(texts))]
    return requests_of(
        [Prompt(name, text) for name, text in zip(ids, texts, strict=True)], per_prompt, 0
    )


def fill(path: Path, *names: str) -> dict[str, bytes]:
    """Write a different image to each file; name -> pixels."""
    path.mkdir(exist_ok=True)
    images = {name: make_image(at, name) for at, name in enumerate(names)}
    for name, image in images.items():
        (path / name).write_bytes(encode_png(image))
    return {name: image.tobytes() for name, image in images.items()}


def matched(path: Path, wanted: list[Request], **options: str) -> list[str | None]:
    """The file that each request got, by its pixels; None for a refusal."""
    pixels = {pixels_of(file): file.name for file in path.iterdir() if file.suffix == ".png"}
    results = folder.load(folder=str(path), requests=wanted, **options)(
        [r.prompt.text for r in wanted], [r.seed for r in wanted]
    )
    return [None if isinstance(result, Refusal) else pixels[result.tobytes()] for result in results]


def pixels_of(file: Path) -> bytes:
    from evalkit.images import read_image

    return read_image(file, "white").tobytes()


@pytest.mark.parametrize(
    ("files", "expected", "way"),
    [
        (
            ["00000-0.png", "00001-0.png", "00002-0.png"],
            ["00000-0.png", "00001-0.png", "00002-0.png"],
            "index",
        ),
        (["0.png", "1.png", "2.png"], ["0.png", "1.png", "2.png"], "index"),
        (["1.png", "2.png", "3.png"], ["1.png", "2.png", "3.png"], "counted from 1"),
        (["0.png", "2.png"], ["0.png", None, "2.png"], "index"),
        (["x0.png", "x2.png", "x1.png"], ["x0.png", "x1.png", "x2.png"], "index"),
        (
            ["ComfyUI_00001_.png", "ComfyUI_00003_.png"],
            ["ComfyUI_00001_.png", None, "ComfyUI_00003_.png"],
            "counted from 1",
        ),
        (
            ["00000-9000.png", "00001-9001.png", "00002-7.png"],
            ["00000-9000.png", "00001-9001.png", "00002-7.png"],
            "index",
        ),
        (
            ["a-red-cube.png", "two_dogs.png", "A cat!.png"],
            ["A cat!.png", "a-red-cube.png", "two_dogs.png"],
            "text",
        ),
        (
            ["007-two-dogs.png", "003-a-cat.png"],
            ["003-a-cat.png", None, "007-two-dogs.png"],
            "text",
        ),
    ],
)
def test_matching_rules(
    files: list[str],
    expected: list[str | None],
    way: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    fill(tmp_path / "pics", *files)
    assert matched(tmp_path / "pics", requests("a cat", "a red cube", "two dogs")) == expected
    assert way in caplog.text
    assert f"matched {len(files)} of 3" in caplog.text


def test_prompt_ids_win_over_positions(tmp_path: Path) -> None:
    fill(tmp_path / "pics", "1.png", "2.png", "3.png", "000000000139.png")
    assert matched(tmp_path / "pics", requests("a", "b", "c", ids=["3", "2", "1"])) == [
        "3.png",
        "2.png",
        "1.png",
    ]
    fill(tmp_path / "coco", "000000000001.png", "000000000139.png")
    assert matched(tmp_path / "coco", requests("a", "b", ids=["139", "1"])) == [
        "000000000139.png",
        "000000000001.png",
    ]


def test_samples_and_repeated_prompts_get_their_own_images(tmp_path: Path) -> None:
    names = [f"{at:05d}-{sample}.png" for at in range(3) for sample in range(2)]
    fill(tmp_path / "pics", *names)
    assert matched(tmp_path / "pics", requests("a", "a", "a", per_prompt=2)) == names
    fill(tmp_path / "slugs", "a cat-1.png", "a cat-2.png", "a cat-10.png")
    assert matched(tmp_path / "slugs", requests("a cat", "a dog", "a cat", per_prompt=2)) == [
        "a cat-1.png", "a cat-2.png", None, None, "a cat-10.png", None,
    ]  # fmt: skip


def test_a_list_in_the_folder_wins(tmp_path: Path) -> None:
    fill(tmp_path / "pics", "00000.png", "00001.png", "00002.png")
    rows = [
        {"file": "00002.png", "prompt": "a cat "},
        {"file": "00000.png", "id": 1},
        {"file": "00001.png", "text": "a fish"},
    ]
    (tmp_path / "pics/prompts.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert matched(tmp_path / "pics", requests("a cat", "a dog", ids=["0", "1"])) == [
        "00002.png",
        "00000.png",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"file": 3, "id": 1}',
        '{"file": "00000.png"}',
        '{"file": "no.png", "id": 0}',
        '{"file": "../secret.png", "id": 0}',
        '{"file": "00000.png", "text": 1}',
    ],
)
def test_a_mistake_in_the_list_names_its_line(line: str, tmp_path: Path) -> None:
    fill(tmp_path / "pics", "00000.png")
    fill(tmp_path, "secret.png")
    (tmp_path / "pics/prompts.jsonl").write_text(line)
    with pytest.raises(EvalkitError, match="Line 1 of"):
        matched(tmp_path / "pics", requests("a"))


def test_the_run_keeps_the_list_of_unmatched_files(tmp_path: Path) -> None:
    fill(tmp_path / "pics", "00000.png", "logo.png")
    config = {
        "models": (str(tmp_path / "pics"),),
        "prompts": tuple(r.prompt for r in requests("a", "b")),
        "out": str(tmp_path / "run"),
    }
    run = generate(Config(**config))
    assert (
        run.image_folder("pics") / "unmatched.txt"
    ).read_text() == "file\tlogo.png\tno matching prompt\nprompt\t00001-0 b\n"
    assert [record.status for record in generate(Config(**config)).records("pics")] == [
        "ok",
        "missing",
    ]  # nothing left to do
    assert [record.memory for record in run.records("pics")] == [0, 0]


def test_an_image_that_is_listed_twice_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path / "pics", "0.png", "1.png")
    rows = [
        {"file": "0.png", "prompt": "a"},
        {"file": "1.png", "prompt": "b"},
        {"file": "0.png", "prompt": "c"},
    ]
    (tmp_path / "pics/prompts.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(EvalkitError, match=r"Line 3 of .*names '0.png', and so does line 1"):
        matched(tmp_path / "pics", requests("a", "b", "c"))


def test_missing_images_are_refusals_and_unmatched_files_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "pics", "00000.png", "00007.png", "logo.png")
    wanted = requests("a", "b")
    made = folder.load(folder=str(tmp_path / "pics"), requests=wanted, match="from0")
    results = made(["b"], [wanted[1].seed])
    assert results == [Refusal("missing", "no image in the folder for this prompt")]
    extra, missing = warnings_of(caplog)
    assert extra == "pics: 2 files are not taken: 2 no matching prompt (00007.png, logo.png)"
    assert missing == "pics: 1 of 2 requested images is missing (00001-0 b)"


def test_all_unmatched_files_are_listed_and_ten_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "pics", "00000.png", *(f"x{letter}.png" for letter in "abcdefghijkl"))
    wanted = requests("a", *(f"missing\u2028number {at}" for at in range(12)))
    lines = folder.load(folder=str(tmp_path / "pics"), requests=wanted).unmatched.splitlines()
    assert lines[:12] == [f"file\tx{letter}.png\tno matching prompt" for letter in "abcdefghijkl"]
    assert lines[12:] == [f"prompt\t{at + 1:05d}-0 missing number {at}" for at in range(12)]
    for warning in warnings_of(caplog):
        assert "12 " in warning
        assert warning.rstrip(")").endswith(", …")
        assert warning.count(",") == 10
    assert (
        folder.load(folder=str(tmp_path / "pics"), requests=wanted[:1]).unmatched.count("prompt\t")
        == 0
    )


def test_long_names_are_shortened_in_the_middle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "pics", "0.png", f"{'x' * 150}_3.png")
    folder.load(folder=str(tmp_path / "pics"), requests=requests("a"))
    [line] = warnings_of(caplog)
    assert "x…x" in line
    assert line.endswith("_3.png)")


def test_duplicate_images_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "pics", "00000.png", "00001.png", "00002.png")
    (tmp_path / "pics/00002.png").write_bytes((tmp_path / "pics/00000.png").read_bytes())
    folder.load(folder=str(tmp_path / "pics"), requests=requests("a", "b", "c"))
    assert warnings_of(caplog) == ["pics: 1 duplicate images: 00000.png = 00002.png"]


@pytest.mark.parametrize(
    "lists",
    [
        {"metadata.csv": "file_name,prompt\n0.png,a cat\n1.png,a dog\n"},
        {"captions.tsv": "file\tprompt\n0.png\ta cat\n1.png\ta dog\n"},
        {"0.txt": "a cat", "1.txt": "a dog"},
        {"0.json": '{"prompt": "a cat"}', "1.json": '{"prompt": "a dog"}'},
    ],
)  # fmt: skip
def test_a_list_that_decides_is_used_and_other_files_are_named(
    lists: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "0.png", "1.png")
    for name, text in (lists | {"notes.pdf": "x"}).items():
        (tmp_path / name).write_text(text)
    assert matched(tmp_path, requests("a cat", "a dog")) == ["0.png", "1.png"]
    assert warnings_of(caplog) == [
        f"{tmp_path.name}: 1 file is not taken: 1 not an image (notes.pdf)"
    ]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


UUIDS = [f"{at:08x}-1a2b-4c3d-8e9f-0123456789ab" for at in range(20)]
DOWNLOADS = {  # names of downloads by several services, and the index of the prompt
    f"ann_b_a_red_circle_on_the_grass_{UUIDS[0]}": 0,
    f"ann_b_a_red_circle_on_the_grass_{UUIDS[1]}_0": 0,
    f"ann_b_a_red_circle_on_the_grass_{UUIDS[1]}_3": 0,
    f"ann_b_A_cats_hat_in_1990_{UUIDS[2]}_1": 1,
    f"ann_b_a_dog_on_the_beach_--ar_32_--v_6_{UUIDS[3]}": 2,
    f"ann_b_a_dog_{UUIDS[4]}": 3,
    f"ann_b_a_very_long_prompt_about_a_castle_in_the_sky_with_dr_{UUIDS[5]}": 4,
    f"ann_b_a_very_long_prompt_about_a_castle_in_the_sky_{UUIDS[6]}": None,  # of two prompts
    f"ann_b_a_black_cat_{UUIDS[7]}": None,  # not the prompt "cat"
    f"ann_b_something_else_{UUIDS[8]}": None,
    "DALL·E 2026-01-02 10.11.12 - A red circle on the grass": 0,
    "DALL·E 2026-01-03 10.11.12 - A dog": 3,
    "Default_a_dog_0": 3,
    "Default_cat_1": 6,
    "00017-1234567-a dog": 3,
    "logo": None,
    "black cat": None,
}


def test_names_of_downloads_contain_the_prompt() -> None:
    prompts = [
        "a red circle on the grass",
        "A cat's hat, in 1990",
        "a dog on the beach",
        "a dog",
        "a very long prompt about a castle in the sky with dragons and knights",
        "a very long prompt about a castle in the sky with a moat",
        "cat",
    ]
    found = prompts_in_names(list(DOWNLOADS), prompts)
    assert {name: found.get(name) for name in DOWNLOADS} == {
        name: None if at is None else prompts[at] for name, at in DOWNLOADS.items()
    }


def test_a_folder_of_downloads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    texts = ("a dog", "a red circle on the grass", "a cat")
    names = [
        f"ann_{slug(text).replace('-', '_')}_{UUIDS[at]}_{sample}.png"
        for at, text in enumerate(texts[:2])
        for sample in range(4)
    ]
    fill(tmp_path / "pics", *names[::-1], "ann_a_fish_" + UUIDS[9] + ".png")
    assert matched(tmp_path / "pics", requests(*texts, per_prompt=4)) == [
        *names,
        None,
        None,
        None,
        None,
    ]
    assert "by prompt text in the file name" in caplog.text
    assert (
        f"file\tann_a_fish_{UUIDS[9]}.png\tno matching prompt"
        in folder.load(folder=str(tmp_path / "pics"), requests=requests(*texts)).unmatched
    )


@settings(deadline=None)
@given(
    texts=st.lists(
        st.text("abc dé'.,-日", min_size=1, max_size=30).filter(slug),
        min_size=2,
        max_size=5,
        unique_by=slug,
    ),
    user=st.sampled_from(
        ["ann", "ann_x", "x1"]
    ),  # not a word of a prompt: "ann_b_a" is ambiguous, and is then left out
)
def test_every_prompt_is_found_in_the_name_of_its_download(texts: list[str], user: str) -> None:
    names = {
        f"{user}_{slug(text).replace('-', '_')}_{UUIDS[at]}": text for at, text in enumerate(texts)
    }
    found = prompts_in_names(list(names), texts)
    assert all(
        text in found.values()
        for text in texts
        if all(not slug(text).startswith(slug(other)) for other in texts if other != text)
    )
    assert all(found[name] == names[name] for name in found)


def test_a_folder_without_matches_and_a_folder_without_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "pics", "x.png", "y.png")
    with pytest.raises(EvalkitError, match="found 2 images") as error:
        matched(tmp_path / "pics", requests("a", "b"))
    assert "match=order" in error.value.hint
    assert matched(tmp_path / "pics", requests("a", "b"), match="order") == ["x.png", "y.png"]
    assert "check that the sorted file names follow the prompts" in caplog.text
    with pytest.raises(EvalkitError, match="option match is 'oder'; expected auto, text"):
        matched(tmp_path / "pics", requests("a", "b"), match="oder")
    (tmp_path / "empty/images/noise").mkdir(parents=True)
    with pytest.raises(EvalkitError, match="contains no images") as error:
        matched(tmp_path / "empty", requests("a"))
    assert "images/<model>" in error.value.hint


TEXTS = (
    "a red cube on a wooden table in the morning light",
    "a blue ball beside a tall green tree in the park",
)


def test_names_with_too_short_beginnings_of_prompts_are_counted(tmp_path: Path) -> None:
    fill(tmp_path / "pics", *(f"{text[:39].replace(' ', '_')}.png" for text in TEXTS), "other.png")
    with pytest.raises(EvalkitError, match="2 names begin a prompt, but with fewer than 40 let"):
        matched(tmp_path / "pics", requests(*TEXTS))
    fill(tmp_path / "more", f"{TEXTS[0]}.png", f"{TEXTS[1][:20]}.png", "other.png", "a.png")
    files = list((tmp_path / "more").iterdir())
    left = {path.name: why for path, why in pair(files, requests(*TEXTS)).left.items()}
    assert left.pop(f"{TEXTS[1][:20]}.png") == CUT
    assert left == dict.fromkeys(("other.png", "a.png"), "no matching prompt")
    fill(tmp_path / "long", *(f"{text[:40].replace(' ', '_')}.png" for text in TEXTS))
    assert len(matched(tmp_path / "long", requests(*TEXTS))) == 2


def test_a_name_with_two_suffixes_has_the_text_before_them(tmp_path: Path) -> None:
    names = [f"{TEXTS[0]}.jpg.png", f"{TEXTS[1]}.png"]
    fill(tmp_path / "pics", *names)
    assert matched(tmp_path / "pics", requests(*TEXTS)) == names


@pytest.mark.parametrize(
    ("names", "message"),
    [(["x.png", "y.png"], "my label: No image in"), (["1.png"], "my label (FOLDER): The file")],
)
def test_images_that_cannot_be_paired_are_named_by_model_and_folder(
    names: list[str], message: str, tmp_path: Path
) -> None:
    fill(tmp_path / "pics", *names)
    prompts = tuple(request.prompt for request in requests("a", "b", "c"))
    models = (f"my label={tmp_path}/pics",)
    with pytest.raises(EvalkitError) as error:
        generate(Config(models=models, prompts=prompts, out=str(tmp_path / "run")))
    folder_of_images = str((tmp_path / "pics").resolve())
    assert error.value.message.startswith(message.replace("FOLDER", folder_of_images))
    assert folder_of_images in error.value.message
    assert "`--set 'my label.match=" in error.value.hint


def test_all_invalid_images_are_reported_before_anything_is_written(tmp_path: Path) -> None:
    fill(tmp_path / "pics", "0.png", "1.png", "2.png", "3.png")
    for name in ("1.png", "3.png"):
        (tmp_path / "pics" / name).write_bytes((tmp_path / "pics" / name).read_bytes()[:50])
    with pytest.raises(EvalkitError, match=r"2 of 4 images .*1\.png .*3\.png") as found:
        generate(
            Config(
                models=(str(tmp_path / "pics"),),
                prompts=tuple(r.prompt for r in requests("a", "b", "c", "d")),
                out=str(tmp_path / "run"),
            )
        )
    assert not (tmp_path / "run").exists()
    assert f"`evalkit score {tmp_path / 'pics'} --on-bad skip`" in found.value.hint


def test_transparency_needs_an_option_and_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    image = make_image(0, "")
    image.putalpha(100)
    image.save(tmp_path / "pics/0.png")
    prompts = tuple(r.prompt for r in requests("a"))
    config = {"models": (str(tmp_path / "pics"),), "prompts": prompts, "out": str(tmp_path / "run")}
    with pytest.raises(EvalkitError, match="partly transparent") as error:
        generate(Config(**config))
    assert "alpha=white" in error.value.hint
    run = generate(Config(**config, options={"pics": {"alpha": "white"}}))
    assert run.records("pics")[0].extra == "transparency composited on white"
    with pytest.raises(EvalkitError, match="expected refuse, white or black"):
        generate(
            Config(**config | {"out": str(tmp_path / "2")}, options={"pics": {"alpha": "pink"}})
        )


def test_a_model_of_a_finished_run_is_matched_by_its_prompts(tmp_path: Path) -> None:
    first = generate(
        Config(
            models=("models_for_tests:refuses",),
            prompts=tuple(r.prompt for r in requests("a gun", "b", "c", "b")),
            out=str(tmp_path / "a"),
        )
    )
    images = first.image_folder("models_for_tests:refuses")
    wanted = requests("c", "b", "a gun", "new", "b")
    results = folder.load(folder=str(images), requests=wanted)(
        [r.prompt.text for r in wanted], [r.seed for r in wanted]
    )
    assert [result if isinstance(result, Refusal) else result.tobytes() for result in results] == [
        pixels_of(images / "00002-0.png"),
        pixels_of(images / "00001-0.png"),
        Refusal("refused_input", "policy"),
        Refusal("missing", "no image in the folder for this prompt"),
        pixels_of(images / "00003-0.png"),
    ]


def test_noise_depends_on_the_seed_only() -> None:
    generator = noise.load(size=5)
    first, second, again = generator(["a", "b", "c"], [1, 2, 1])
    assert first.size == (5, 5)  # type: ignore[union-attr]
    assert first.tobytes() == again.tobytes() != second.tobytes()  # type: ignore[union-attr]
    for size in (0, 5000):
        with pytest.raises(EvalkitError, match=r"noise\.size"):
            noise.load(size=size)
