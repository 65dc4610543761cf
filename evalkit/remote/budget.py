"""Money: a price is reserved before a request is sent, and settled by the answer."""

from __future__ import annotations

from evalkit.core import EvalkitError


class Budget:
    """The money of one command, for all of its services. Not thread-safe.

    Args:
        most: US dollars that may be spent; None for no limit.
        spent: US dollars that earlier processes have spent, or may have spent.
        option: how the limit is given, for hints.

    Raises EvalkitError for a limit below 0.
    """

    def __init__(
        self, most: float | None = None, spent: float = 0.0, option: str = "--max-cost"
    ) -> None:
        if most is not None and not 0 <= most < 1e9:
            raise EvalkitError(
                f"max_cost is {most!r}; expected US dollars, 0 or more.", code="remote-7"
            )
        self.option = option
        self.most, self.spent, self.reserved = most, spent, 0.0

    def reserve(self, price: float | None) -> bool:
        """Reserve the price of one request. False where the limit does not allow it."""
        if self.most is not None and self.spent + self.reserved + (price or 0.0) > self.most + 1e-9:
            return False
        self.reserved += price or 0.0
        return True

    def settle(self, price: float | None, cost: float | None) -> None:
        """Replace a reserved price by what the request cost, or may have cost."""
        self.reserved = max(0.0, self.reserved - (price or 0.0))
        self.spent += cost or 0.0

    def check(self, model: str, price: float | None, hint: str) -> None:
        """Raise EvalkitError where there is a limit and a model without a price.

        hint: how to state the price.
        """
        if self.most is not None and price is None:
            raise EvalkitError(
                f"max_cost {self.most:g} needs a price, and the price of {model!r} is not known.",
                hint,
                code="remote-8",
            )
