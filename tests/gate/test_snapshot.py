"""What the gate takes from a run: its models, samples, records and conditions."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gated_runs import prompts, score_folder

import evalkit
from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.features.image_sets import image_sets
from evalkit.gate.baseline_file import content_hash
from evalkit.gate.conditions import of_generation, of_metrics, requests_of
from evalkit.gate.config import Rule
from evalkit.gate.gate import on_shared_images
from evalkit.gate.snapshot import state_of, take
from evalkit.metrics.frechet import FID
from evalkit.run_folder import Run
from evalkit.score.evidence import Setup, gather
from evalkit.score.resources import load
from evalkit.score.settings import resolve

Runs = Callable[[str], Path]


def rows_of(run: Path) -> tuple[Path, list[dict[str, Any]]]:
    [manifest] = run.rglob("manifest.0.jsonl")
    return manifest, [json.loads(line) for line in manifest.read_text().splitlines()]


@pytest.fixture(scope="module")
def two(images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models; of the second, a prompt was refused, one image is missing, one black."""
    root = tmp_path_factory.mktemp("two")
    for name in ("one", "other"):
        (root / name).mkdir()
        for at, image in enumerate(images[:8]):
            made = image if name == "one" or at != 3 else image.point(lambda value: 0)
            made.save(root / name / f"{at:05d}.png")
    given = {name: str(root / name) for name in ("one", "other")}
    run = evalkit.generate(given, prompts()[:8], out=root / "run")
    for name in given:
        note = json.loads((run.image_folder(name) / "model.json").read_text())
        run.write_model(name, note | {"bundled": True})
    manifest, rows = rows_of(run.image_folder("other"))
    for at, status in ((1, "refused_input"), (5, "missing")):
        rows[at] |= {"status": status, "file": "", "sha256": ""}
        del rows[at]["check"]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evalkit.score(run, metrics=["clip_score"], only=True, encoders="mini")
    return run.path


def test_each_request_and_each_image_of_a_model_has_its_values(two: Path) -> None:
    found = take(f"{two}:other")
    keys = [(prompt.id, 0) for prompt in prompts()[:8]]
    present = [key for at, key in enumerate(keys) if at not in (1, 5)]
    asked = [key for at, key in enumerate(keys) if at != 5]
    assert {name: list(one.keys) for name, one in found.states.items() if one.keys} == {
        "clip_score": present,
        "refusal_rate": asked,
        "missing_rate": keys,
        "black_rate": present,
        "sharpness": present,
    }
    assert found.states["refusal_rate"].values == (0, 1, 0, 0, 0, 0, 0)
    assert found.states["missing_rate"].values == (0, 0, 0, 0, 0, 1, 0, 0)
    assert found.states["black_rate"].values == (0, 0, 1, 0, 0, 0)
    assert found.states["missing_rate"].value == 1 / 8
    assert found.states["black_rate"].value == 1 / 6
    sharp = found.states["sharpness"]
    assert sharp.values is not None
    assert sharp.value == pytest.approx(sum(sharp.values) / 6)
    assert sharp.values[2] == 0 < min(sharp.values[:2])
    assert [(prompt, sample) for prompt, sample, _ in found.images] == present
    assert (found.name, found.model) == (f"{two}:other", "other")
    scores = [row for row in Run(two).scores() if row["model"] == "other"]
    clip = [float(row["value"]) for row in scores if row["metric"] == "clip_score"]
    assert found.states["clip_score"].values == pytest.approx(clip)


def test_a_run_of_two_models_is_gated_by_label(two: Path) -> None:
    with pytest.raises(EvalkitError, match="has 2 models; a gate tests one of them") as error:
        evalkit.gate(two, baseline=f"{two}:one")
    assert error.value.hint == f"Name it: `{two}:one` or `{two}:other`."
    made = evalkit.gate(f"{two}:one", baseline=f"{two}:other", allow_mismatch="image_size")
    assert (made.candidate_label, made.baseline_label) == ("one", "other")
    assert (made.baseline_run, made.alpha) == (".", 0.05)
    found = {one.metric: (one.candidate, one.baseline) for one in made.decisions}
    assert found["missing_rate"] == (0.0, 1 / 8)
    assert found["refusal_rate"] == (0.0, 1 / 7)  # of those that were asked of both


