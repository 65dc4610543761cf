"""Metrics that compare every image with every other one measure a seeded sample of very many."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from gated_runs import prompts
from hypothesis import given
from hypothesis import strategies as st
from sampled_metrics import FEW_PRECISION, FEW_RECALL, MOST
from torch import Tensor

import evalkit
from evalkit.core import Metric, Record
from evalkit.encoders.mini import MiniClipEncoder
from evalkit.metrics import frechet, manifold
from evalkit.reference.files import Reference
from evalkit.run_folder import Run
from evalkit.score.compare import Entrant, compare
from evalkit.score.evidence import Evidence
from evalkit.score.measure import measure
from evalkit.score.sample import draws, sample
from evalkit.statistics import intervals

DIMENSION = 6


def features(seed: int, count: int) -> Tensor:
    return torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(seed))


REAL = features(99, 60)
REFERENCE = Reference("toy", "toy", {"pool": frechet.moments(REAL)}, {"pool": REAL}, "x")


def records(prompts: range) -> list[Record]:
    return [Record(f"p{prompt}", prompt, 0, 0, "ok") for prompt in prompts]


def entrant(model: str, seed: int, made: range) -> Entrant:
    """A model with an image of each of these prompts."""
    fake, clusters = features(seed, 200)[list(made)], np.arange(len(made))
    numbers = draws(records(made))
    evidence = Evidence("toy", {"pool": fake}, clusters, {}, REFERENCE, draws=numbers)
    return Entrant(model, {"inception": evidence}, [(prompt, 0) for prompt in made])


@given(st.sets(st.integers(0, 80)), st.integers(1, 40))
def test_images_that_are_missing_change_only_their_own_place(missing: set[int], size: int):
    every = range(80)
    numbers = draws(records(every))
    there = [place for place in every if place not in missing]
    of_all = set(sample(numbers, size).tolist())
    of_some = {there[place] for place in sample(numbers[there], size)}
    assert of_all - missing <= of_some
    assert len(of_some) == min(size, len(there))


def test_a_sample_is_random():
    chosen = sample(draws(records(range(10_000))), 5000)
    assert list(chosen) == sorted(set(chosen.tolist()))
    assert abs(chosen.mean() - 5000) < 5 * 10_000 / 12**0.5 / 5000**0.5
    other = [Record(f"p{prompt}", prompt, 1, 0, "ok") for prompt in range(10_000)]
    assert 0.45 < np.isin(sample(draws(other), 5000), chosen).mean() < 0.55


def test_a_value_and_its_interval_are_those_of_the_sample():
    evidence = entrant("a", 1, range(100)).evidence["inception"]
    assert evidence.draws is not None
    chosen = sample(evidence.draws, MOST)
    fake, groups = evidence.fake["pool"][chosen], intervals.groups_of_clusters(np.arange(MOST))
    found = measure(FEW_PRECISION, evidence)
    assert found.per_image is not None
    assert found.value == manifold.precision(fake=fake, real=REAL).mean()
    assert np.flatnonzero(~np.isnan(found.per_image)).tolist() == chosen.tolist()
    assert found.note == "k = 3, 24 images against 60 stored reference images;" + (
        " a seeded sample of 24 of 100 images"
    )
    found = measure(FEW_RECALL, evidence)
    assert found.value == manifold.recall(fake=fake, real=REAL)
    assert found.left_out is not None
    assert groups is not None
    expected = manifold.recall_without(fake=fake, real=REAL, groups=groups)
    assert torch.equal(found.left_out, expected)


@pytest.mark.parametrize("metric", [FEW_PRECISION, FEW_RECALL])
def test_a_sample_is_taken_of_the_images_that_have_an_answer(metric: Metric):
    whole = entrant("a", 1, range(100)).evidence["inception"]
    assert whole.draws is not None
    reasons = ["refused" * (place % 2) for place in range(100)]
    found = measure(metric, dataclasses.replace(whole, reasons=reasons))
    even = np.arange(0, 100, 2)
    chosen = even[sample(whole.draws[even], MOST)]
    assert found.sample is not None
    assert found.sample.tolist() == chosen.tolist()
    assert found.value == float(metric.compute(fake=whole.fake["pool"][chosen], real=REAL).mean())
    assert "a seeded sample of 24 of 50 images" in found.note
    assert found.unanswered == 50


@pytest.mark.parametrize("metric", [FEW_PRECISION, FEW_RECALL])
def test_up_to_the_limit_all_images_are_measured(metric: Metric):
    evidence = entrant("a", 1, range(MOST)).evidence["inception"]
    found, plain = measure(metric, evidence), measure(dataclasses.replace(metric, most=0), evidence)
    assert (found.value, found.interval, found.note) == (plain.value, plain.interval, plain.note)
    assert found.sample is None


@pytest.mark.parametrize("metric", [FEW_PRECISION, FEW_RECALL])
def test_models_are_compared_on_one_sample_of_the_images_of_both(metric: Metric):
    a, b = entrant("a", 1, range(100)), entrant("b", 2, range(30, 160))
    [row] = compare([a, b], [metric]).rows
    shared = range(30, 100)
    chosen = [shared[place] for place in sample(draws(records(shared)), MOST)]
    sides = [entrant(name, seed, range(200)) for name, seed in (("a", 1), ("b", 2))]
    expected = [
        float(
            metric.compute(fake=side.evidence["inception"].fake["pool"][chosen], real=REAL).mean()
        )
        for side in sides
    ]
    assert [row.value_a, row.value_b] == pytest.approx(expected)
    assert (row.images, row.prompts) == (MOST, MOST)
    assert row.p is not None
    whole = compare(
        [dataclasses.replace(side, images=side.images) for side in (a, b)],
        [dataclasses.replace(metric, most=0)],
    )
    assert whole.rows[0].images == len(shared)


@pytest.mark.parametrize("metric", [FEW_PRECISION, FEW_RECALL])
def test_where_a_sample_is_measured_more_prompts_are_not_recommended(metric: Metric):
    both = [entrant("a", 1, range(100)), entrant("b", 3, range(100))]
    [of_sample] = compare(both, [metric]).rows
    [of_all] = compare(both, [dataclasses.replace(metric, most=101)]).rows
    assert of_sample.verdict == of_all.verdict == "no significant difference"
    assert of_all.additional_prompts is not None
    assert of_sample.additional_prompts is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sampled") / "run"
    evalkit.generate({"noise": "noise", "gan": "gan"}, prompts()[:40], out=out)
    metrics = ["sampled_metrics:FEW_PRECISION", "sampled_metrics:FEW_RECALL", "fid"]
    evalkit.score(out, metrics=metrics, only=True, encoders="mini")
    return out


def test_rows_say_how_many_images_were_measured(run: Path):
    rows = {(row.model, row.metric): row for row in Run(run).metrics()}
    for name in ("few_precision", "few_recall"):
        assert rows["gan", name].count == MOST
        assert rows["gan", name].requested == 40
        assert "a seeded sample of 24 of 40 images" in rows["gan", name].note
    assert rows["gan", "fid"].count == 40
    values = [row["value"] for row in Run(run).scores() if row["model"] == "gan"]
    assert (len(values), sum(bool(value) for value in values)) == (40, MOST)


def test_what_a_row_says_of_images_and_prompts_is_of_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(MiniClipEncoder, "truncated", lambda self, texts: len(texts))
    evalkit.generate("gan", prompts()[:40], out=tmp_path)
    names = ["sampled_metrics:FEW_FID", "sampled_metrics:FEW_CLIP_SCORE"]
    fid, clip, *_ = evalkit.score(tmp_path, metrics=names, only=True, encoders="mini")
    assert fid.note.endswith("(of 24 real images)")
    assert clip.caution.startswith("24 prompts exceed")


def test_the_gate_decides_on_the_sample_of_the_images_of_both(run: Path, tmp_path: Path):
    names = ["few_precision", "few_recall"]
    found = evalkit.gate(f"{run}:gan", baseline=f"{run}:gan", metrics=names)
    assert {one.metric: one.images for one in found.decisions} == dict.fromkeys(names, MOST)
    evalkit.generate({"gan": "gan"}, prompts()[10:50], out=tmp_path / "other")
    metrics = [f"sampled_metrics:{name.upper()}" for name in names]
    evalkit.score(tmp_path / "other", metrics=metrics, only=True, encoders="mini")
    found = evalkit.gate(
        tmp_path / "other", baseline=f"{run}:gan", metrics=names, allow_mismatch="prompts"
    )
    assert all(0 < one.images <= MOST for one in found.decisions)
    assert [one.worse for one in found.decisions] == [0, 0]  # the same images


def test_figures_draw_no_joint_region_of_a_sample_and_all_images(run: Path, tmp_path: Path):
    evalkit.figures(run, only="pareto", metrics="few_recall,fid", out=tmp_path)
    said = (tmp_path / "pareto.txt").read_text()
    assert "not known (Few recall of noise is of 24 images, and the run has 40)" in said
    assert said.startswith("Few recall and FID of 2 models (N = 24 to 40 images).")
