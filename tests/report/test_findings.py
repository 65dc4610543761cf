"""Only comparisons.json decides which model is better."""

from __future__ import annotations

import dataclasses

import pytest
from report_runs import MEASURES, comparison, make_comparisons, make_run

from evalkit.core import MetricRow
from evalkit.report.facts import read_facts
from evalkit.report.findings import Finding, findings


def row(model: str, value: float | None, metric: str = "fid", **more) -> MetricRow:
    ends = (None, None) if value is None else (value - 1, value + 1)
    better = str(MEASURES[metric]["better"])
    what = (model, metric, "mini-inception", "scenes", value, *ends, 100, 100, better)
    return dataclasses.replace(MetricRow(*what), **more)


def finding(rows: list[MetricRow], *pairs) -> Finding:
    [found] = findings(rows, [one.model for one in rows], pairs, MEASURES)
    return found


def bold(found: Finding) -> list[bool]:
    return [cell.bold for cell in found.cells.values()]


def worse(found: Finding) -> list[bool]:
    return [cell.worse for cell in found.cells.values()]


def test_disjoint_intervals_without_a_test_decide_nothing():
    found = finding([row("a", 10.0), row("b", 90.0)])
    assert found.kind == "untested"
    assert found.verdict == "a has the best value; the difference from b was not tested."
    assert bold(found) == worse(found) == [False, False]


def test_significant_difference():
    found = finding([row("a", 10.0), row("b", 20.0)], comparison("fid", "a", "b", "a better"))
    assert found.kind == "significant"
    assert found.verdict == "a is significantly better than b (Holm, 5%; 38 prompts)."
    assert (bold(found), worse(found)) == ([True, False], [False, True])


def test_overlapping_intervals_do_not_contradict_a_significant_difference():
    found = finding([row("a", 10.0), row("b", 10.5)], comparison("fid", "a", "b", "a better"))
    assert found.kind == "significant"


def test_no_significant_difference_and_additional_prompts():
    pair = comparison("fid", "a", "b", "no significant difference")
    found = finding([row("a", 10.0), row("b", 90.0)], pair)
    assert found.kind == "tie"
    assert found.verdict == (
        "a has the best value; no significant difference from b (Holm, 5%; 38 prompts)."
    )
    assert found.cautions == [
        "Additional prompts needed for a significant difference from b: about 13,000."
    ]
    assert not any(bold(found))


def test_three_models_with_every_verdict():
    models = ("a", "b", "c", "d")
    rows = [row(name, 10.0 + place) for place, name in enumerate(models)]
    found = finding(
        rows,
        comparison("fid", "a", "b", "no significant difference"),
        comparison("fid", "a", "c", "a better"),
        comparison("fid", "a", "d", "not tested"),
    )
    assert found.verdict == (
        "a is significantly better than c; no significant difference between a and b (Holm, 5%; 38"
        " prompts); the difference between a and d was not tested (fewer than 5 prompts)."
    )
    assert bold(found) == [True, True, False, False]
    assert worse(found) == [False, False, True, False]


def test_a_verdict_names_every_significant_difference():
    rows = [row(name, 10.0 + place) for place, name in enumerate("abc")]
    tie, won = "no significant difference", "a better"
    pairs = [("a", "b", tie), ("a", "c", won), ("b", "c", won)]
    found = finding(rows, *(comparison("fid", *pair) for pair in pairs))
    assert found.verdict == (
        "a and b are each significantly better than c; no significant difference between a and b"
        " (Holm, 5%; 38 prompts)."
    )


def test_a_difference_between_models_other_than_the_best_is_significant():
    """The best value has a wide interval: only b and c differ significantly."""
    rows = [row(name, 10.0 + place) for place, name in enumerate("abc")]
    tie = "no significant difference"
    pairs = [("a", "b", tie), ("a", "c", tie), ("b", "c", "a better")]
    found = finding(rows, *(comparison("fid", *pair) for pair in pairs))
    assert found.kind == "significant"
    assert found.verdict.startswith("b is significantly better than c; no significant difference")
    assert not any(bold(found))
    rows += [row(name, 20.0) for name in "de"]
    pairs += [("a", other, tie) for other in "de"]
    found = finding(rows, *(comparison("fid", *pair) for pair in pairs))
    assert "of 1 difference between the others, 1 is significant" in found.verdict


def test_higher_is_better():
    rows = [row("a", 0.5, "recall"), row("b", 0.7, "recall")]
    found = finding(rows, comparison("recall", "a", "b", "b better"))
    assert found.verdict == "b is significantly better than a (Holm, 5%; 38 prompts)."


