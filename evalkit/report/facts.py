"""Reads a run folder into the facts that every form of the report states.

Nothing here depends on HTML, Markdown or figures.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.core import (
    AgreementRow,
    ComparisonRow,
    Comparisons,
    EvalkitError,
    Prompt,
    Record,
    RobustnessRow,
)
from evalkit.features.changed import Changes, mention_changes
from evalkit.prompts.perturb import originals_of
from evalkit.ratings.summary_file import PollSummary, read_summaries
from evalkit.report import numbers
from evalkit.report.by_group import ByGroup, by_group
from evalkit.report.findings import Finding, Protocol, findings
from evalkit.report.labels import labels
from evalkit.run_config import run_config
from evalkit.run_folder import Run
from evalkit.scorer import is_scorer

OUTCOMES = ("ok", "refused", "failed", "missing")

# The metrics that papers publish in the features of Inception.
_OF_INCEPTION = (
    *("fid", "fid_infinity", "sfid", "kid", "inception_score"),
    *("precision", "recall", "density", "coverage"),
)
LABEL = 24  # characters of a model's name in a table or a short sentence
Place = tuple[str, int, int]  # model, prompt index, sample


@dataclass(frozen=True)
class Facts:
    """Everything that the report states."""

    run: Run
    name: str
    models: list[str]  # those that metrics.json compares
    others: list[str]  # further models of the folder
    prompts: list[Prompt]
    per_prompt: int
    records: Mapping[str, list[Record]]
    outcomes: Mapping[str, Mapping[str, int]]  # model -> outcome -> count
    findings: list[Finding]
    common: list[Finding]  # on what all models have, of metrics that they have on other images too
    comparisons: Comparisons | None  # on all prompts
    by_group: list[ByGroup]  # metrics with values per image, and rates that are not 0
    score: Finding | None  # the per-image metric whose values are in `scores`
    scores: Mapping[Place, float]
    protocol: Mapping[str, Any]
    config: Mapping[str, Any]
    ratings: Sequence[PollSummary] = ()
    agreement: Sequence[AgreementRow] = ()  # of metrics with raters
    robustness: Sequence[RobustnessRow] = ()  # variants of prompts minus their originals
    checks: Mapping[str, Any] = field(default_factory=dict)  # image_checks.json, by model
    changes: Changes = field(
        default_factory=lambda: Changes({}, ())
    )  # since the images were made and scored

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(prompt.group for prompt in self.prompts if prompt.group))

    @cached_property
    def variants(self) -> Mapping[int, int]:
        """The positions of variants of prompts to those of their originals."""
        return originals_of(self.prompts)

    @property
    def originals(self) -> list[Prompt]:
        """The prompts that values of all prompts are about."""
        return [prompt for at, prompt in enumerate(self.prompts) if at not in self.variants]

    @cached_property
    def prompts_of(self) -> Counter[str]:
        """The number of prompts of each group, and of each category of questions."""
        asked = part(self.protocol, "questions")
        of_questions = Counter({group: whole(number) for group, number in asked.items()})
        return Counter(prompt.group for prompt in self.prompts) + of_questions

    @cached_property
    def labels(self) -> dict[str, str]:
        """The models' names as tables show them: short, and never the same for two models."""
        return labels(self.models, LABEL)

    @property
    def bundled(self) -> list[str]:
        """The models that come with evalkit: test subjects, not published models."""
        return [model for model in self.models if self.run.model(model).get("bundled")]

    @property
    def of_images(self) -> list[Finding]:
        """The findings about images: what charts show."""
        return [
            finding
            for finding in self.findings
            if not (finding.measure.from_records or finding.measure.from_ratings)
        ]

    @property
    def concluded(self) -> list[Finding]:
        """What conclusions are about: the same images for all models, as the verdicts are."""
        common = {finding.protocol: finding for finding in self.common}
        return [common.get(finding.protocol, finding) for finding in self.of_images]

    @property
    def rated(self) -> list[Finding]:
        """The findings of raters; strengths state the same as win rates."""
        return [
            finding
            for finding in self.findings
            if finding.measure.from_ratings and finding.measure.name != "strength"
        ]

    @cached_property
    def common_counts(self) -> dict[Protocol, int]:
        """How many images all models have a value on, for each metric of `common`."""
        return {one.protocol: max(row.count for row in one.rows.values()) for one in self.common}

    @property
    def common_count(self) -> int:
        """How many images all models have where their images differ; 0 where only answers do."""
        kinds = part(self.protocol, "encoders")
        scorers = [str(part(kinds, kind).get("name")) for kind in filter(is_scorer, kinds)]
        counts = self.common_counts.items()
        return max((count for (_, name, _), count in counts if name not in scorers), default=0)

    @property
    def stated(self) -> list[Finding]:
        """The findings in words: the conclusions, and rates of the records that are not 0."""
        rates = [
            finding
            for finding in self.findings
            if finding.measure.from_records
            and any(row.value and row.low is not None for row in finding.measured)
        ]
        return self.concluded + self.rated + rates

    @cached_property
    def score_digits(self) -> int:
        """Digits after the point for the score of one image."""
        values = list(self.scores.values())
        return numbers.decimals(values, [max(values) - min(values)] if values else [])

    @property
    def encoders(self) -> list[str]:
        return _unique(finding.encoder for finding in self.of_images if finding.measured)

    @property
    def bundled_encoders(self) -> list[str]:
        """Encoders whose values are meaningful on the bundled data set only."""
        return [name for name in self.encoders if name.startswith("mini-") or name == "pixels"]

    @property
    def other_features(self) -> tuple[str, list[str]]:
        """The encoder in the place of Inception v3, and the titles of what it measured.

        Papers publish these metrics in the features of Inception only. ("", []) where that
        measured them, or an encoder of `bundled_encoders`.
        """
        stated = part(part(self.protocol, "encoders"), "inception")
        name = str(stated.get("name", ""))
        if name.startswith("inception") or name in self.bundled_encoders:
            return "", []
        found = [
            one
            for one in self.of_images
            if one.measured and one.encoder == name and one.measure.name in _OF_INCEPTION
        ]
        return (name, _unique(one.title for one in found)) if found else ("", [])

    @property
    def scorers(self) -> list[str]:
        """The names of the scorers among the encoders."""
        stated = part(self.protocol, "encoders")
        return [str(part(stated, kind).get("name")) for kind in stated if is_scorer(kind)]

    @property
    def blind_encoders(self) -> list[str]:
        """Encoders that do not know the images: nothing may be concluded from their values."""
        named = self.protocol.get("blind_encoders", ())
        return [name for name in self.encoders if name in named]

    @property
    def references(self) -> list[str]:
        return _unique(finding.reference for finding in self.of_images if finding.measured)


