"""The price table: known and unknown prices, and a date and a source in every row."""

import datetime
import tomllib
from pathlib import Path

import pytest

from evalkit.generators.services import prices
from evalkit.generators.services.prices import price_per_image

ROWS = tomllib.loads(Path(prices.__file__).with_name("prices.toml").read_text())["price"]


@pytest.mark.parametrize(
    ("provider", "model", "size", "quality", "dollars"),
    [
        ("openai", "gpt-image-1-mini", "1024x1024", "low", 0.005),
        ("openai", "gpt-image-2", "1024x1024", "high", 0.211),
        ("openai", "gpt-image-2-2026-04-21", "1024x1024", "medium", 0.053),
        ("openai", "gpt-image-1-mini", "", "", 0.052),  # the service chooses: the highest
        ("openai", "gpt-image-1-mini", "auto", "low", 0.006),
        ("bfl", "flux-pro-1.1", "1440x960", "", 0.04),
        ("bfl", "flux-2-pro", "1024x1024", "", 0.03),
        ("bfl", "flux-2-pro", "2048x2048", "", None),  # charged by the megapixel
        ("openai", "gpt-image-2", "2048x2048", "low", None),
        ("openai", "gpt-image-1-mini", "1024x1024", "max", None),
        ("openai", "gpt-image-99", "1024x1024", "low", None),
        ("other", "gpt-image-2", "1024x1024", "high", None),
    ],
)
def test_prices(provider: str, model: str, size: str, quality: str, dollars: float | None) -> None:
    found = price_per_image(provider, model, size, quality)
    assert (found and found.dollars) == dollars
    if found:
        assert datetime.date.fromisoformat(found.read) >= datetime.date(2026, 11, 22)
        assert found.source.startswith("https://")


def test_every_row_has_a_date_a_source_and_plausible_prices() -> None:
    assert len({(row["provider"], row["model"]) for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert isinstance(row["read"], datetime.date)
        assert row["source"].startswith("https://")
        for item in row["dollars"]:
            values = [value for name, value in item.items() if name != "size"]
            assert values
            assert all(0.001 < value < 1 for value in values)
