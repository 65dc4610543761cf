"""What an image costs at a service, from two dated tables: prices.toml and token_prices.toml."""

from __future__ import annotations

import functools
import re
import tomllib
from importlib import resources
from typing import Any, NamedTuple


class Price(NamedTuple):
    dollars: float  # US dollars per image
    read: str  # the date on which it was read, such as 2026-11-22
    source: str  # a URL


def price_per_image(provider: str, model: str, size: str = "", quality: str = "") -> Price | None:
    """The price of one image, or None where the table does not list it.

    With an empty or "auto" size or quality, the service chooses: the result is then the highest
    price that it may choose, so that enough is reserved.
    """
    for row in _table("prices")["price"]:
        if row["provider"] != provider or row["model"] not in (model, _undated(model)):
            continue
        found = [
            dollars
            for item in row["dollars"]
            if size in ("", "auto") or item.get("size", size) == size
            for name, dollars in item.items()
            if name != "size" and (quality in ("", "auto") or name in (quality, "any"))
        ]
        if found:
            return Price(max(found), str(row["read"]), row["source"])
    return None


def cost_by_tokens(provider: str, model: str, usage: object) -> float | None:
    """US dollars for one answer of the OpenAI Images API, by the tokens of its `usage`.

    None where the tokens or the prices are not known. Output tokens count as image tokens: some
    models also report a few output tokens of text, which are cheaper.
    """
    listed = _table("token_prices").get(provider, {})
    rates = listed.get(model) or listed.get(_undated(model))
    if rates is None or not isinstance(usage, dict):
        return None
    image_input = _count(usage.get("input_tokens_details"), "image_tokens") or 0
    total_input, output = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if total_input is None or output is None or image_input > total_input:
        return None
    return (
        (total_input - image_input) * rates["text_input"]
        + image_input * rates["image_input"]
        + output * rates["image_output"]
    ) / 1e6


def _undated(model: str) -> str:
    """A dated snapshot (`gpt-image-2-2026-04-21`) has the price of its model."""
    return re.sub(r"-\d{4}-?\d{2}-?\d{2}$", "", model)


@functools.cache
def _table(name: str) -> dict[str, Any]:
    file = resources.files("evalkit.generators.services") / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _count(value: object, key: str) -> int | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if type(found) is int and found >= 0 else None
