"""`evalkit list metrics`: every column comes from a field of the metric."""

from __future__ import annotations

import pytest

from evalkit import listing, plugins
from evalkit.core import EvalkitError, Metric


def rows() -> dict[str, dict[str, str]]:
    header, found = listing.metrics()
    return {row[0]: dict(zip(header, row, strict=True)) for row in found}


def test_every_installed_metric_is_described():
    found = rows()
    assert list(found) == plugins.names("metric")
    for name, row in found.items():
        metric = plugins.metric(name)
        assert row["title"] == metric.measure.title
        assert row["meaning"] == metric.meaning != ""
        assert row["better"] in ("lower", "higher")
    assert found["clip_score"]["needs"] == "fake, text"
    assert found["cmmd"]["range"] == "0 to 39.6"
    assert found["vendi"]["range"] == "1 or more"
    assert found["kid"]["range"] == "any"


def test_a_metric_that_cannot_be_imported_has_a_row_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
):
    def broken(name: str) -> Metric:
        raise EvalkitError(f"The metric {name} cannot be imported.")

    monkeypatch.setattr(plugins, "metric", broken)
    assert rows()["fid"]["meaning"] == "not usable: The metric fid cannot be imported."
