"""Default margins, margins that are refused, and what limits a comparison: on stated values."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core import EvalkitError, Measure
from evalkit.gate.comparable import Mismatch, mismatches
from evalkit.gate.config import GateConfig, Rule, check_margins, read_config
from evalkit.gate.gate import decisions_of
from evalkit.gate.notes import notes_of
from evalkit.gate.rules import choose_rules, lone_metrics, measured_names, usual_rule
from evalkit.gate.snapshot import Snapshot, State

KEYS = tuple((f"p{at}", 0) for at in range(6))
ZEROS, ONE = (0.0,) * 6, (1.0, *(0.0,) * 5)


def state(
    name: str, value: float | None = 0.5, values: tuple[float, ...] | None = None, **kind: Any
) -> State:
    known = {"better": "lower", "range": (0.0, math.inf), **kind}
    note = "not measured: no weights" if value is None else ""
    return State(Measure(name, **known), "clip", "", value, note=note, values=values, keys=KEYS)


def share(name: str, values: tuple[float, ...] | None, **kind: Any) -> State:
    return state(name, 0.5, values, **{"range": (0.0, 1.0), "from_records": True, **kind})


def model(*states: State, name: str = "run:m", **fields: Any) -> Snapshot:
    texts = {prompt: prompt for prompt, _ in KEYS}
    named = {one.measure.name: one for one in states}
    return Snapshot(name, "m", texts, dict.fromkeys(texts, ""), {}, named, "0", **fields)


def test_the_default_margins() -> None:
    sides = [
        model(
            state("fid"),
            state("sharpness", better="higher", from_records=True, values=ONE),
            state("recall", range=(0.0, 1.0)),
            state("rating", range=(0.0, 2.0)),
            state("kid", range=(-math.inf, math.inf)),
            state("low", range=(-math.inf, 0.0)),
            state("win_rate", from_ratings=True),
            state("cost", from_records=True),
        )
    ] * 2
    assert choose_rules(GateConfig(), [], *sides) == {
        "fid": Rule(relative=0.05),
        "sharpness": Rule(relative=0.2),
        "recall": Rule(margin=0.02),
        "rating": Rule(relative=0.05),
    }
    assert choose_rules(GateConfig(), ["recall", "cost"], *sides) == {
        "recall": Rule(margin=0.02),
        "cost": Rule(relative=0.05),
    }


@pytest.mark.parametrize(("better", "key"), [("lower", "max_increase"), ("higher", "max_drop")])
def test_a_metric_without_a_natural_zero_needs_a_margin(better: str, key: str) -> None:
    side = model(state("kid", better=better, range=(-math.inf, 9.0)))
    with pytest.raises(EvalkitError, match="kid has no natural zero") as error:
        choose_rules(GateConfig(), ["kid"], side, side)
    assert error.value.hint == f"State its margin in gate.toml: {key} under [metrics.kid]."
    given = Rule(margin=1.0, direction=better)  # pyright: ignore[reportArgumentType]
    assert choose_rules(GateConfig(metrics={"kid": given}), [], side, side) == {"kid": given}


@pytest.mark.parametrize(
    ("one", "other", "tier"),
    [
        (share("black", ZEROS), share("black", ZEROS), "supporting"),
        (share("black", ZEROS), share("black", None), "supporting"),
        (share("black", ONE), share("black", ZEROS), "critical"),
        (share("black", ZEROS), share("black", ONE), "critical"),
        (share("black", ONE), share("black", ONE), "critical"),
        (share("black", None), share("black", ZEROS), "critical"),
        (share("black", ZEROS, from_records=False), share("black", ZEROS), "critical"),
    ],
)
def test_a_share_of_what_happened_to_neither_only_supports(
    one: State, other: State, tier: str
) -> None:
    made = usual_rule("black", one, other)
    assert made == Rule(margin=0.02, tier=tier)  # pyright: ignore[reportArgumentType]


def test_a_comparison_needs_a_metric_of_images() -> None:
    side = model(share("black", ZEROS), share("missing", ZEROS))
    with pytest.raises(EvalkitError, match="run:m and run:m have no metric of images in common"):
        choose_rules(GateConfig(), [], side, side)
    both = model(share("black", ZEROS), state("fid"))
    assert list(choose_rules(GateConfig(), [], both, both)) == ["black", "fid"]
    blind = replace(both, blind=("clip",))
    with pytest.raises(EvalkitError, match="have no metric of images in common"):
        choose_rules(GateConfig(), [], blind, both)
    with pytest.raises(
        EvalkitError, match="clip was not trained on images such as those of run:m: nothing may"
    ):
        choose_rules(GateConfig(), ["fid"], blind, both)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fid"], "The gated metric 'fid' is not measured for base:m"),
        (["recall"], "The gated metric 'recall' is not measured for run:m"),
        (["other@human"], "The gated metric 'other@human' is not measured for run:m"),
        (["cmmd@"], "The gated metric 'cmmd@' is not measured for run:m"),
        (
            ["cmmd@x"],
            "The gated metric 'cmmd@x' names raters after the @, but cmmd is not a metric of"
            " raters",
        ),
    ],
)
def test_a_metric_that_one_of_the_two_lacks_is_named(names: list[str], message: str) -> None:
    a = model(state("fid"), state("cmmd"))
    b = model(state("cmmd"), state("recall"), name="base:m")
    with pytest.raises(EvalkitError) as error:
        choose_rules(GateConfig(), names, a, b)
    assert error.value.message == f"{message}."


def test_a_value_that_is_missing_is_named_with_its_reason() -> None:
    whole, part = model(state("fid")), model(state("fid", None), name="base:m")
    for sides, name in (((whole, part), "base:m"), ((part, whole), "base:m")):
        with pytest.raises(EvalkitError) as error:
            choose_rules(GateConfig(), ["fid"], *sides)
        said = f"The gated metric 'fid' has no value for {name}: no weights."
        assert error.value.message == said


def test_metrics_that_only_one_has_are_listed_if_they_would_be_gated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "evalkit")
    a = model(state("fid"), state("cmmd"), state("cost", from_records=True))
    b = model(state("recall"), state("cmmd"), state("kid", range=(-math.inf, math.inf)))
    assert lone_metrics(a, b) == ["fid", "recall"]
    assert list(choose_rules(GateConfig(), [], a, b)) == ["cmmd"]
    assert caplog.messages == ["not gated, as only one of the two has them: fid, recall"]
    caplog.clear()
    assert list(choose_rules(GateConfig(), [], a, a)) == ["fid", "cmmd"]
    assert not caplog.messages


def test_a_snapshot_measures_what_is_named_without_its_raters() -> None:
    settings = GateConfig(metrics={"fid": Rule(), "win_rate@human": Rule()})
    assert measured_names(settings, ["kid", "win_rate@human:x"]) == ["kid", "win_rate"]
    assert measured_names(settings, []) == ["fid", "win_rate"]
    assert measured_names(GateConfig(), []) is None


WIDE = "The margin that the gate gives m allows every change: the metric has values from "


@pytest.mark.parametrize(
    ("rule", "better", "span", "message"),
    [
        (Rule(margin=3.0), "lower", (-1.0, 2.0), f"{WIDE}-1 to 2."),
        (Rule(margin=2.9), "lower", (-1.0, 2.0), ""),
        (Rule(margin=1.0), "lower", (2.0, 3.0), f"{WIDE}2 to 3."),
        (Rule(relative=1.0), "higher", (0.0, math.inf), f"{WIDE}0."),
        (Rule(relative=0.99), "higher", (0.0, math.inf), ""),
        (Rule(relative=1.0), "higher", (0.5, 8.0), f"{WIDE}0.5 to 8."),
        (Rule(relative=1.0), "higher", (-1.0, 8.0), ""),
        (Rule(relative=1.5), "lower", (0.0, math.inf), ""),
        (Rule(least=3.0), "lower", (0.0, 1.0), ""),
        (Rule(), "lower", (0.0, 1.0), ""),
        (
            Rule(1.0, direction="lower"),
            "higher",
            (0.0, 9.0),
            "The gate limits the increase of m, and higher values of it are better: a regression is"
            " a drop.",
        ),
        (
            Rule(1.0, direction="higher"),
            "lower",
            (0.0, 9.0),
            "The gate limits the drop of m, and lower values of it are better: a regression is an"
            " increase.",
        ),
        (Rule(1.0, direction="lower"), "lower", (0.0, 9.0), ""),
        (Rule(1.0, direction="higher"), "higher", (0.0, 9.0), ""),
    ],
)
def test_a_margin_that_would_allow_any_regression_is_refused(
    rule: Rule, better: str, span: tuple[float, float], message: str
) -> None:
    measure = Measure("m", better, range=span)  # pyright: ignore[reportArgumentType]
    if not message:
        check_margins("m", rule, measure, "")
        return
    for source in ("", "gate.toml"):
        with pytest.raises(EvalkitError) as error:
            check_margins("m", rule, measure, source)
        expected = message.replace("The gate l", f"{source} l") if source else message
        expected = expected.replace("the gate g", f"{source} g") if source else expected
        assert error.value.message == expected
    side = model(state("m", better=better, range=span))
    with pytest.raises(EvalkitError, match="gate"):
        choose_rules(GateConfig(metrics={"m": rule}), [], side, side)


def test_the_largest_numbers_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(
        "alpha = 0.4999\nallow_mismatch = ['seed', 'device']\non_inconclusive = 'fail'\n"
        "[metrics.fid]\nmax_increase = 1e15\nmin = -1e15\n[groups]\nmax_relative_drop = 0.5\n"
        "tier = 'advisory'\n"
    )
    found = read_config(path)
    assert (found.alpha, found.on_inconclusive, found.source) == (0.4999, "fail", str(path))
    assert found.allow_mismatch == ("seed", "device")
    assert found.metrics == {"fid": Rule(margin=1e15, least=-1e15, direction="lower")}
    assert found.groups == Rule(relative=0.5, tier="advisory", direction="higher")
    for key in ("max_increase = 1000000000000001", "min = -1000000000000001"):
        path.write_text(f"[metrics.fid]\n{key}")
        with pytest.raises(EvalkitError, match=r"expected a number up to 1e\+15"):
            read_config(path)
    path.write_text("")
    assert read_config(path) == GateConfig(source=str(path))
    with pytest.raises(EvalkitError, match="cannot be read: No such file"):
        read_config(tmp_path / "no.toml")
    path.write_text("alpha = ")
    with pytest.raises(EvalkitError, match="is not TOML"):
        read_config(path)


def test_the_margin_of_a_rule_at_the_value_of_the_baseline() -> None:
    assert Rule(margin=2.0, relative=0.25).allowed(-4.0) == 1.0
    assert Rule(margin=0.5, relative=0.25).allowed(4.0) == 0.5
    assert Rule(relative=0.25).allowed(8.0) == 2.0
    assert Rule(margin=0.0).allowed(8.0) == 0.0
    assert Rule(least=1.0, most=2.0).allowed(8.0) is None


def test_other_prompts_are_counted_by_id_and_text() -> None:
    a, b = (replace(model(), prompts=texts) for texts in ({"a": "x", "b": "y", "c": "z"}, {}))
    b = replace(b, prompts={"a": "x", "b": "other", "d": "w", "e": "v"})
    said = ("3 prompts (1 with another text)", "4 prompts, 1 of them the same")
    assert mismatches(a, b) == [Mismatch("prompts", *said)]
    fewer = replace(b, prompts={"a": "x"})
    said = ("3 prompts", "1 prompts, 1 of them the same")
    assert mismatches(a, fewer) == [Mismatch("prompts", *said)]


def test_what_limits_a_comparison_is_said_in_one_sentence_each() -> None:
    lost = share("missing_rate", (1.0, 0.0, 1.0, 0.0, 0.0, 0.0))
    images = (("p0", 0, "one"), ("p1", 0, "two"))
    a = model(state("fid"), lost, images=images, name="new:m")
    b = model(state("recall"), share("missing_rate", ONE), images=images[::-1], name="base:m")
    same = "All images of the two are the same, byte for byte."
    lone = "Not gated, as only one of the two has them: fid, recall."
    missing = "{} of 6 requested images of {} are missing: neither usable nor refused."
    both = [missing.format(2, "new:m"), missing.format(1, "base:m")]
    assert notes_of(a, b, {}, GateConfig(), all_metrics=True) == [same, lone, *both]
    assert notes_of(a, b, {}, GateConfig(), all_metrics=False) == [same, *both]
    assert notes_of(a, a, {}, GateConfig(), all_metrics=True) == [same, both[0]]
    other = replace(b, images=(), states={"missing_rate": share("missing_rate", ZEROS)})
    assert notes_of(other, a, {}, GateConfig(), all_metrics=False) == [both[0]]
    assert notes_of(other, model(), {}, GateConfig(), all_metrics=False) == []


@pytest.mark.parametrize(
    ("value", "of_real", "rule", "said"),
    [
        (260.0, 249.0, Rule(relative=0.05), "the margin of 13 is large beside the rest, 11:"),
        (240.0, 249.0, Rule(relative=0.05), "the margin of 12 is large beside the rest, 0:"),
        (260.0, 200.0, Rule(relative=0.05), ""),  # 13 of 60
        (260.0, 200.0, Rule(relative=0.06), "the margin of 15.6 is large beside the rest, 60:"),
        (260.0, 249.0, Rule(margin=13.0), ""),  # somebody chose it
        (260.0, 249.0, Rule(most=300.0), ""),
        (260.0, None, Rule(relative=0.05), ""),
    ],
)
def test_a_margin_that_is_large_beside_the_distance_from_real_images_is_said(
    value: float, of_real: float | None, rule: Rule, said: str
) -> None:
    a, b = model(replace(state("fid"), of_real=of_real)), model(state("fid", value))
    notes = notes_of(a, b, {"fid": rule}, GateConfig(), all_metrics=False)
    assert len(notes) == bool(said)
    assert said in "".join(notes)


def test_groups_are_decided_for_metrics_of_their_direction_that_are_wider() -> None:
    values = (0.0, 10.0, 5.0, 6.0, 20.0, 3.0)
    side = model(
        state("aesthetic", 7.0, values, better="higher", range=(0.0, 100.0)),
        state("duplicates", 0.5, ONE, better="higher", range=(0.0, 1.0)),
        state("distance", 7.0, values),
        state("fid"),
    )
    side = replace(side, groups=dict(zip(side.prompts, ("b", "", "a", "b", "a", "a"), strict=True)))
    rules = dict.fromkeys(side.states, Rule(relative=0.05))
    settings = GateConfig(groups=Rule(2.0, tier="advisory", direction="higher"), source="g.toml")
    made = decisions_of(side, side, rules, settings)
    assert [(one.metric, one.group, one.images, one.tier) for one in made[4:]] == [
        ("aesthetic", "b", 2, "advisory"),
        ("aesthetic", "a", 3, "advisory"),
    ]
    [said] = notes_of(side, side, rules, settings, all_metrics=True)
    assert said == (
        "The margin of [groups] is not applied to duplicates: it allows every change of them."
    )
    limits = replace(settings, groups=Rule(least=2.0))  # of both directions
    metrics = [one.metric for one in decisions_of(side, side, rules, limits)[4:]]
    assert metrics == ["aesthetic"] * 2 + ["duplicates"] * 2 + ["distance"] * 2
    assert notes_of(side, side, rules, limits, all_metrics=True) == []
    none = replace(side, groups=dict.fromkeys(side.prompts, ""))
    lone = model(*(replace(one, values=None) for one in side.states.values()))
    assert decisions_of(lone, lone, rules, GateConfig()) == decisions_of(
        lone, side, rules, GateConfig()
    )
    for sides in ((lone, side), (side, lone)):  # values per image of one of the two
        with pytest.raises(EvalkitError, match="has nothing to decide"):
            decisions_of(*sides, rules, settings)
    for wrong, given, missing in (
        (none, rules, "group of prompts"),
        (side, {"fid": Rule(1.0)}, "gated metric with values per image, this direction and a"),
        (side, {"distance": Rule(1.0)}, "gated metric with values per image, this direction"),
        (side, {"duplicates": Rule(1.0)}, "gated metric with values per image, this direction"),
    ):
        with pytest.raises(EvalkitError, match=r"g\.toml: \[groups\] has nothing to dec") as error:
            decisions_of(wrong, side, given, settings)
        assert f"there is no {missing}" in error.value.message
