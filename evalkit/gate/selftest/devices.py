"""Two runs of one model on two devices: is the difference within the margins of the gate?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.core import EvalkitError
from evalkit.features.image_sets import image_sets
from evalkit.gate.comparable import NOT_COMPARABLE, mismatches, require_comparable
from evalkit.gate.config import GateConfig
from evalkit.gate.gate import decisions_of, on_shared_images
from evalkit.gate.measurements import Loaded
from evalkit.gate.rules import choose_rules, measured_names
from evalkit.gate.snapshot import Snapshot, take
from evalkit.run_folder import Run
from evalkit.specs import split_run

OF_THE_DEVICE = ("device", "dtype", "encoding_device", "encoding_dtype")  # what may differ


@dataclass(frozen=True)
class DeviceDifference:
    """One gated metric on both devices."""

    metric: str
    encoder: str
    group: str
    first: float | None
    second: float | None
    worse: float | None  # positive where the first is worse
    low: float | None  # its interval at the level 1 - 2 alpha
    high: float | None
    margin: float | None
    within: bool  # the interval is within the margin in both directions


@dataclass(frozen=True)
class Devices:
    """The content of gate_devices.json."""

    first: str
    second: str
    safe: bool  # every metric is within its margin: `--allow-mismatch device` hides no regression
    exit_code: int
    alpha: float
    images: int  # of the same prompt and sample in both
    different: int  # of these, with other pixels
    metrics: tuple[DeviceDifference, ...]
    not_tested: tuple[str, ...]  # speed, cost and ratings, which differ for other reasons


def compare_devices(
    first: str, second: str, settings: GateConfig, names: Sequence[str] = ()
) -> Devices:
    """Compare two runs of one model, of the same prompts, seeds and options, on two devices.

    Raises EvalkitError where the model or a condition other than the device differs (exit code 4),
    or a metric is missing.
    """
    measured = measured_names(settings, names)
    loaded: Loaded = {}
    a, b = (take(name, measured, loaded=loaded) for name in (first, second))
    found = [one for one in mismatches(a, b) if one.field.partition(".")[0] not in OF_THE_DEVICE]
    require_comparable(found, ())
    _require_one_model(a, b, *(Run(split_run(text)[0]) for text in (first, second)))
    rules = choose_rules(settings, names, a, b)
    left = [name for name in rules if _of_the_machine(a, name)]
    rules = {name: rule for name, rule in rules.items() if name not in left}
    if not rules:
        raise EvalkitError(
            f"{a.name} and {b.name} have no gated metric of images.",
            "Gate a metric of images.",
            code="gate-47",
        )
    pixels = _pixels(first, a), _pixels(second, b)
    both = pixels[0].keys() & pixels[1].keys()
    a, b = on_shared_images(a, b, first, second, rules, loaded)
    rows = []
    for one in decisions_of(a, b, rules, settings):
        low, high, margin = one.low, one.high, one.margin
        equal = _same(a, b, one.metric) or (one.worse == 0 and one.p == 1.0 and low == high == 0)
        within = equal or (
            None not in (low, high, margin) and -margin < low and high < margin  # pyright: ignore
        )
        rows.append(
            DeviceDifference(
                one.metric, one.encoder, one.group, one.candidate, one.baseline, one.worse, low,
                high, margin, bool(within),
            )
        )  # fmt: skip
    safe = all(one.within for one in rows)
    return Devices(
        a.name,
        b.name,
        safe,
        0 if safe else 3,
        settings.alpha,
        len(both),
        sum(pixels[0][key] != pixels[1][key] for key in both),
        tuple(rows),
        tuple(left),
    )


def _require_one_model(a: Snapshot, b: Snapshot, first: Run, second: Run) -> None:
    """Raise EvalkitError, exit code 4, where the runs record that two models made the images.

    A folder of ready images records no device: its fingerprint is that of the images.
    """
    one, other = (run.model(side.model) for run, side in ((first, a), (second, b)))
    if not (one.get("settings") and other.get("settings")):
        return
    marks = [str(note.get("fingerprint", "")) for note in (one, other)]
    if all(marks) and marks[0] != marks[1]:
        raise EvalkitError(
            f"{a.name} and {b.name} are of different models: the weights or code are {marks[0]:.30}"
            f" and {marks[1]:.30}.",
            "Give two runs of one model that differ in the device only.",
            NOT_COMPARABLE,
            code="gate-48",
        )


def _same(a: Snapshot, b: Snapshot, name: str) -> bool:
    """Whether a metric has the same value for each image: then there is nothing to estimate."""
    one, other = a.states[name], b.states[name]
    return bool(one.values) and (one.keys, one.values) == (other.keys, other.values)


def _of_the_machine(snapshot: Snapshot, name: str) -> bool:
    state = snapshot.states[name]
    return state.measure.from_ratings or (state.measure.from_records and state.values is None)


def _pixels(text: str, snapshot: Snapshot) -> dict[tuple[str, int], str]:
    """By prompt and sample: the SHA-256 of the pixels; files may differ in their compression."""
    _, [images], _ = image_sets(split_run(text)[0], models=(snapshot.model,))
    facts = images.validation.complete(images.files)
    return {
        (record.prompt, record.sample): one.pixels
        for record, one in zip(images.records, facts, strict=True)
    }
