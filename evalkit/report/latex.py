"""The tables of the report for LaTeX (booktabs)."""

from __future__ import annotations

import re

from markupsafe import Markup

from evalkit.escape import latex, visible
from evalkit.report.facts import Facts
from evalkit.report.numbers import DASH, MINUS
from evalkit.report.render import environment
from evalkit.report.sections import compared

TABLE_FILE = re.compile(r"(metrics|groups|outcomes|differences)\.tex")  # in any report
_SYMBOLS = {"∞": r"$\infty$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "†": r"$^\dagger$"}
_DELIMITERS = {  # braces and percent signs have a meaning in LaTeX
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def to_latex(facts: Facts) -> dict[str, str]:
    """File name to table; differences.tex and groups.tex only where there are such values."""
    made = environment(_escape, **_DELIMITERS)
    made.filters |= {"math": _math, "comment": lambda text: Markup(visible(text))}
    counts = {model: _counts(facts, model) for model in facts.models}
    names = ["metrics", *(["groups"] if facts.by_group else []), "outcomes"]
    names += ["differences"] if facts.comparisons else []
    return {
        f"{name}.tex": made.get_template(f"tables/{name}.tex.j2").render(
            facts=facts, groups=compared(facts), counts=counts
        )
        for name in names
    }


def _escape(text: str) -> str:
    """`evalkit.escape.latex`, with the symbols of our own texts as symbols."""
    escaped = latex(text)
    for symbol, command in _SYMBOLS.items():
        escaped = escaped.replace(latex(symbol), command)
    return escaped


def _counts(facts: Facts, model: str) -> str:
    """How many images the values of a model are of."""
    rows = [row for finding in facts.findings for row in finding.measured]
    counts = sorted({row.count for row in rows if row.model == model})
    return " or ".join(f"{count:,}" for count in counts) or "none"


def _math(number: str) -> Markup:
    """A number or an interval in mathematics mode; "--" for a missing one."""
    if number in ("", DASH):
        return Markup("--")
    text = number.replace(MINUS, "-").replace(",", "{,}")
    low, _, high = text.partition(" to ")
    return Markup(f"$[{low},\\,{high}]$" if high else f"${text}$")
