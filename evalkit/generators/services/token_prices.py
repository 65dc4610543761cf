"""What one answer cost, by the tokens that it reports and a dated table (token_prices.toml)."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def cost_of(provider: str, model: str, usage: object) -> float | None:
    """US dollars for one answer of the OpenAI Images API by its `usage`; None where tokens or
    prices are not known.

    Output tokens count as tokens of the image: some models also report a few tokens of text, which
    cost less.
    """
    known = _table().get(provider, {})
    rates = known.get(model) or known.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))
    if rates is None or not isinstance(usage, dict):
        return None
    pictures = _count(usage.get("input_tokens_details"), "image_tokens") or 0
    entered, made = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if entered is None or made is None or pictures > entered:
        return None
    return (
        (entered - pictures) * rates["text_input"]
        + pictures * rates["image_input"]
        + made * rates["image_output"]
    ) / 1e6


@functools.cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_name("token_prices.toml").read_text(encoding="utf-8"))


def _count(value: object, key: str) -> int | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if type(found) is int and found >= 0 else None
