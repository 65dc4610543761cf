"""The report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from evalkit.escape import attribute, markdown
from evalkit.report.facts import Facts
from evalkit.report.figures import Chart
from evalkit.report.render import environment, render
from evalkit.report.sections import Context, Section


def to_markdown(
    facts: Facts, charts: Sequence[Chart], sections: Sequence[tuple[Section, Context]]
) -> str:
    """The whole report.

    Templates never begin a line with a value: in the middle of a line, escaped text is text.
    """
    made = environment(markdown)
    made.filters["attribute"] = lambda text: Markup(attribute(text))
    made.filters["address"] = lambda url: Markup(url.replace("&", "&amp;").replace('"', "%22"))
    text = render(made, "md", facts, charts, sections)
    return re.sub(r"\n{3,}", "\n\n", text)
