"""`evalkit gate`: is a model worse than its baseline? One rule decides every output."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from evalkit.config import did_you_mean
from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.gate import github
from evalkit.gate.baseline import is_baseline, read_baseline
from evalkit.gate.comparable import Mismatch, mismatches, require_comparable
from evalkit.gate.config import RELATIVE, GateConfig, Rule, check_direction, read_config
from evalkit.gate.decide import Decision, compared, correct, decide
from evalkit.gate.junit import to_xml
from evalkit.gate.snapshot import SHARPNESS, Key, Snapshot, State, split_name, take
from evalkit.run_folder import Run
from evalkit.score.presets import expand
from evalkit.specs import split_names

log = logging.getLogger(__name__)
SCHEMA = 1
Outcome = Literal["pass", "regressed", "inconclusive"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "regressed": 1, "inconclusive": 3}
SHARE = 0.02  # the default margin of a share, from 0 to 1
SHARPER = 0.2  # of the sharpness: it is no measure of quality, and a blur halves it


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
    changed: tuple[dict[str, Any], ...] = ()  # the prompts whose images changed most

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
    allow_mismatch: Sequence[str] | None = None,
    junit: str | Path | None = None,
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

    Raises:
        EvalkitError: unknown or missing metrics and other mistakes (exit code 2); conditions that
            differ (exit code 4).
    """
    settings = read_config(config) if config is not None else GateConfig()
    candidate = os.fspath(candidate)
    base = os.fspath(baseline if baseline is not None else settings.baseline)
    if not base:
        raise EvalkitError(
            "No baseline is given.",
            "Name one with `--baseline RUN:LABEL`, or as baseline in gate.toml.",
        )
    if alpha is not None:
        if not (isinstance(alpha, int | float) and 0 < alpha < 0.5):
            raise EvalkitError(f"alpha is {alpha!r}; expected a number above 0, below 0.5.")
        settings = replace(settings, alpha=alpha)
    wanted = [metrics] if isinstance(metrics, str) else metrics or ()
    names = list(dict.fromkeys(expand([name for text in wanted for name in split_names(text)])))
    a = take(candidate, _measured_names(settings, names))
    b = read_baseline(base) if is_baseline(base) else take(base, _measured_names(settings, names))
    found = mismatches(a, b)
    allowed = (*settings.allow_mismatch, *(allow_mismatch or ()))
    require_comparable(found, allowed)
    rules = _rules(settings, names, a, b)
    a, b = _on_shared_images(a, b, candidate, base, rules)
    made = _decisions(a, b, rules, settings)
    outcome = _outcome(made)
    code = EXIT_CODES[outcome]
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
        _changed(a, b, rules),
    )
    run = Run(split_name(candidate)[0])
    write_atomically(run.path / "gate.json", to_json(result))
    if junit is not None:
        text = to_xml(result.candidate, result.decisions)
        write_atomically(Path(junit).expanduser(), text)
    github.append_summary(result)
    return result


def to_json(result: Gate) -> str:
    """gate.json."""
    content = {"schema": SCHEMA, **dataclasses.asdict(result)}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _measured_names(settings: GateConfig, names: Sequence[str]) -> list[str] | None:
    """The metrics that a snapshot has to measure; None for all of the run."""
    if names:
        return [name.partition("@")[0] for name in names]
    return [name.partition("@")[0] for name in settings.metrics] or None


def _rules(settings: GateConfig, names: Sequence[str], a: Snapshot, b: Snapshot) -> dict[str, Rule]:
    """The rule of each gated metric. A metric that is missing is an error, never a pass."""
    both = [name for name in a.states if name in b.states]
    chosen = list(names) or list(settings.metrics)
    if not chosen:
        chosen = [name for name in both if _by_default(a.states[name])]
        chosen = [name for name in chosen if a.states[name].encoder not in a.blind]
        every = {**a.states, **b.states}
        lone = [name for name in every if name not in both and _by_default(every[name])]
        if lone:
            log.warning("not gated, as only one of the two has them: %s", ", ".join(lone))
    rules: dict[str, Rule] = {}
    for given in chosen:
        matching = [name for name in both if given in (name, name.partition("@")[0])]
        if not matching:
            lacks = b if given in a.states else a
            raise EvalkitError(
                f"The gated metric {given!r} is not measured for {lacks.name}.",
                did_you_mean(given, lacks.states),
            )
        for name in matching:
            state, other = a.states[name], b.states[name]
            rule = settings.metrics.get(given, Rule())
            if rule.is_empty:
                rule = replace(_default_rule(name, state), tier=rule.tier)
            if state.value is None or other.value is None:
                missing, who = (state, a) if state.value is None else (other, b)
                if not (names or settings.metrics) and state.value is not other.value:
                    rules[name] = rule  # not decided, and said so
                    continue
                if names or settings.metrics:
                    raise EvalkitError(
                        f"The gated metric {name!r} has no value for {who.name}:"
                        f" {missing.note.removeprefix('not measured: ')}.",
                        "Measure it, or take it out of the gate.",
                    )
                log.info("not gated: %s: %s", name, missing.note)
                continue
            if state.encoder in a.blind:
                raise EvalkitError(
                    f"{state.encoder} does not know the images of {a.name}: nothing may be"
                    f" concluded from {name}.",
                    "Score both runs with other encoders, or take the metric out of the gate.",
                )
            check_direction(name, rule, state.measure.better, settings.source)
            rules[name] = rule
    if all(a.states[name].measure.from_records for name in rules) and not (
        names or settings.metrics
    ):
        raise EvalkitError(
            f"{a.name} and {b.name} have no metric of images in common from which something may be"
            " concluded.",
            "Score both with the same metrics and with encoders that know the images.",
        )
    return rules


