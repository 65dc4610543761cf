"""Waiting for a page in the browser tests."""

from __future__ import annotations

from typing import Any


def until(page: Any, expression: str, arg: object = None) -> None:
    """Wait until a JavaScript expression is true; 30 s at most.

    Asked from outside: Playwright's own waiting evaluates in the page, which the content security
    policy of our pages refuses.
    """
    for _ in range(300):
        if page.evaluate(expression, arg):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not reached: {expression}")
