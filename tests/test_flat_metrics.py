"""metrics.flat.json: every key is one row, and every number is the one of metrics.json."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_for_tests import NASTY

from evalkit.core import MetricRow
from evalkit.flat_metrics import flatten, keys, parse
from evalkit.run_folder import Run

NAMES = st.sampled_from(["fid", "clip_score", "my.metric-2"])
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.builds(
    MetricRow,
    model=NASTY,
    metric=NAMES,
    encoder=NASTY | st.just(""),
    reference=NASTY | st.just(""),
    value=NUMBERS,
    low=NUMBERS,
    high=NUMBERS,
    count=st.integers(0, 10**6),
    requested=st.just(0),
    better=st.just("lower"),
    on=st.sampled_from(["answered", "common"]),
    group=NASTY | st.just(""),
)


def identity(row: MetricRow) -> tuple[str, ...]:
    return row.model, row.metric, row.encoder, row.reference, row.on, row.group


def make(model: str = "dalle", metric: str = "fid", **more: object) -> MetricRow:
    row = MetricRow(model, metric, "inception", "coco", 16.8, 13.5, 20.2, 71, 71, "lower")
    return dataclasses.replace(row, **more)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROWS, max_size=8, unique_by=identity))
def test_every_key_inverts_to_its_row(rows: list[MetricRow]) -> None:
    found = keys(rows)
    assert list(found.values()) == rows
    for key, number in flatten(rows).items():
        fields, field = parse(key)
        named = {"on": "answered", "group": "", **fields}
        [row] = [
            row for row in rows if all(getattr(row, name) == text for name, text in named.items())
        ]
        assert getattr(row, field) == number
    numbers = sum(
        value is not None
        for row in rows
        if row.value is not None
        for value in (row.value, row.low, row.high, row.count)
    )
    assert len(flatten(rows)) == numbers


def test_plain_keys() -> None:
    assert flatten([make()]) == {
        "dalle/fid": 16.8,
        "dalle/fid/low": 13.5,
        "dalle/fid/high": 20.2,
        "dalle/fid/count": 71,
    }


def test_what_is_not_a_number_has_no_key() -> None:
    assert flatten([make(value=None, low=None, high=None)]) == {}
    assert set(flatten([make(low=None, high=math.inf)])) == {"dalle/fid", "dalle/fid/count"}


def test_parts_that_make_a_row_unique() -> None:
    rows = [
        make("org/a"),
        make("org/a", on="common"),
        make("org/a", group="two objects"),
        make("org/a", "win_rate", encoder="human:preference", reference="one"),
        make("org/a", "win_rate", encoder="human:preference", reference="two"),
    ]
    assert list(keys(rows)) == [
        "org%2Fa/fid",
        "org%2Fa/fid/on:common",
        "org%2Fa/fid/group:two objects",
        "org%2Fa/win_rate/encoder:human:preference/reference:one",
        "org%2Fa/win_rate/encoder:human:preference/reference:two",
    ]


def test_written_with_metrics_json(tmp_path) -> None:
    run = Run(tmp_path)
    run.write_metrics([make()])
    assert json.loads(run.flat_metrics_path.read_text("utf-8"))["dalle/fid"] == 16.8
    run.write_metrics([make(value=17.0)])
    assert json.loads(run.flat_metrics_path.read_text("utf-8"))["dalle/fid"] == 17.0


def test_after_a_failed_write_it_is_absent(tmp_path, monkeypatch) -> None:
    run = Run(tmp_path)
    run.write_metrics([make()])
    monkeypatch.setattr("evalkit.run_folder.results.write_atomically", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.write_metrics([make(value=17.0)])
    assert not run.flat_metrics_path.exists()
    assert run.metrics()[0].value == 16.8
