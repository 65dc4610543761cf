"""results.jsonl of GenEval's own program: rows, intervals, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import evalkit
from evalkit.core import EvalkitError, FailedMetricWarning, MetricRow
from evalkit.prompts.geneval import TAGS, geneval_prompts
from evalkit.scorer import Answer, NoAnswer
from evalkit.scorers.geneval.results import GenEvalResults
from evalkit.scorers.geneval.task import Vocabulary

SAMPLES = 2
# Three prompts of each tag, with other shares of correct images.
PROMPTS = [[p for p in geneval_prompts() if p.group == tag][:3] for tag in TAGS]
LISTED = [prompt for of_tag in PROMPTS for prompt in of_tag]


def image_of(place: int, sample: int) -> Image.Image:
    pixels = np.random.default_rng(10 * place + sample).integers(0, 256, (32, 40, 3), np.uint8)
    return Image.fromarray(pixels)


def is_correct(place: int, sample: int) -> bool:
    return place % 4 != 0 or (sample == 0 and place > 8)


def lines(root: str) -> list[dict[str, Any]]:
    """What evaluate_images.py writes about the folder `root`."""
    rows = []
    for place, prompt in enumerate(LISTED):
        task = Vocabulary().task(prompt.text)
        assert task is not None
        for sample in range(SAMPLES):
            rows.append(
                {
                    "filename": f"{root}/{place:05d}/samples/{sample:04d}.png",
                    "tag": prompt.group,
                    "prompt": prompt.text,
                    "correct": is_correct(place, sample),
                    "reason": "" if is_correct(place, sample) else "expected more",
                    "metadata": json.dumps(task.metadata(prompt.text)),
                    "details": "{}",
                }
            )
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of GenEval with its results, whose paths are those of another machine."""
    root = tmp_path_factory.mktemp("official")
    for place, prompt in enumerate(LISTED):
        task = Vocabulary().task(prompt.text)
        assert task is not None
        samples = root / "images" / f"{place:05d}" / "samples"
        samples.mkdir(parents=True)
        (samples.parent / "metadata.jsonl").write_text(json.dumps(task.metadata(prompt.text)))
        for sample in range(SAMPLES):
            image_of(place, sample).save(samples / f"{sample:04d}.png")
    write(root / "results.jsonl", lines("/elsewhere/sdxl"))
    return root


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[MetricRow]:
    """The folder as a model of a run, scored with its results."""
    run = evalkit.generate(
        {"sdxl": str(folder / "images")}, LISTED, per_prompt=SAMPLES, out=folder / "run"
    )
    options = {
        "geneval_results": {
            "file": str(folder / "results.jsonl"),
            "images": str(folder / "images"),
        }
    }
    metrics = "geneval_results,geneval_results_overall"
    return evalkit.score(run.path, metrics=metrics, only=True, options=options)


def row_of(rows: list[MetricRow], metric: str, group: str = "") -> MetricRow:
    return next(row for row in rows if (row.metric, row.group) == (metric, group))


def test_the_share_of_correct_images_with_its_interval(rows: list[MetricRow]) -> None:
    row = row_of(rows, "geneval_results")
    correct = [is_correct(p, s) for p in range(len(LISTED)) for s in range(SAMPLES)]
    assert row.value == pytest.approx(np.mean(correct))
    assert (row.encoder, row.count, row.requested) == ("geneval-official", 36, 36)
    assert (row.note, row.caution) == ("", "")
    assert row.low is not None
    assert row.high is not None
    assert row.low < np.mean(correct) < row.high
    assert "18 prompts" in row.interval


def test_tags_and_the_overall_score(rows: list[MetricRow]) -> None:
    shares = []
    for at, tag in enumerate(TAGS):
        places = range(3 * at, 3 * at + 3)
        share = np.mean([is_correct(p, s) for p in places for s in range(SAMPLES)])
        assert row_of(rows, "geneval_results", tag).value == pytest.approx(share)
        shares.append(share)
    overall = row_of(rows, "geneval_results_overall")
    assert overall.value == pytest.approx(np.mean(shares))
    assert overall.low is not None
    assert overall.high is not None
    assert overall.low < np.mean(shares) < overall.high


def test_images_are_found_at_the_paths_of_the_file_too(folder: Path, tmp_path: Path) -> None:
    file = write(folder / "beside.jsonl", lines("images"))  # relative to the file
    found = list(GenEvalResults(file=str(file))([image_of(4, 1)], [LISTED[4].text]))
    assert isinstance(found[0], Answer)
    assert found[0].values["value"] == 0
    assert found[0].details["reason"] == "expected more"