def _by_default(state: State) -> bool:
    """Whether a metric is gated without being named.

    Speed and cost depend on the machine and the day, ratings on other raters; and a share of a
    value that may be around zero (KID) is no margin.
    """
    if state.measure.from_ratings or (state.measure.from_records and state.values is None):
        return False
    return math.isfinite(state.measure.range[0])


def _default_rule(name: str, state: State) -> Rule:
    if not math.isfinite(state.measure.range[0]):
        key = "max_increase" if state.measure.better == "lower" else "max_drop"
        raise EvalkitError(
            f"{name} has no natural zero: a share of the baseline's value is no margin.",
            f"State its margin in gate.toml: {key} under [metrics.{name}].",
        )
    if state.measure.range == (0.0, 1.0):
        return Rule(margin=SHARE)
    return Rule(relative=SHARPER if name == SHARPNESS.name else RELATIVE)


def _on_shared_images(
    a: Snapshot, b: Snapshot, candidate: str, base: str, rules: dict[str, Rule]
) -> tuple[Snapshot, Snapshot]:
    """Both on the images that both have, so that refused prompts count for neither."""
    of_sets = [name for name in rules if a.states[name].left_out or b.states[name].left_out]
    different = [name for name in of_sets if a.states[name].keys != b.states[name].keys]
    if not different:
        return a, b
    keys: set[Key] = set(a.states[different[0]].keys) & set(b.states[different[0]].keys)
    if not keys:
        raise EvalkitError(
            f"{a.name} and {b.name} have no image of the same prompt and sample.",
            "Compare runs of the same prompts.",
        )
    log.info("measured on the %d images that both have", len(keys))
    names = [name.partition("@")[0] for name in rules]
    a = _replaced(a, take(candidate, names, keys))
    return a, b if is_baseline(base) else _replaced(b, take(base, names, keys))


def _replaced(whole: Snapshot, part: Snapshot) -> Snapshot:
    """The snapshot with values on fewer images; refusals stay those of all requests."""
    kept = {name: state for name, state in whole.states.items() if state.measure.from_records}
    return replace(whole, states={**part.states, **kept})


def _decisions(
    a: Snapshot, b: Snapshot, rules: dict[str, Rule], settings: GateConfig
) -> list[Decision]:
    made = [decide(a, b, name, rule, settings.alpha) for name, rule in rules.items()]
    if settings.groups is not None:
        groups = [group for group in dict.fromkeys(a.groups.values()) if group]
        per_image = [name for name in rules if a.states[name].values and b.states[name].values]
        per_image = [
            name
            for name in per_image
            if settings.groups.direction in (None, a.states[name].measure.better)
        ]
        if not (per_image and groups):
            missing = "gated metric with values per image and this direction" * (not per_image)
            raise EvalkitError(
                f"{settings.source}: [groups] has nothing to decide: there is no"
                f" {missing or 'group of prompts'}.",
                "Correct its margin, gate such a metric, or take the table out.",
            )
        made += [
            decide(a, b, name, settings.groups, settings.alpha, group)
            for name in per_image
            for group in groups
        ]
    return correct(made, settings.alpha)


def _outcome(decisions: Sequence[Decision]) -> Outcome:
    critical = {one.verdict for one in decisions if one.tier == "critical"}
    if "REGRESSED" in critical:
        return "regressed"
    return "inconclusive" if "INCONCLUSIVE" in critical else "pass"


def _changed(a: Snapshot, b: Snapshot, rules: dict[str, Rule]) -> tuple[dict[str, Any], ...]:
    """The ten images that lost most on the first metric with values per image."""
    for name in rules:
        state = a.states[name]
        if state.values is None or state.measure.from_records:
            continue
        found = compared(a, b, name)
        if isinstance(found, str) or not found.changes:
            continue
        sign = 1.0 if state.measure.better == "lower" else -1.0
        worst = sorted(found.changes.items(), key=lambda item: -sign * item[1])[:10]
        return tuple(
            {
                "metric": name, "prompt": key[0], "sample": key[1], "text": a.prompts[key[0]],
                "change": change,
            }
            for key, change in worst
            if sign * change > 1e-6 * abs(found.candidate)  # less is rounding
        )  # fmt: skip
    return ()
