"""The sections of the report, in order.

A new section is a function and a template: `templates/sections/NAME.html.j2` for the page and, if
the section is to be in report.md too, `NAME.md.j2` beside it. The function's result is what the
template sees, with `facts`, `charts` and `sentences`; None leaves the section out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.core import ComparisonRow
from evalkit.report import numbers, sentences
from evalkit.report.accounting import accounting, charges
from evalkit.report.answers import RECORDS, answers, questions
from evalkit.report.facts import Facts
from evalkit.report.findings import Finding, reason
from evalkit.report.gallery import gallery, sample, troubles
from evalkit.report.gate import gate
from evalkit.report.protocol_tables import tables
from evalkit.report.ratings import AGREEMENT, CHANCE, RATERS, texts
from evalkit.report.robustness import STATEMENT
from evalkit.report.robustness import robustness as changes

Context = Mapping[str, Any]
MOST_COMPARISONS = 300  # on the page; of more, those with the best model of each metric


@dataclass(frozen=True)
class Section:
    """One section of the page and of report.md."""

    name: str  # of its templates, and its anchor on the page
    title: str
    context: Callable[[Facts], Context | None]


class DifferenceRow(NamedTuple):
    """One row of the table of differences, as text."""

    row: ComparisonRow
    difference: str
    interval: str  # 95%, of this difference alone; "" if there is none
    adjusted: str  # belongs to the verdict
    p: str
    verdict: str
    additional: str
    reason: str  # why there is no interval


def findings(facts: Facts) -> Context:
    """The answers and a strip of images: the first screen. report.md lists the findings instead."""
    return {
        "answers": answers(facts),
        "gated": gate(facts),
        "strip": sample(facts) if facts.prompts else [],
        "conclusion": sentences.conclusion(facts),
        "remarks": sentences.remarks(facts),
    }


def results(facts: Facts) -> Context | None:
    """Values and findings; nothing for a run that is not scored."""
    if not facts.findings:
        return None
    baselines = any(cell.baseline for f in facts.findings for cell in f.cells.values())
    # Folders refuse nothing and take no time.
    requests = [one for records in facts.records.values() for one in records]
    folders = all(one.source or one.status == "missing" for one in requests)
    shown = [one for one in facts.findings if not (folders and one.measure.from_records)]
    tables_of = {
        "Image metrics": facts.of_images,
        "Raters": [one for one in facts.findings if one.measure.from_ratings],
        RECORDS: [one for one in shown if one.measure.from_records],
    }
    return {
        "baselines": baselines,
        "marked": any(one.worse for one in facts.of_images + shown),  # else nothing is bold
        "shown": shown,
        "tables": [(title, questions(own)) for title, own in tables_of.items() if own],
        "conclusion": sentences.conclusion(facts),
        "remarks": sentences.remarks(facts),
    }


def differences(facts: Facts) -> Context | None:
    """The comparisons by metric; nothing for one model."""
    made = compared(facts)
    if facts.comparisons is None or not made:
        return None
    total = len(facts.comparisons.rows)
    shown = made
    if total > MOST_COMPARISONS:
        shown = [
            (finding, name, [one for one in rows if one.row in finding.with_best.values()])
            for finding, name, rows in made
        ]
    return {
        "groups": made,
        "shown": [group for group in shown if group[2]],
        "shown_count": sum(len(rows) for _, _, rows in shown),
        "statement": facts.comparisons.statement,
    }


def robustness(facts: Facts) -> Context | None:
    """What small changes of the prompts cost; nothing for a run without variants of prompts."""
    rows = changes(facts)
    remarks = sentences.unchanged_prompts(facts)
    return {"rows": rows, "statement": STATEMENT, "remarks": remarks} if rows or remarks else None


def groups(facts: Facts) -> Context | None:
    """The metrics by group of prompts; nothing for prompts without several groups."""
    if not facts.findings or (not facts.by_group and len(facts.groups) < 2):
        return None
    limits = [text for one in facts.by_group for text in one.limits]
    return {"remarks": sentences.groups(facts), "limits": limits}


def ratings(facts: Facts) -> Context | None:
    """What raters say, and which metrics agree with them; nothing for a run without ratings."""
    if not facts.ratings:
        return None
    about_images = [f.measure for f in facts.findings if f.encoder and not f.measure.from_ratings]
    measured = [measure.name for measure in about_images]
    titles = {measure.name: measure.title for measure in about_images}
    return {
        "questions": texts(facts.ratings, facts.agreement, measured, titles),
        "chance": CHANCE,
        "agreement_header": AGREEMENT,
        "raters_header": RATERS,
    }


def figures(facts: Facts) -> Context | None:
    """The charts of the values; nothing where no image was measured."""
    return {} if any(finding.measured for finding in facts.of_images) else None


def images(facts: Facts) -> Context | None:
    """The gallery; nothing for a run without prompts."""
    if not facts.prompts:
        return None
    return {"rows": gallery(facts), "sample": sample(facts)}


def outcomes(facts: Facts) -> Context | None:
    """What became of every request; nothing for images of which nothing is recorded."""
    accounts = accounting(facts)
    if not accounts:
        return None
    return {
        "accounts": accounts,
        "charges": charges(facts),
        "common": questions(facts.common),
        "troubles": {model: found for model in facts.models if (found := troubles(facts, model))},
    }


def protocol(facts: Facts) -> Context:
    """Everything that the values depend on. What `measures` states is said beside the results."""
    stated = {name: value for name, value in facts.protocol.items() if name != "measures"}
    measured = {name: value for name, value in stated.items() if value != {}}
    titles = {one.measure.name: one.measure.title for one in facts.findings}

    def words(key: str) -> str:  # names of models are the user's, and stay as they are
        return titles.get(key) or (key if key in facts.models else key.replace("_", " "))

    models = {model: known for model in facts.models if (known := facts.run.model(model))}
    run = tables(facts.config) + (tables({"models": models}) if models else [])
    return {"measured": tables(measured, words=words), "run": run}


SECTIONS: tuple[Section, ...] = (
    Section("findings", "Findings", findings),
    Section("gate", "Gate", gate),
    Section("results", "Results", results),
    Section("differences", "Differences between models", differences),
    Section("robustness", "Changed prompts", robustness),
    Section("groups", "By group of prompts", groups),
    Section("ratings", "Ratings", ratings),
    Section("charts", "Charts", figures),
    Section("images", "Images", images),
    Section("outcomes", "Accounting", outcomes),
    Section("protocol", "Protocol", protocol),
)


def contexts(facts: Facts) -> list[tuple[Section, Context]]:
    """The sections that the facts have content for, with what their templates see."""
    found = [(section, section.context(facts)) for section in SECTIONS]
    return [(section, context) for section, context in found if context is not None]


def compared(facts: Facts) -> list[tuple[Finding, str, list[DifferenceRow]]]:
    """The compared metrics with their names."""
    made = []
    for finding in facts.findings:
        if finding.comparisons:
            made.append((finding, finding.name, compared_rows(finding.comparisons)))
    return made


def compared_rows(rows: Sequence[ComparisonRow]) -> list[DifferenceRow]:
    """The comparisons of one metric as text, with the same number of digits."""
    widths = [row.high - row.low for row in rows if row.low is not None and row.high is not None]
    digits = numbers.decimals([row.difference for row in rows], widths)
    return [_difference(row, digits) for row in rows]


def _difference(row: ComparisonRow, digits: int) -> DifferenceRow:
    low, high = row.low_adjusted, row.high_adjusted
    adjusted = numbers.interval(low, high, digits)
    if row.winner and low is not None and high is not None:
        adjusted = numbers.interval_without_zero(low, high, digits)
    return DifferenceRow(
        row,
        numbers.signed(row.difference, digits),
        numbers.interval(row.low, row.high, digits),
        adjusted,
        numbers.p_value(row.p_adjusted),
        f"{row.winner} is better" if row.winner else row.verdict,
        numbers.estimate(row.additional_prompts) if row.additional_prompts else numbers.DASH,
        reason(row),
    )
