"""Options that both kinds of services have, checked."""

from __future__ import annotations

from evalkit.core import EvalkitError


def check_amounts(timeout: float | None, price: float | None) -> None:
    """The timeout is more than 0 seconds, the price 0 or more US dollars."""
    if timeout is not None and timeout <= 0:
        raise EvalkitError(
            f"timeout is {timeout!r}; expected more than 0 seconds.", code="generators-61"
        )
    if price is not None and price < 0:
        raise EvalkitError(
            f"price is {price!r}; expected US dollars per image, 0 or more.", code="generators-62"
        )