def test_images_can_be_measured_in_another_order_and_in_part(runs: Runs) -> None:
    whole = take(str(runs("none")), ["clip_score", "fid"])
    keys = (*whole.states["clip_score"].keys[7:2:-1], ("unknown", 0))
    part = take(str(runs("none")), ["clip_score", "fid"], keys)
    for name in ("clip_score", "sharpness", "black_rate"):
        one, other = whole.states[name], part.states[name]
        assert one.values is not None
        assert other.keys == keys[:5]
        assert other.values == pytest.approx(one.values[7:2:-1], rel=1e-4)
    assert part.states["fid"].keys == keys[:5]
    assert part.states["missing_rate"] == whole.states["missing_rate"]
    again = take(str(runs("none")), ["clip_score", "fid"])
    assert again.states == whole.states  # what is kept is that of all images
    assert whole.states["fid"].note == "jackknife over 20 groups of prompts, Student t"
    lone = take(str(runs("none")), ["fid"], keys[:1]).states["fid"]
    assert (lone.value, lone.left_out, lone.keys) == (None, None, keys[:1])
    assert "at least 2" in lone.note
    none = take(str(runs("none")), ["clip_score"], [("unknown", 0)]).states
    assert (none["clip_score"].value, none["clip_score"].keys) == (None, ())
    assert none["clip_score"].note == "not measured: there are no images"
    assert "black_rate" not in none


def test_features_that_are_at_hand_give_the_state_that_a_snapshot_has(runs: Runs) -> None:
    metrics = [plugins.metric(name) for name in ("fid", "precision", "clip_score")]
    run, whole = Run(runs("none")), take(str(runs("none")), ["fid", "precision"])
    _, [images], _ = image_sets(run.path)
    found = load(resolve(run.path, metrics=["fid", "precision"], only=True), bundled=True)
    encoders = found.choice.encoders
    setup = Setup(run, metrics[:2], encoders, found.references, found.why, {}, 32)
    evidence, keys = gather(images, setup), whole.states["fid"].keys
    for metric in metrics[:2]:
        made, expected = state_of(metric, evidence, keys, setup), whole.states[metric.name]
        assert made.value == pytest.approx(expected.value)
        assert (made.encoder, made.reference) == ("mini-inception", "scenes")
        for field in ("values", "left_out"):
            assert getattr(made, field) == pytest.approx(getattr(expected, field))
        assert (made.measure, made.keys, made.note) == (expected.measure, keys, expected.note)
        none = state_of(metric, {}, (), setup)
        assert (none.value, none.note) == (None, "not measured: there are no images")
    lacking = state_of(metrics[2], evidence, keys, setup)
    assert (lacking.value, lacking.note) == (None, "not measured: its encoder is missing")


def test_default_margins_and_tiers_of_a_run(runs: Runs) -> None:
    made = evalkit.gate(runs("none"), baseline=runs("none"))
    found = {one.metric: (one.margin, one.tier, one.basis) for one in made.decisions}
    for name in ("black_rate", "missing_rate", "refusal_rate"):
        assert found[name] == (0.02, "supporting", "paired")
    assert found["precision"][:2] == (0.02, "critical")
    values = {one.metric: one.baseline for one in made.decisions}
    for name, share in (("sharpness", 0.2), ("fid", 0.05), ("clip_score", 0.05)):
        assert found[name][:2] == (pytest.approx(share * (values[name] or 0)), "critical")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[metrics.black_rate]\nmax_increase = 1", r"black_rate .* values from 0 to 1\."),
        ("[metrics.missing_rate]\nmax_increase = 1", r"missing_rate .* values from 0 to 1\."),
        ("[metrics.sharpness]\nmax_relative_drop = 1", r"sharpness .* values from 0\."),
        ("[metrics.black_rate]\nmax_drop = 0.1", "black_rate, and lower values of it are better"),
        ("[metrics.sharpness]\nmax_increase = 1", "sharpness, and higher values of it are better"),
    ],
)
def test_what_records_measure_has_a_range_and_a_direction(
    text: str, message: str, runs: Runs, tmp_path: Path
) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(EvalkitError, match=message):
        evalkit.gate(runs("none"), baseline=runs("none"), config=path)


