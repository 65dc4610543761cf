"""What has come of the requests of one model so far, in numbers and in words."""

from __future__ import annotations

from collections import Counter

from evalkit.core import Record
from evalkit.generate.remote.journal import plus
from evalkit.terminal import dollars


class Tally:
    """Counts outcomes and money of one process.

    Attributes:
        counts: records by outcome.
        failed_in_a_row: records since the last one that is an image or a refusal.
    """

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total = label, total
        self.counts: Counter[str] = Counter()
        self.failed_in_a_row = 0
        self._details: dict[str, str] = {}  # the last one of each outcome
        self._money: float | None = 0.0
        self._possible_charges = 0
        self._possible_money: float | None = 0.0

    def add(self, record: Record) -> None:
        self.counts[record.status] += 1
        if record.detail:
            self._details[record.status] = record.detail
        self._money = plus(
            self._money, record.cost if record.cost is not None or record.status == "ok" else 0.0
        )
        self._possible_charges += record.possible_charges
        self._possible_money = plus(self._possible_money, record.possible_cost)
        good = record.status == "ok" or record.status.startswith("refused")
        self.failed_in_a_row = 0 if good else self.failed_in_a_row + 1

    def so_far(self) -> str:
        """A few words beside the progress bar: `2 refused, 1 failed, $1.20`."""
        refused = self.counts["refused_input"] + self.counts["refused_output"]
        failed = sum(self.counts.values()) - self.counts["ok"] - refused
        money = "cost unknown" if self._money is None else dollars(self._money)
        return ", ".join(
            [f"{refused} refused"] * bool(refused) + [f"{failed} failed"] * bool(failed) + [money]
        )

    def summary(self, seconds: float, in_flight: int) -> str:
        """One line for the log."""
        parts = [
            f"{self.label}: {self.counts['ok']} images in {seconds:.1f} s, cost {dollars(self._money)}"
        ]
        for status in sorted(set(self.counts) - {"ok"}):
            parts.append(
                f"{self.counts[status]} {status}"
                + (f" ({in_one_line(self._details[status])})" if status in self._details else "")
            )
        if self._possible_charges:
            cost = dollars(self._possible_money)
            parts.append(
                f"{self._possible_charges} requests without a proper answer may have been charged besides ({cost})"
            )
        if in_flight:
            parts.append(
                f"{in_flight} requests are still in flight and may be charged: they are sent again when the run goes on"
            )
        if missing := self.total - sum(self.counts.values()):
            parts.append(f"{missing} of {self.total} are still to be asked for")
        return "; ".join(parts)


def in_one_line(detail: str) -> str:
    """The detail of an answer for a sentence: one line, not too long."""
    return " ".join(detail.split())[:200] or "no reason was given"
