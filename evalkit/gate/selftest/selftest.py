"""`evalkit gate selftest`: does the gate hold what it promises, on one's own images?

- False alarms: one model against itself, in many random splits (see `selftest_sides`).
- Planted damage: how often the gate finds it, by which metrics, and which metrics are blind to it.
- The smallest change of each metric that the gate sees at this number of images.

Every split is decided as `evalkit gate` decides, with the metrics and margins of its configuration.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from evalkit.core import EvalkitError
from evalkit.files import path_of, write_atomically
from evalkit.gate.arguments import metric_names, run_text
from evalkit.gate.config import GateConfig, Tier, check_alpha, read_config
from evalkit.gate.selftest.advice import of_limits, on_damage, on_false_alarms
from evalkit.gate.selftest.decide import (
    FalseAlarms,
    Found,
    Prepared,
    against_itself,
    cut_of,
    planted,
    prepare,
    rate,
    row_name,
)
from evalkit.gate.selftest.devices import Devices, compare_devices
from evalkit.gate.selftest.sides import STANDS_FOR, Pairing
from evalkit.gate.selftest.smallest import Smallest, smallest_changes
from evalkit.run_folder import Run
from evalkit.specs import split_run
from evalkit.statistics.intervals import LEAST_GROUPS
from evalkit.terminal import progress

SCHEMA = 1
SPLITS = 200
FEWEST_SPLITS = 20
FOUND = 0.95  # the share of splits in which the gate has to find a damage
_PARTS = {2: "half", 4: "quarter"}  # of the prompts: damage is planted on them, too
CRITICAL: Tier = "critical"
_PER_DAMAGE = 4  # one split in four


@dataclass(frozen=True)
class Selftest:
    """The content of gate_selftest.json."""

    model: str
    passed: bool
    exit_code: int
    problems: tuple[str, ...]  # why it did not pass
    advice: tuple[str, ...]  # what to do about each problem
    alpha: float
    pairing: Pairing
    stands_for: str  # what the two sides of a split stand for
    images: int  # of the model
    prompts: int
    images_per_side: int
    prompts_per_side: int
    false_alarms: tuple[FalseAlarms, ...]
    tiers: Mapping[str, Tier]  # of the rows of false_alarms and damages
    damages: tuple[Found, ...]
    smallest: tuple[Smallest, ...]
    not_tested: Mapping[str, str]  # what, and why


@overload
def gate_selftest(
    candidate: str | os.PathLike[str],
    *,
    config: str | Path | None = None,
    metrics: str | Sequence[str] | None = None,
    alpha: float | None = None,
    splits: int = SPLITS,
    generate: bool = False,
    devices: None = None,
) -> Selftest: ...
@overload
def gate_selftest(
    candidate: None = None,
    *,
    config: str | Path | None = None,
    metrics: str | Sequence[str] | None = None,
    alpha: float | None = None,
    splits: int = SPLITS,
    generate: bool = False,
    devices: Sequence[str | os.PathLike[str]],
) -> Devices: ...
def gate_selftest(
    candidate: str | os.PathLike[str] | None = None,
    *,
    config: str | Path | None = None,
    metrics: str | Sequence[str] | None = None,
    alpha: float | None = None,
    splits: int = SPLITS,
    generate: bool = False,
    devices: Sequence[str | os.PathLike[str]] | None = None,
) -> Selftest | Devices:
    """Test the gate on the images of one model: false alarms, planted damage, smallest change.

    Writes gate_selftest.json into the run; nothing else in it changes. The same run and settings
    give the same file.

    Args:
        candidate: `RUN` or `RUN:LABEL`, scored; or a Run.
        config: a gate.toml with margins, as for `evalkit.gate`.
        metrics: gate these only.
        alpha: the probability of any false alarm (default 0.05).
        splits: random splits of the model against itself, at least 20; each damage is planted in a
            quarter as many.
        generate: also let the model make its images again with half the guidance, as one damage.
        devices: two runs of one model on two devices, in place of `candidate`: is the difference
            between the devices within the margins? Writes gate_devices.json into the first one.

    Raises:
        EvalkitError: as `evalkit.gate`, and for too few prompts.
    """
    settings = read_config(path_of(config, "config")) if config is not None else GateConfig()
    if alpha is not None:
        check_alpha(alpha)
        settings = replace(settings, alpha=alpha)
    names = metric_names(metrics)
    if (candidate is None) == (devices is None):
        raise EvalkitError(
            "Expected one run, or two runs of two devices.",
            "Write `evalkit gate selftest RUN`, or give the two runs with --devices.",
            code="gate-51",
        )
    if devices is not None:
        found = compare_devices(*_two(devices), settings, names)
        write_atomically(Run(split_run(found.first)[0]).path / "gate_devices.json", to_json(found))
        return found
    assert candidate is not None
    if not isinstance(splits, int) or splits < FEWEST_SPLITS:
        raise EvalkitError(
            f"splits is {splits!r}; expected a whole number of at least {FEWEST_SPLITS}.",
            "Use 200, for example: a rate of 5% then has an interval of about 3% to 9%.",
            code="gate-52",
        )
    text = run_text(candidate, "candidate")
    result = _selftest(prepare(text, settings, names, generate), splits)
    write_atomically(Run(split_run(text)[0]).path / "gate_selftest.json", to_json(result))
    return result


def _two(devices: Sequence[str | os.PathLike[str]]) -> tuple[str, str]:
    runs = devices if isinstance(devices, list | tuple) else ()
    if len(runs) != 2:
        raise EvalkitError(
            f"devices is {devices!r}; expected two runs of the same model.", code="gate-53"
        )
    return run_text(runs[0], "the first of devices"), run_text(runs[1], "the second of devices")


def _selftest(prepared: Prepared, splits: int) -> Selftest:
    pool, alpha = prepared.pool, prepared.settings.alpha
    with progress("the model against itself", splits, "splits") as advance:
        tables, bare = against_itself(prepared, pool.most, range(splits), lambda: advance(1))
    alarms = rate("configured", tables), rate("none", bare)
    damages = tuple(_planted(prepared, max(5, splits // _PER_DAMAGE)))
    tiers: dict[str, Tier] = {
        row_name(one): one.tier if one.group or prepared.named else CRITICAL
        for table in tables
        for one in table
    }
    problems = _problems(alarms, damages, alpha, tiers)
    return Selftest(
        model=prepared.whole.name,
        passed=not problems,
        exit_code=3 if problems else 0,
        problems=tuple(problem for problem, _ in problems),
        advice=tuple(advice for _, advice in problems),
        alpha=alpha,
        pairing=pool.pairing,
        stands_for=STANDS_FOR[pool.pairing],
        images=int((pool.rows >= 0).sum()),
        prompts=len(pool.units),
        images_per_side=len(cut_of(pool, pool.most, 0).keys),
        prompts_per_side=pool.most,
        false_alarms=alarms,
        tiers=tiers,
        damages=damages,
        smallest=tuple(smallest_changes(prepared, tables)),
        not_tested=prepared.not_tested | _not_tested(prepared),
    )


def to_json(result: Selftest | Devices) -> str:
    """gate_selftest.json, or gate_devices.json."""
    content = {"schema": SCHEMA, **dataclasses.asdict(result)}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _sizes(most: int) -> dict[int, int]:
    """Prompts on each side, by the part of all of them; 0 for a part that is too small."""
    return {
        part: most // part if part == 1 or most // part >= 2 * LEAST_GROUPS else 0
        for part in (1, *_PARTS)
    }


def _not_tested(prepared: Prepared) -> dict[str, str]:
    most, named = prepared.pool.most, prepared.settings.metrics
    limited = [
        name
        for name in prepared.rules
        if name in named and (named[name].least, named[name].most) != (None, None)
    ]
    dropped = {
        f"a {_PARTS[part]} of the prompts": f"{most // part} on each side, fewer than"
        f" {2 * LEAST_GROUPS}"
        for part, size in _sizes(most).items()
        if not size
    }
    return of_limits(limited) | dropped


def _planted(prepared: Prepared, splits: int) -> Iterator[Found]:
    sizes = [size for size in _sizes(prepared.pool.most).values() if size]
    with progress("planted damage", len(sizes) * splits, "splits") as advance:
        for size in sizes:
            yield from planted(prepared, size, range(splits), lambda: advance(1))


def _problems(
    alarms: Sequence[FalseAlarms],
    damages: Sequence[Found],
    alpha: float,
    tiers: Mapping[str, Tier],
) -> list[tuple[str, str]]:
    """Why it did not pass, each with what to do about it."""
    found: list[tuple[str, str]] = []
    configured = alarms[0]
    if configured.low > alpha:
        said = (
            f"false alarms: {configured.rate:.1%} of {configured.splits} splits, above alpha"
            f" {alpha:g} beyond the interval"
        )
        found.append((said, on_false_alarms(configured)))
    most = max(one.prompts for one in damages)
    for one in damages:
        if one.prompts == most and one.found < FOUND:
            said = f"{one.meaning}: found in {one.found:.0%} of the splits, below {FOUND:.0%}"
            found.append((said, on_damage(one, tiers, FOUND)))
    return found
