"""The ratings of a run at a terminal: one block per question of a study."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.core import AgreementRow
from evalkit.ratings.summary import PollSummary, Value
from evalkit.report import numbers
from evalkit.report.findings import RULE
from evalkit.terminal import printable

_TITLES = {
    "mean_opinion": "mean opinion",
    "yes_rate": "yes rate",
    "win_rate": "win rate",
    "strength": "strength (Elo)",
}


def print_ratings(found: Sequence[PollSummary], agreement: Sequence[AgreementRow]) -> None:
    """Print each question: values of the models, tests, agreement and raters; then the metrics."""
    console = Console(highlight=False, markup=False, emoji=False)
    for poll in found:
        _print_poll(console, poll)
    if agreement:
        _print_agreement(console, agreement)


def _print_poll(console: Console, poll: PollSummary) -> None:
    who = "people" if poll.kind == "human" else "models, not people"
    kept = len(poll.raters) - len(poll.excluded)
    _say(console, f"{poll.study}: {poll.text}")
    _say(
        console,
        f"{numbers.plural(poll.votes, 'answer')} of {numbers.plural(kept, 'rater')} ({who}) on"
        f" {numbers.plural(poll.prompts, 'prompt')}",
    )
    metrics = list(dict.fromkeys(one.metric for one in poll.results))
    table = _table("model", *(_TITLES[metric] for metric in metrics), "answers")
    for model in poll.models:
        own = {one.metric: one for one in poll.results if one.model == model}
        votes = max(one.votes for one in own.values())
        cells = [text(own[metric].result, metric) for metric in metrics]
        table.add_row(*map(_cell, (model, *cells, f"{votes:,}")))
    console.print(table)
    for line in (*_tests(poll), *_agreement(poll), *poll.remarks):
        _say(console, line)
    raters = _table("rater", "answers", "median s", "checks right", "repeats equal", "excluded")
    for one in poll.raters:
        raters.add_row(
            *map(
                _cell,
                (
                    one.rater,
                    f"{one.answers:,}",
                    numbers.DASH if one.median_ms is None else f"{one.median_ms / 1000:.1f}",
                    _share(one.attention_right, one.attention),
                    _share(one.repeats_equal, one.repeats),
                    poll.excluded.get(one.rater, ""),
                ),
            )
        )
    console.print(raters)
    console.print()


def text(found: Value, metric: str) -> str:
    """A value with its interval, or why there is none."""
    if found.value is None:
        return found.method.removeprefix("not measured: ")
    digits = 0 if metric == "strength" else 2
    value = numbers.number(found.value, digits)
    ends = numbers.interval(found.low, found.high, digits)
    return f"{value} ({ends})" if ends else f"{value} (no interval)"


def _tests(poll: PollSummary) -> list[str]:
    lines = []
    for row in poll.comparisons:
        what = f"{row.model_a} {numbers.MINUS} {row.model_b}"
        verdict = f"{row.winner} is better" if row.winner else row.verdict
        ends = numbers.interval(row.low, row.high, 2) or row.method
        p = (
            f", p = {numbers.p_value(row.p_adjusted)} ({RULE})"
            if row.p_adjusted is not None
            else ""
        )
        lines.append(f"{what}: {numbers.signed(row.difference, 2)} ({ends}): {verdict}{p}")
    return lines


def _agreement(poll: PollSummary) -> list[str]:
    alpha = poll.alpha
    lines = []
    if alpha.value is None:
        lines.append(f"Krippendorff's alpha: {alpha.method}")
    else:
        ends = numbers.interval(alpha.low, alpha.high, 2) or "no interval"
        lines.append(f"Krippendorff's alpha between raters: {alpha.value:.2f} ({ends})")
    lines += [f"{pair} disagree more than by chance" for pair in poll.opposed]
    if poll.left is not None and poll.left.value is not None:
        ends = numbers.interval(poll.left.low, poll.left.high, 2) or "no interval"
        lines.append(f"left image preferred in {poll.left.value:.2f} ({ends}) of decided answers")
    if poll.mode == "pairwise":
        lines.append(
            f"{poll.ties:,} ties, {poll.both_bad:,} both bad (count as ties),"
            f" {poll.cannot_tell:,} can't tell (left out)"
        )
    return lines


def _print_agreement(console: Console, rows: Sequence[AgreementRow]) -> None:
    _say(console, "Which metric agrees with the raters?")
    table = _table("metric", "raters", "pairs of", "same preference", "Kendall's tau", "pairs")
    for row in rows:
        accuracy = (row.accuracy, row.accuracy_low, row.accuracy_high)
        correlation = (row.correlation, row.correlation_low, row.correlation_high)
        table.add_row(
            *map(
                _cell,
                (
                    f"{row.metric} ({row.encoder})" if row.encoder else row.metric,
                    f"{row.study}, {row.raters}",
                    f"{row.level}s",
                    text(Value(*accuracy, row.note), ""),
                    text(Value(*correlation, row.note), ""),
                    f"{row.pairs:,}",
                ),
            )
        )
    console.print(table)


def _share(count: int, total: int) -> str:
    return f"{count} of {total}" if total else numbers.DASH


def _table(*header: str) -> Table:
    return Table(*header, box=None, pad_edge=False, header_style="bold")


def _cell(value: str) -> Text:
    return Text(printable(value))


def _say(console: Console, line: str) -> None:
    console.print(Text(printable(line)))
