"""Money: what may be spent is reserved before a request is sent and settled by its answer."""

from __future__ import annotations

from evalkit.core import EvalkitError


class Budget:
    """The money of one command, for all of its services together. Not for several threads.

    Args:
        most: US dollars that may be spent; None for no limit.
        spent: US dollars that earlier processes have spent, or may have.
    """

    def __init__(self, most: float | None = None, spent: float = 0.0) -> None:
        self.most, self.spent, self.reserved = most, spent, 0.0

    def reserve(self, price: float | None) -> bool:
        """Put the price of one request aside. False where that would be more than may be spent."""
        if self.most is not None and self.spent + self.reserved + (price or 0.0) > self.most + 1e-9:
            return False
        self.reserved += price or 0.0
        return True

    def settle(self, price: float | None, cost: float | None) -> None:
        """Replace what was reserved by what a request cost, or may have cost."""
        self.reserved = max(0.0, self.reserved - (price or 0.0))
        self.spent += cost or 0.0

    def check(self, model: str, price: float | None) -> None:
        """Raise EvalkitError where there is a limit and a model without a price."""
        if self.most is not None and price is None:
            raise EvalkitError(
                f"--max-cost {self.most:g} needs a price, and that of {model!r} is not known.",
                f"Give it in US dollars per image, an upper bound: `--set {model}.price=0.04`.",
            )
