"""Which metrics are gated, and with which margin."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest

import evalkit
from evalkit.core import EvalkitError, Measure
from evalkit.gate.config import GateConfig, Rule, read_config
from evalkit.gate.rules import choose_rules
from evalkit.gate.snapshot import Snapshot, State

Runs = Callable[[str], Path]
GENERAL = "[metrics.win_rate]\nmax_drop = 0.1\n"
SPECIFIC = '[metrics."win_rate@human:preference"]\nmax_drop = 0.3\n'


def rated() -> Snapshot:
    """A model with win rates of two questions."""
    measure = Measure("win_rate", "higher", from_ratings=True)
    states = {
        f"win_rate@human:{question}": State(measure, f"human:{question}", "other", 0.5, 0.4, 0.6)
        for question in ("preference", "alignment")
    }
    return Snapshot("run:m", "m", {"a": "a cat"}, {"a": ""}, {}, states, "0")


@pytest.mark.parametrize("names", [[], ["win_rate"], ["win_rate@human:preference"]])
@pytest.mark.parametrize("text", [GENERAL + SPECIFIC, SPECIFIC + GENERAL])
def test_the_table_of_a_question_is_stronger_than_that_of_the_metric(
    text: str, names: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    rules = choose_rules(read_config(path), names, rated(), rated())
    assert rules["win_rate@human:preference"].margin == 0.3
    if names != ["win_rate@human:preference"]:
        assert rules["win_rate@human:alignment"].margin == 0.1


@pytest.mark.parametrize(
    ("text", "name", "margin"),
    [(GENERAL, "win_rate@human:preference", 0.1), (SPECIFIC, "win_rate@human:preference", 0.3)],
)
def test_a_named_question_has_the_margin_of_its_table_or_of_the_metric(
    text: str, name: str, margin: float, tmp_path: Path
) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    rules = choose_rules(read_config(path), [name], rated(), rated())
    assert {name: rule.margin for name, rule in rules.items()} == {name: margin}


def test_a_question_without_a_margin_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(SPECIFIC)
    with pytest.raises(EvalkitError, match="win_rate@human:alignment has no natural zero"):
        choose_rules(read_config(path), ["win_rate"], rated(), rated())


@pytest.mark.parametrize("given", ["", b"run", None, 3])
def test_a_run_is_a_text_or_a_path(given: object) -> None:
    with pytest.raises(EvalkitError, match=r"candidate is .*; expected a text or a path"):
        evalkit.gate(given, baseline="main")  # pyright: ignore


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics = 3", "metrics is 3; expected tables such as"),
        ("metrics.fid = 3", "the entry is 3; expected a table"),
        ("baseline = 3", "baseline is 3; expected a text"),
        ("allow_mismatch = 'seed'", "allow_mismatch is 'seed'; expected a list of texts"),
        ("allow_mismatch = ['seed', 3]", "expected a list of texts"),
        ("on_inconclusive = 'stop'", "'stop'; expected pass or fail"),
        ("alpha = true", "alpha is True; expected a number of at least 1e-06, below 0.5"),
        ("alpha = 0.5", "below 0.5"),
        ("alpha = 9e-7", "at least 1e-06"),
        ("margin = 1", "unknown key 'margin'"),
        ("[groups]\ntier = 'advisory'", "groups has no margin"),
        ("[metrics.fid]\nmargin = 1", "metrics.fid has the unknown key 'margin'"),
        ("[metrics.fid]\nmax_drop = -1", "max_drop is -1; expected a number of at least 0"),
        ("[metrics.fid]\nmax_drop = 2e15", r"expected a number up to 1e\+15"),
        ("[metrics.fid]\nmax = nan", r"expected a number up to 1e\+15"),
        ("[metrics.fid]\ntier = 'high'", "expected critical, supporting or advisory"),
        ("[metrics.fid]\nmin = 2\nmax = 1", "has a min above its max"),
        ("[metrics.fid]\nmax_drop = 2\nmax_increase = 1", "worse in one direction only"),
    ],
)
def test_a_wrong_configuration_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(EvalkitError, match=message):
        read_config(path)


def test_the_ends_of_the_configuration_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text("alpha = 1e-6\n[metrics.fid]\nmax_increase = 0\nmin = 2\nmax = 2\n")
    found = read_config(path)
    assert found.alpha == 1e-6
    assert found.metrics["fid"] == Rule(margin=0, least=2, most=2, direction="lower")


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("max_increase", Rule(margin=0.1, direction="lower")),
        ("max_relative_increase", Rule(relative=0.1, direction="lower")),
        ("max_drop", Rule(margin=0.1, direction="higher")),
        ("max_relative_drop", Rule(relative=0.1, direction="higher")),
        ("min", Rule(least=0.1)),
        ("max", Rule(most=0.1)),
    ],
)
def test_each_key_limits_what_it_names(key: str, rule: Rule, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(f"[metrics.score]\n{key} = 0.1\n")
    assert read_config(path).metrics == {"score": rule}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("baseline = 'base.json'", "{here}/base.json"),
        ("baseline = '../main:gan'", "{here}/../main:gan"),
        ("baseline = '/runs/main:gan'", "/runs/main:gan"),
        ("baseline = 'git:main:base.json'", "git:main:base.json"),
    ],
)
def test_the_baseline_is_relative_to_the_file(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    assert read_config(path).baseline == expected.format(here=tmp_path)


def measured(**values: float | None) -> Snapshot:
    """A model with these values of metrics of images, None for one that is not measured."""
    states = {
        name: State(
            Measure(name, "lower", range=(0.0, math.inf)), "e", "", value, note="no weights"
        )
        for name, value in values.items()
    }
    return Snapshot("run:m", "m", {"a": "a cat"}, {"a": ""}, {}, states, "0")


def test_a_value_that_both_lack_is_not_gated_and_one_that_one_lacks_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    sides = measured(fid=3.0, kid=None, cmmd=None), measured(fid=3.0, kid=1.0, cmmd=None)
    assert list(choose_rules(GateConfig(), [], *sides)) == ["fid", "kid"]
    assert list(choose_rules(GateConfig(), [], *sides[::-1])) == ["fid", "kid"]
    assert caplog.messages == ["not gated: cmmd: no weights"] * 2


def test_an_at_sign_is_for_ratings_only(runs: Runs) -> None:
    with pytest.raises(EvalkitError, match="names raters after the @, but fid is not") as one:
        evalkit.gate(runs("none"), baseline=runs("none"), metrics="fid@mini-inception")
    assert "Write `fid`; it is measured with mini-inception." in one.value.hint
