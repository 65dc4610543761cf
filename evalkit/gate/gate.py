"""`evalkit gate`: is a model worse than its baseline? One rule decides every output."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from evalkit.core import EvalkitError
from evalkit.files import path_of, write_atomically
from evalkit.gate import github
from evalkit.gate.arguments import conditions, metric_names, run_text
from evalkit.gate.baseline_file import is_baseline, read_baseline
from evalkit.gate.comparable import Mismatch, mismatches, require_comparable, unchecked
from evalkit.gate.config import GateConfig, Rule, check_alpha, is_too_wide, read_config
from evalkit.gate.decide import Decision, correct, decide
from evalkit.gate.junit import to_xml
from evalkit.gate.measurements import Loaded
from evalkit.gate.notes import notes_of
from evalkit.gate.rules import choose_rules, measured_names
from evalkit.gate.snapshot import Snapshot, take
from evalkit.run_folder import Run
from evalkit.score.select import UnknownMetric
from evalkit.specs import seen_from, split_run

log = logging.getLogger(__name__)
SCHEMA = 1
Outcome = Literal["pass", "regressed", "inconclusive"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "regressed": 1, "inconclusive": 3}


@dataclass(frozen=True)
class Changed:
    """An image that lost much on a metric."""

    metric: str
    prompt: str  # its id
    sample: int
    text: str
    change: float  # candidate - baseline
    candidate: float
    baseline: float


@dataclass(frozen=True)
class Gate:
    """The content of gate.json."""

    candidate: str
    baseline: str
    outcome: Outcome
    exit_code: int
    alpha: float
    decisions: tuple[Decision, ...]
    allowed: tuple[Mismatch, ...]  # conditions that differ, and were allowed to
    unchecked: tuple[Mismatch, ...] = ()  # conditions that only one of the two records
    changed: tuple[Changed, ...] = ()  # the prompts whose images changed most
    candidate_label: str = ""
    baseline_label: str = ""
    baseline_run: str = ""  # its folder, relative to the candidate's; "" if it is not there
    metrics_sha256: str = ""  # of the candidate's metrics.json that was gated
    notes: tuple[str, ...] = ()  # further remarks

    @property
    def remarks(self) -> list[str]:
        """What limits the comparison, one sentence each; every output has them."""
        differ = [
            f"{one.field} differs, and was allowed to: {one.candidate}, baseline {one.baseline}."
            for one in self.allowed
        ]
        open_ = [
            f"{one.field} was not checked: {one.candidate}, baseline {one.baseline}."
            for one in self.unchecked
        ]
        return [*differ, *open_, *self.notes]

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        bad = [one for one in self.decisions if one.verdict == "REGRESSED"]
        names = ", ".join(dict.fromkeys(one.metric for one in bad if one.tier == "critical"))
        open_ = ", ".join(
            dict.fromkeys(
                one.metric
                for one in self.decisions
                if one.verdict == "INCONCLUSIVE" and one.tier == "critical"
            )
        )
        if self.outcome == "regressed":
            return f"{self.candidate} is worse than {self.baseline} by more than allowed: {names}."
        if open_:
            return f"No regression of {self.candidate} was found; not decided: {open_}."
        return f"{self.candidate} is not worse than {self.baseline} by more than allowed."


def gate(
    candidate: str | os.PathLike[str],
    *,
    baseline: str | os.PathLike[str] | None = None,
    config: str | Path | None = None,
    metrics: str | Sequence[str] | None = None,
    alpha: float | None = None,
    allow_mismatch: str | Sequence[str] | None = None,
    junit: str | Path | None = None,
    report: bool = True,
) -> Gate:
    """Decide whether a model is worse than a baseline, on the same prompts and seeds.

    Each gated metric is a non-inferiority test on the paired difference against a margin; the
    p-values are corrected together (Holm), so that the probability of any false alarm is at most
    alpha. Only critical metrics decide the outcome. Writes gate.json into the candidate's run.

    Args:
        candidate: `RUN` or `RUN:LABEL`, scored; or a Run.
        baseline: the same, or a file of `evalkit baseline save`; None: that of the configuration.
        config: a gate.toml with margins. Without it, the metrics of both runs are gated that have
            a natural zero, with a margin of 5% of the baseline's value, and 0.02 for shares.
        metrics: gate these only, with their margins from the configuration or the default one.
        alpha: the probability of any false alarm (default 0.05).
        allow_mismatch: conditions that may differ; each is recorded in every output.
        junit: where to write the decisions as JUnit XML.
        report: write the candidate's report (again), with a section on the decisions.

    Raises:
        EvalkitError: unknown or missing metrics and other mistakes (exit code 2); conditions that
            differ (exit code 4).
    """
    candidate = run_text(candidate, "candidate")
    with Run(split_run(candidate)[0]).writing_results():
        return _gate(candidate, baseline, config, metrics, alpha, allow_mismatch, junit, report)


def _gate(
    candidate: str,
    baseline: str | os.PathLike[str] | None,
    config: str | Path | None,
    metrics: str | Sequence[str] | None,
    alpha: float | None,
    allow_mismatch: str | Sequence[str] | None,
    junit: str | Path | None,
    report: bool,
) -> Gate:
    """`gate`, while no other process writes the candidate's results."""
    _remove_earlier(split_run(candidate)[0])
    settings = read_config(path_of(config, "config")) if config is not None else GateConfig()
    junit_path = None if junit is None else path_of(junit, "junit")
    base = settings.baseline if baseline is None else run_text(baseline, "baseline", "RUN or FILE")
    if not base:
        raise EvalkitError(
            "No baseline is given.",
            "Name one with `--baseline RUN:LABEL`, or as baseline in gate.toml.",
            code="gate-34",
        )
    if alpha is not None:
        check_alpha(alpha)
        settings = replace(settings, alpha=alpha)
    names = metric_names(metrics)
    needed, loaded = measured_names(settings, names), Loaded()
    with _in_file("" if names else settings.source, UnknownMetric):
        a = take(candidate, needed, loaded=loaded)
    with _in_file(settings.source if baseline is None else "", EvalkitError):
        b = read_baseline(base) if is_baseline(base) else take(base, needed, loaded=loaded)
    found = mismatches(a, b)
    allowed = (*settings.allow_mismatch, *conditions(allow_mismatch))
    require_comparable(found, allowed)
    rules = choose_rules(settings, names, a, b)
    notes = notes_of(a, b, rules, settings, all_metrics=not (names or settings.metrics))
    a, b = on_shared_images(a, b, candidate, base, rules, loaded)
    made = decisions_of(a, b, rules, settings)
    outcome = outcome_of(made)
    code, run = EXIT_CODES[outcome], Run(split_run(candidate)[0])
    if outcome == "inconclusive" and settings.on_inconclusive == "pass":
        code = 0
    result = Gate(
        a.name,
        b.name,
        outcome,
        code,
        settings.alpha,
        tuple(made),
        tuple(found),
        tuple(unchecked(a, b)),
        _changed(a, b, rules),
        a.model,
        b.model,
        _relative(split_run(b.saved_from or base)[0], run.path),
        hashlib.sha256(run.metrics_path.read_bytes()).hexdigest(),
        tuple(notes),
    )
    run.write_gate(_content(result))
    if junit_path is not None:
        write_atomically(junit_path, to_xml(result))
    github.append_summary(result)
    if report:
        _write_report(run)
    return result


