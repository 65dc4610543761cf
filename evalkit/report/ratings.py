"""Ratings as the report, and the terminal, write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from evalkit.core import AgreementRow
from evalkit.escape import visible
from evalkit.ratings.summary_file import TARGET, PollSummary, Value
from evalkit.report import numbers
from evalkit.report.findings import RULE
from evalkit.statistics.multiple import significant

TITLES = {
    "mean_opinion": "mean opinion",
    "yes_rate": "yes rate",
    "win_rate": "win rate",
    "strength": "strength (Elo)",
}


LEAST_PAIRS = 5  # of images that neither side ties: with fewer, Kendall's tau says nothing
QUESTION = 300  # characters of the text of a question


class PollText(NamedTuple):
    """One question as text."""

    poll: PollSummary
    question: str  # its text, without invisible characters, and not longer than QUESTION
    who: str
    basis: str  # how many answers of whom
    header: list[str]
    rows: list[list[str]]  # of each model
    lines: list[str]  # tests, agreement of raters, remarks
    matrix: list[list[str]]  # win rates, for more than two models
    matrix_header: list[str]
    trust: list[str]  # which metrics agree with the raters, in sentences
    agreement: list[list[str]]  # metrics: name, same preference, tau, pairs
    raters: list[list[str]]
    excluded: list[str]


RATERS = ("rater", "answers", "median s", "checks right", "repeats alike")
AGREEMENT = ("metric", "same preference", "Kendall's tau", "on pairs of")
CHANCE = "Which metric prefers what the raters prefer? By chance: 0.50 and a tau of 0."


def texts(
    polls: Sequence[PollSummary],
    agreement: Sequence[AgreementRow],
    measured: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> list[PollText]:
    """All questions as text.

    Args:
        measured: the metrics of the run that use an encoder.
        titles: what the report calls the metrics; None: by their names.
    """
    known = titles or {}
    agreement = [replace(row, metric=known.get(row.metric, row.metric)) for row in agreement]
    measured = [known.get(name, name) for name in measured]
    return [_text(poll, agreement, measured) for poll in polls]


def _text(
    poll: PollSummary, agreement: Sequence[AgreementRow], measured: Sequence[str]
) -> PollText:
    kept = numbers.plural(len(poll.raters) - len(poll.excluded), "rater")
    metrics = list(dict.fromkeys(one.metric for one in poll.results))
    rows = []
    for model in poll.models:
        own = {one.metric: one for one in poll.results if one.model == model}
        votes = max(one.votes for one in own.values())
        cells = [value_text(own[metric].result, metric == "strength") for metric in metrics]
        more = [one.more for one in own.values() if one.more_note]
        needed = numbers.DASH if not more or more[0] is None else f"{more[0]:,}"
        rows.append([model, *cells, f"{votes:,}", needed])
    about = [row for row in agreement if (row.study, row.raters) == (poll.study, poll.name)]
    return PollText(
        poll=poll,
        question=_shortened(visible(poll.text)),
        who="people" if poll.kind == "human" else "models, not people",
        basis=(
            f"{numbers.plural(poll.votes, 'answer')} of {kept} on"
            f" {numbers.plural(poll.prompts, 'prompt')}."
        ),
        header=["model", *(TITLES[metric] for metric in metrics), "answers", "more needed"],
        rows=rows,
        lines=[*_tests(poll), *_agreement(poll), *_judge(poll), *poll.remarks, *_more(poll)],
        matrix=_matrix(poll),
        matrix_header=["win rate of … against", *poll.models],
        trust=_trust(about, measured),
        agreement=[
            _metric(row) for row in sorted(about, key=lambda row: (row.level, -(row.accuracy or 0)))
        ],
        raters=[_rater(poll, place) for place in range(len(poll.raters))],
        excluded=_excluded(poll),
    )


def value_text(found: Value, whole: bool = False) -> str:
    """A value with its interval, or why there is none."""
    if found.value is None:
        return found.method.removeprefix("not measured: ")
    digits = 0 if whole else 2
    ends = numbers.interval(found.low, found.high, digits) or "no interval"
    return f"{numbers.number(found.value, digits)} ({ends})"


def _tests(poll: PollSummary) -> list[str]:
    lines = []
    for row in poll.comparisons:
        verdict = f"{row.winner} is better" if row.winner else row.verdict
        ends = numbers.interval(row.low, row.high, 2) or row.method.partition(": ")[2] or row.method
        p = (
            f", p {_equal(numbers.p_value(row.p_adjusted))} ({RULE})"
            if row.p_adjusted is not None
            else ""
        )
        lines.append(
            f"{row.model_a} {numbers.MINUS} {row.model_b}: {numbers.signed(row.difference, 2)}"
            f" ({ends}): {verdict}{p}"
        )
    return lines


def _shortened(text: str) -> str:
    return text if len(text) <= QUESTION else f"{text[: QUESTION - 1]}…"


def _equal(number: str) -> str:
    """`= 0.01`, or `< 0.001`."""
    return number if number[0] in "<>" else f"= {number}"


def _agreement(poll: PollSummary) -> list[str]:
    alpha, lines = poll.alpha, []
    if alpha.value is None:
        lines.append(f"Krippendorff's alpha between raters: {alpha.method}")
    else:
        lines.append(f"Krippendorff's alpha between raters: {value_text(alpha)}")
    lines += [f"{pair} disagree more than by chance" for pair in poll.opposed]
    if poll.left is not None and poll.left.value is not None:
        lines.append(f"left image preferred in {value_text(poll.left)} of decided answers")
    if poll.mode == "pairwise":
        lines.append(
            f"{numbers.plural(poll.ties, 'tie')}, {poll.both_bad:,} both bad (count as ties),"
            f" {poll.cannot_tell:,} can't tell (left out)"
        )
    elif poll.cannot_tell:
        lines.append(f"{poll.cannot_tell:,} can't tell (left out)")
    return lines


def _judge(poll: PollSummary) -> list[str]:
    """Who judged, what has no vote, and how the answers depend on the order of the images."""
    judge = poll.judge
    if judge is None:
        return []
    lines = [
        f"judge: {judge.fingerprint}; template {judge.template}; answered as"
        f" {', '.join(judge.snapshots) or numbers.DASH}"
    ]
    if judge.without:
        parts = [f"{count:,} {reason}" for reason, count in sorted(judge.without.items())]
        lines.append(f"no vote: {sum(judge.without.values()):,} ({'; '.join(parts)})")
    if judge.flip_rate is not None:
        lines.append(
            f"another verdict in the other order (a tie): {judge.flips:,} of"
            f" {numbers.plural(judge.pairs, 'pair')}, {value_text(judge.flip_rate)}"
        )
    if judge.first is not None:
        lines.append(f"first image preferred in {value_text(judge.first)} of decided answers")
    return lines


def _more(poll: PollSummary) -> list[str]:
    """What "more needed" means, and why it is not known for some models."""
    said = [f"more needed: answers for an interval of ± {TARGET:.0%} of the range of the values"]
    unknown = {one.more_note for one in poll.results if one.more is None and one.more_note}
    reasons = {reason.partition(": ")[2] or reason for reason in unknown}
    return said + [f"not known for some models: {reason}" for reason in sorted(reasons)]


def _matrix(poll: PollSummary) -> list[list[str]]:
    if len(poll.models) < 3:
        return []
    return [
        [model, *(numbers.number(value, 2) for value in row)]
        for model, row in zip(poll.models, poll.matrix, strict=bool(poll.matrix))
    ]


def _trust(about: Sequence[AgreementRow], measured: Sequence[str]) -> list[str]:
    """Which metrics agree with the raters more often than by chance, and which are not compared."""
    images = [row for row in about if row.level == "image"]
    told = [row for row in images if row.p_adjusted is not None]
    sure = [row for row in told if significant(row.p_adjusted)]
    good = [row for row in sure if (row.accuracy or 0) > 0.5]
    bad = [row for row in sure if row not in good]
    lines = []
    if good:
        verb = "prefers" if len(good) == 1 else "prefer"
        what = "what the raters prefer more often than by chance"
        lines.append(f"{_named(good, told)} {verb} {what} ({RULE}).")
    elif told:
        what = "No metric agrees with the raters significantly more often than by chance"
        lines.append(f"{what} ({RULE}).")
    elif images:
        lines.append("Too few answers to say which metric agrees with the raters.")
    if bad:
        verb = "disagrees" if len(bad) == 1 else "disagree"
        what = "with the raters more often than by chance"
        lines.append(f"{_named(bad, told)} {verb} {what} ({RULE}).")
    absent = list(
        dict.fromkeys(name for name in measured if name not in {r.metric for r in images})
    )
    if absent:
        verb = "has" if len(absent) == 1 else "have"
        where = (
            "compared on models"
            if any(row.level == "model" for row in about)
            else "compared from three models on"
        )
        lines.append(f"{', '.join(absent)} {verb} no value for single images; {where}.")
    return lines


def _named(rows: Sequence[AgreementRow], all_rows: Sequence[AgreementRow]) -> str:
    """`clip_score (0.68)`, with the encoder where one metric has several; the best one first."""
    metrics = [row.metric for row in all_rows]
    names = [
        f"{row.metric} ({f'{row.encoder}, ' if metrics.count(row.metric) > 1 else ''}"
        f"{numbers.number(row.accuracy, 2)})"
        for row in sorted(rows, key=lambda row: -(row.accuracy or 0))
    ]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _metric(row: AgreementRow) -> list[str]:
    accuracy = Value(row.accuracy, row.accuracy_low, row.accuracy_high, numbers.DASH)
    tau = Value(row.correlation, row.correlation_low, row.correlation_high, numbers.DASH)
    if row.level == "image" and row.pairs - row.ties < LEAST_PAIRS:
        tau = Value(None, None, None, "too few pairs without ties")
    tied = f", {row.ties:,} tied" if row.ties else ""
    pairs = f"{row.level}s: {row.pairs:,}{tied}"
    return [f"{row.metric} ({row.encoder})", value_text(accuracy), value_text(tau), pairs]


def _rater(poll: PollSummary, place: int) -> list[str]:
    one = poll.raters[place]
    seconds = numbers.DASH if one.median_ms is None else f"{one.median_ms / 1000:.1f}"
    checks = _share(one.attention_right, one.attention)
    return [one.rater, f"{one.answers:,}", seconds, checks, _share(one.repeats_equal, one.repeats)]


def _share(count: int, total: int) -> str:
    return f"{count} of {total}" if total else numbers.DASH


def _excluded(poll: PollSummary) -> list[str]:
    lines = [f"excluded: {rater} ({reason})" for rater, reason in poll.excluded.items()]
    before = [
        f"{one.model} {numbers.number(one.all_raters, 2)}"
        for one in poll.results
        if one.all_raters is not None and one.metric != "strength"
    ]
    return [*lines, f"with all raters: {', '.join(before)}"] if before else lines
