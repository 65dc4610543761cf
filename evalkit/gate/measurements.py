"""The measurements of a model for the gate: those that its scoring kept, else from features."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.core import Encoder, EncoderKind, EvalkitError, Metric
from evalkit.features.image_sets import ImageSet
from evalkit.run_folder import Run
from evalkit.score import kept, protocol
from evalkit.score.evidence import Setup, encode_prompts, gather, part
from evalkit.score.measure import Measurement, measure
from evalkit.score.resources import Resources, load, only_bundled
from evalkit.score.settings import Settings, resolve
from evalkit.scorer import LoadedScorer

Loaded = dict[tuple[Settings, bool], Resources]


class Measurements(NamedTuple):
    """Of one model."""

    values: Mapping[str, Measurement]  # by metric; without those that have no images or no encoder
    facts: Mapping[str, Any]  # `encoders`, `references`, `encoded_on`: see conditions

    def names(self, metric: Metric) -> tuple[str, str]:
        """The encoder and the reference of a metric, "" for none."""
        encoder = self.facts["encoders"].get(metric.encoder, {})
        compared = self.facts["references"] if metric.compares else {}
        return encoder.get("name", ""), compared.get(metric.encoder, {}).get("name", "")

    @property
    def encoder_names(self) -> list[str]:
        return list(dict.fromkeys(one["name"] for one in self.facts["encoders"].values()))


def measurements(
    run: Run,
    images: ImageSet,
    specs: Sequence[str],
    table: Sequence[Metric],
    order: Sequence[int] | None,
    loaded: Loaded,
) -> Measurements:
    """The metrics on all images of a model, or on those at the places of `order`.

    specs: the metrics of `table` as they are named for a scoring.

    What the scoring kept is taken with the encoders and references that it states. Only if
    something else is needed are encoders loaded.
    """
    known = run.protocol_of_scores() if table else run.protocol()
    facts = {name: known.get(name, {}) for name in ("encoders", "references")}
    facts["encoded_on"] = known.get("encoded_on", {}).get(images.model, {})
    possible = [
        metric for metric in table if metric.encoder not in known.get("encoders_missing", {})
    ]
    if not images.files:
        return Measurements({}, facts)
    found = _kept(run, images, possible, facts) if order is None else {}
    if all(metric.name in found for metric in possible):
        return Measurements(found, facts)
    return _measured(run, images, possible, order, _load(run, specs, loaded))


def _kept(
    run: Run, images: ImageSet, table: Sequence[Metric], facts: Mapping[str, Any]
) -> dict[str, Measurement]:
    basis = kept.Basis.of(images, facts)
    found = {one.name: kept.read(run, images.model, one, basis.key(one)) for one in table}
    return {name: one for name, one in found.items() if one is not None}


def _load(run: Run, specs: Sequence[str], loaded: Loaded) -> Resources:
    """The encoders and references that the run was scored with."""
    known = run.protocol().get("encoders", {})
    names = ",".join(protocol.encoder_names(known))
    asked = resolve(run.path, metrics=specs, only=True)
    # A plug-in `module:function` has another name in the protocol.
    if names and ":" not in asked.encoders:  # each name says in which precision it computes
        asked = asked._replace(encoders=names, precision="exact")
    chosen, bundled = asked, only_bundled(run, run.models())
    if (chosen, bundled) not in loaded:
        loaded[chosen, bundled] = load(chosen, bundled)
    return loaded[chosen, bundled]


def _measured(
    run: Run,
    images: ImageSet,
    table: Sequence[Metric],
    order: Sequence[int] | None,
    resources: Resources,
) -> Measurements:
    encoders, references = resources.choice.encoders, resources.references
    table = [metric for metric in table if metric.encoder in encoders]
    facts = {
        "encoders": protocol.encoder_facts(encoders),
        "references": protocol.reference_facts(references),
    }
    found = _kept(run, images, table, facts) if order is None else {}
    missing = [metric for metric in table if metric.name not in found]
    kinds = {metric.encoder for metric in missing}
    needed: dict[EncoderKind, Encoder | LoadedScorer] = {
        kind: one for kind, one in encoders.items() if kind in kinds
    }
    texts = encode_prompts(run, [one.text for one in run.prompts()], missing, needed)
    setup = Setup(run, missing, needed, references, resources.why, texts, None)
    evidence = gather(images, setup) if missing else {}
    recorded = run.protocol().get("encoded_on", {}).get(images.model, {})
    facts["encoded_on"] = recorded | protocol.encoding_facts(evidence)
    basis = kept.Basis.of(images, facts)
    if order is not None:
        evidence = {kind: part(one, order) for kind, one in evidence.items() if order}
    for metric in missing if evidence else ():
        made = found[metric.name] = measure(metric, evidence[metric.encoder])
        if order is None and (key := basis.key(metric)):
            with contextlib.suppress(EvalkitError):  # a folder that cannot be written to
                kept.write(run, images.model, metric, made, key)
    return Measurements(found, facts)
