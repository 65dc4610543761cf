"""Scorers through the public surface: values, answers that are missing, faults, cache, options."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from PIL import Image
from scorers_for_tests import CALLS, FAULT

import evalkit
from evalkit import plugins
from evalkit.core import EvalkitError, FailedMetricWarning, MetricRow, NothingMeasuredWarning
from evalkit.results import Run

COLOUR = "evalkit.scorers.colour_match:COLOUR_MATCH"
PROMPTS = ["a red circle", "a blue square", "a dog", "two green cups", "a heart", "a red tree"]
OWN = "scorers_for_tests:"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("scorers") / "run"
    return evalkit.generate({"a": "noise", "b": "gan"}, PROMPTS, per_prompt=2, out=out)


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    CALLS.clear()
    FAULT[0] = ""
    return Run(shutil.copytree(made.path, tmp_path / "run"))


def rows_of(run: Run, specs: str, **more: object) -> dict[tuple[str, str], MetricRow]:
    rows = evalkit.score(run.path, metrics=specs, only=True, **more)  # type: ignore[arg-type]
    return {(row.model, row.metric): row for row in rows}


def test_values_intervals_and_pairs_leave_out_images_without_an_answer(run: Run) -> None:
    row = rows_of(run, f"{OWN}LENGTH,{OWN}WIDTH,{OWN}SHORTEST")["a", "length"]
    lengths = [len(prompt) for prompt in PROMPTS if "dog" not in prompt]
    assert row.value == pytest.approx(sum(lengths) / len(lengths))
    assert row.low is not None
    assert row.high is not None
    assert row.low < row.value < row.high
    assert (row.count, row.requested, row.encoder) == (10, 12, "length-1")
    assert row.caution == "a: 2 of 12 images have no answer (2 x no dogs)"
    assert row.reference == ""
    values = {row.metric: row.value for row in run.metrics() if row.model == "a"}
    assert values["shortest"] == min(lengths)
    assert values["width"] == 32
    [pair] = [row for row in run.comparisons().rows if row.metric == "length"]
    assert (pair.images, pair.prompts, pair.difference) == (10, 5, 0)
    scores = run.scores_path.read_text().splitlines()
    assert "a,2,0,length,length-1," in scores  # no answer: an empty cell, and no 0
    assert f"a,0,1,length,length-1,{float(len(PROMPTS[0]))}" in scores


def test_two_numbers_of_one_scorer_take_one_pass_and_are_kept(run: Run) -> None:
    specs = f"{OWN}LENGTH,{OWN}WIDTH"
    first = rows_of(run, specs)
    assert sum(count for count, _ in CALLS) == 24  # images of two models, once each
    CALLS.clear()
    assert rows_of(run, specs) == first
    assert not CALLS
    line = json.loads(run.answers_path("a", "length-1").read_text().splitlines()[0])
    assert line["details"] == {"words": PROMPTS[0].split()}


def test_options_are_kept_by_the_run_and_are_part_of_the_cache(run: Run) -> None:
    plain = rows_of(run, f"{OWN}LENGTH")["a", "length"].value
    doubled = rows_of(run, f"{OWN}LENGTH", options={"length": {"factor": "2"}})["a", "length"]
    assert plain is not None
    assert doubled.value == pytest.approx(2 * plain)
    assert tomllib.loads(run.config_path.read_text())["scorer"] == {"length": {"factor": 2.0}}
    CALLS.clear()
    again = {row.model: row for row in evalkit.score(run.path) if row.metric == "length"}
    assert again["a"] == doubled
    rows_of(run, f"{OWN}LENGTH", options={"length": {"factor": 1.0}})
    assert not CALLS  # the answers of the other setting were kept


@pytest.mark.parametrize(
    ("metrics", "name", "message", "hint"),
    [
        ("geneval_overall", "geneval_overall", "takes those of 'geneval'", "`--set geneval."),
        (f"{OWN}LENGTH", "geneval", "not among the scorers", "`--metrics geneval`"),
    ],
)
def test_options_of_a_scorer_that_has_none_or_is_not_named(
    run: Run, metrics: str, name: str, message: str, hint: str
) -> None:
    with pytest.raises(EvalkitError, match=message) as raised:
        rows_of(run, metrics, options={name: {"detector": "mini"}})
    assert hint in str(vars(raised.value))


def test_known_names_are_not_listed_twice(run: Run) -> None:
    with pytest.raises(EvalkitError, match="expected owlv2, ") as raised:
        rows_of(run, "geneval", options={"geneval": {"detector": "foo"}})
    assert "Known" not in raised.value.hint
    with pytest.raises(EvalkitError, match="expected fid, ") as raised:
        evalkit.conventions(run.path, metric="mini_judge")
    assert "Known" not in raised.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": {"faktor": 1}}, "The scorer 'length' has no option 'faktor'."),
        ({"length": {"factor": "x"}}, "length.factor is 'x'; expected a finite number."),
        ({"lenght": {"factor": 1}}, "'lenght', which is not among the scorers of this run."),
    ],
)
def test_wrong_options_are_refused_before_anything_is_scored(
    run: Run, options: dict[str, dict[str, object]], message: str
) -> None:
    with pytest.raises(EvalkitError) as raised:
        rows_of(run, f"{OWN}LENGTH", options=options)
    assert message in raised.value.message
    assert not CALLS
    assert not run.metrics_path.exists()


def test_run_takes_options_of_scorers_beside_those_of_models(tmp_path: Path) -> None:
    options = {"noise": {"size": 24}, "colour_match": {"distance": 255}}
    run = evalkit.run("noise", PROMPTS, out=tmp_path / "run", metrics=[COLOUR], options=options)
    [row] = [row for row in run.metrics() if row.metric == "colour_match"]
    assert (row.value, row.count, row.encoder) == (1.0, 4, "colour-match-255")
    grown = evalkit.run(out=run.path, per_prompt=2)
    [row] = [row for row in grown.metrics() if row.metric == "colour_match"]
    assert (row.value, row.count, row.encoder) == (1.0, 8, "colour-match-255")
    assert "no answer" in (run.report_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("text", "returned a str; expected one number"),
        ("few", "returned fewer answers than images (12)"),
        ("many", "returned more answers than images (12)"),
        ("none", "failed: TypeError"),
        ("empty", "returned a NoAnswer without a reason"),
        ("details", "returned an Answer with details that are not JSON"),
    ],
)
def test_a_faulty_scorer_is_named_and_loses_no_other_result(
    run: Run, fault: str, message: str
) -> None:
    FAULT[0] = fault
    with pytest.warns(FailedMetricWarning, match="faulty"):
        rows = rows_of(run, f"{OWN}LENGTH,{OWN}FAULTY")
    assert rows["a", "faulty"].value is None
    assert message in rows["a", "faulty"].note
    assert rows["a", "length"].value is not None


def test_answers_before_a_failure_are_kept(run: Run) -> None:
    FAULT[0] = "third"
    with pytest.warns(FailedMetricWarning, match="the third"):
        rows_of(run, f"{OWN}FAULTY")
    assert [count for count, _ in CALLS] == [12, 12]  # of both models
    FAULT[0] = ""
    CALLS.clear()
    assert rows_of(run, f"{OWN}FAULTY")["a", "faulty"].count == 12
    assert [count for count, _ in CALLS] == [10, 10]


def test_what_may_pass_is_asked_again_and_nan_is_no_answer(run: Run) -> None:
    FAULT[0] = "later"
    with pytest.warns(NothingMeasuredWarning, match="12 x not reached"):
        row = rows_of(run, f"{OWN}UNSURE")["a", "unsure"]
    assert row.value is None
    assert row.note == "not measured: 12 of 12 images have no answer (12 x not reached)"
    FAULT[0] = ""
    row = rows_of(run, f"{OWN}UNSURE")["a", "unsure"]
    assert (row.value, row.count) == (1.0, 10)
    assert row.caution == "a: 2 of 12 images have no answer (2 x the scorer returned nan)"


def test_a_scorer_that_cannot_be_loaded_is_not_measured_and_says_what_to_do(run: Run) -> None:
    rows = rows_of(run, f"{OWN}LACKING,{OWN}LENGTH")
    assert rows["a", "lacking"].value is None
    assert "run `evalkit weights fetch x`" in rows["a", "lacking"].note.lower()
    assert rows["a", "length"].value is not None


def test_a_damaged_line_of_the_cache_is_made_again(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    first = rows_of(run, f"{OWN}LENGTH")
    path = run.answers_path("a", "length-1")
    path.write_text(path.read_text().replace('"value": 12.0', '"value": 99.0', 1))
    CALLS.clear()
    assert rows_of(run, f"{OWN}LENGTH") == first
    assert [count for count, _ in CALLS] == [1]
    assert "1 damaged lines count as not written" in caplog.text


def test_a_folder_without_prompts_is_scored_by_what_reads_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    shutil.copytree(run.image_folder("a"), folder)
    rows = evalkit.score(folder, metrics=f"{OWN}LENGTH,{OWN}BRIGHT", only=False)
    found = {row.metric: row for row in rows}
    assert found["length"].note == "not measured: a folder of images has no prompts"
    bright = found["bright"].value
    assert bright is not None
    assert 0 < bright < 255
    assert found["bright"].count == 12


def test_the_gate_compares_the_images_that_both_have_an_answer_for(run: Run) -> None:
    rows_of(run, f"{OWN}LENGTH,clip_score", encoders="mini")
    decision = evalkit.gate(f"{run.path}:a", baseline=f"{run.path}:a", metrics="length,clip_score")
    found = {one.metric: one for one in decision.decisions}
    assert found["length"].worse == 0
    assert found["length"].images == 10
    assert found["clip_score"].images == 12


def test_groups_and_comparisons_of_runs_have_scorers_too(tmp_path: Path) -> None:
    prompts = [
        evalkit.Prompt(f"{at}", text, "animals" if at % 2 else "shapes")
        for at, text in enumerate(PROMPTS * 2)
    ]
    runs = [
        evalkit.generate(model, prompts, out=tmp_path / model, seed=3) for model in ("noise", "gan")
    ]
    for run in runs:
        rows_of(run, f"{OWN}LENGTH")
    rows = [row for row in runs[0].metrics() if row.metric == "length"]
    assert {row.group: row.count for row in rows} == {"": 10, "animals": 6, "shapes": 4}
    CALLS.clear()
    both = evalkit.compare([run.path for run in runs], out=tmp_path / "both")
    assert not CALLS  # the answers came with the images
    [pair] = [one for one in both.comparisons().rows if one.metric == "length" and not one.group]
    assert pair.images == 10


def test_paths_among_options_hold_in_any_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "factor.txt").write_text("3")
    monkeypatch.chdir(tmp_path / "here")
    first = rows_of(run, f"{OWN}FILED", options={"filed": {"file": "factor.txt"}})["a", "filed"]
    monkeypatch.chdir(tmp_path)
    again = {row.model: row for row in evalkit.score(run.path) if row.metric == "filed"}
    assert again["a"] == first
    toml = tmp_path / "here" / "own.toml"
    toml.write_text(
        f'models = ["noise"]\nprompts = "{tmp_path}/p.txt"\nmetrics = ["{OWN}FILED"]\n'
        f'out = "{tmp_path}/other"\n[scorer.filed]\nfile = "./factor.txt"\n'
    )
    (tmp_path / "p.txt").write_text("a cat\ntwo dogs\n")
    rows = [row for row in evalkit.run(config=toml).metrics() if row.metric == "filed"]
    assert [row.value for row in rows] == [3.0]


def test_values_outside_of_the_stated_range_are_an_error_of_the_scorer(run: Run) -> None:
    with pytest.warns(FailedMetricWarning, match="outside of its stated range 0 to 10"):
        row = rows_of(run, f"{OWN}SHORT")["a", "short"]
    assert row.value is None
    with pytest.raises(EvalkitError, match="outside of its stated range") as error:
        plugins.metric(f"{OWN}SHORT").in_range(11)
    assert error.value.hint == "Correct the scorer or its range."


def test_a_scorer_that_knows_drawn_scenes_only_is_not_said_to_be_an_encoder(tmp_path: Path) -> None:
    def draw(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
        return [Image.new("RGB", (32, 32), "red") for _ in prompts]

    run = evalkit.run({"own": draw}, PROMPTS[:2], metrics="mini_judge", out=tmp_path / "run")
    text = " ".join((run.report_path / "report.md").read_text().split())
    assert "For mini-judge, choose another scorer." in text
    assert "--encoders" not in text


def test_answers_without_the_stated_output_say_which_they_have(run: Run) -> None:
    with pytest.warns(FailedMetricWarning, match="have value, width; expected 'height'"):
        assert rows_of(run, f"{OWN}HEIGHT")["a", "height"].value is None


def test_a_scorer_that_cannot_be_loaded_for_another_reason_ends_with_a_warning(run: Run) -> None:
    with pytest.warns(FailedMetricWarning, match="no accelerator"):
        rows = rows_of(run, f"{OWN}CRASHING,{OWN}LENGTH")
    assert rows["a", "crashing"].value is None
    assert rows["a", "length"].value is not None


def test_the_gate_says_which_images_have_no_answer(run: Run) -> None:
    rows_of(run, f"{OWN}LENGTH")
    found = evalkit.gate(f"{run.path}:a", baseline=f"{run.path}:b", allow_mismatch="generation")
    assert [note for note in found.notes if "2 of 12 images have no answer" in note]


@pytest.mark.parametrize("fault", ["lead", "early"])
def test_a_call_with_another_number_of_answers_is_never_believed(run: Run, fault: str) -> None:
    FAULT[0] = fault
    for _ in range(2):  # the answers of the first try are not taken by the second
        with pytest.warns(FailedMetricWarning, match=r"(more|fewer) answers than images"):
            row = rows_of(run, f"{OWN}MISCOUNTED")["a", "miscounted"]
        assert row.value is None
    FAULT[0] = ""
    row = rows_of(run, f"{OWN}MISCOUNTED")["a", "miscounted"]
    assert (row.count, row.value) == (12, pytest.approx(sum(map(len, PROMPTS)) / len(PROMPTS)))


@pytest.mark.parametrize("kind", ["dict", "complex", "names", "huge"])
def test_what_only_looks_like_answers_is_refused(run: Run, kind: str) -> None:
    FAULT[0] = kind
    with pytest.warns(FailedMetricWarning, match="miscounted-1' returned"):
        rows = rows_of(run, f"{OWN}MISCOUNTED,{OWN}LENGTH")
    assert rows["a", "miscounted"].value is None
    assert rows["a", "length"].value is not None


@pytest.mark.parametrize(
    "line",
    [
        '{"key": "x", "by": "y", "values": {"value": 1}}',
        '{"key": "x", "by": "y", "values": {"value": 1e999}, "check": ""}',
        '{"key": "x", "by": "y", "reason": "x", "values": null}',
        "[]",
        "{",
    ],
    ids=["check", "infinite", "both", "list", "cut"],
)
def test_lines_that_evalkit_did_not_write_are_not_believed(
    run: Run, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    first = rows_of(run, f"{OWN}LENGTH")
    path = run.answers_path("a", "length-1")
    path.write_text(f"{path.read_text()}{line}\n")
    assert rows_of(run, f"{OWN}LENGTH") == first
    assert "1 damaged lines count as not written" in caplog.text


def test_options_of_what_is_no_scorer_are_said(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    rows_of(run, f"{OWN}LENGTH", options={"length": {"factor": 2}})
    run.config_path.write_text(
        run.config_path.read_text().replace("[scorer.length]", "[scorer.lenght]")
    )
    rows_of(run, f"{OWN}LENGTH")
    assert "no scorer is named 'lenght'" in caplog.text
    toml = tmp_path / "own.toml"
    toml.write_text(
        f'models = ["noise"]\nprompts = ["x"]\nmetrics = ["{COLOUR}"]\n[scorer.colour]\nx = 1\n'
    )
    with pytest.raises(EvalkitError, match="has options of 'colour', which is not a scorer"):
        evalkit.run(config=toml, out=tmp_path / "out")
    with pytest.raises(EvalkitError, match="the label of a model and a scorer"):
        evalkit.run(
            {"colour_match": "noise"}, ["x"], metrics=[COLOUR], out=tmp_path / "out",
            options={"colour_match": {"size": 16}},
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_the_selftest_says_that_scorers_are_not_tested(run: Run) -> None:
    rows_of(run, f"{OWN}LENGTH")
    with pytest.raises(EvalkitError, match="scorers: damaged images are not scored again"):
        evalkit.gate_selftest(f"{run.path}:a", metrics="length", splits=20)


def test_a_faster_precision_has_no_effect_on_a_scorer_and_says_so(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "evalkit")
    exact = rows_of(run, f"{OWN}LENGTH")["a", "length"]
    assert "precision" not in caplog.text
    assert rows_of(run, f"{OWN}LENGTH", precision="bf16")["a", "length"] == exact
    assert "the precision bf16 is that of encoders: no effect on length-1" in caplog.text
