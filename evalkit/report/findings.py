"""Rows of metrics.json to comparisons: which numbers may stand beside each other, who is ahead, and
how sure that is.

Where comparisons.json has the pair, its verdict counts: paired by prompt and corrected for the
whole table. Without it the rule is simple and on the safe side: a model is ahead of another where
their intervals do not overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evalkit.core import Better, MetricRow
from evalkit.report import words
from evalkit.report.differences import Pair

PROMOTED = (
    "bias is unknown",
    "were cut",
)  # parts of notes that belong beside the finding, not in the fine print

Kind = Literal["ahead", "tied", "alone", "unsure", "missing"]


@dataclass(frozen=True)
class Cell:
    """One model's number, as it is written."""

    row: MetricRow
    value: str  # "27.13", or a dash where not measured
    interval: str  # "26.51 to 27.80", or empty
    leads: bool  # set in bold: among the best, and some other model is surely behind
    floor: float | None = None  # FID that perfect pictures would get at this count
    floor_text: str = ""
    worse: bool = False  # told apart from the best, paired by prompt: marked with a dagger

    @property
    def reason(self) -> str:
        """Why there is no value, or what is to be known about it."""
        return self.row.note.removeprefix("not measured: ")

    @property
    def span(self) -> str:
        """The interval, or that there is none; why is said once, below."""
        return self.interval or "no interval"