def read_facts(path: Path | str, scored: bool = True) -> Facts:
    """All facts of a run folder. Raises EvalkitError if there is nothing to report.

    scored: a run with images but without metrics.json is an error.
    """
    run = Run(path)
    # The scores of a folder of existing images have no prompts.
    bare = run.is_scored and not run.is_run
    prompts = [] if bare else run.prompts()
    known = run.models()
    rows = run.metrics() if (known and scored) or run.is_scored else []
    measured = _unique(row.model for row in rows)
    models = [model for model in known if model in measured] or known or measured
    if not models:
        raise EvalkitError(
            f"{run.path} has prompts but no images of any model.",
            "Generate images with `evalkit generate`.",
            code="report-1",
        )
    records = {model: run.records(model) for model in models}
    config, protocol, (comparisons, pairs) = _config(run), run.protocol(), _compared(run, models)
    samples = [record.sample + 1 for found in records.values() for record in found]
    per_prompt = max([whole(config.get("per_prompt")) or 1, *samples])
    requested = len(prompts) * per_prompt
    answered, common = (
        findings(
            [row for row in rows if row.on == on and not row.group],
            models,
            comparisons.rows if comparisons else (),
            protocol.get("measures"),
        )
        for on in ("answered", "common")
    )
    values = run.scores()
    score, scores = _scores(values, answered)
    return Facts(
        run=run,
        name=run.path.resolve().name,
        models=models,
        others=[model for model in known if model not in models],
        prompts=prompts,
        per_prompt=per_prompt,
        records=records,
        outcomes={
            model: _outcomes(found, requested, part(part(protocol, "counts"), model))
            for model, found in records.items()
        },
        findings=answered,
        common=common,
        comparisons=comparisons,
        by_group=by_group(answered, rows, pairs, values),
        score=score,
        scores=scores,
        protocol=protocol,
        config=config,
        ratings=read_summaries(run),
        agreement=run.agreement(),
        robustness=run.robustness(),
        checks=run.image_checks(),
        changes=mention_changes(run, [model for model in models if model in known]),
    )


