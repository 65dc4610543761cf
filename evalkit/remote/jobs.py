"""One request that is to be answered: what was sent for it and its cost, in all processes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from evalkit.core import Status


class Answer(Protocol):
    """What a service says to one request. core.Answer is one with an image."""

    @property
    def status(self) -> Status: ...
    @property
    def detail(self) -> str: ...
    @property
    def retry_after(self) -> float | None: ...
    @property
    def cost(self) -> float | None: ...


class Outcome(Protocol):
    """The last word on a job, as it is recorded. core.Record is one."""

    @property
    def status(self) -> Status: ...
    @property
    def detail(self) -> str: ...
    @property
    def cost(self) -> float | None: ...
    @property
    def possible_charges(self) -> int: ...
    @property
    def possible_cost(self) -> float | None: ...


@dataclass(order=True)
class Job:
    """The state of one request. Jobs sort by when they may be sent, then by their order."""

    ready_at: float  # time.monotonic(); not sent before
    order: int  # in the list of requests
    what: Any = field(compare=False)  # is requested
    key: Mapping[str, Any] = field(compare=False)  # by which its rows in the journal are found
    name: str = field(default="", compare=False)  # in messages: "prompt 00017"
    # In all processes:
    attempts: int = field(default=0, compare=False)  # requests sent
    cost: float | None = field(default=None, compare=False)  # US dollars
    possible_charges: int = field(default=0, compare=False)
    possible_cost: float | None = field(default=0.0, compare=False)
    # In this process:
    price: float | None = field(default=None, compare=False)  # reserved for the last request
    failures: int = field(default=0, compare=False)  # without 429s
    rejections: int = field(default=0, compare=False)  # 429s
    sent_at: float = field(default=0.0, compare=False)  # time.monotonic() of the last request

    def row(self, status: str, **more: Any) -> dict[str, Any]:
        """A row of the journal."""
        return {**self.key, "status": status, "at": time.time(), **more}

    @property
    def account(self) -> dict[str, Any]:
        """Attempts and costs in all processes, as they are recorded."""
        return {
            "attempts": self.attempts,
            "cost": self.cost,
            "possible_charges": self.possible_charges,
            "possible_cost": self.possible_cost,
        }
