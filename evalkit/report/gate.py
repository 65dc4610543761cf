"""What `evalkit gate` decided about a model of the run, as text.

All of it comes from gate.json; nothing is decided here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.hints import capital
from evalkit.report import numbers
from evalkit.report.baseline_images import FOLDER, baseline_images, copy_images
from evalkit.report.decision import Shown, shown
from evalkit.report.facts import Facts, part
from evalkit.report.gallery import image_url
from evalkit.report.image_size import size_of
from evalkit.run_folder import Run

SCHEMA = 1  # of gate.json
_ORDER = ("REGRESSED", "INCONCLUSIVE", "PASS", "IMPROVED")


class DecisionLine(NamedTuple):
    """One decision."""

    title: str
    name: str  # of the metric in gate.toml, and its encoder
    group: str
    verdict: str
    tier: str
    text: Shown


class Side(NamedTuple):
    """An image of the candidate or of the baseline."""

    who: str
    score: str
    url: str  # "" if there is no image
    width: int
    height: int


class Lost(NamedTuple):
    """An image that lost much, and the baseline's image of the same prompt."""

    text: str
    place: str  # No. 18, image 2
    change: str
    sides: Sequence[Side]


def gate(facts: Facts) -> Mapping[str, Any] | None:
    """The decisions, if they are about the present scores; nothing for a run without a gate."""
    content = facts.run.gate()
    if not content:
        return None
    if stale := _stale(facts.run, content):
        return {"stale": stale}
    try:
        _check(content)
        return {"stale": "", "gate": content, **_shown(facts, content)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvalkitError(
            f"{facts.run.gate_path} is damaged.",
            "Write it again with `evalkit gate`, or remove it.",
            code="report-2",
        ) from error


def copied_images(run: Run) -> list[str]:
    """Copy the baseline's images that the section shows; returns the names of the copies."""
    content = run.gate()
    return copy_images(run, content) if content and not _stale(run, content) else []


def _stale(run: Run, content: Mapping[str, Any]) -> str:
    """Why the decisions are not shown; "" if they are about the metrics.json that is there."""
    if (schema := content.get("schema")) != SCHEMA:
        return (
            f"gate.json has the schema {schema!r:.40}, and this version of evalkit reads {SCHEMA}."
        )
    known = run.is_scored
    digest = hashlib.sha256(run.metrics_path.read_bytes()).hexdigest() if known else ""
    if content.get("metrics_sha256") != digest:
        return "The decisions of the gate are about other scores than those of this page."
    return ""


def _check(content: Mapping[str, Any]) -> None:
    """Raise TypeError or KeyError unless all that is shown has its type."""
    _typed(content, str, "sentence", "baseline_run", "baseline_label", "candidate_label")
    _typed(content, (int, float), "alpha")
    _typed(content, list, "remarks", "decisions", "changed")
    for remark in content["remarks"]:
        _typed({"remark": remark}, str, "remark")
    for one in content["decisions"]:
        _typed(one, str, "metric", "encoder", "group", "verdict", "tier", "basis", "reason")
        numbers_of = ("candidate", "baseline", "worse", "low", "high", "margin")
        _typed(one, (int, float, type(None)), *numbers_of)
    for one in content["changed"]:
        _typed(one, str, "prompt", "metric", "text")
        _typed(one, (int, float), "sample", "candidate", "baseline", "change")


def _typed(row: Mapping[str, Any], kind: Any, *names: str) -> None:
    for name in names:
        if not isinstance(row[name], kind):
            raise TypeError(f"{name} is {row[name]!r:.80}")


def _shown(facts: Facts, content: Mapping[str, Any]) -> dict[str, Any]:
    lines = [_line(facts, one) for one in content["decisions"]]
    lines.sort(key=lambda line: (_ORDER.index(line.verdict), bool(line.group)))
    passed = [line for line in lines if line.group and line.verdict in _ORDER[2:]]
    lost = _lost(facts, content)
    alpha = content["alpha"]
    note = ""
    if lost and not content["baseline_run"]:
        note = "The baseline model is known from a file: it has scores and no images."
    elif any(not side.url for one in lost for side in one.sides):
        note = "Some images are not shown: they are not there, or were made or scored again since."
    return {
        "decided": [line for line in lines if line not in passed],
        "passed": passed,
        "rule": (
            f"Each metric with an interval is a test on the difference for {_pairs(content)},"
            " against the change that is allowed. The p-values are corrected together (Holm):"
            f" the probability of any false alarm is at most {alpha * 100:g}%. Intervals are those"
            f" of one difference alone, at the level {100 - 200 * alpha:g}%."
        ),
        "lost": lost,
        "lost_metric": _title(facts, content["changed"][0]["metric"]) if lost else "",
        "about_images": note,
    }


def _pairs(content: Mapping[str, Any]) -> str:
    """What a pair of images has in common, after what was allowed to differ."""
    differ = {one["field"] for one in content["allowed"]}
    prompts = "the prompts that both have" if "prompts" in differ else "the same prompts"
    return f"{prompts}, with {'other' if 'seed' in differ else 'the same'} seeds"


def _title(facts: Facts, metric: str) -> str:
    stated = part(part(facts.protocol, "measures"), metric).get("title")
    return str(stated or capital(metric.replace("_", " ")))


def _line(facts: Facts, one: Mapping[str, Any]) -> DecisionLine:
    return DecisionLine(
        title=_title(facts, one["metric"]),
        name=" · ".join(filter(None, [one["metric"], one["encoder"]])),
        group=one["group"],
        verdict=one["verdict"],
        tier=one["tier"],
        text=shown(one),
    )


def _lost(facts: Facts, content: Mapping[str, Any]) -> list[Lost]:
    items, run, label = content["changed"], facts.run, content["candidate_label"]
    if not items:
        return []
    ids = [prompt.id for prompt in facts.prompts]
    records = {(ids[record.index], record.sample): record for record in run.records(label)}
    theirs = baseline_images(run, content)
    values = [item[name] for item in items for name in ("candidate", "baseline")]
    digits = numbers.decimals(values, [max(values) - min(values)])
    made = []
    for item in items:
        key = item["prompt"], item["sample"]
        record, other = records[key], theirs.get(key)
        size = size_of(run.image_path(label, record))
        url = image_url(run, label, record) if size != (0, 0) else ""
        scores = [numbers.number(item[name], digits) for name in ("candidate", "baseline")]
        sides = [Side("candidate", scores[0], url, *size)]
        if other is not None:
            sides.append(Side("baseline model", scores[1], f"{FOLDER}/{other.name}", *other.size))
        else:
            sides.append(Side("baseline model", scores[1], "", 0, 0))
        place = f"No. {record.index + 1:,}" + f", image {item['sample'] + 1}" * (
            facts.per_prompt > 1
        )
        made.append(Lost(item["text"], place, numbers.signed(item["change"], digits), sides))
    return made
