"""What became of every requested image: asked, made, refused, invalid, black, duplicate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evalkit.report.facts import Facts, part, speed_rows, whole
from evalkit.report.numbers import DASH, decimals, number, plural
from evalkit.terminal import dollars

OPTIONAL = ("failed", "missing", "one colour", "not taken")  # shown where one is not 0


@dataclass(frozen=True)
class Account:
    """The counts of one model by column, as text; a dash for what is not known."""

    model: str
    counts: dict[str, str]


def accounting(facts: Facts) -> list[Account]:
    """One row per model, all with the same columns; [] for images of which nothing is recorded."""
    if not facts.prompts and not facts.checks:
        return []
    speed = {row["model"]: row["images_per_second"] for row in speed_rows(facts)}
    rows = {model: _counts(facts, model) for model in facts.models}
    idle = {name for name in OPTIONAL if not any(counts[name] for counts in rows.values())}
    made = []
    for model, counts in rows.items():
        texts = {
            name: DASH if count is None else f"{count:,}"
            for name, count in counts.items()
            if name not in idle
        }
        if speed:
            value = speed.get(model)
            texts["images/s"] = DASH if value is None else number(value, decimals([value], []))
        made.append(Account(model, texts))
    return made


def charges(facts: Facts) -> list[str]:
    """What each model of a service was asked and what it charged, in a sentence or two."""
    found = []
    for model in facts.models:
        records = facts.records[model]
        if not (sent := sum(record.attempts for record in records)):
            continue
        known = math.fsum(record.cost or 0.0 for record in records)
        unknown = any(record.cost is None for record in records if record.status == "ok")
        charged = "at an unknown price" if unknown else f"for {dollars(known)}"
        text = f"{model}: {plural(sent, 'request')} for {plural(len(records), 'image')}, {charged}."
        if doubtful := sum(record.possible_charges for record in records):
            costs = [record.possible_cost for record in records if record.possible_charges]
            more = math.fsum(cost or 0.0 for cost in costs)
            amount = "an unknown amount" if None in costs else dollars(more)
            asked = plural(doubtful, "request")
            text += f" {asked} without a readable answer may have cost {amount} more."
        found.append(text)
    return found


def _counts(facts: Facts, model: str) -> dict[str, int | None]:
    """The counts of records and of image_checks.json; None: not known."""
    checks, outcomes = part(facts.checks, model), facts.outcomes[model]

    def listed(name: str) -> int | None:
        return whole(part(checks, name).get("count")) if checks else None

    invalid = whole(checks.get("skipped")) if checks else None
    if facts.prompts:
        asked, made, missing = sum(outcomes.values()), outcomes["ok"], outcomes["missing"]
    else:  # a folder of existing images: nothing was requested
        made = whole(checks.get("taken")) + (invalid or 0)
        missing = listed("missing") or 0
        asked = made + missing
    return {
        "asked": asked,
        "made": made,
        "refused": outcomes["refused"],
        "failed": outcomes["failed"],
        "missing": missing,
        "invalid": invalid,
        "black": listed("black"),
        "one colour": listed("one_colour"),
        "duplicate": listed("duplicates"),
        "not taken": listed("not_taken"),
    }
