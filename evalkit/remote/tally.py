"""Counts of outcomes and money of one service so far, and their sentences."""

from __future__ import annotations

from collections import Counter

from evalkit.remote.jobs import Outcome
from evalkit.remote.journal import plus
from evalkit.terminal import dollars


class Tally:
    """Counts outcomes and money of one process.

    Attributes:
        counts: last answers by outcome.
        failed_in_a_row: last answers since the last good one or refusal.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.counts: Counter[str] = Counter()
        self.failed_in_a_row = 0
        self._details: dict[str, str] = {}  # the last one of each outcome
        self._cost: float | None = 0.0
        self._possible_charges = 0
        self._possible_cost: float | None = 0.0

    def add(self, record: Outcome) -> None:
        self.counts[record.status] += 1
        if record.detail:
            self._details[record.status] = record.detail
        known = record.cost is not None or record.status == "ok"
        self._cost = plus(self._cost, record.cost if known else 0.0)
        self._possible_charges += record.possible_charges
        self._possible_cost = plus(self._possible_cost, record.possible_cost)
        good = record.status == "ok" or record.status.startswith("refused")
        self.failed_in_a_row = 0 if good else self.failed_in_a_row + 1

    def so_far(self) -> str:
        """A note beside the progress bar: `2 refused, 1 failed, $1.20`."""
        refused = self.counts["refused_input"] + self.counts["refused_output"]
        failed = self.counts.total() - self.counts["ok"] - refused
        parts = [f"{refused} refused"] * bool(refused) + [f"{failed} failed"] * bool(failed)
        parts.append("cost unknown" if self._cost is None else dollars(self._cost))
        return ", ".join(parts)

    def summary(self, seconds: float, in_flight: int) -> str:
        """One line for the log."""
        count = self.counts["ok"]
        made = f"{self.label}: {count} {self.unit}{'s' * (count != 1)} in {seconds:.1f} s"
        parts = [f"{made}, cost {dollars(self._cost)}"]
        for status in sorted(set(self.counts) - {"ok"}):
            detail = self._details.get(status)
            reason = f" ({in_one_line(detail)})" if detail else ""
            parts.append(f"{self.counts[status]} {status}{reason}")
        if self._possible_charges:
            parts.append(
                f"{self._possible_charges} requests without a usable answer may have been charged "
                f"in addition ({dollars(self._possible_cost)})"
            )
        if in_flight:
            parts.append(
                f"{in_flight} requests are still in flight and may be charged; "
                "the same command sends them again"
            )
        if missing := self.total - self.counts.total():
            parts.append(f"{missing} of {self.total} {self.unit}s are missing")
        return "; ".join(parts)


def in_one_line(detail: str) -> str:
    """The detail of an answer for a sentence: one line, at most 200 characters."""
    return " ".join(detail.split())[:200] or "no reason was given"
