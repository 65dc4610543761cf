"""Rows from the manifest: cost and speed of services."""

import pytest

from evalkit.core import MetricRow, Record
from evalkit.score.records import MEASURES, rows


def record(
    index: int,
    status: str = "ok",
    cost: float | None = 0.5,
    charges: int = 0,
    possible: float | None = 0.0,
) -> Record:
    return Record(
        str(index),
        index,
        0,
        0,
        status,
        seconds=2.0,
        attempts=1,
        cost=cost,
        possible_charges=charges,
        possible_cost=possible,
    )  # type: ignore[arg-type]


def cost(records: list[Record]) -> MetricRow:
    [row] = [row for row in rows("m", records, 10) if row.metric == "cost_per_image"]
    return row


def test_cost_includes_charges_without_an_image() -> None:
    row = cost(
        [
            record(0, cost=0.5),
            record(1, cost=0.7),
            record(2, "malformed", 0.3),
            record(3, "refused_input", None),
        ]
    )
    assert row.value == pytest.approx(1.5 / 2)
    assert (row.count, row.requested, row.better, row.low) == (2, 10, "lower", None)
    assert row.note == "US dollars; $1.50 for 2 images"


def test_possible_charges_are_stated_and_not_added() -> None:
    row = cost(
        [record(0), record(1, charges=2, possible=1.0), record(2, "ambiguous", None, 1, 0.5)]
    )
    assert row.value == 0.5
    assert row.note == (
        "US dollars; $1.00 for 2 images;"
        " 3 requests without a readable answer may have cost $1.50 more"
    )
    assert cost([record(0, charges=1, possible=None)]).note.endswith(
        "1 requests without a readable answer may have cost an unknown amount more"
    )


def test_an_unknown_cost_is_not_zero() -> None:
    row = cost([record(0), record(1, cost=None)])
    assert (row.value, row.note) == (
        None,
        "not measured: the price of 1 of 2 images is unknown; the others cost $0.50",
    )
    row = cost([record(0, cost=None)])
    assert (row.value, row.note) == (None, "not measured: the price of 1 of 1 images is unknown")
    row = cost([record(0, "quota", None)])
    assert (row.value, row.note) == (None, "not measured: no image was generated, for $0.00")


def test_free_is_a_price() -> None:
    assert cost([record(0, cost=0.0)]).value == 0.0


def test_local_models_have_no_cost() -> None:
    local = [Record("0", 0, 0, 0, "ok", seconds=1.0)]
    assert [row.metric for row in rows("m", local, 1)] == [
        "refusal_rate",
        "images_per_second",
        "latency_p50",
        "latency_p95",
    ]
    assert {row.metric for row in rows("m", [record(0)], 1)} <= MEASURES.keys()


def test_latency_of_a_service_is_per_request() -> None:
    found = {row.metric: row for row in rows("m", [record(0), record(1)], 2)}
    assert found["latency_p50"].value == 2.0
    assert found["images_per_second"].value == 0.5
    assert (
        found["latency_p50"].note == "from request to answer, as if requests followed one another"
    )
    assert "concurrent" in found["latency_p50"].interval


def test_a_missing_image_is_neither_refused_nor_a_request() -> None:
    def refusals(*statuses: str) -> MetricRow:
        return rows("m", [record(at, status) for at, status in enumerate(statuses)], 4)[0]

    row = refusals("ok", "refused_input", "missing", "missing")
    assert (row.value, row.count, row.requested) == (0.5, 2, 4)
    assert row.note == "1 of 2 requests; 2 missing, not counted"
    row = refusals("missing", "missing")
    assert (row.value, row.note) == (None, "not measured: all images are missing")


def test_the_meaning_of_a_latency_names_no_unit() -> None:
    """The column of the report is in ms where all values are below a second."""
    for name in ("latency_p50", "latency_p95"):
        assert "second" not in MEASURES[name].meaning.lower()