def outcome(record: Record) -> str:
    """ok, refused, failed, or missing: a folder of images has none for the prompt."""
    if record.status in ("ok", "missing"):
        return record.status
    return "refused" if record.status.startswith("refused") else "failed"


def group_rows(facts: Facts) -> list[dict[str, Any]]:
    """The score by group of prompts and model, with its interval; [] without groups."""
    found = [one for one in facts.by_group if one.whole is facts.score]
    return [
        {
            "group": group,
            "prompts": facts.prompts_of[group],
            "model": row.model,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "count": row.count,
            "overall": one.whole.rows[row.model].value,
        }
        for one in found
        for group, finding in one.groups.items()
        for row in finding.measured
    ]


def prompt_means(facts: Facts, model: str) -> dict[int, float]:
    """The mean score of each prompt over its samples, in the order of the prompts."""
    values: dict[int, list[float]] = {}
    for (name, index, _), value in facts.scores.items():
        if name == model:
            values.setdefault(index, []).append(value)
    return {index: statistics.fmean(values[index]) for index in sorted(values)}


def speed_rows(facts: Facts) -> list[dict[str, Any]]:
    """Seconds per image of every model whose images were generated by this run."""
    rows: list[dict[str, Any]] = []
    for model in facts.models:
        made = [record for record in facts.records[model] if record.status == "ok"]
        seconds = sorted(record.seconds for record in made if record.seconds > 0)
        if seconds:
            low, median, high = (
                seconds[round(share * (len(seconds) - 1))] for share in (0.05, 0.5, 0.95)
            )
            row: dict[str, Any] = {"model": model, "value": median, "low": low, "high": high}
            row |= {"images_per_second": len(seconds) / math.fsum(seconds), "count": len(seconds)}
            rows.append(row)
    return rows


def sample_prompts(facts: Facts, count: int) -> list[int]:
    """A fixed sample of the run's prompts."""
    return fixed_sample(facts.prompts, count)


def fixed_sample(prompts: Sequence[Prompt], count: int) -> list[int]:
    """A fixed sample without selection: the prompts whose ids have the smallest SHA-256."""

    def digest(index: int) -> bytes:
        return hashlib.sha256(prompts[index].id.encode("utf-8", "replace")).digest()

    return sorted(sorted(range(len(prompts)), key=digest)[:count])


def whole(value: Any) -> int:
    """A count that a file states; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table of protocol.json; {} if it is missing or is not a table."""
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def _compared(run: Run, models: Sequence[str]) -> tuple[Comparisons | None, list[ComparisonRow]]:
    """The comparisons of these models on all prompts, None if there are none, and by group."""
    found = run.comparisons()
    rows = [row for row in found.rows if {row.model_a, row.model_b} <= {*models}] if found else []
    whole = tuple(row for row in rows if not row.group)
    by_group = [row for row in rows if row.group]
    return (replace(found, rows=whole) if found and whole else None), by_group


def _scores(
    rows: Sequence[Mapping[str, str]], found: Sequence[Finding]
) -> tuple[Finding | None, dict[Place, float]]:
    """The first metric that has values per image, and these values."""
    present = {(row["metric"], row["encoder"]) for row in rows}
    for finding in found:
        key = (finding.measure.name, finding.encoder)
        if key in present and finding.measured:
            values = {
                (row["model"], int(row["index"]), int(row["sample"])): float(row["value"])
                for row in rows
                if (row["metric"], row["encoder"]) == key and row["value"]
            }
            return finding, {k: value for k, value in values.items() if math.isfinite(value)}
    return None, {}


def _outcomes(
    records: Sequence[Record], requested: int, scored: Mapping[str, Any]
) -> dict[str, int]:
    """The number of images of each outcome; those without any record are missing.

    scored: the counts of the scoring. They count where images were made since, as the values are
    not about these.
    """
    counts = {name: sum(outcome(record) == name for record in records) for name in OUTCOMES}
    counts["missing"] += max(0, requested - len(records))
    before = {name: whole(scored.get(name)) for name in OUTCOMES}
    made_since = before["ok"] < counts["ok"] and sum(before.values()) == requested
    return before if made_since else counts


def _config(run: Run) -> dict[str, Any]:
    """The keys of run.toml as they are written; {} if there is none."""
    if not run_config(run):  # raises EvalkitError for a damaged file
        return {}
    return tomllib.loads(run.config_path.read_text(encoding="utf-8"))


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, names)))