def test_the_ten_images_that_lost_most_and_no_rounding(runs: Runs, tmp_path: Path) -> None:
    path = evalkit.baseline_save(runs("none"), out=tmp_path / "base.json", reason="first")
    content = json.loads(path.read_text())
    state = content["snapshot"]["states"]["clip_score"]
    own, most = list(state["values"]), max(map(abs, state["values"]))
    losses = {0: 1.0, 1: 5e-7 * most, 2: -3.0, 3: 2e-6 * most} | {
        at: at / 10 for at in range(4, 14)
    }
    for at, loss in losses.items():
        state["values"][at] = own[at] + loss
    del content["history"][-1]["sha256"]
    content["history"][-1]["sha256"] = content_hash(content)
    path.write_text(json.dumps(content))
    metrics = ["fid", "missing_rate", "clip_score", "precision"]
    made = evalkit.gate(runs("none"), baseline=path, metrics=metrics)
    ids, texts = ([getattr(one, name) for one in prompts()] for name in ("id", "text"))
    order = [13, 12, 11, 0, 10, 9, 8, 7, 6, 5]
    assert [(one.metric, one.prompt, one.sample, one.text) for one in made.changed] == [
        ("clip_score", ids[at], 0, texts[at]) for at in order
    ]
    for one, at in zip(made.changed, order, strict=True):
        expected = (-losses[at], own[at], own[at] + losses[at])
        assert (one.change, one.candidate, one.baseline) == pytest.approx(expected)
    for at in range(4, 14):
        state["values"][at] = own[at]
    del content["history"][-1]["sha256"]
    content["history"][-1]["sha256"] = content_hash(content)
    path.write_text(json.dumps(content))
    made = evalkit.gate(runs("none"), baseline=path, metrics="clip_score")
    assert [one.prompt for one in made.changed] == [ids[0], ids[3]]


def test_each_image_is_requested_as_often_as_run_toml_or_the_records_say(copy: Runs) -> None:
    run = Run(copy("none"))
    records, ids = run.records("model"), range(60)
    more = [*records, replace(records[3], sample=2)]
    assert requests_of(run, records) == [(at, 0) for at in ids]
    run.config_path.unlink()
    assert requests_of(run, more) == [(at, sample) for at in ids for sample in range(3)]
    assert requests_of(run, []) == [(at, 0) for at in ids]
    assert of_generation(run, "model", more, ["8x8"])["per_prompt"] == 3


def test_the_conditions_of_a_model_leave_out_which_model_it_is(copy: Runs) -> None:
    run = Run(copy("none"))
    note = run.image_folder("model") / "model.json"
    used = {"device": "cpu", "dtype": "", "weights": "a", "steps": 5, "seed": None, "note": ""}
    note.write_text(json.dumps(json.loads(note.read_text()) | {"settings": used}))
    found = of_generation(run, "model", run.records("model"), {"8x8", "16x8"})
    assert (found["device"], found["dtype"], found["settings"]) == ("cpu", "", {"steps": 5})
    assert found["image_size"] == ["16x8", "8x8"]
    assert (found["seed"], found["prompt_rewriting"]) == (0, False)
    assert found["generation"] == {"alpha": "refuse", "match": "auto", "midjourney": "upscale"}
    one = {"name": "a", "fingerprint": "1", "image_hash": "h", "sha256": "s"}
    facts = {
        "encoders": {"pool": one, "inception": one, "clip": one},
        "references": {"inception": one | {"stored_features": 7}},
        "encoded_on": {"inception": {"device": "cpu"}, "clip": {"device": "cuda"}},
    }
    own = replace(plugins.metric("precision"), name="own", version=4)
    assert of_metrics(facts, [FID, own]) == {
        "encoders": {"inception": "a 1"},
        "encoding_device": {"inception": "cpu"},
        "encoding_dtype": {"inception": ""},
        "references": {"inception": "a h"},
        "reference_features": {"inception": 7},
        "metric_options": {"own": {"k": 3}},
        "metric_versions": {"fid": FID.version, "own": 4},
    }
    files = {"references": {"inception": {"name": "f", "sha256": "s"}}}
    found = of_metrics(files, [FID])
    assert (found["references"], found["encoders"]) == ({"inception": "f s"}, {})
    assert found["reference_features"] == {"inception": 0}


