"""The metrics, encoders and references of a scoring, found and loaded before the first image."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit import plugins
from evalkit.core import (
    Encoder,
    EncoderKind,
    EvalkitError,
    FailedMetricWarning,
    Metric,
    Precision,
    Unavailable,
)
from evalkit.encoders.faster import parted
from evalkit.encoders.select import DRAWN, MINI, PHOTO, Choice, choose
from evalkit.plugin_calls import is_own
from evalkit.plugins import BUNDLED
from evalkit.reference import files
from evalkit.reference.files import Reference
from evalkit.run_folder import Run
from evalkit.score.select import select
from evalkit.score.settings import Settings
from evalkit.scorer import encoders_only, scorers_only

log = logging.getLogger(__name__)

# The reference of an encoder where none is given.
DEFAULT_REFERENCES = {name: "scenes" for name in MINI.values() if name}
DEFAULT_REFERENCES |= dict.fromkeys(PHOTO.values(), "imagenet-1k-sample")
_DRAWN = tuple(f"{name}-" for name in DRAWN)  # also with other settings: geneval-mini-0.3-0.5


class Resources(NamedTuple):
    """What a scoring needs besides images."""

    metrics: list[Metric]
    choice: Choice
    references: dict[EncoderKind, Reference]
    why: dict[EncoderKind, str]  # why a kind that compares has no reference
    blind: list[str]  # encoders that do not know the images: no verdict comes from them

    def reason(self, metric: Metric) -> str:
        """Why a metric will not be measured, "" if it will."""
        missing = self.choice.missing.get(metric.encoder, "")
        return missing or (self.why.get(metric.encoder, "") if metric.compares else "")


def load(chosen: Settings, bundled: bool, device: str = "auto", cache: Path = Path()) -> Resources:
    """Everything that a scoring with these settings needs.

    One encoder serves a kind for all models: values of different encoders cannot be compared.

    Args:
        bundled: all models are bundled with evalkit, so that the mini encoders know their images.
        cache: where scorers may keep files of their own.

    Raises:
        EvalkitError: an unknown name, a wrong option, an encoder or a scorer of evalkit that cannot
            be loaded (see `_load_scorers`), a reference without features of an encoder, or named
            metrics of which none can be measured.
    """
    table = select(chosen.metrics)
    kinds: set[EncoderKind] = {metric.encoder for metric in table}
    compared: set[EncoderKind] = {metric.encoder for metric in table if metric.compares}
    held: set[str] = set(files.encoders_of(chosen.reference) if chosen.reference else ())
    # A reference of the bundled data set says that the images show it.
    scenes = bool(held) and held <= set(MINI.values())
    choice = choose(
        chosen.encoders,
        device,
        kinds,
        bundled=bundled or scenes,
        held=dict.fromkeys(compared, held),
        precision=chosen.precision,
    )
    own = encoders_only(choice.encoders)
    references, why = _references(compared, own, chosen.reference)
    _load_scorers(choice, table, chosen, device, cache)
    _require_other_names(choice)
    chosen_names = dict.fromkeys(encoder.name for encoder in choice.encoders.values())
    found = Resources(table, choice, references, why, blind_encoders(chosen_names, bundled))
    _require_any(found, chosen.named())
    return found


def _require_other_names(choice: Choice) -> None:
    """Raise EvalkitError where code of others has the name of an encoder or scorer of evalkit.

    What evalkit says about its own, such as which images they know, goes by the name.
    """
    own = plugins.own_names("encoder")
    for one in choice.encoders.values():
        name = parted(one.name)[0]
        if not is_own(one) and (name in own or f"{name}-".startswith(_DRAWN)):
            code = f"{type(one).__module__}.{type(one).__qualname__}"
            raise EvalkitError(
                f"{code} has the name {one.name!r}, which is evalkit's own; expected another name.",
                "Change its attribute `name`: results say by it what they were measured with.",
                code="score-17",
            )


def _require_any(found: Resources, named: Collection[str]) -> None:
    """Raise EvalkitError where scorers are named, nothing else, and none can be measured.

    A metric without its reference or weights is a row without a value: what else is found on
    images is an answer, too.
    """
    asked = [metric for metric in found.metrics if metric.name in named]
    reasons = _reasons(found._replace(metrics=asked))
    only = all(metric.scorer is not None for metric in asked)
    if asked and only and sum(map(len, reasons.values())) == len(asked):
        names = ", ".join(metric.name for metric in asked)
        said = (f"{', '.join(own)}: {why.removesuffix('.')}." for why, own in reasons.items())
        raise EvalkitError(
            f"None of the named scorers can be measured: {names}.", " ".join(said), code="score-18"
        )


def _reasons(found: Resources) -> dict[str, list[str]]:
    """The metrics that will not be measured, by the reason."""
    reasons: dict[str, list[str]] = {}
    for metric in found.metrics:
        if reason := found.reason(metric):
            reasons.setdefault(reason, []).append(metric.name)
    return reasons


def _load_scorers(
    choice: Choice, table: Sequence[Metric], chosen: Settings, device: str, cache: Path
) -> None:
    """Add the scorers of the metrics, or what they lack.

    Raises EvalkitError for wrong options, and where one of evalkit's own cannot be loaded for
    another reason than what the machine lacks. One of another package is then not measured, with a
    warning unless it raised an EvalkitError itself.
    """
    wanted = {metric.scorer.name: metric.scorer for metric in table if metric.scorer is not None}
    for name, scorer in wanted.items():
        given = chosen.options_of(name)
        plugins.checked_options(scorer.load, given, name, "scorer", partly=True)
        try:
            choice.encoders[scorer.kind] = plugins.load_scorer(scorer, given, device, cache)
        except EvalkitError as error:
            if not isinstance(error, Unavailable):
                if is_own(scorer.load):
                    raise _named(name, error) from error
                if not isinstance(error.__cause__, EvalkitError):
                    warnings.warn(FailedMetricWarning(error.message, error.hint), stacklevel=2)
            choice.missing[scorer.kind] = f"{error.message} {error.hint}".rstrip(". ")


def _named(scorer: str, error: EvalkitError) -> EvalkitError:
    """The error with the name of the scorer and a next step."""
    message = error.message if scorer in error.message else f"{scorer}: {error.message}"
    hint = f"Check the installation with `evalkit doctor`, or leave {scorer} out of the metrics."
    return EvalkitError(message, error.hint or hint, code=error.code)


def blind_encoders(names: Iterable[str], bundled: bool) -> list[str]:
    """The encoders and scorers among these that do not know the images."""
    return [name for name in names if f"{parted(name)[0]}-".startswith(_DRAWN) and not bundled]


def only_bundled(run: Run, models: Sequence[str]) -> bool:
    """Whether all models of a run are bundled with evalkit; images without a run are not."""
    notes = {model: run.model(model) for model in models}
    return bool(notes) and all(note.get("bundled", name in BUNDLED) for name, note in notes.items())


def mention(found: Resources, precision: Precision = "exact", prompts: bool = True) -> None:
    """Log which encoders were chosen, and which metrics will not be measured.

    prompts: the images have prompts. Weights would not help the metrics that read them.
    """
    scorers = {scorer.name for scorer in scorers_only(found.choice.encoders).values()}
    if precision != "exact" and scorers:
        names = ", ".join(sorted(scorers))
        log.info("the precision %s is that of encoders: no effect on %s", precision, names)
    for reason in found.choice.reasons:
        log.info("using the encoder %s", reason)
    if found.blind:
        log.warning(
            "nothing may be concluded from %s: trained on the bundled data set, not on photos",
            " and ".join(found.blind),
        )
    table = [metric for metric in found.metrics if prompts or not metric.reads_prompts]
    for reason, names in _reasons(found._replace(metrics=table)).items():
        log.info("will not be measured: %s: %s", ", ".join(names), reason)


def _references(
    compared: set[EncoderKind], chosen: dict[EncoderKind, Encoder], name: str | None
) -> tuple[dict[EncoderKind, Reference], dict[EncoderKind, str]]:
    """The reference of each kind of encoder that needs one, or why it is missing."""
    found: dict[EncoderKind, Reference] = {}
    why: dict[EncoderKind, str] = {}
    for kind, encoder in chosen.items():
        if kind not in compared:
            continue
        wanted = name or DEFAULT_REFERENCES.get(parted(encoder.name)[0])
        if wanted is None:
            why[kind] = f"no reference for {encoder.name} was given: `--reference NAME`"
            continue
        try:
            found[kind] = files.reference(wanted, encoder)
        except EvalkitError as error:
            if name is not None:
                raise
            why[kind] = error.message
    return found, why
