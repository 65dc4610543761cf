"""What an image costs at a service: a dated table (prices.toml), which `--set MODEL.price=0.04`
overrides.
"""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple


class Price(NamedTuple):
    dollars: float  # US dollars per image
    read: str  # the date on which it was read, as 2026-11-22
    source: str  # a URL


def price_of(provider: str, model: str, size: str = "", quality: str = "") -> Price | None:
    """The price of one image, or None where the table does not know it.

    An empty or "auto" size or quality leaves the choice to the service: the price is then the
    highest of those that it may choose, so that it can be reserved. A dated snapshot
    (`gpt-image-2-2026-04-21`) costs what its model costs.
    """
    plain = re.sub(r"-\d{4}-?\d{2}-?\d{2}$", "", model)
    for row in _table():
        if row["provider"] != provider or row["model"] not in (model, plain):
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


@functools.cache
def _table() -> list[dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("prices.toml").read_text(encoding="utf-8"))[
        "price"
    ]
