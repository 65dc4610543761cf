"""The report as one HTML page that opens from the disk: no network, a strict CSP, every foreign
text escaped by Jinja.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from evalkit.core import Prompt, Record
from evalkit.report import differences, sentences, words
from evalkit.report.facts import Facts, outcome, per_second, prompt_means, speed_rows
from evalkit.report.figures import Chart, inline_svg
from evalkit.run_folder import Run

# in the gallery: about 4 MB of HTML; a longer list is shown in even steps, and the page says so
MOST_PROMPTS = 4_000


@dataclass(frozen=True)
class Tile:
    """One requested picture of the gallery."""

    model: str
    place: int  # of the model, for its colour
    url: str  # empty where there is no picture
    width: int
    height: int
    score: str
    best: bool  # the highest score of the prompt
    gap: str  # why there is no picture


@dataclass(frozen=True)
class Row:
    """One prompt of the gallery."""

    index: int
    prompt: Prompt
    score: float | None  # mean over models and samples
    spread: float | None  # largest minus smallest model mean
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Table:
    """A part of the protocol: rows under a title, the first cell of each is its name."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def render(facts: Facts, charts: Sequence[Chart]) -> str:
    """The whole page."""
    css, script = _part("report.css"), _part("report.js")
    environment = Environment(
        loader=FunctionLoader(_part),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plural"] = words.plural
    figures: dict[str, list[tuple[Chart, list[Markup]]]] = {"results": [], "requests": []}
    for chart in charts:
        panels = [
            Markup(inline_svg(panel, f"{chart.name}{i}")) for i, panel in enumerate(chart.panels)
        ]
        figures["requests" if chart.name in {"outcomes", "speed"} else "results"].append(
            (chart, panels)
        )
    models = {model: facts.run.model(model) for model in facts.models}
    page = environment.get_template("report.html.j2").render(
        facts=facts,
        sentences=sentences,
        differences=differences,
        csp=f"default-src 'none'; img-src 'self' data:; style-src {_source(css)}; script-src {_source(script)}; base-uri 'none'",
        css=Markup(css),
        script=Markup(script),
        figures=figures,
        gallery=gallery(facts),
        per_second=per_second,
        speed={row["model"]: row for row in speed_rows(facts)},
        troubles={model: troubles(facts, model) for model in facts.models},
        protocol=tables(facts.protocol),
        config=[*tables(facts.config), *tables({"models": models} if any(models.values()) else {})],
    )
    return page


def gallery(facts: Facts) -> list[Row]:
    """Every prompt with the pictures of all models; of a very long list, every k-th."""
    step = -(-len(facts.prompts) // MOST_PROMPTS)
    records = {
        (model, r.index, r.sample): r for model in facts.models for r in facts.records[model]
    }
    means = {model: prompt_means(facts, model) for model in facts.models}
    digits = facts.score_digits
    rows = []
    for index in range(0, len(facts.prompts), max(1, step)):
        found = [means[model][index] for model in facts.models if index in means[model]]
        top = (
            max((value for (_, i, _), value in _of_prompt(facts, index)), default=None)
            if len(found) > 1
            else None
        )
        tiles = [
            _tile(
                facts,
                model,
                records.get((model, index, sample)),
                facts.scores.get((model, index, sample)),
                top,
                digits,
            )
            for sample in range(facts.per_prompt)
            for model in facts.models
        ]
        score = sum(found) / len(found) if found else None
        rows.append(
            Row(
                index,
                facts.prompts[index],
                score,
                max(found) - min(found) if len(found) > 1 else None,
                tiles,
            )
        )
    return rows


def troubles(facts: Facts, model: str) -> list[tuple[str, str, str, str]]:
    """(outcome, prompt, status, detail) of every request of a model that gave no picture."""
    failed = [record for record in facts.records[model] if record.status != "ok"]
    texts = [
        facts.prompts[record.index].text if record.index < len(facts.prompts) else record.prompt
        for record in failed
    ]
    return [
        (outcome(r), text, r.status.replace("_", " "), r.detail)
        for r, text in zip(failed, texts, strict=True)
    ]


def image_url(run: Run, model: str, record: Record) -> str:
    """The picture's address as seen from report/; empty for a name that is not a plain file name."""
    if not record.file or not re.fullmatch(r"[\w.-]+", record.file) or record.file.startswith("."):
        return ""
    return f"../images/{quote(run.image_folder(model).name)}/{quote(record.file)}"


def tables(facts: Mapping[str, Any], title: str = "settings") -> list[Table]:
    """Nested facts as flat tables: one for the single values, one for each part."""
    single = [(key, _text(value)) for key, value in facts.items() if not _nested(value)]
    made = [Table(title, ("", "value"), single)] if single else []
    for key, value in facts.items():
        if not _nested(value):
            continue
        items = (
            value.items()
            if isinstance(value, Mapping)
            else [(i + 1, item) for i, item in enumerate(value)]
        )
        pairs = {str(name): item for name, item in items}
        name = str(key).replace("_", " ") if title == "settings" else f"{title}: {key}"
        if not all(isinstance(item, Mapping) for item in pairs.values()):
            made += tables(pairs, name)
            continue
        columns = list(dict.fromkeys(str(column) for item in pairs.values() for column in item))
        cells = {
            name: {str(column): cell for column, cell in item.items()}
            for name, item in pairs.items()
        }
        rows = [
            (name, *(_text(item.get(column)) for column in columns)) for name, item in cells.items()
        ]
        made.append(Table(name, ("", *columns), rows))
    return made


def _tile(
    facts: Facts,
    model: str,
    record: Record | None,
    score: float | None,
    top: float | None,
    digits: int,
) -> Tile:
    place = facts.models.index(model)
    text = words.number(score, digits) if score is not None else ""
    if record is None or record.status != "ok":
        gap = (
            "not made"
            if record is None
            else f"{outcome(record)}: {record.detail}"
            if record.detail
            else outcome(record)
        )
        return Tile(model, place, "", 0, 0, text, False, gap)
    url = image_url(facts.run, model, record)
    try:
        if not url:
            raise OSError
        with Image.open(facts.run.image_path(model, record)) as image:  # reads the header only
            width, height = image.size
    except (OSError, Image.DecompressionBombError):
        return Tile(model, place, "", 0, 0, text, False, "the file is gone or not a picture")
    return Tile(model, place, url, width, height, text, score is not None and score == top, "")


def _of_prompt(facts: Facts, index: int) -> list[tuple[tuple[str, int, int], float]]:
    keys = [(model, index, sample) for model in facts.models for sample in range(facts.per_prompt)]
    return [(key, facts.scores[key]) for key in keys if key in facts.scores]


def _nested(value: Any) -> bool:
    """A part with a table of its own: a mapping, or a list of mappings or of sentences."""
    listed = isinstance(value, list) and any(
        isinstance(item, Mapping) or (isinstance(item, str) and len(item) > 30) for item in value
    )
    return bool(value) and (isinstance(value, Mapping) or listed)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "" or value == [] or value == {}:
        return words.DASH
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_text(item)}" for key, item in value.items())
    return (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, list)
        else f"{value:.6g}"
        if isinstance(value, float)
        else str(value)
    )


def _part(name: str) -> str:
    return resources.files("evalkit.report").joinpath("templates", name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
