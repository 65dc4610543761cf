"""The report as one HTML page that opens from the disk, without a network, under a strict CSP."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from evalkit.report.facts import Facts
from evalkit.report.figures import Chart
from evalkit.report.render import environment, render
from evalkit.report.sections import Context, Section
from evalkit.report.svg import inline_svg


def to_html(
    facts: Facts, charts: Sequence[Chart], sections: Sequence[tuple[Section, Context]]
) -> str:
    """The whole page."""
    made = environment()
    made.filters["svg"] = lambda figure, prefix: Markup(inline_svg(figure, prefix))
    assert made.loader is not None
    names = ("report.css", "report.js", "tables.js")
    css, *scripts = (made.loader.get_source(made, name)[0] for name in names)
    script = "".join(scripts)
    policy = (
        f"default-src 'none'; img-src 'self' data:; style-src {_hash(css)};"
        f" script-src {_hash(script)}; base-uri 'none'"
    )
    more = {"policy": policy, "css": Markup(css), "script": Markup(script)}
    return render(made, "html", facts, charts, sections, **more)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
