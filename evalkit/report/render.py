"""Jinja environments in which every value is escaped unless it is marked as safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from evalkit.escape import visible_lines
from evalkit.report import numbers, sentences
from evalkit.report.facts import Facts
from evalkit.report.figures import Chart
from evalkit.report.sections import Context, Section

LOADER = PackageLoader("evalkit.report")
_COMMAND = re.compile(r"`((?:evalkit |--)[^`]+)`")


def environment(escape: Callable[[str], str] | None = None, **syntax: Any) -> Environment:
    """An environment for one output language.

    Args:
        escape: plain text to text of the language; None for HTML. Jinja applies it to every value
            that a template prints, so no template has to ask for it. In HTML, invisible characters
            are shown, except in texts that a template prints as they are (`|e`): the prompts.
        syntax: other delimiters, for a language in which the usual ones have a meaning.
    """

    def finalize(value: Any) -> Any:
        if isinstance(value, Markup) or (escape is None and not isinstance(value, str)):
            return value
        if escape is None:  # Jinja escapes it; an override of the direction would reverse the page
            return visible_lines(value)
        return Markup(escape(str(value)))

    made = Environment(
        loader=LOADER,
        autoescape=True,  # keeps what finalize returns, and makes the result of a macro Markup
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **syntax,
    )
    made.filters |= {"plural": numbers.plural, "thousands": "{:,}".format, "commands": _commands}
    made.globals |= {"sentences": sentences, "DASH": numbers.DASH}
    return made


def _commands(text: str) -> Markup:
    """HTML of a text whose commands and options are in backticks."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(visible_lines(text)))))


def render(
    made: Environment,
    kind: str,
    facts: Facts,
    charts: Sequence[Chart],
    sections: Sequence[tuple[Section, Context]],
    **more: Any,
) -> str:
    """The whole report, `kind` "html" or "md": each section by its template, then the frame."""
    frame = made.get_template(f"report.{kind}.j2")
    found = bodies(made, kind, facts, charts, sections)
    return frame.render(facts=facts, sections=found, **more)


def bodies(
    made: Environment,
    kind: str,
    facts: Facts,
    charts: Sequence[Chart],
    sections: Sequence[tuple[Section, Context]],
) -> list[tuple[Section, Markup]]:
    """The sections that have a template of this kind, rendered."""
    known = made.list_templates()
    found = []
    for section, context in sections:
        name = f"sections/{section.name}.{kind}.j2"
        if kind == "html" or name in known:
            template = made.get_template(name)
            body = template.render(facts=facts, charts=charts, section=section, **context)
            found.append((section, Markup(body)))
    return found
