"""Rows of metrics.json by group of prompts, as findings metric by metric."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evalkit.core import ComparisonRow, MetricRow
from evalkit.report.findings import Finding, digits_of


@dataclass(frozen=True)
class ByGroup:
    """One metric by group of prompts."""

    whole: Finding  # on all prompts
    groups: Mapping[str, Finding]  # with the same digits

    @property
    def limits(self) -> list[str]:
        """What limits the meaning of the values: each reason once, with its groups."""
        found: dict[str, dict[str, None]] = {}
        for group, finding in self.groups.items():
            for row in finding.measured:
                for reason in filter(None, row.caution.split("; ")):
                    found.setdefault(reason, {})[group] = None
        return [
            f"{self.whole.name}, {self._named(found[reason])}: {reason}."
            for reason in sorted(found)
        ]

    def _named(self, groups: Collection[str]) -> str:
        return "all groups" if len(groups) == len(self.groups) else ", ".join(groups)


def _of_metric(
    whole: Finding, rows: Sequence[MetricRow], comparisons: Sequence[ComparisonRow]
) -> ByGroup | None:
    """The rows of a metric by group of prompts, in their order; None if there are none."""
    own: dict[str, dict[str, MetricRow]] = {}
    for row in rows:
        same = (row.metric, row.encoder, row.reference) == whole.protocol
        if row.group and same and row.model in whole.rows:
            own.setdefault(row.group, {})[row.model] = row
    digits = digits_of(
        [row for found in own.values() for row in found.values() if row.value is not None]
    )
    groups = {
        group: Finding(
            whole.measure,
            whole.encoder,
            whole.reference,
            {model: found[model] for model in whole.rows if model in found},
            [
                pair
                for pair in comparisons
                if pair.group == group
                and (pair.metric, pair.encoder, pair.reference) == whole.protocol
            ],
            digits,
        )
        for group, found in own.items()
    }
    return ByGroup(whole, groups) if groups else None


def by_group(
    found: Sequence[Finding],
    rows: Sequence[MetricRow],
    comparisons: Sequence[ComparisonRow],
    scores: Sequence[Mapping[str, str]],
) -> list[ByGroup]:
    """Metrics with values per image, and rates of the records that are not 0, by group."""
    per_image = {(row["metric"], row["encoder"]) for row in scores}
    made = []
    for finding in found:
        rate = finding.measure.from_records and any(row.value for row in finding.measured)
        if rate or (finding.measure.name, finding.encoder) in per_image:
            one = _of_metric(finding, rows, comparisons)
            made += [one] if one else []
    return made
