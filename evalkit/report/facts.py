"""Reads a run folder into the facts that every form of the report states. Knows nothing about HTML,
Markdown or figures.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError, Prompt, Record
from evalkit.report import words
from evalkit.report.differences import Pair, read_pairs
from evalkit.report.findings import Comparison, compare
from evalkit.run_folder import Run

OUTCOMES = ("ok", "refused", "failed", "missing")
LEAST_FOR_INTERVAL = 5  # prompts, as in the score stage
MOST_GROUPS = 24  # in the figure; more would not be readable


@dataclass(frozen=True)
class Facts:
    """Everything that the report says."""

    run: Run
    name: str
    models: list[str]
    prompts: list[Prompt]
    per_prompt: int
    records: Mapping[str, list[Record]]
    outcomes: Mapping[str, Mapping[str, int]]  # model -> outcome -> count
    comparisons: list[Comparison]
    scores: Mapping[
        tuple[str, int, int], float
    ]  # (model, prompt index, sample) -> the gallery's score
    score: Comparison | None  # the per-image metric whose values are in `scores`
    floors: Mapping[str, Mapping[int, float]]  # encoder -> count -> FID of perfect pictures
    protocol: Mapping[str, Any]
    config: Mapping[str, Any]
    pairs: Sequence[
        Pair
        # which differences between models are real; empty for a run that was scored before they were
    ] = ()
    pairs_statement: str = ""  # how the pairs were compared
    common: Sequence[
        Comparison
    ] = ()  # on the pictures that all models made; empty where that is all that any model made

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(prompt.group for prompt in self.prompts if prompt.group))

    @property
    def scored(self) -> list[Comparison]:
        """The measures of pictures: what findings and charts are about."""
        return [comparison for comparison in self.comparisons if not comparison.from_records]

    @property
    def findings(self) -> list[Comparison]:
        """What is stated in words: the measures of pictures, and refusals where there were any."""
        refused = any(counts["refused"] for counts in self.outcomes.values())
        return self.scored + [c for c in self.comparisons if c.metric == "refusal_rate" and refused]

    @property
    def score_digits(self) -> int:
        """Digits after the point for the score of one picture."""
        values = list(self.scores.values())
        return words.decimals(values, [max(values) - min(values)] if values else [])

    @property
    def encoders(self) -> list[str]:
        return list(dict.fromkeys(c.encoder for c in self.comparisons if c.encoder and c.measured))

    @property
    def bundled_encoders(self) -> list[str]:
        """Encoders whose numbers mean something in the bundled world only."""
        return [name for name in self.encoders if name.startswith("mini-") or name == "pixels"]

    @property
    def references(self) -> list[str]:
        return list(
            dict.fromkeys(c.reference for c in self.comparisons if c.reference and c.measured)
        )


def read_facts(path: Path | str) -> Facts:
    """All facts of a run folder. Raises EvalkitError where there is nothing to report on."""
    run = Run(path)
    bare = (
        run.metrics_path.is_file() and not run.prompts_path.is_file()
    )  # the scores of a folder of ready pictures
    prompts = [] if bare else run.prompts()
    measured = run.metrics() if run.models() or bare else []
    rows, shared = ([row for row in measured if row.on == on] for on in ("answered", "common"))
    models = run.models() or list(dict.fromkeys(row.model for row in rows))
    if not models:
        raise EvalkitError(
            f"{run.path} has prompts but no model's images.", "Make some with `evalkit generate`."
        )
    records = {model: run.records(model) for model in models}
    config, protocol = _config(run), run.protocol()
    samples = [record.sample + 1 for found in records.values() for record in found]
    per_prompt = max([whole(config.get("per_prompt")) or 1, *samples])
    floors = _floors(protocol.get("fid_floor"))
    differences = run.comparisons()
    pairs = read_pairs(differences, models)
    comparisons = compare(rows, models, floors, pairs)
    score, scores = _scores(run, comparisons)
    name = run.path.resolve().name
    outcomes = {
        model: _outcomes(found, len(prompts) * per_prompt) for model, found in records.items()
    }
    statement = str(differences.get("statement", ""))
    common = compare(shared, models, floors, pairs)
    parts = (comparisons, scores, score, floors, protocol, config, pairs, statement, common)
    return Facts(run, name, models, prompts, per_prompt, records, outcomes, *parts)


def outcome(record: Record) -> str:
    """ok, refused or failed."""
    return (
        "ok"
        if record.status == "ok"
        else "refused"
        if record.status.startswith("refused")
        else "failed"
    )


def group_rows(facts: Facts) -> list[dict[str, Any]]:
    """Mean score per prompt group and model with a 95% t interval over prompts: the rows of the
    figure.
    """
    rows: list[dict[str, Any]] = []
    means = {model: prompt_means(facts, model) for model in facts.models}
    for group in facts.groups[:MOST_GROUPS]:
        members = {index for index, prompt in enumerate(facts.prompts) if prompt.group == group}
        for model in facts.models:
            values = [mean for index, mean in means[model].items() if index in members]
            if values:
                overall = statistics.fmean(means[model].values())
                rows.append(
                    {"group": group, "model": model, **_mean_interval(values), "overall": overall}
                )
    return rows


def prompt_means(facts: Facts, model: str) -> dict[int, float]:
    """A model's score of each prompt: the mean over its samples, in the order of prompts."""
    values: dict[int, list[float]] = {}
    for (name, index, _), value in facts.scores.items():
        if name == model:
            values.setdefault(index, []).append(value)
    return {index: statistics.fmean(values[index]) for index in sorted(values)}


