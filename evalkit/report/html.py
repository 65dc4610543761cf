"""The report as one HTML page that opens from the disk, without a network, under a strict CSP."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from evalkit.report.facts import Facts
from evalkit.report.figures import Chart
from evalkit.report.render import environment, render
from evalkit.report.sections import Context, Section
from evalkit.report.svg import inline_svg

STYLES = ("report.css", "gallery/gallery.css")
# They share one scope, in this order.
GALLERY = tuple(f"gallery/{name}.js" for name in ("rows", "blind", "zoom", "address", "keys"))


def to_html(
    facts: Facts,
    charts: Sequence[Chart],
    sections: Sequence[tuple[Section, Context]],
    tables: Sequence[str] = (),
) -> str:
    """The whole page. `tables`: the names of the files in the folder of tables."""
    made = environment()
    made.filters["svg"] = lambda figure, prefix: Markup(inline_svg(figure, prefix))
    css = _source(made, STYLES)
    script = _source(made, ["tables.js"])
    if any(section.name == "images" for section, _ in sections):
        script += f'"use strict";\n(() => {{\n{_source(made, GALLERY)}}})();\n'
    policy = (
        f"default-src 'none'; img-src 'self' data:; style-src {_hash(css)};"
        f" script-src {_hash(script)}; base-uri 'none'"
    )
    more: dict[str, Any] = {"policy": policy, "css": Markup(css), "script": Markup(script)}
    more["tables"] = sorted(tables)
    return render(made, "html", facts, charts, sections, **more)


def _source(made: Environment, names: Iterable[str]) -> str:
    assert made.loader is not None
    return "".join(made.loader.get_source(made, name)[0] for name in names)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
