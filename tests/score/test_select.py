"""Which metrics a run is scored with: names, `all`, and two of one name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installed_metrics import METRICS

from evalkit.core import EvalkitError
from evalkit.score.select import DEFAULT, select

MINE = """
from evalkit import Metric
def compute(*, fake):
    return fake.mean()
FID = Metric("fid", compute, "pool", "inception", "lower")
OTHER = Metric("other", compute, "pool", "inception", "lower")
AGAIN = Metric("other", compute, "pool", "inception", "lower")
REFUSALS = Metric("refusal_rate", compute, "pool", "inception", "lower")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)


def names(*specs: str) -> list[str]:
    return [metric.name for metric in select(specs)]


def test_default_all_and_names():
    assert tuple(names()) == DEFAULT
    assert set(names("all")) == set(METRICS)
    assert names("all")[: len(DEFAULT)] == list(DEFAULT)
    assert names("kid", "refusal_rate", "fid") == ["kid", "fid"]


def test_two_metrics_of_one_name_are_refused_with_both_origins(mine: None):
    assert names("fid", "mine:OTHER") == ["fid", "other"]
    with pytest.raises(EvalkitError, match="'other': 'mine:OTHER' and 'mine:AGAIN'"):
        select(["mine:OTHER", "mine:AGAIN"])
    with pytest.raises(EvalkitError, match="'fid' and 'fid'"):
        select(["fid", "fid"])


def test_the_name_of_an_installed_metric_is_refused(mine: None):
    with pytest.raises(EvalkitError, match="'mine:FID' has the name of the installed metric 'fid'"):
        select(["mine:FID"])
    assert names("evalkit.metrics.frechet:FID") == ["fid"]


def test_a_name_of_a_measure_from_records_is_refused(mine: None):
    with pytest.raises(EvalkitError, match="'mine:REFUSALS' has the name 'refusal_rate'"):
        select(["mine:REFUSALS"])
