"""The report's figures: which there are, what their captions say, their files, and their form
inside the page.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from evalkit.files import write_atomically
from evalkit.report import charts, words
from evalkit.report.chart_style import Rows, to_bytes, to_csv
from evalkit.report.facts import MOST_GROUPS, OUTCOMES, Facts, group_rows, speed_rows


@dataclass(frozen=True)
class Chart:
    """A figure, the numbers behind it, and the panels that the page shows (one each, so that they
    wrap on a phone).
    """

    name: str  # of the files
    title: str
    caption: str
    rows: Rows
    figure: Figure
    panels: Sequence[Figure]


def make_charts(facts: Facts) -> list[Chart]:
    """Every figure that the facts have numbers for."""
    made = [
        _forest(facts),
        _distribution(facts),
        _groups(facts),
        *_floors(facts),
        _outcomes(facts),
        _speed(facts),
    ]
    return [chart for chart in made if chart is not None]


def write_charts(made: Sequence[Chart], folder: Path) -> None:
    """Each figure as SVG, PDF and PNG, with the numbers in a .csv of the same name."""
    for chart in made:
        for kind in ("svg", "pdf", "png"):
            write_atomically(folder / f"{chart.name}.{kind}", to_bytes(chart.figure, kind))
        write_atomically(folder / f"{chart.name}.csv", to_csv(chart.rows))


def _forest(facts: Facts) -> Chart | None:
    comparisons = [comparison for comparison in facts.scored if comparison.measured]
    rows = [
        {
            "metric": comparison.metric,
            "encoder": comparison.encoder,
            "reference": comparison.reference,
            "title": comparison.title,
            "better": comparison.better,
            "model": model,
            "value": cell.row.value,
            "low": cell.row.low,
            "high": cell.row.high,
            "zero": comparison.metric in words.ZERO_MATTERS,
            "floor": cell.floor,
            "count": cell.row.count,
        }
        for comparison in comparisons
        for model, cell in comparison.cells.items()
        if cell.row.value is not None
    ]
    if not rows:
        return None
    methods: dict[str, list[str]] = {}
    for comparison in comparisons:
        for method in dict.fromkeys(
            _short(cell.row.interval) for cell in comparison.cells.values() if cell.interval
        ):
            methods.setdefault(method or "as given", []).append(comparison.title)
    bars = "; ".join(f"{words.listing(titles)}: {method}" for method, titles in methods.items())
    caption = f"Points are the models' values, bars their intervals{f' ({bars})' if bars else ''}. Solid line: zero. Dotted line: the best value."
    if any(row["floor"] is not None for row in rows):
        caption += " Short upright lines: the FID that perfect pictures would get at this count."
    keys = [
        (comparison.metric, comparison.encoder, comparison.reference) for comparison in comparisons
    ]
    parts = [
        [row for row in rows if (row["metric"], row["encoder"], row["reference"]) == key]
        for key in keys
    ]
    return Chart(
        "metrics",
        "All metrics",
        caption,
        rows,
        charts.forest(rows, facts.models),
        [charts.forest(p, facts.models) for p in parts],
    )


def _short(method: str) -> str:
    """How an interval was found, without the counts that differ from model to model."""
    return re.sub(r"\d[\d,]* ", "", re.split(r", | \(", method, maxsplit=1)[0])


def _distribution(facts: Facts) -> Chart | None:
    if facts.score is None:
        return None
    prompts = facts.prompts
    keys = sorted(
        facts.scores,
        key=lambda key: (facts.models.index(key[0]) if key[0] in facts.models else -1, key[1:]),
    )
    rows = [
        {
            "model": model,
            "prompt": prompts[index].id,
            "sample": sample,
            "value": facts.scores[(model, index, sample)],
        }
        for model, index, sample in keys
        if model in facts.models and index < len(prompts)
    ]
    title = f"{facts.score.title} of every picture · {facts.score.encoder}"
    caption = "Each curve climbs by one step per picture; a curve further to the right is a better model. The marker is the median."
    figure = charts.distribution(rows, facts.models, title)
    return Chart("scores", "Distribution of scores", caption, rows, figure, [figure])


def _groups(facts: Facts) -> Chart | None:
    rows = group_rows(facts)
    if facts.score is None or len({row["group"] for row in rows}) < 2:
        return None
    caption = "Means by group of prompts (their number in brackets), with 95% t intervals over prompts (from 5 on)."
    caption += " Dotted lines: the models' means over all prompts."
    if len(facts.groups) > MOST_GROUPS:
        caption += f" The first {MOST_GROUPS} of {len(facts.groups)} groups."
    figure = charts.by_group(
        rows, facts.models, f"{facts.score.title} by group · {facts.score.encoder}"
    )
    return Chart("groups", "Scores by group of prompts", caption, rows, figure, [figure])


def _floors(facts: Facts) -> list[Chart]:
    made = []
    for comparison in facts.comparisons:
        floor = facts.floors.get(comparison.encoder) if comparison.metric == "fid" else None
        if not floor or not comparison.measured:
            continue
        rows: list[dict[str, object]] = [
            {"kind": "floor", "model": "", "count": n, "value": floor[n]} for n in sorted(floor)
        ]
        last = max(floor)
        rows += [
            {"kind": "carried on", "model": "", "count": n, "value": floor[last] * last / n}
            for n in (last * 2**i for i in range(5))
        ]
        for model, cell in comparison.cells.items():
            row = cell.row
            if row.value is not None:
                rows.append(
                    {
                        "kind": "model",
                        "model": model,
                        "count": row.count,
                        "value": row.value,
                        "low": row.low,
                        "high": row.high,
                    }
                )
        caption = (
            "FID falls with the number of pictures even when they are perfect: the grey line is what real pictures get, dashed where it"
            " is carried on in proportion to 1/n. What a model can be blamed for is its distance from the line. Bars are its intervals."
        )
        figure = charts.small_sample_floor(
            rows, facts.models, f"FID and the count · {comparison.encoder}"
        )
        name = "fid-floor" if not made else f"fid-floor-{len(made) + 1}"
        made.append(Chart(name, "FID and its small-sample floor", caption, rows, figure, [figure]))
    return made


def _outcomes(facts: Facts) -> Chart:
    rows = [
        {"model": model, "outcome": name, "count": facts.outcomes[model][name]}
        for model in facts.models
        for name in OUTCOMES
    ]
    figure = charts.outcomes(rows, facts.models)
    return Chart(
        "outcomes",
        "Outcomes",
        "What came of every requested picture. A refusal is a result, not a gap.",
        rows,
        figure,
        [figure],
    )


def _speed(facts: Facts) -> Chart | None:
    rows = speed_rows(facts)
    if not rows:
        return None
    caption = "Medians; the bars reach from the 5th to the 95th percentile of pictures. A picture's time is its share of its batch."
    figure = charts.speed(rows, facts.models)
    return Chart("speed", "Speed", caption, rows, figure, [figure])


# --- inside the page
# -------------------------------------------------------------------------------------------------
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_DROPPED = {f"{_SVG}style", f"{_SVG}metadata", f"{_SVG}script"}


def inline_svg(figure: Figure, prefix: str) -> str:
    """The figure as an <svg> element for an HTML page under a strict CSP.

    matplotlib styles every element by a style attribute, which the CSP forbids: they become
    presentation attributes, which the page's style sheet can override for dark screens. Text stays
    text, in the page's font. Ids get the prefix, so that several figures can stand in one page.
    """
    root = ElementTree.fromstring(to_bytes(figure, "svg", text="none"))
    for parent in root.iter():
        for child in [child for child in parent if child.tag in _DROPPED]:
            parent.remove(child)
    kept = {name for element in root.iter() for name in _references(element)}
    for element in root.iter():
        _plain(element, prefix, kept)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
        "role": "img",
        "aria-label": _title(figure),
    }
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
    return re.sub(r"\s*\n\s*", " ", text)


def _title(figure: Figure) -> str:
    return f"Chart: {figure.axes[0].get_title(loc='left')}"


def _references(element: ElementTree.Element) -> list[str]:
    found = re.findall(r"url\(#([^)]+)\)", " ".join(element.attrib.values()))
    href = element.get(f"{_XLINK}href", "")
    return [*found, href[1:]] if href.startswith("#") else found


def _plain(element: ElementTree.Element, prefix: str, kept: set[str]) -> None:
    """In place: no namespaces, no style attribute, no id that nothing points to."""
    element.tag = element.tag.removeprefix(_SVG)
    for name in [name for name in element.attrib if name.startswith("{")]:
        element.set("href", element.attrib.pop(name))
    for part in element.attrib.pop("style", "").split(";"):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name == "font":  # the shorthand of older matplotlib is no presentation attribute
            element.set("font-size", next(iter(re.findall(r"[\d.]+px", value)), "7px"))
            if "bold" in value or "700" in value:
                element.set("font-weight", "bold")
        elif name and name != "font-family":
            element.set(name, value)
    if element.get("id") not in kept:
        element.attrib.pop("id", None)
    for name, value in element.attrib.items():
        if name == "id":
            element.set(name, f"{prefix}-{value}")
        elif name == "href" and value.startswith("#"):
            element.set(name, f"#{prefix}-{value[1:]}")
        elif "url(#" in value:
            element.set(name, value.replace("url(#", f"url(#{prefix}-"))
