"""The conditions under which a model was measured, as its run records them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.core import Metric, Record
from evalkit.prompts.perturb import originals_of
from evalkit.run_config import run_config
from evalkit.run_folder import Run

# Options that say which model it is, not how it generates: a gate compares checkpoints.
WHICH_MODEL = ("weights", "checkpoint", "model", "revision", "lora", "base_url")
REVISED = "prompt revised"  # how the note of an image begins whose service changed the prompt


def requests_of(run: Run, records: Sequence[Record]) -> list[tuple[int, int]]:
    """Every requested image, as the place of its prompt and its sample, in order.

    Those of variants of prompts are left out. A run that was interrupted has no record of the
    images that it did not reach.
    """
    samples, prompts = range(_per_prompt(run, records)), run.prompts()
    variants = originals_of(prompts)
    places = [index for index in range(len(prompts)) if index not in variants]
    return [(index, sample) for index in places for sample in samples]


def _per_prompt(run: Run, records: Sequence[Record]) -> int:
    """As run.toml states it, or, where it does not, as the records show it."""
    stated = run_config(run).get("per_prompt")  # not below what the records show
    return stated or 1 + max((record.sample for record in records), default=0)


def of_generation(
    run: Run, label: str, records: Sequence[Record], sizes: Iterable[str]
) -> dict[str, Any]:
    """How the images of a model were made; seed, device and number format: "" if not recorded.

    sizes: those of its images, `width x height`.
    """
    config = run_config(run)
    options = dict(config.get("options", {}).get(label, {}))
    if not config:  # run.toml is lost
        options = dict(run.model(label).get("options") or {})
    used = dict(run.model(label).get("settings") or {})
    # The models of a comparison may come from runs of other seeds.
    source = run.sources().get("models", {}).get(label, {})
    return {
        "seed": source.get("seed", config.get("seed", "")),
        "per_prompt": _per_prompt(run, records),
        "generation": _set(options),
        "device": str(used.pop("device", "")),
        "dtype": str(used.pop("dtype", "")),
        "settings": _set(used),  # as used, defaults of the model included
        "prompt_rewriting": any(REVISED in record.extra for record in records),
        "image_size": sorted(sizes),
    }


def of_metrics(facts: Mapping[str, Any], table: Sequence[Metric]) -> dict[str, Any]:
    """What metrics were measured with.

    facts: `encoders` and `references` by kind, as in protocol.json, and the model's own part of
    `encoded_on`.
    """
    kinds = {metric.encoder for metric in table}
    encoders, references = (
        {kind: one for kind, one in sorted(facts.get(name, {}).items()) if kind in kinds}
        for name in ("encoders", "references")
    )
    encoded = {kind: facts.get("encoded_on", {}).get(kind) or {} for kind in encoders}
    return {
        "encoders": {kind: f"{one['name']} {one['fingerprint']}" for kind, one in encoders.items()},
        "encoding_device": {kind: one.get("device", "") for kind, one in encoded.items()},
        "encoding_dtype": {kind: one.get("dtype", "") for kind, one in encoded.items()},
        "references": {kind: _reference(one) for kind, one in references.items()},
        # Recall depends on how many features the reference stores.
        "reference_features": {
            kind: one.get("stored_features", 0) for kind, one in references.items()
        },
        "metric_options": {metric.name: metric.options for metric in table if metric.options},
        "metric_versions": {metric.name: metric.version for metric in table},
    }


def _set(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in sorted(options.items())
        if name not in WHICH_MODEL and value not in (None, "")
    }


def _reference(one: Mapping[str, Any]) -> str:
    """Two references of one name may be of other images; a file of another tool has no hash."""
    return f"{one['name']} {one.get('image_hash') or one.get('sha256') or ''}"