def test_an_image_that_was_not_evaluated_has_no_number(folder: Path) -> None:
    scorer = GenEvalResults(file=str(folder / "results.jsonl"), images=str(folder / "images"))
    [found] = scorer([image_of(99, 0)], [LISTED[0].text])
    assert found == NoAnswer("results.jsonl has no result for the image", again=True)


def test_an_image_with_another_prompt_is_refused_with_both(folder: Path) -> None:
    scorer = GenEvalResults(file=str(folder / "results.jsonl"), images=str(folder / "images"))
    with pytest.raises(EvalkitError) as caught:
        list(scorer([image_of(0, 0)], [LISTED[1].text]))
    assert repr(LISTED[0].text) in caught.value.message
    assert repr(LISTED[1].text) in caught.value.message


def test_two_results_for_one_image_are_refused(folder: Path, tmp_path: Path) -> None:
    rows = lines(str(folder / "images"))[:2]
    again = rows[0] | {"correct": True, "filename": str(tmp_path / "00000/samples/0000.png")}
    (tmp_path / "00000" / "samples").mkdir(parents=True)
    image_of(0, 0).save(again["filename"])
    scorer = GenEvalResults(file=str(write(tmp_path / "results.jsonl", [*rows, again])))
    with pytest.raises(EvalkitError, match=r"\(not correct\) and .*\(correct\)"):
        list(scorer([image_of(0, 0)], [LISTED[0].text]))


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a\0b", "", "/"], ids=["long", "nul", "empty", "root"]
)
def test_names_that_no_image_can_have(name: str, tmp_path: Path) -> None:
    file = write(tmp_path / "results.jsonl", [lines("images")[0] | {"filename": name}])
    for images in ("", str(tmp_path)):
        with pytest.raises(EvalkitError, match="None of the images"):
            list(GenEvalResults(file=str(file), images=images)([image_of(0, 0)], ["x"]))


def test_images_that_are_not_there(folder: Path) -> None:
    scorer = GenEvalResults(file=str(folder / "results.jsonl"))
    with pytest.raises(EvalkitError, match=r"None of the images .* was found") as caught:
        list(scorer([image_of(0, 0)], [LISTED[0].text]))
    assert "geneval_results.images=FOLDER" in caught.value.hint


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no correct": ({"correct": "yes"}, "Line 1 of .* is not a result: expected filename, prompt"),
    "tag": ({"tag": "colors", "metadata": None}, "was evaluated for colors; its prompt asks for"),
    "metadata": (
        {"metadata": json.dumps({"tag": "single_object", "include": [], "prompt": "x"})},
        "was evaluated for .*'include': \\[\\].*; its prompt asks for .*'class': 'bench'",
    ),
    "prompt": ({"prompt": "a dog", "tag": "x"}, "has the prompt 'a dog' and the tag 'x'"),
    "number": ({"metadata": 3}, "was evaluated for 3; its prompt asks for"),
    "json": ({"metadata": "{"}, "The metadata in line 1 is not valid JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_line_that_contradicts_itself_is_refused(name: str, tmp_path: Path) -> None:
    change, message = WRONG[name]
    file = write(tmp_path / "results.jsonl", [lines("images")[0] | change])
    with pytest.raises(EvalkitError, match=message):
        GenEvalResults(file=str(file))


def test_one_image_twice_in_the_file_is_refused(tmp_path: Path) -> None:
    first = lines("images")[0]
    file = write(tmp_path / "results.jsonl", [first, first | {"correct": True}])
    with pytest.raises(EvalkitError, match=r"twice: not correct in line 1, correct in line 2"):
        GenEvalResults(file=str(file))


@pytest.mark.parametrize("content", [b"", b"{", b"[]\n", b"\xff\xfe", b"3\n"], ids=range(5))
def test_other_files_are_one_sentence(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_bytes(content)
    with pytest.raises(EvalkitError) as caught:
        GenEvalResults(file=str(file))
    assert caught.value.message.endswith(".")
    with pytest.raises(EvalkitError, match="cannot be read"):
        GenEvalResults(file=str(tmp_path / "none.jsonl"))


def test_a_mismatch_in_a_run_loses_no_other_result(folder: Path, tmp_path: Path) -> None:
    prompts = [LISTED[1].text, LISTED[0].text]  # in the wrong order
    images = tmp_path / "images"
    images.mkdir()
    for place in range(2):
        image_of(place, 0).save(images / f"{place:05d}.png")
    run = evalkit.generate({"a": str(images)}, prompts, out=tmp_path / "run")
    options = {
        "geneval_results": {
            "file": str(folder / "results.jsonl"),
            "images": str(folder / "images"),
        }
    }
    with pytest.warns(FailedMetricWarning, match="which has the prompt"):
        found = evalkit.score(run.path, metrics="geneval_results", only=True, options=options)
    row = row_of(found, "geneval_results")
    assert row.value is None
    assert "which has the prompt" in row.note
