"""The models that a chart with a line for every model can show: of many, the best ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from evalkit.report.facts import Facts
from evalkit.report.findings import Finding

MOST = 12  # more lines cannot be followed, and their legend is larger than the chart


def few_models(facts: Facts) -> tuple[Facts, str]:
    """The facts of the best models, and which they are in words; all facts and "" for few models.

    The best by the score of the images, else by the first metric.
    """
    found = facts.score or next((one for one in facts.of_images if one.measured), None)
    if len(facts.models) <= MOST or found is None:
        return facts, ""
    # On what all models have, as for the conclusions.
    found = next((one for one in facts.concluded if one.protocol == found.protocol), found)
    sign = 1 if found.measure.better == "lower" else -1
    ranked = sorted(found.measured, key=lambda row: sign * (row.value or 0.0))
    best = {row.model for row in ranked[:MOST]}
    of = {id(finding): _of(finding, best) for finding in facts.findings}
    few = replace(
        facts,
        models=[model for model in facts.models if model in best],
        findings=list(of.values()),
        common=[_of(finding, best) for finding in facts.common],
        by_group=[
            replace(
                one,
                whole=of[id(one.whole)],
                groups={name: _of(finding, best) for name, finding in one.groups.items()},
            )
            for one in facts.by_group
        ],
        score=of.get(id(facts.score)),
    )
    words = f"Shown: the {MOST} models with the best {found.title} of {len(facts.models)}."
    return few, words


def _of(finding: Finding, models: Collection[str]) -> Finding:
    rows = {model: row for model, row in finding.rows.items() if model in models}
    return replace(finding, rows=rows)