def speed_rows(facts: Facts) -> list[dict[str, Any]]:
    """Seconds per picture of every model that made its pictures itself."""
    rows: list[dict[str, Any]] = []
    for model in facts.models:
        seconds = sorted(
            record.seconds
            for record in facts.records[model]
            if record.status == "ok" and record.seconds > 0
        )
        if seconds:
            low, middle, high = (
                seconds[round(share * (len(seconds) - 1))] for share in (0.05, 0.5, 0.95)
            )
            per_second = len(seconds) / math.fsum(seconds)
            rows.append(
                {
                    "model": model,
                    "value": middle,
                    "low": low,
                    "high": high,
                    "images_per_second": per_second,
                    "count": len(seconds),
                }
            )
    return rows


def per_second(row: Mapping[str, Any]) -> str:
    """Pictures per second of a row of `speed_rows`, as it is written."""
    value = row["images_per_second"]
    return words.number(value, words.decimals([value], []))


def sample_prompts(facts: Facts, count: int) -> list[int]:
    """A fixed sample of prompts that nobody picked: those whose ids have the smallest SHA-256, in
    the order of the list.
    """
    order = sorted(
        range(len(facts.prompts)),
        key=lambda i: hashlib.sha256(facts.prompts[i].id.encode("utf-8", "replace")).digest(),
    )
    return sorted(order[:count])


def _mean_interval(values: Sequence[float]) -> dict[str, Any]:
    from scipy.special import stdtrit

    mean = statistics.fmean(values)
    if len(values) < LEAST_FOR_INTERVAL:
        return {"value": mean, "low": None, "high": None, "count": len(values)}
    arm = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    return {"value": mean, "low": mean - arm, "high": mean + arm, "count": len(values)}


def _scores(
    run: Run, comparisons: Sequence[Comparison]
) -> tuple[Comparison | None, dict[tuple[str, int, int], float]]:
    """The scores of one per-image metric: the CLIP score where there is one."""
    rows = run.scores()
    present = {(row["metric"], row["encoder"]) for row in rows}
    candidates = [c for c in comparisons if (c.metric, c.encoder) in present and c.measured]
    if not candidates:
        return None, {}
    chosen = next((c for c in candidates if c.metric == "clip_score"), candidates[0])
    scores = {}
    for row in rows:
        if (row["metric"], row["encoder"]) == (chosen.metric, chosen.encoder) and row["value"]:
            value = float(row["value"])
            if math.isfinite(value):
                scores[(row["model"], int(row["index"]), int(row["sample"]))] = value
    return chosen, scores


def _outcomes(records: Sequence[Record], requested: int) -> dict[str, int]:
    counts = {name: sum(outcome(record) == name for record in records) for name in OUTCOMES[:3]}
    return counts | {"missing": max(0, requested - len(records))}


def _config(run: Run) -> dict[str, Any]:
    try:
        return tomllib.loads(run.config_path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _floors(found: Any) -> dict[str, dict[int, float]]:
    if not isinstance(found, Mapping):
        return {}
    tables = {name: table for name, table in found.items() if isinstance(table, Mapping)}
    return {
        str(name): {int(n): float(v) for n, v in table.items() if v is not None}
        for name, table in tables.items()
    }


def whole(value: Any) -> int:
    """A count that a file states, or 0 where it states none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
