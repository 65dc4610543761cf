"""Which figures the report has, what their captions say, and their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evalkit.figures import run_charts, said
from evalkit.figures.group_dots import group_dots
from evalkit.figures.metric_dots import draw_dots
from evalkit.figures.rows import drawable
from evalkit.figures.score_distribution import score_distribution
from evalkit.figures.style import Rows, to_bytes, to_csv
from evalkit.files import write_atomically
from evalkit.report.facts import OUTCOMES, Facts, group_rows, speed_rows
from evalkit.report.few_models import few_models
from evalkit.report.findings import Finding

# The files of the charts below, in any report.
FIGURE_FILE = re.compile(
    r"(metrics|scores|groups|baseline(-\d+)?|outcomes|speed)\.(svg|pdf|png|csv)"
)


@dataclass(frozen=True)
class Chart:
    """A figure, the numbers behind it, and the panels that the page shows.

    Each panel is a figure of its own, so that the panels wrap on a phone.
    """

    name: str  # of the files
    title: str
    caption: str
    rows: Rows
    figure: Figure
    panels: Sequence[Figure]
    section: str = "charts"  # where it is shown


def make_charts(facts: Facts) -> list[Chart]:
    """Every figure that the facts have values for."""
    few, which = few_models(facts)
    made = [_distribution(few), _groups(few), *_baselines(few)]
    of_few = [replace(one, caption=f"{one.caption} {which}".strip()) for one in made if one]
    found = [_forest(facts), *of_few, _outcomes(facts), _speed(facts)]
    return [chart for chart in found if chart is not None]


def write_charts(made: Sequence[Chart], folder: Path) -> list[str]:
    """Each figure as SVG, PDF and PNG, with the numbers in a .csv; returns the names."""
    for chart in made:
        for kind in _KINDS:
            write_atomically(folder / f"{chart.name}.{kind}", to_bytes(chart.figure, kind))
        write_atomically(folder / f"{chart.name}.csv", to_csv(chart.rows))
    return [f"{chart.name}.{kind}" for chart in made for kind in (*_KINDS, "csv")]


_KINDS = ("svg", "pdf", "png")


def _forest(facts: Facts) -> Chart | None:
    found = [_forest_rows(finding) for finding in facts.of_images]
    parts = [rows for every in found if (rows := drawable(every))]
    rows = [row for own in parts for row in own]
    if not rows:
        return None
    told = [
        own | {"interval": one.interval}
        for every, finding in zip(found, facts.of_images, strict=True)
        for own, one in zip(every, finding.measured, strict=True)
        if own in rows
    ]
    caption = f"Values of the models. {said.bars(told)}{said.lines(rows)}"
    panels = [draw_dots(own, facts.models, "page", "one") for own in parts]
    figure = draw_dots(rows, facts.models, "page", "two")
    return Chart("metrics", "All metrics", caption, rows, figure, panels)


def _named(finding: Finding) -> dict[str, str]:
    """The columns by which a figure knows a metric."""
    return {
        "metric": finding.measure.name,
        "encoder": finding.encoder,
        "title": finding.title,
        "better": finding.measure.better,
    }


def _forest_rows(finding: Finding) -> list[dict[str, Any]]:
    return [
        {
            "metric": row.metric,
            "encoder": row.encoder,
            "reference": row.reference,
            "title": finding.name,
            "better": row.better,
            "from_zero": finding.measure.from_zero,
            "baseline": row.baseline,
            **{name: getattr(row, name) for name in _PLOTTED},
        }
        for row in finding.measured
    ]


def _distribution(facts: Facts) -> Chart | None:
    if facts.score is None:
        return None
    rows = [
        {
            "model": model,
            "prompt": facts.prompts[index].id,
            "sample": sample,
            "value": value,
            **_named(facts.score),
        }
        for (model, index, sample), value in sorted(facts.scores.items(), key=lambda item: item[0])
        if model in facts.models and index < len(facts.prompts) and index not in facts.variants
    ]
    rows = sorted(drawable(rows), key=lambda row: facts.models.index(row["model"]))
    if not rows:
        return None
    better = facts.score.measure.better
    side = "right" if better == "higher" else "left"
    caption = "Cumulative distribution of the scores of all images; a curve further to the"
    caption += f" {side} has better scores. The marker is the median."
    title = f"{facts.score.title} of every image · {facts.score.encoder}"
    figure = score_distribution(rows, width="page", models=facts.models, title=title)
    return Chart("scores", "Distribution of scores", caption, rows, figure, [figure])


def _groups(facts: Facts) -> Chart | None:
    if facts.score is None or not (found := group_rows(facts)):
        return None
    if not (rows := drawable([{**row, **_named(facts.score)} for row in found])):
        return None
    whole = {row["model"]: row["overall"] for row in rows}
    means = [
        {"group": "", "model": model, "value": value, "low": None, "high": None}
        | _named(facts.score)
        for model, value in whole.items()
    ]
    caption = (
        "Means by group of prompts (number of prompts in parentheses), with 95% intervals over"
    )
    caption += " prompts."
    if any(value is not None for value in whole.values()):
        caption += " Dotted lines: the mean over all prompts."
    title, heading = f"{facts.score.title} by group · {facts.score.encoder}", "Scores by group"
    figure = group_dots([*means, *rows], width="page", models=facts.models, title=title)
    return Chart("groups", heading, caption, rows, figure, [figure], "groups")


def _baselines(facts: Facts) -> list[Chart]:
    """A chart of every metric that has finite-sample baselines, against the number of images."""
    made: list[Chart] = []
    for finding in facts.of_images:
        known = _known_baselines(facts, finding)
        if not known:
            continue
        lower = finding.measure.better == "lower"
        caption = (
            f"{finding.title} depends on the number of images. The grey line is the value of as"
            " many real images (finite-sample baseline)"
        )
        rows = [{"kind": "baseline", "model": "", "count": n, "value": known[n]} for n in known]
        if lower and finding.measure.range[0] == 0:
            # To first order, the bias of a distance is proportional to 1/n.
            last = max(known)
            rows += [
                {"kind": "extrapolated", "model": "", "count": n, "value": known[last] * last / n}
                for n in (last * 2**i for i in range(5))
            ]
            caption += ", extrapolated in proportion to 1/n where it is dashed"
        if finding.below_baseline:
            caption += ". A value below the line is closer to the reference than as many real"
            caption += " images: then the gap does not reflect the model alone."
        else:
            caption += (
                f". Only the gap {'above' if lower else 'below'} the line reflects the model."
            )
        caption += " Bars: 95% intervals."
        rows += [
            {"kind": "model", **{name: getattr(row, name) for name in _PLOTTED}}
            for row in finding.measured
        ]
        rows = drawable(rows)
        if not any(row["kind"] == "model" for row in rows):
            continue
        title = f"{finding.title} and the number of images · {finding.encoder}"
        figure = run_charts.baseline(rows, facts.models, title, finding.measure.better)
        name = f"baseline-{len(made) + 1}" if made else "baseline"
        heading = f"{finding.title} and its finite-sample baseline"
        made.append(Chart(name, heading, caption, rows, figure, [figure]))
    return made


_PLOTTED = ("model", "count", "value", "low", "high")


def _known_baselines(facts: Facts, finding: Finding) -> dict[int, float]:
    """The baselines of a metric by the number of images, in ascending order."""
    same = [
        other
        for other in (*facts.common, finding)
        if (other.measure, other.encoder, other.reference)
        == (finding.measure, finding.encoder, finding.reference)
    ]
    rows = [row for other in same for row in other.measured]
    return dict(sorted((row.count, row.baseline) for row in rows if row.baseline is not None))


def _outcomes(facts: Facts) -> Chart | None:
    if not any(facts.records.values()):
        return None
    rows = [
        {"model": model, "outcome": name, "count": facts.outcomes[model][name]}
        for model in facts.models
        for name in OUTCOMES
    ]
    figure = run_charts.outcomes(rows, facts.models)
    caption = "The outcome of every requested image. Refusals are counted as results."
    return Chart("outcomes", "Outcomes", caption, rows, figure, [figure], "outcomes")


def _speed(facts: Facts) -> Chart | None:
    rows = speed_rows(facts)
    if not rows:
        return None
    caption = "Medians; bars: 5th to 95th percentile of the images."
    remote = [any(one.attempts for one in facts.records[row["model"]]) for row in rows]
    if not all(remote):
        caption += " The time of an image is its share of the time of its batch."
    if any(remote):
        caption += " The time of an image of a service is that from request to answer."
    figure = run_charts.speed(rows, facts.models)
    return Chart("speed", "Speed", caption, rows, figure, [figure], "outcomes")
