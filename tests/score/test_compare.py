"""comparisons.json: the same prompts for both models, one protocol, verdicts after Holm."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from installed_metrics import METRICS
from torch import Tensor

from evalkit.core import Metric, Moments
from evalkit.metrics import frechet, manifold
from evalkit.reference.files import Reference
from evalkit.run_folder import Run
from evalkit.score.compare import MOST_FOR_ALL_PAIRS, Entrant, compare
from evalkit.score.evidence import Evidence
from evalkit.statistics import intervals
from evalkit.statistics.multiple import holm

PROMPTS, SAMPLES, DIMENSION = 30, 2, 6
FID, KID, PRECISION, RECALL = (METRICS[name] for name in ("fid", "kid", "precision", "recall"))


def brightness(*, fake: Tensor) -> Tensor:
    return fake[:, 0]


BRIGHTNESS = Metric("brightness", brightness, "pool", "inception", "higher", "")


def draw(seed: int, count: int, shift: float = 0.0) -> Tensor:
    return (
        torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(seed)) + shift
    ).float()


@pytest.fixture(scope="module")
def reference() -> Reference:
    features = draw(99, 400)
    return Reference("toy", "toy", {"pool": frechet.moments(features)}, {"pool": features}, "x")


def entrant(
    model: str,
    seed: int,
    reference: Reference | None,
    shift: float = 0.0,
    gone: tuple[int, ...] = (),
) -> Entrant:
    """A model with two images of each of 30 prompts, without the prompts in `gone`."""
    images = [(prompt, sample) for prompt in range(PROMPTS) for sample in range(SAMPLES)]
    rows = [row for row, (prompt, _) in enumerate(images) if prompt not in gone]
    fake = draw(seed, len(images), shift)[rows]
    clusters = intervals.cluster_numbers([str(images[row][0]) for row in rows])
    return Entrant(
        model,
        {"inception": Evidence("toy", {"pool": fake}, clusters, {}, reference)},
        [images[row] for row in rows],
    )


def test_rows_of_a_pair(reference: Reference):
    a, b = entrant("a", 1, reference), entrant("b", 2, reference, 0.6)
    found = compare([a, b], [FID, PRECISION, BRIGHTNESS])
    rows = {row.metric: row for row in found.rows}
    assert list(rows) == ["fid", "precision", "brightness"]
    assert found.family == 3
    assert "Holm" in found.statement
    assert (rows["fid"].verdict, rows["brightness"].verdict) == ("a better", "b better")
    values = [
        float(
            frechet.fid(
                fake=e.evidence["inception"].fake["pool"], real_moments=reference.moments["pool"]
            )
        )
        for e in (a, b)
    ]
    assert [rows["fid"].value_a, rows["fid"].value_b] == pytest.approx(values)
    assert rows["fid"].difference == pytest.approx(values[0] - values[1])
    assert rows["brightness"].reference == ""
    assert all(row.prompts == PROMPTS and row.images == PROMPTS * SAMPLES for row in rows.values())
    corrected = [one.p for one in holm([row.p for row in rows.values()]) if one is not None]
    assert [row.p_adjusted for row in rows.values()] == corrected


def test_a_pair_is_compared_on_its_common_prompts(reference: Reference):
    whole, partial = (
        entrant("whole", 1, reference),
        entrant("partial", 2, reference, gone=(0, 7, 8)),
    )
    other = entrant("other", 3, reference, gone=(7, 20))
    rows = compare([whole, partial, other], [RECALL]).rows
    assert {(row.model_a, row.model_b): row.prompts for row in rows} == {
        ("whole", "partial"): 27,
        ("whole", "other"): 28,
        ("partial", "other"): 26,
    }
    shared = [row for row, (prompt, _) in enumerate(whole.images) if prompt not in (0, 7, 8)]
    fake = whole.evidence["inception"].fake["pool"][shared]
    assert rows[0].value_a == pytest.approx(
        float(manifold.recall(fake=fake, real=reference.features["pool"]))
    )


def test_a_model_against_itself_has_no_difference(reference: Reference):
    rows = compare(
        [entrant("a", 1, reference), entrant("b", 1, reference)], [FID, KID, PRECISION, BRIGHTNESS]
    ).rows
    assert len(rows) == 4
    assert all(
        (row.difference, row.p_adjusted, row.verdict) == (0.0, 1.0, "no significant difference")
        for row in rows
    )


def test_rows_do_not_depend_on_the_order_of_the_images(reference: Reference):
    a, b = entrant("a", 1, reference), entrant("b", 2, reference, 0.1)
    order = np.random.RandomState(0).permutation(len(b.images))
    evidence = b.evidence["inception"]
    clusters = intervals.cluster_numbers([str(b.images[place][0]) for place in order])
    turned = dataclasses.replace(
        evidence, fake={"pool": evidence.fake["pool"][torch.from_numpy(order)]}, clusters=clusters
    )
    other = Entrant("b", {"inception": turned}, [b.images[place] for place in order])
    for one, two in zip(
        compare([a, b], [FID, BRIGHTNESS]).rows,
        compare([a, other], [FID, BRIGHTNESS]).rows,
        strict=True,
    ):
        assert [getattr(one, name) for name in ("difference", "low", "high", "p")] == pytest.approx(
            [getattr(two, name) for name in ("difference", "low", "high", "p")], rel=1e-5
        )


def test_different_protocols_are_never_compared(reference: Reference):
    other = dataclasses.replace(reference, image_hash="y")
    assert compare([entrant("a", 1, reference), entrant("b", 2, other)], [FID]).rows == ()
    b = entrant("b", 2, reference)
    b = Entrant(
        "b",
        {"inception": dataclasses.replace(b.evidence["inception"], encoder="another")},
        b.images,
    )
    assert compare([entrant("a", 1, reference), b], [FID, BRIGHTNESS]).rows == ()


def test_unmeasured_metrics_have_no_row_and_few_prompts_no_p_value(reference: Reference):
    assert compare([entrant("a", 1, None), entrant("b", 2, None)], [FID]).rows == ()
    few = tuple(range(4, PROMPTS))
    (row,) = compare(
        [entrant("a", 1, reference, gone=few), entrant("b", 2, reference, gone=few)], [FID]
    ).rows
    assert (row.p, row.p_adjusted, row.low, row.low_adjusted, row.additional_prompts) == (None,) * 5
    assert row.verdict == "not tested"
    assert "fewer than 5 prompts" in row.method
    apart = compare(
        [
            entrant("a", 1, reference, gone=tuple(range(15))),
            entrant("b", 2, reference, gone=tuple(range(15, PROMPTS))),
        ],
        [FID],
    )
    assert apart.rows == ()


def test_many_models_are_compared_with_the_best(reference: Reference):
    entrants = [
        entrant(f"m{i}", i, reference, 0.05 * abs(i - 3)) for i in range(MOST_FOR_ALL_PAIRS + 1)
    ]
    found = compare(entrants, [BRIGHTNESS])
    means = {e.model: float(e.evidence["inception"].fake["pool"][:, 0].mean()) for e in entrants}
    best = max(means, key=lambda model: means[model])
    assert len(found.rows) == MOST_FOR_ALL_PAIRS
    assert all(row.model_a == best for row in found.rows)
    assert "the best model" in found.statement
    assert len(compare(entrants[:8], [BRIGHTNESS]).rows) == 28


def test_moments_without_features_are_enough_for_fid(reference: Reference):
    bare = dataclasses.replace(reference, features={})
    rows = compare([entrant("a", 1, bare), entrant("b", 2, bare)], [FID, KID]).rows
    assert [row.metric for row in rows] == ["fid"]
    assert isinstance(reference.moments["pool"], Moments)


def test_the_adjusted_interval_agrees_with_the_verdict(reference: Reference):
    """In a table of many comparisons the plain interval may exclude zero without significance."""
    entrants = [entrant(f"m{i}", i, reference, 0.12 * i) for i in range(6)]
    rows = compare(entrants, [FID, KID, PRECISION, RECALL, BRIGHTNESS]).rows
    verdicts = {row.verdict for row in rows}
    assert {"a better", "b better", "no significant difference"} <= verdicts
    for row in rows:
        assert row.low_adjusted is not None
        assert row.high_adjusted is not None
        excludes_zero = row.low_adjusted > 0 or row.high_adjusted < 0
        assert excludes_zero == (row.winner != ""), row
        assert row.low_adjusted <= row.low <= row.high <= row.high_adjusted
    assert any(not row.winner and (row.low > 0 or row.high < 0) for row in rows)


def test_the_file_follows_its_schema(reference: Reference, tmp_path: Path):
    run = Run(tmp_path)
    made = compare([entrant("a", 1, reference), entrant("b", 2, reference)], [FID, BRIGHTNESS])
    run.write_comparisons(made)
    schema = resources.files("evalkit.score").joinpath("comparisons.schema.json").read_text()
    jsonschema.validate(json.loads(run.comparisons_path.read_text()), json.loads(schema))
    assert run.comparisons() == made
    run.write_comparisons(None)
    assert run.comparisons() is None