def test_shared_images_decide_when_the_values_of_all_images_disagree():
    """a has the better value on its own images, b is better on the images that both made."""
    rows = [row("a", 10.0), row("b", 11.0)]
    found = finding(rows, comparison("fid", "a", "b", "b better"))
    assert found.verdict.startswith("b is significantly better than a")
    assert (bold(found), worse(found)) == ([False, True], [True, False])


def test_comparison_of_another_protocol_is_not_used():
    pair = comparison("fid", "a", "b", "a better", reference="other")
    assert finding([row("a", 10.0), row("b", 20.0)], pair).kind == "untested"


def test_values_of_different_protocols_are_separate():
    rows = [row("a", 1.0, encoder="inception"), row("b", 1.0, encoder="mini-inception")]
    first, second = findings(rows, ["a", "b"], (), MEASURES)
    assert (first.verdict, second.verdict) == ("Only a was measured.", "Only b was measured.")


def test_missing_values_have_a_reason():
    found = finding([row("a", None, note="not measured: needs 50 images.")])
    assert (found.kind, found.verdict) == ("missing", "Not measured: needs 50 images.")
    assert finding([row("a", None)]).verdict == "Not measured."


def test_different_counts_are_stated_for_metrics_that_depend_on_them():
    for metric, stated in (("fid", 1), ("kid", 0)):
        found = finding([row("a", 10.0, metric), row("b", 20.0, metric, count=60)])
        assert len(found.cautions) == stated
    assert "(n = 60 to 100)" in finding([row("a", 1.0), row("b", 2.0, count=60)]).cautions[0]


def test_equal_values_are_called_equal():
    tie = "no significant difference"
    equal = finding([row("a", 0.944), row("b", 0.944)], comparison("fid", "a", "b", tie))
    assert equal.verdict == "a and b have equal values."
    two = [comparison("fid", "a", name, tie) for name in ("b", "c")]
    shared = finding([row("a", 1.0), row("b", 1.0), row("c", 2.0)], *two)
    assert shared.verdict == (
        "a and b share the best value; no significant difference from c (Holm, 5%; 38 prompts)."
    )
    assert finding([row("a", 1.0), row("b", 1.0)]).verdict == (
        "a and b have equal values; the difference from b was not tested."
    )


def test_a_value_below_its_baseline_has_its_causes():
    """Chance is a cause only where the interval includes the baseline."""
    far, near = row("a", 2.0, baseline=5.0), row("b", 2.5, baseline=3.0)
    above = row("c", 9.0, baseline=5.0)
    [text] = finding([far, above]).cautions
    assert "Below it: a; closer to the reference than as many real images, because" in text
    assert "another mix of content" in text
    assert "chance" not in text
    [text] = finding([near, above]).cautions
    assert "real images, by chance (the interval includes the baseline), because" in text
    [text] = finding([far, near]).cautions
    assert "Below it: a and b;" in text
    assert "of b perhaps by chance (the interval includes the baseline)." in text


def test_baselines_and_cautions_are_stated():
    rows = [row("a", 10.0, baseline=3.0, caution="2 prompts were truncated; it is cold")]
    found = finding(rows)
    assert found.cautions == [
        "Finite-sample baseline: 3.0 (n = 100).",
        "2 prompts were truncated.",
        "It is cold.",
    ]
    assert found.cells["a"].baseline == "3.0"


def test_a_caution_keeps_the_label_of_its_model():
    caution = "noise: 2 of 12 images have no answer; noise is all there is"
    assert finding([row("noise", 10.0, caution=caution)]).cautions == [
        "Noise is all there is.",
        "noise: 2 of 12 images have no answer.",
    ]


def test_measure_is_read_from_the_protocol():
    measure = finding([row("a", 1.0, "kid")]).measure
    assert (measure.title, measure.meaning) == ("KID", "What KID means.")
    assert measure.range == (float("-inf"), float("inf"))
    assert measure.from_zero


@pytest.mark.parametrize(
    "stated", [None, {}, [], {"fid": None}, {"fid": {"range": 3}}, {"fid": {"unknown": 1}}]
)
def test_metric_without_a_usable_entry_has_its_name_as_title(stated):
    [found] = findings([row("a", 1.0)], ["a"], (), stated)
    assert (found.title, found.measure.better, found.fine_print) == ("Fid", "lower", "")


def test_findings_of_a_run(tmp_path):
    run = make_run(tmp_path / "run", count=40, hostile=False)
    make_comparisons(run, ("dalle", "gan"))
    kinds = {found.measure.name: found.kind for found in read_facts(run.path).findings}
    assert kinds["fid"] == "significant"
    assert kinds["clip_score"] == "tie"
    assert kinds["kid"] == kinds["precision"] == kinds["latency_p50"] == "untested"
    assert kinds["recall"] == "missing"
