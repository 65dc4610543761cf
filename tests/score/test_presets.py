"""Presets and spellings of metric names."""

from __future__ import annotations

import pytest
from installed_metrics import METRICS

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.score.presets import ALIASES, DEFAULT, PRESETS, expand
from evalkit.score.select import select


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("FID",), ("fid",)),
        (("clip-score", "Inception Score"), ("clip_score", "inception_score")),
        (("is", "clip"), ("inception_score", "clip_score")),
        (("kernel_inception_distance",), ("kid",)),
        (("pr",), ("precision", "recall")),
        (("prdc",), ("precision", "recall", "density", "coverage")),
        (("default", "vendi"), (*DEFAULT, "vendi")),
        (("fid", "default"), DEFAULT),
        (("usual",), DEFAULT),
        (("alignment", "text"), ("clip_score", "retrieval_precision", "vqa_score")),
        (("refusal_rate", "my:METRIC", "nonsense"), ("refusal_rate", "my:METRIC", "nonsense")),
        ((), ()),
    ],
)
def test_what_is_meant(typed: tuple[str, ...], meant: tuple[str, ...]):
    assert expand(typed) == meant


def test_all_is_every_installed_metric_with_the_default_ones_first():
    assert set(expand(["all"])) == set(METRICS)
    assert expand(["All"])[: len(DEFAULT)] == DEFAULT
    assert [metric.name for metric in select(["all", "fid"])] == list(expand(["all"]))


def test_presets_and_aliases_hold_installed_metrics_only():
    for members in (*PRESETS.values(), *ALIASES.values()):
        assert set(members) <= set(plugins.metric_names())


def test_an_installed_metric_wins_over_a_preset_and_an_alias(monkeypatch: pytest.MonkeyPatch):
    installed = [*METRICS, "quality", "is", "all"]
    monkeypatch.setattr(plugins, "names", lambda kind: installed)
    monkeypatch.setattr(plugins, "metric_names", lambda: installed)
    assert expand(["quality", "is", "all"]) == ("quality", "is", "all")


def test_one_metric_under_two_spellings_is_refused():
    with pytest.raises(EvalkitError, match="Two metrics have the name 'fid'"):
        select(["fid", "FID"])


def test_an_unknown_name_gets_the_nearest_one_presets_included():
    with pytest.raises(EvalkitError, match=r"There is no metric 'qualty'.*Did you mean 'quality'"):
        select(["qualty"])
