"""The result in one sentence per question: fidelity, agreement with the prompt, raters, cost.

Metrics of one aspect (see `core.Metric`) are one question. Only verdicts are stated, as in the
findings; values without a test stand as values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.hints import capital
from evalkit.report import numbers
from evalkit.report.facts import Facts
from evalkit.report.findings import RULE, Finding, FindingKind
from evalkit.report.pairs import FEW, Tied, better, models_of, tied, was_tested

# The order of the questions, and their titles. An aspect of a plug-in is its own title.
TITLES = {
    "fidelity": "Fidelity",
    "agreement": "Prompt agreement",
    "diversity": "Diversity",
    "copies": "Copies",
    "": "Image metrics",
}
RECORDS = "Speed and cost"
_ORDER: tuple[FindingKind, ...] = ("significant", "tie", "untested")
METRICS = 3  # names in a sentence
CLAUSES = 4  # of an answer by pairs of models
VALUES = 3  # models whose values are listed; the ends of the range for more


@dataclass(frozen=True)
class Answer:
    """One question, its answer, and the values behind it."""

    title: str
    text: str  # "" where no models are compared
    values: str
    kind: FindingKind


@dataclass(frozen=True)
class Question:
    """What several findings are about."""

    title: str
    findings: Sequence[Finding]


def questions(found: Sequence[Finding]) -> list[Question]:
    """The findings by question: those about images, then raters, then the records."""
    table: dict[str, list[Finding]] = {title: [] for title in TITLES.values()}
    rated: dict[str, list[Finding]] = {}
    records: list[Finding] = []
    for finding in found:
        measure = finding.measure
        if measure.from_ratings:
            who, _, question = finding.encoder.partition(":")
            name = "People" if who == "human" else "Judging models"
            rated.setdefault(f"{name} ({question})", []).append(finding)
        elif measure.from_records:
            records.append(finding)
        else:
            title = TITLES.get(measure.aspect, capital(measure.aspect))
            table.setdefault(title, []).append(finding)
    parts = {**table, **rated, RECORDS: records}
    return [Question(title, own) for title, own in parts.items() if own]


def answers(facts: Facts) -> list[Answer]:
    """One answer per question that was measured or asked."""
    records = [finding for finding in facts.findings if finding.measure.from_records]
    return [
        answer
        for question in questions([*facts.concluded, *facts.rated, *records])
        if (answer := _answer(question, facts))
    ]


def _answer(question: Question, facts: Facts) -> Answer | None:
    known = [one for one in question.findings if one.encoder not in facts.blind_encoders]
    measured = [one for one in known if one.measured]
    if question.title == RECORDS:
        told = [one for one in measured if any(row.value for row in one.measured)]
        first = {one.measure.aspect or one.measure.name: one for one in reversed(told)}
        listed = "; ".join(_values(one, facts.labels) for one in told if one in first.values())
        return Answer(question.title, "", f"{listed}.", "untested") if told else None
    if not known:
        names = numbers.listing(list(dict.fromkeys(one.encoder for one in question.findings)))
        text = f"Nothing may be concluded: {names} was not trained on such images."
        return Answer(question.title, text, "", "missing")
    if not measured:
        return Answer(question.title, known[0].verdict, "", "missing")
    compared = [one for one in measured if len(one.measured) > 1]
    if not compared:
        listed = "; ".join(_values(one, facts.labels) for one in measured[:METRICS])
        return Answer(question.title, "", f"{listed}.", "single")
    compared.sort(key=lambda one: _ORDER.index(one.kind))  # stable: else as they were measured
    said = _comparison(compared, facts.labels)
    return Answer(question.title, said, f"{_values(compared[0], facts.labels)}.", compared[0].kind)


def _comparison(compared: Sequence[Finding], labels: Mapping[str, str]) -> str:
    """Who is significantly better than whom on which metrics, in one sentence."""
    kinds = {finding.kind for finding in compared}
    parts = _by_pairs(compared, labels) if "significant" in kinds else []
    if not 0 < len(parts) <= CLAUSES:
        parts = _by_metric(compared, labels)
    text = "; ".join(parts)
    if "significant" not in kinds:  # else it begins with the name of a model
        text = capital(text)
    return f"{text}{f' ({RULE})' if kinds != {'untested'} else ''}."


def _by_pairs(compared: Sequence[Finding], labels: Mapping[str, str]) -> list[str]:
    """The verdicts on all pairs of a few models; [] for two models and for many."""
    tables = [finding.comparisons for finding in compared]
    if not 2 < len(models_of(tables)) <= FEW:
        return []
    every = tuple(at for at, rows in enumerate(tables) if any(map(was_tested, rows)))
    parts: dict[str, list[str]] = {}
    for one in (*better(tables), *tied(tables)):
        on = () if isinstance(one, Tied) and one.metrics == every else one.metrics
        parts.setdefault(one.text(labels), []).extend(compared[at].title for at in on)
    for finding in compared:
        if finding.kind == "untested":
            parts.setdefault(_clause(finding, labels), []).append(finding.title)
    return [
        f"{lead}{f' on {numbers.listing(names, METRICS)}' if names else ''}"
        for lead, names in parts.items()
    ]


def _by_metric(compared: Sequence[Finding], labels: Mapping[str, str]) -> list[str]:
    """What each metric says about the best model, for metrics that say the same once."""
    parts: dict[str, list[str]] = {}
    for finding in compared:
        parts.setdefault(_clause(finding, labels), []).append(finding.title)
    return [f"{lead} on {numbers.listing(names, METRICS)}" for lead, names in parts.items()]


def _clause(finding: Finding, labels: Mapping[str, str]) -> str:
    if finding.kind == "tie":
        return "no significant difference"
    if finding.kind != "significant" or finding.best is None:
        equal = len(finding.equals) == len(finding.measured)
        return "equal values" if equal else "the difference was not tested"
    others, worse = len(finding.measured) - 1, len(finding.worse)
    if not worse:
        pairs = [pair for pair in finding.comparisons if was_tested(pair)]
        count = sum(bool(pair.winner) for pair in pairs)
        verb = "is" if count == 1 else "are"
        return f"{count} of {numbers.plural(len(pairs), 'difference')} {verb} significant"
    if others == 1:
        best, other = labels[finding.best.model], labels[finding.worse[0]]
        return f"{best} is significantly better than {other}"
    alike = [  # without a significant difference from the best, and better than the same models
        model
        for model in finding.ties
        if {pair.loser for pair in finding.comparisons if pair.winner == model} == {*finding.worse}
    ]
    names = [labels[model] for model in (finding.best.model, *alike)]
    than = f"all {others} others" if worse == others else f"{worse} of {others} others"
    verb = "are each" if alike else "is"
    return f"{numbers.listing(names, VALUES)} {verb} significantly better than {than}"


def _values(finding: Finding, labels: Mapping[str, str]) -> str:
    """`FID: a 1.0 (0.9 to 1.1), b 2.0 (1.9 to 2.1)`; of many models, the two ends."""
    cells = [cell for cell in finding.cells.values() if cell.measured]
    if len(cells) > VALUES:
        cells.sort(key=lambda cell: cell.row.value or 0.0)
        low, high = (f"{cell.value} ({labels[cell.row.model]})" for cell in (cells[0], cells[-1]))
        return f"{finding.title} from {low} to {high}"
    listed = [
        f"{labels[cell.row.model]} {cell.value}" + (f" ({cell.interval})" if cell.interval else "")
        for cell in cells
    ]
    return f"{finding.title}: {', '.join(listed)}"
