"""The tables of the report for LaTeX: whole floats that fit a paper (booktabs, siunitx)."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from evalkit.core import Prompt
from evalkit.escape import visible
from evalkit.report import numbers, sentences
from evalkit.report.bibtex import cited
from evalkit.report.facts import Facts, part, whole
from evalkit.report.findings import RULE, Finding
from evalkit.report.labels import shorten
from evalkit.report.latex_columns import Column, Entry, column, panels_of, second_best
from evalkit.report.latex_differences import panels_of_differences
from evalkit.report.latex_layout import Layout, Paper, lay_out, paper_of
from evalkit.report.latex_text import escape
from evalkit.report.preprocessing import RESIZE
from evalkit.report.render import environment

_DELIMITERS = {  # braces and percent signs have a meaning in LaTeX
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}
BOLD = (
    "Bold: the best value and all without a significant difference from it. †: significantly worse"
    " than the best"
)
UNDERLINED = ". Underlined: the same as bold, among those marked †"
Protocols = Mapping[tuple[str, str], str]  # encoder, reference -> mark


class Table(NamedTuple):
    """One file."""

    name: str
    caption: str
    layout: Layout
    notes: Sequence[str]
    found: Sequence[Finding]  # what its numbers are of


def to_latex(facts: Facts, paper: str = "any") -> dict[str, str]:
    """File name to content; differences.tex and groups.tex only where there are such values."""
    made = environment(escape, **_DELIMITERS)
    made.filters["comment"] = lambda text: Markup(visible(text))
    template, known = made.get_template("tables/table.tex.j2"), paper_of(paper)
    return {
        f"{table.name}.tex": template.render(
            facts=facts, table=table, paper=known, cited=cited(table.found)
        )
        for table in tables_of(facts, known)
    }


def tables_of(facts: Facts, paper: Paper) -> list[Table]:
    """All tables that the facts have values for, laid out."""
    found = [_metrics(facts, paper), _groups(facts, paper), _outcomes(facts, paper)]
    return [one for one in (*found, _differences(facts, paper)) if one is not None]


def fit(table: Table) -> str:
    """Where a table fits, in one sentence."""
    place = "`table*`" if table.layout.wide else "one column"
    parts = len(table.layout.parts)
    split = f", in {parts} floats of a page each" if parts > 1 else ""
    return f"{table.name}.tex fits {place} of {table.layout.width} in{split}."


def shown(facts: Facts) -> list[Finding]:
    """The findings of metrics.tex: of images and of raters."""
    return [one for one in facts.findings if not one.measure.from_records and one.measured]


def _metrics(facts: Facts, paper: Paper) -> Table | None:
    found = shown(facts)
    if not found:
        return None
    marks = _protocols(found)
    columns = [column(one, mark=marks.get(_protocol(one), "")) for one in found]
    caption = f"Metrics on {_prompts(facts, facts.originals)}. In brackets: 95% intervals."
    notes = [_significance(found), *_notes(facts, found, marks)]
    layout = lay_out(panels_of(columns, facts.models), paper)
    return Table("metrics", caption, layout, notes, found)


def _groups(facts: Facts, paper: Paper) -> Table | None:
    if not facts.by_group:
        return None
    wholes = [one.whole for one in facts.by_group]
    marks = _protocols(wholes)
    columns = [
        column(finding, group, over=_over(one.whole, marks), under=_count(facts, group))
        for one in facts.by_group
        for group, finding in one.groups.items()
    ]
    caption = "Metrics by group of prompts. In brackets: 95% intervals."
    of_groups = [finding for one in facts.by_group for finding in one.groups.values()]
    notes = [_significance(of_groups), *sentences.of_questions(facts)]
    notes += _notes(facts, wholes, marks, counts=False)
    layout = lay_out(panels_of(columns, facts.models), paper)
    return Table("groups", caption, layout, notes, wholes)


def _outcomes(facts: Facts, paper: Paper) -> Table | None:
    if not any(facts.records.values()):  # existing images: nothing was requested
        return None
    requested = len(facts.prompts) * facts.per_prompt
    counts = {model: {"requested": requested, **own} for model, own in facts.outcomes.items()}
    titles = dict.fromkeys(name for own in counts.values() for name in own)
    columns = [
        Column(
            {"ok": "made"}.get(title, title),
            {model: Entry(f"{own[title]:,}") for model, own in counts.items()},
        )
        for title in titles
    ]
    rates = [one for one in facts.findings if one.measure.from_records and one.measured]
    columns += [column(one) for one in rates]
    caption = f"Requested images of {_prompts(facts, facts.prompts)}, and what became of them."
    if any(cell.interval for one in rates for cell in one.cells.values()):
        caption += " In brackets: 95% intervals."
    notes = [_significance(rates), _version(facts)]
    layout = lay_out(panels_of(columns, facts.models), paper)
    return Table("outcomes", caption, layout, notes, rates)


def _differences(facts: Facts, paper: Paper) -> Table | None:
    compared = [one for one in facts.findings if one.comparisons]
    if not compared:
        return None
    marks = _protocols(compared)
    titles = [(one, _over(one, marks)) for one in compared]
    pairs = [pair for one in compared for pair in one.comparisons]
    of = (_range([p.prompts for p in pairs], "prompt"), _range([p.images for p in pairs], "image"))
    caption = (
        "Differences between the models, a minus b, on the images that both made"
        f" ({of[0]}, {of[1]} of each model). In brackets:"
        " adjusted intervals, which exclude zero exactly where the difference is significant."
    )
    notes = [*_notes(facts, compared, marks, counts=False)]
    bold = "Bold: the significantly better model. " if any(p.winner for p in pairs) else ""
    assert facts.comparisons is not None
    family = facts.comparisons.family or len(facts.comparisons.rows)
    whole_run = f"all {family:,} comparisons of the run" if family > 1 else "1 comparison"
    notes.insert(0, f"{bold}p: corrected for {whole_run} ({RULE}), paired by prompt.")
    layout = lay_out(panels_of_differences(titles), paper)
    return Table("differences", caption, layout, notes, compared)


def _prompts(facts: Facts, prompts: Sequence[Prompt]) -> str:
    if not facts.prompts:
        return "existing images"
    each = numbers.plural(facts.per_prompt, "image")
    return f"{numbers.plural(len(prompts), 'prompt')}, {each} per prompt"


def _range(counts: Sequence[int], what: str) -> str:
    """`72 prompts`, or `60 to 72 prompts`."""
    low, high = min(counts), max(counts)
    return numbers.plural(high, what) if low == high else f"{low:,} to {high:,} {what}s"


def _count(facts: Facts, group: str) -> str:
    return numbers.plural(facts.prompts_of[group], "prompt")


def _protocol(finding: Finding) -> tuple[str, str]:
    return finding.encoder, finding.reference


def _protocols(found: Sequence[Finding]) -> Protocols:
    """A mark for each encoder and reference, where there are several."""
    all_of_them = dict.fromkeys(_protocol(one) for one in found if one.encoder)
    signs = [*string.ascii_lowercase, *map(str, range(27, len(all_of_them) + 1))]
    return dict(zip(all_of_them, signs, strict=False))


def _over(finding: Finding, marks: Protocols) -> str:
    """Title, direction and mark as LaTeX."""
    arrow = r"$\downarrow$" if finding.measure.better == "lower" else r"$\uparrow$"
    mark = marks.get(_protocol(finding), "")
    return f"{escape(shorten(finding.title, 40))} {arrow}" + (
        rf"\textsuperscript{{{mark}}}" if mark else ""
    )


def _notes(
    facts: Facts, found: Sequence[Finding], marks: Protocols, counts: bool = True
) -> list[str | Markup]:
    """The protocol of the columns: encoder, resize, reference, number of images, version."""
    notes: list[str | Markup] = []
    for (encoder, reference), mark in marks.items():
        text = escape(f"{_measured_with(facts, found, encoder, reference)}.")
        notes.append(Markup(rf"\textsuperscript{{{mark}}}~{text}"))
    if counts:
        images = sorted({row.count for one in found for row in one.measured})
        each = "" if len(set(images)) == 1 else "; metrics.csv has that of each value"
        notes.append(f"{numbers.counts(images)} images per model{each}.")
    notes += facts.changes.said
    if sentences.banner(facts):
        notes.append(sentences.banner_title(facts))
    return [*notes, _version(facts)]


def _measured_with(facts: Facts, found: Sequence[Finding], encoder: str, reference: str) -> str:
    if any(one.measure.from_ratings for one in found if _protocol(one) == (encoder, reference)):
        return f"Raters: {shorten(encoder, 60)}, study {shorten(reference, 60)}"
    resize = f" (images resized: {RESIZE[encoder]})" if encoder in RESIZE else ""
    text = f"{shorten(encoder, 60)}{resize}"
    if not reference:
        return text
    references = part(facts.protocol, "references")
    held = [part(references, kind) for kind in references]
    count = max(
        (whole(one.get("count")) for one in held if one.get("name") == reference), default=0
    )
    images = f" of {count:,} images" if count else ""
    return f"{text}, reference {shorten(reference, 60)}{images}"


def _significance(found: Sequence[Finding]) -> str:
    """The rule of bold where it is used; else that there is nothing to mark."""
    if any(one.worse for one in found):
        underlined = any(second_best(one) for one in found)
        return f"{BOLD}{UNDERLINED if underlined else ''} ({RULE})."
    if any(one.ties for one in found):
        return f"No significant difference from the best value ({RULE})."
    return ""


def _version(facts: Facts) -> str:
    known = part(facts.protocol, "versions").get("evalkit")
    return f"evalkit {known}." if known else ""