def test_the_encoders_of_the_scores_are_stronger_than_run_toml(copy: Runs, runs: Runs) -> None:
    run = copy("none")
    for folder in run.rglob("measured"):
        shutil.rmtree(folder)
    config = run / "run.toml"
    config.write_text(config.read_text().replace('encoders = "mini"', 'encoders = "dinov9"'))
    made = evalkit.gate(run, baseline=runs("none"), metrics="fid")
    assert [one.encoder for one in made.decisions] == ["mini-inception"]


def test_images_that_were_not_scored_are_not_gated(runs: Runs, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs("none"), tmp_path / "run"))
    manifest, _ = rows_of(run)
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    for candidate, baseline in ((run, runs("none")), (runs("none"), run)):
        with pytest.raises(EvalkitError, match="are not those that were scored") as error:
            evalkit.gate(candidate, baseline=baseline)
        assert error.value.message.startswith(f"The images of 'model' in {run} are")


def test_images_that_the_scoring_skipped_are_missing(copy: Runs, runs: Runs) -> None:
    run = copy("none")
    (run / "images" / "model" / "00003-0.png").write_bytes(b"no image")
    evalkit.score(run, on_bad="skip")
    made = evalkit.gate(run, baseline=runs("none"))
    found = {one.metric: one for one in made.decisions}
    assert found["missing_rate"].candidate == pytest.approx(1 / 60)
    assert {found[name].images for name in ("fid", "clip_score", "sharpness")} == {59}


def test_properties_of_the_set_are_compared_on_the_images_that_both_have(
    images, runs: Runs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    (tmp_path / "early").mkdir()
    for at, image in enumerate(images[:30]):
        image.save(tmp_path / "early" / f"{at:05d}.png")
    early = score_folder(tmp_path / "early", prompts(), tmp_path / "run")
    for sides in ((early, runs("none")), (runs("none"), early)):
        made = evalkit.gate(sides[0], baseline=sides[1], metrics="fid")
        assert (made.decisions[0].images, made.decisions[0].worse) == (30, 0.0)
    assert caplog.messages.count("measured on the 30 images that both have") == 2
    caplog.clear()
    evalkit.gate(runs("none"), baseline=runs("none"))
    assert not any(message.startswith("measured on") for message in caplog.messages)
    a, b = take(str(early), ["fid"]), take(str(runs("none")), ["fid"])
    late = replace(b.states["fid"], keys=b.states["fid"].keys[30:])
    b = replace(b, states={"fid": late})
    with pytest.raises(EvalkitError) as error:
        on_shared_images(a, b, str(early), str(runs("none")), {"fid": Rule()}, {})
    said = f"{early}:model and {runs('none')}:model have no image of the same prompt and sample."
    assert error.value.message == said


def test_the_report_is_written_where_it_is_asked_for_and_decides_nothing(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "evalkit")
    monkeypatch.undo()  # of the fixture that leaves it out
    written: list[Path] = []

    def report(run: Run) -> None:
        written.append(run.path)
        raise EvalkitError("No space.")

    monkeypatch.setattr(importlib.import_module("evalkit.report.report"), "report", report)
    assert evalkit.gate(runs("none"), baseline=runs("none"), alpha=0.01).alpha == 0.01
    assert written == [runs("none")]
    assert caplog.messages == ["the report was not written: No space."]
    evalkit.gate(runs("none"), baseline=runs("none"), report=False)
    assert len(written) == 1