@contextlib.contextmanager
def _in_file(source: str, kind: type[EvalkitError]) -> Iterator[None]:
    """Errors of this kind are about something that the file says, if there is one: they name it."""
    try:
        yield
    except kind as error:
        if not source:
            raise
        raise EvalkitError(
            f"{source}: {error.message}", error.hint, error.exit_code, code="gate-35"
        ) from error


def _remove_earlier(folder: Path) -> None:
    """An earlier gate.json says nothing about this comparison, which may be refused."""
    with contextlib.suppress(OSError, ValueError):  # no such folder: said when it is read
        Run(folder).gate_path.unlink()


def _write_report(run: Run) -> None:
    from evalkit.report.report import report

    try:
        report(run)
    except EvalkitError as error:  # the decision stands without it
        log.warning("the report was not written: %s", error.message)


def to_json(result: Gate) -> str:
    """The content of gate.json."""
    return json.dumps(_content(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _content(result: Gate) -> dict[str, Any]:
    said = {"sentence": result.sentence, "remarks": result.remarks}
    return {"schema": SCHEMA, **said, **dataclasses.asdict(result)}


def _relative(folder: Path, start: Path) -> str:
    """The folder as seen from another; "" if it is not there, as the run of a baseline file."""
    if not folder.expanduser().is_dir():
        return ""
    return seen_from(start.resolve(), folder.expanduser().resolve())


def on_shared_images(
    a: Snapshot, b: Snapshot, candidate: str, base: str, rules: Mapping[str, Rule], loaded: Loaded
) -> tuple[Snapshot, Snapshot]:
    """Both with properties of the set on the images that both have, in the baseline's order.

    So refused prompts count for neither, and the same groups of prompts are left out of both.
    """
    both = [(name, a.states[name], b.states[name]) for name in rules]
    names = [
        name for name, one, other in both
        if one.left_out and other.left_out and one.keys != other.keys
    ]  # fmt: skip
    if not names:
        return a, b
    most = max(names, key=lambda name: len(b.states[name].keys))  # others may be of a sample
    theirs, ours = b.states[most].keys, set(a.states[most].keys)
    shared = tuple(key for key in theirs if key in ours)
    if not shared:
        raise EvalkitError(
            f"{a.name} and {b.name} have no image of the same prompt and sample.",
            "Compare runs of the same prompts.",
            code="gate-36",
        )
    if len(shared) < max(len(ours), len(theirs)):
        log.info("measured on the %d images that both have", len(shared))
    a = _replaced(a, take(candidate, names, shared, loaded), names)
    if is_baseline(base) or shared == theirs:
        return a, b
    return a, _replaced(b, take(base, names, shared, loaded), names)


def _replaced(whole: Snapshot, part: Snapshot, names: Sequence[str]) -> Snapshot:
    """The snapshot with other values of some metrics."""
    return replace(whole, states={**whole.states, **{name: part.states[name] for name in names}})


def decisions_of(
    a: Snapshot, b: Snapshot, rules: Mapping[str, Rule], settings: GateConfig
) -> list[Decision]:
    """The decisions on all metrics, then on the groups of prompts, corrected together."""
    made = [decide(a, b, name, rule, settings.alpha) for name, rule in rules.items()]
    if settings.groups is not None:
        groups = [group for group in dict.fromkeys(a.groups.values()) if group]
        per_image = [name for name in rules if a.states[name].values and b.states[name].values]
        per_image = [
            name
            for name in per_image
            if settings.groups.direction in (None, a.states[name].measure.better)
            and not is_too_wide(settings.groups, a.states[name].measure)
        ]
        if not (per_image and groups):
            missing = (
                "gated metric with values per image, this direction and a range above the margin"
            ) * (not per_image)
            raise EvalkitError(
                f"{settings.source}: [groups] has nothing to decide: there is no"
                f" {missing or 'group of prompts'}.",
                "Correct its margin, gate such a metric, or remove the table.",
                code="gate-37",
            )
        made += [
            decide(a, b, name, settings.groups, settings.alpha, group)
            for name in per_image
            for group in groups
        ]
    return correct(made, settings.alpha)


def outcome_of(decisions: Sequence[Decision]) -> Outcome:
    """The outcome that the critical metrics decide."""
    critical = {one.verdict for one in decisions if one.tier == "critical"}
    if "REGRESSED" in critical:
        return "regressed"
    return "inconclusive" if "INCONCLUSIVE" in critical else "pass"


def _changed(a: Snapshot, b: Snapshot, rules: Mapping[str, Rule]) -> tuple[Changed, ...]:
    """The ten images that lost most on the first metric with values per image."""
    for name in rules:
        one, other = a.states[name], b.states[name]
        if one.values is None or other.values is None or one.measure.from_records:
            continue
        theirs = dict(zip(other.keys, other.values, strict=True))
        sign = 1.0 if one.measure.better == "lower" else -1.0
        both = [
            Changed(name, *key, a.prompts[key[0]], value - theirs[key], value, theirs[key])
            for key, value in zip(one.keys, one.values, strict=True)
            if key in theirs
        ]
        least = 1e-6 * max((abs(item.candidate) for item in both), default=0.0)  # of rounding
        lost = [item for item in both if sign * item.change > least]
        return tuple(sorted(lost, key=lambda item: -sign * item.change)[:10])
    return ()
