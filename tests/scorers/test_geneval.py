"""GenEval end to end on composed scenes, with the bundled network as its detector."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evalkit
from evalkit.core import EvalkitError, MetricRow, Prompt
from evalkit.results import Run
from evalkit.scenes.compose import Item, Scene, render
from evalkit.scorer import Answer, NoAnswer
from evalkit.scorers.geneval.scorer import GENEVAL_OVERALL, GenEval


def scene(*items: tuple[str, str, int, int], size: int = 32) -> Image.Image:
    placed = tuple(Item(noun, colour, x, y, size) for noun, colour, x, y in items)
    kind = "single" if len(placed) == 1 else "pair"
    return Image.fromarray(render(Scene(kind, placed, "", "room", "soft", 0), 64))


DOG = scene(("dog", "", 8, 8), size=48)
TWO_DOGS = scene(("dog", "", 0, 16), ("dog", "", 32, 16))
CAR_LEFT_OF_CAT = scene(("car", "", 0, 16), ("cat", "", 32, 16))
RED_HEART = scene(("heart", "red", 8, 8), size=48)
RED_HEART_BLUE_STAR = scene(("heart", "red", 0, 16), ("star", "blue", 32, 16))
CASES = [
    ("single_object", "a dog", DOG, 1),
    ("single_object", "a cat", DOG, 0),
    ("two_object", "a car and a cat", CAR_LEFT_OF_CAT, 1),
    ("two_object", "a car and a dog", CAR_LEFT_OF_CAT, 0),
    ("counting", "two dogs", TWO_DOGS, 1),
    ("counting", "two dogs", DOG, 0),
    ("counting", "three dogs", TWO_DOGS, 0),
    ("colors", "a red heart", RED_HEART, 1),
    ("colors", "a blue heart", RED_HEART, 0),
    ("position", "a car left of a cat", CAR_LEFT_OF_CAT, 1),
    ("position", "a cat left of a car", CAR_LEFT_OF_CAT, 0),
    ("position", "a car above a cat", CAR_LEFT_OF_CAT, 0),
    ("color_attr", "a red heart and a blue star", RED_HEART_BLUE_STAR, 1),
    ("color_attr", "a blue heart and a red star", RED_HEART_BLUE_STAR, 0),
]
IDS = [f"{tag}-{text.replace(' ', '-')}-{value}" for tag, text, _, value in CASES]


@pytest.fixture(scope="module")
def mini() -> GenEval:
    return GenEval("mini", device="cpu")


@pytest.mark.parametrize(("tag", "text", "image", "value"), CASES, ids=IDS)
def test_an_image_and_a_prompt(
    mini: GenEval, tag: str, text: str, image: Image.Image, value: int
) -> None:
    [found] = mini([image.resize((256, 128))], [f"a photo of {text}"])
    assert isinstance(found, Answer)
    assert found.values["value"] == value
    assert found.details["tag"] == tag
    assert bool(found.details["reasons"]) is not bool(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("two dogs playing", "it is no GenEval prompt"),
        ("a photo of a toaster", "the bundled network does not know a toaster"),
        ("a photo of a red dog", "the bundled network knows the colours of shapes only"),
    ],
)
def test_a_prompt_without_a_task_has_no_number(mini: GenEval, text: str, reason: str) -> None:
    assert list(mini([DOG], [text])) == [NoAnswer(reason)]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[MetricRow]]:
    folder = tmp_path_factory.mktemp("geneval")
    cases = [*CASES, ("other", "a dog playing", DOG, 0)]
    (folder / "images").mkdir()
    for place, (*_, image, _) in enumerate(cases):
        image.save(folder / "images" / f"{place:05d}.png")
    prompts = [
        Prompt(f"{place:05d}", f"a photo of {text}", tag)
        for place, (tag, text, *_) in enumerate(cases)
    ]
    run = evalkit.generate({"a": str(folder / "images")}, prompts, out=folder / "run")
    options = {"geneval": {"detector": "mini"}}
    rows = evalkit.score(run.path, metrics="geneval,geneval_overall", only=True, options=options)
    return run, rows


def row_of(rows: list[MetricRow], metric: str, group: str = "") -> MetricRow:
    return next(row for row in rows if (row.metric, row.group) == (metric, group))


def test_the_rows_of_a_run(scored: tuple[Run, list[MetricRow]]) -> None:
    run, rows = scored
    row = row_of(rows, "geneval")
    right = [value for *_, value in CASES]
    assert row.value == pytest.approx(np.mean(right))
    assert (row.encoder, row.count, row.requested) == ("geneval-mini", 14, 15)
    assert row.interval.startswith("Wilson")
    assert "not comparable with published GenEval numbers" in row.note
    assert "1 of 15 images has no answer (1 x it is no GenEval prompt)" in row.caution
    line = json.loads(run.answers_path("a", "geneval-mini").read_text().splitlines()[0])
    assert list(line["details"]["objects"]) == ["dog"]


def test_the_overall_score_is_the_mean_over_the_tags(
    scored: tuple[Run, list[MetricRow]],
) -> None:
    _, rows = scored
    tags = list(dict.fromkeys(tag for tag, *_ in CASES))
    shares = [np.mean([v for tag, *_, v in CASES if tag == one]) for one in tags]
    row = row_of(rows, "geneval_overall")
    assert row.value == pytest.approx(np.mean(shares))
    assert row.value != pytest.approx(np.mean([value for *_, value in CASES]))
    assert row.low is not None
    assert row.high is not None
    assert row.low < np.mean(shares) < row.high
    for tag, share in zip(tags, shares, strict=True):
        assert row_of(rows, "geneval", tag).value == pytest.approx(share)


def test_overall_counts_tags_alike() -> None:
    numbers = [0.0, 1.0, 1.0, 1.0, 11.0, 4.0, 5.0, 3.0, 6.0, 9.0]
    tagged = torch.tensor([[number] for number in numbers], dtype=torch.float64)
    expected = (0.75 + 1 + 0.5 + 1 + 0 + 1) / 6
    assert float(GENEVAL_OVERALL.compute(fake=tagged)) == pytest.approx(expected)
    with pytest.raises(EvalkitError, match="no answer for color_attr; expected"):
        GENEVAL_OVERALL.compute(fake=tagged[tagged[:, 0] < 10])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "yolo"}, "GenEval has no detector 'yolo'; expected owlv2"),
        ({"detector": "mini", "model": "x/y"}, "it is the bundled network"),
        ({"detector": "mini", "threshold": 1.5}, "A threshold of GenEval is 1.5"),
    ],
    ids=["detector", "model", "threshold"],
)
def test_options_that_it_cannot_have(options: dict[str, object], message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        GenEval(**options)  # type: ignore[arg-type]


def test_other_thresholds_are_part_of_the_name_and_the_fingerprint(mini: GenEval) -> None:
    other = GenEval("mini", counting_threshold=0.5, device="cpu")
    assert (mini.name, other.name) == ("geneval-mini", "geneval-mini-0.3-0.5")
    assert mini.fingerprint != other.fingerprint


@pytest.mark.parametrize("counting", [0.9, 0.5])
def test_the_bundled_network_decides_nothing_on_other_images(
    scored: tuple[Run, list[MetricRow]], counting: float
) -> None:
    run, _ = scored
    options = {"geneval": {"detector": "mini", "counting_threshold": counting}}
    rows = evalkit.score(run.path, metrics="geneval", only=True, options=options)
    name = "geneval-mini" if counting == 0.9 else "geneval-mini-0.3-0.5"
    assert row_of(rows, "geneval").encoder == name
    assert run.protocol()["blind_encoders"] == [name]


def test_missing_weights_are_one_sentence_in_the_row(
    scored: tuple[Run, list[MetricRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    run, _ = scored
    rows = evalkit.score(
        run.path,
        metrics="geneval,duplicates",
        only=True,
        options={"geneval": {"detector": "owlv2"}},
        encoders="pixels",
    )
    assert row_of(rows, "geneval").note == (
        "not measured: The model 'google/owlv2-base-patch16-ensemble' is not in the hub's cache,"
        " and evalkit does not download it. Fetch it once with"
        " `hf download google/owlv2-base-patch16-ensemble`"
    )
