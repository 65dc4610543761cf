"""The report as GitHub-flavoured Markdown that fits into a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from evalkit.escape import attribute, markdown
from evalkit.report import numbers
from evalkit.report.facts import Facts
from evalkit.report.figures import Chart
from evalkit.report.findings import Finding
from evalkit.report.latex import fit, tables_of
from evalkit.report.latex_layout import paper_of
from evalkit.report.pairs import better
from evalkit.report.render import bodies, environment
from evalkit.report.sections import Context, Section

LIMIT = 65_536  # of GitHub, in characters; we count bytes, of which there are at least as many
OPEN = ("gate", "findings", "results")  # sections that are not folded, at the top
_OPEN_SHARE = 0.7  # of the room, at most, for these
_RESERVE = 200  # for the remark at a cut


def to_markdown(
    facts: Facts, charts: Sequence[Chart], sections: Sequence[tuple[Section, Context]]
) -> str:
    """The whole report in at most `LIMIT` bytes; what does not fit is left out, and it says so.

    Templates never begin a line with a value: in the middle of a line, escaped text is text.
    """
    made = environment(markdown)
    made.filters["attribute"] = lambda text: Markup(attribute(text))
    made.filters["address"] = lambda url: Markup(url.replace("&", "&amp;").replace('"', "%22"))
    made.filters["counts"] = numbers.counts
    made.globals["result"] = lambda finding: result(facts, finding)
    found = bodies(made, "md", facts, charts, sections)
    shown = [(section, body) for section, body in found if section.name in OPEN]
    folded = [(section, body) for section, body in found if section.name not in OPEN]
    lines = [fit(table) for table in tables_of(facts, paper_of("any"))]
    frame = made.get_template("report.md.j2")

    def render(*parts: Sequence[tuple[Section, str]]) -> str:
        text = frame.render(facts=facts, open=parts[0], folded=parts[1], tables=lines)
        return re.sub(r"\n{3,}", "\n\n", text)

    if _size(text := render(shown, folded)) <= LIMIT:
        return text
    empty = [[(section, "") for section, _ in part] for part in (shown, folded)]
    room = LIMIT - _size(render(*empty)) - _RESERVE * len(found)
    shown = _cut_to(shown, int(_OPEN_SHARE * room))
    room -= sum(_size(body) for _, body in shown)
    return render(shown, _cut_to(folded, room))


def result(facts: Facts, finding: Finding) -> str:
    """The verdict of a finding in a few words."""
    if finding.encoder in facts.blind_encoders:
        return "no verdict"
    if finding.kind == "significant":
        names = {model: model for model in finding.rows}
        return "; ".join(one.text(names, "better") for one in better([finding.comparisons]))
    words = {"tie": "no significant difference", "untested": "not tested"}
    return words.get(finding.kind, numbers.DASH)


def _cut_to(found: Sequence[tuple[Section, Markup]], room: int) -> list[tuple[Section, Markup]]:
    """The sections in this many bytes: the longest ones are cut to the same length."""
    most, left = room, room
    sizes = sorted(_size(body) for _, body in found)
    for place, size in enumerate(sizes):
        most = left // (len(sizes) - place)
        if size > most:
            break
        left -= size
    return [(section, _cut(body, most)) for section, body in found]


def _cut(body: Markup, most: int) -> Markup:
    """The first lines of a section, and how many lines are left out."""
    if _size(body) <= most:
        return body
    lines = body.splitlines()
    kept, size = 0, 0
    while size + _size(lines[kept]) + 1 <= most:
        size += _size(lines[kept]) + 1
        kept += 1
    text = "\n".join(lines[:kept])
    text += "\n</details>\n" * (text.count("<details>") - text.count("</details>"))
    left = numbers.plural(sum(map(bool, lines[kept:])), "line")
    remark = f"*{left} left out: a comment holds {LIMIT:,} characters. See index.html.*"
    return Markup(f"{text}\n\n{remark}\n")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
