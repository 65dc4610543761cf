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
    """Print each study: its questions, the metrics that agree with it, and its raters."""
    console = Console(highlight=False, markup=False, emoji=False)
    for study, kind in dict.fromkeys((poll.study, poll.kind) for poll in found):
        polls = [poll for poll in found if (poll.study, poll.kind) == (study, kind)]
        who = "people" if kind == "human" else "models, not people"
        console.print(Text(printable(f"{study} ({who})"), style="bold"))
        for poll in polls:
            _print_poll(console, poll)
            rows = [row for row in agreement if (row.study, row.raters) == (study, poll.name)]
            if rows:
                _print_agreement(console, rows)
        _print_raters(console, polls[0])


def _print_poll(console: Console, poll: PollSummary) -> None:
    kept = numbers.plural(len(poll.raters) - len(poll.excluded), "rater")
    _say(
        console,
        f"{poll.text} {numbers.plural(poll.votes, 'answer')} of {kept} on"
        f" {numbers.plural(poll.prompts, 'prompt')}.",
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
    console.print()


def _print_raters(console: Console, poll: PollSummary) -> None:
    table = _table("rater", "answers", "median s", "checks right", "repeats alike")
    for one in poll.raters:
        seconds = numbers.DASH if one.median_ms is None else f"{one.median_ms / 1000:.1f}"
        checks = _share(one.attention_right, one.attention)
        repeats = _share(one.repeats_equal, one.repeats)
        table.add_row(*map(_cell, (one.rater, f"{one.answers:,}", seconds, checks, repeats)))
    console.print(table)
    for rater, reason in poll.excluded.items():
        _say(console, f"{rater} is excluded by the study's rule: {reason}")
    if poll.excluded:
        before = [
            f"{one.model} {numbers.number(one.all_raters, 2)}"
            for one in poll.results
            if one.all_raters is not None and one.metric != "strength"
        ]
        _say(console, f"with all raters: {', '.join(before)} ({poll.question})")
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
    """The metrics, the one that agrees best first; pairs of images before pairs of models."""
    table = _table("metric", "same preference", "Kendall's tau", "on pairs of")
    for row in sorted(rows, key=lambda row: (row.level, -(row.accuracy or 0))):
        accuracy = Value(row.accuracy, row.accuracy_low, row.accuracy_high, numbers.DASH)
        tau = Value(row.correlation, row.correlation_low, row.correlation_high, numbers.DASH)
        pairs = f"{row.level}s: {row.pairs:,}" + f", {row.ties:,} tied" * bool(row.ties)
        table.add_row(*map(_cell, (name(row), text(accuracy, ""), text(tau, ""), pairs)))
    _say(console, "Which metric agrees with the raters? (by chance: 0.50; tau 0)")
    console.print(table)
    console.print()


def name(row: AgreementRow) -> str:
    return f"{row.metric} ({row.encoder})"


def _share(count: int, total: int) -> str:
    return f"{count} of {total}" if total else numbers.DASH


def _table(*header: str) -> Table:
    return Table(*header, box=None, pad_edge=False, header_style="bold")


def _cell(value: str) -> Text:
    return Text(printable(value))


def _say(console: Console, line: str) -> None:
    console.print(Text(printable(line)))