@dataclass(frozen=True)
class Comparison:
    """One metric under one protocol (encoder and reference) for all models that were measured with
    it.
    """

    metric: str
    encoder: str
    reference: str
    better: Better
    cells: Mapping[str, Cell]
    kind: Kind
    verdict: str
    detail: str
    cautions: Sequence[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return words.title(self.metric)

    @property
    def arrow(self) -> str:
        return words.arrow(self.better)

    @property
    def meaning(self) -> str:
        return words.MEANINGS.get(self.metric, "")

    @property
    def interval_method(self) -> str:
        return words.listing(
            sorted(
                {
                    cell.row.interval
                    for cell in self.cells.values()
                    if cell.row.interval and cell.interval
                }
            )
        )

    @property
    def notes(self) -> str:
        """How the models' numbers were computed, for the fine print."""
        measured = [cell for cell in self.cells.values() if cell.row.value is not None]
        reasons = [
            cell.row.interval for cell in measured if not cell.interval and cell.row.interval
        ]
        return "; ".join(
            dict.fromkeys([*(cell.reason for cell in measured if cell.reason), *reasons])
        )

    @property
    def from_records(self) -> bool:
        """A count or a time out of the manifests, not a measure of the pictures."""
        return self.metric in words.FROM_RECORDS

    @property
    def measured(self) -> bool:
        return any(cell.row.value is not None for cell in self.cells.values())


def compare(
    rows: Sequence[MetricRow],
    models: Sequence[str],
    floors: Mapping[str, Mapping[int, float]],
    pairs: Sequence[Pair] = (),
) -> list[Comparison]:
    """One comparison per metric, encoder and reference, in the order of the rows."""
    keys = list(
        dict.fromkeys(
            (row.metric, row.encoder, row.reference) for row in rows if row.model in models
        )
    )
    comparisons = []
    for metric, encoder, reference in keys:
        found = {
            row.model: row
            for row in rows
            if (row.metric, row.encoder, row.reference) == (metric, encoder, reference)
        }
        ordered = {model: found[model] for model in models if model in found}
        table = floors.get(encoder, {}) if metric == "fid" else {}
        own = [
            pair
            for pair in pairs
            if (pair.metric, pair.encoder, pair.reference) == (metric, encoder, reference)
        ]
        comparisons.append(_comparison(metric, encoder, reference, ordered, table, own))
    return comparisons


def behind(row: MetricRow, best: MetricRow) -> bool:
    """True where the two intervals do not overlap. Without both intervals nothing is certain."""
    if row.low is None or row.high is None or best.low is None or best.high is None:
        return False
    return row.low > best.high if best.better == "lower" else row.high < best.low


def floor_at(table: Mapping[int, float], count: int) -> float | None:
    """The floor at a count, along 1/N between the counts that were measured; None outside of them."""
    if count in table:
        return table[count]
    smaller = max((n for n in table if n < count), default=None)
    larger = min((n for n in table if n > count), default=None)
    if smaller is None or larger is None or count <= 0:
        return None
    share = (1 / smaller - 1 / count) / (1 / smaller - 1 / larger)
    return table[smaller] + share * (table[larger] - table[smaller])


def _comparison(
    metric: str,
    encoder: str,
    reference: str,
    rows: Mapping[str, MetricRow],
    table: Mapping[int, float],
    pairs: Sequence[Pair],
) -> Comparison:
    measured = [row for row in rows.values() if row.value is not None]
    widths = [
        row.high - row.low for row in measured if row.low is not None and row.high is not None
    ]
    digits = words.decimals([row.value for row in measured if row.value is not None], widths)
    better = next(iter(rows.values())).better
    best = _best(measured)
    beaten = {pair.loser for pair in pairs if best and pair.winner == best.model}
    leaders = [
        row.model
        for row in measured
        if best and not (row.model in beaten if pairs else behind(row, best))
    ]
    decided = 0 < len(leaders) < len(measured) and (bool(pairs) or _same_counts(metric, measured))

    def cell(row: MetricRow) -> Cell:
        span = row.value is not None and row.low is not None and row.high is not None
        interval = (
            f"{words.number(row.low, digits)} to {words.number(row.high, digits)}" if span else ""
        )
        floor = floor_at(table, row.count) if row.value is not None else None
        leads = decided and row.model in leaders
        floor_text = words.number(floor, digits) if floor is not None else ""
        return Cell(
            row,
            words.number(row.value, digits),
            interval,
            leads,
            floor,
            floor_text,
            row.model in beaten,
        )

    cells = {model: cell(row) for model, row in rows.items()}
    kind, verdict = _verdict(metric, cells, measured, best, leaders, pairs)
    detail = "; ".join(
        f"{model} {c.value}" + (f" ({c.interval})" if c.interval else "")
        for model, c in cells.items()
        if c.row.value is not None
    )
    return Comparison(
        metric,
        encoder,
        reference,
        better,
        cells,
        kind,
        verdict,
        detail,
        [*_what_is_needed(best, pairs), *_cautions(metric, cells)],
    )


def _best(rows: Sequence[MetricRow]) -> MetricRow | None:
    if not rows:
        return None
    choose = min if rows[0].better == "lower" else max
    return choose(rows, key=lambda row: row.value if row.value is not None else 0.0)


def _same_counts(metric: str, measured: Sequence[MetricRow]) -> bool:
    """False where the counts alone may decide: this metric moves with the count, and the counts
    differ by over a tenth.
    """
    counts = [row.count for row in measured]
    return metric not in words.SAMPLE_SIZE_BIASED or max(counts) <= 1.1 * min(counts)


def _verdict(
    metric: str,
    cells: Mapping[str, Cell],
    measured: Sequence[MetricRow],
    best: MetricRow | None,
    leaders: Sequence[str],
    pairs: Sequence[Pair],
) -> tuple[Kind, str]:
    if best is None:
        reasons = words.listing(sorted({cell.reason for cell in cells.values() if cell.reason}))
        return "missing", f"Not measured{': ' + reasons.rstrip('.') if reasons else ''}."
    if len(measured) == 1:
        return "alone", f"Only {best.model} was measured."
    if pairs and all(pair.p is None for pair in pairs):
        why = next((pair.why_none for pair in pairs if pair.why_none), "")
        return (
            "unsure",
            f"{best.model} has the best value, but without intervals that is no finding{f' ({why})' if why else ''}.",
        )
    if pairs:
        return _paired_verdict(
            best, leaders, [row.model for row in measured if row.model not in leaders], pairs
        )
    if not _same_counts(metric, measured):
        return (
            "unsure",
            f"Not compared: the number of pictures moves this metric, and it differs ({_counts(measured)}).",
        )
    if any(row.low is None or row.high is None for row in measured):
        why = next(
            (
                row.interval.removeprefix("no interval: ")
                for row in measured
                if row.low is None and row.interval
            ),
            "",
        )
        return (
            "unsure",
            f"{best.model} has the best value, but without intervals that is no finding{f' ({why})' if why else ''}.",
        )
    losers = [row.model for row in measured if row.model not in leaders]
    if not losers:
        return (
            "tied",
            f"{words.listing(leaders)} cannot be told apart at this count ({_counts(measured)}).",
        )
    if len(leaders) == 1:
        return "ahead", f"{best.model} is ahead of {words.listing(losers)}."
    return (
        "ahead",
        f"{words.listing(leaders)} are ahead of {words.listing(losers)}, and cannot be told apart at this count ({_counts(measured)}).",
    )


def _paired_verdict(
    best: MetricRow, leaders: Sequence[str], losers: Sequence[str], pairs: Sequence[Pair]
) -> tuple[Kind, str]:
    """In words what the paired comparisons with the best model say."""
    prompts = max(pair.prompts for pair in pairs)
    on = f"paired over {words.plural(prompts, 'prompt')}"
    if not losers:
        return "tied", f"{words.listing(leaders)} cannot be told apart ({on})."
    if len(leaders) == 1:
        return "ahead", f"{best.model} is better than {words.listing(losers)} ({on})."
    rest = words.listing([name for name in leaders if name != best.model])
    return (
        "ahead",
        f"{best.model} is better than {words.listing(losers)}, and cannot be told from {rest} ({on}).",
    )


def _what_is_needed(best: MetricRow | None, pairs: Sequence[Pair]) -> list[str]:
    """How many prompts would tell the model that is nearest to being told from the best."""
    if best is None:
        return []
    close = [pair for pair in pairs if best.model in (pair.model_a, pair.model_b) and pair.more]
    if not close:
        return []
    nearest = min(close, key=lambda pair: pair.needed or 0)
    other = nearest.model_b if nearest.model_a == best.model else nearest.model_a
    return [
        f"{nearest.more[0].upper()}{nearest.more[1:]} more prompts would tell {other} from {best.model}, if the difference stayed."
    ]


def _counts(rows: Sequence[MetricRow]) -> str:
    low, high = min(row.count for row in rows), max(row.count for row in rows)
    return f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}"


def _cautions(metric: str, cells: Mapping[str, Cell]) -> list[str]:
    cautions = []
    measured = [cell for cell in cells.values() if cell.row.value is not None]
    counts = {cell.row.count for cell in measured}
    if len(counts) > 1 and metric in words.SAMPLE_SIZE_BIASED and max(counts) <= 1.1 * min(counts):
        cautions.append(
            "The models were measured on slightly different numbers of pictures, which alone moves this metric a little."
        )
    floors = sorted({(cell.row.count, cell.floor_text) for cell in measured if cell.floor_text})
    if floors:
        listed = words.listing(
            [f"{text} at {words.plural(count, 'picture')}" for count, text in floors]
        )
        cautions.append(
            f"Perfect pictures would score {listed}: few pictures alone cost that much."
        )
    parts = sorted({part for cell in measured for part in cell.row.note.split("; ")})
    return cautions + [
        f"{part[0].upper()}{part[1:]}." for part in parts if any(sign in part for sign in PROMOTED)
    ]
