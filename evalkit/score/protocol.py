"""protocol.json: everything that the numbers of a run depend on, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from evalkit.core import DISTRIBUTION, Encoder, EncoderKind, MetricRow
from evalkit.encoders.select import Choice
from evalkit.features import validation
from evalkit.features.image_sets import ImageSet
from evalkit.prompts.suites import texts_sha256
from evalkit.reference.files import Reference
from evalkit.scenes.vocabulary import coverage
from evalkit.score import records
from evalkit.score.evidence import Evidence, Setup
from evalkit.scorer import LoadedScorer, is_scorer
from evalkit.sources import absent
from evalkit.statistics import intervals


def facts(
    sets: Sequence[ImageSet],
    prompts: Sequence[str],
    setup: Setup,
    choice: Choice,
    rows: Sequence[MetricRow],
    findings: Mapping[str, Mapping[str, Any]],
    listed: str = "",
) -> dict[str, Any]:
    """The content of protocol.json.

    listed: which published list the prompts are, see `prompts.suites.stated`.

    measures: what is stated about each number of metrics.json (see `core.Measure`); the report
    reads it, so that it needs no plug-in. vocabulary: how many words of the prompts the bundled
    models know. image_notes: by model, the content of image_checks.json in words.
    """
    names = list(dict.fromkeys(row.metric for row in rows))
    measures = {metric.name: metric.measure for metric in setup.metrics} | records.MEASURES
    return {
        "encoders": encoder_facts(choice.encoders),
        "encoder_reasons": choice.reasons,
        "encoders_missing": choice.missing,
        "references": reference_facts(setup.references),
        "measures": {name: measures[name].stated() for name in names},
        "options": {metric.name: metric.options for metric in setup.metrics if metric.options},
        "intervals": {
            "level": 0.95,
            "seed": 0,
            "jackknife_groups": intervals.GROUPS,
            "bootstrap_draws": intervals.DRAWS,
            "methods": {
                name: sorted({row.interval for row in rows if row.metric == name and row.interval})
                for name in names
            },
        },
        "counts": {images.model: _counts(images, findings[images.model]) for images in sets},
        "prompts": {
            "count": len(prompts),
            "duplicates": len(prompts) - len(set(prompts)),
            "sha256": texts_sha256(prompts),
            "list": listed,
        },
        "vocabulary": _vocabulary(prompts),
        "image_notes": {
            model: [*absent(found), *validation.notes(found)] for model, found in findings.items()
        },
        "versions": {
            "evalkit": _version(DISTRIBUTION),
            **{
                name: _version(name)
                for name in ("torch", "numpy", "scipy", "pillow", "transformers")
            },
        },
    }


def encoder_facts(
    encoders: Mapping[EncoderKind, Encoder | LoadedScorer],
) -> dict[str, dict[str, Any]]:
    """What identifies the encoder of each kind; each scorer is a kind."""
    return {
        kind: {"name": encoder.name, "fingerprint": encoder.fingerprint}
        for kind, encoder in encoders.items()
    }


def encoder_names(encoders: Mapping[EncoderKind, Mapping[str, Any]]) -> list[str]:
    """The names in what `encoder_facts` gave, each once; not those of scorers."""
    return list(dict.fromkeys(one["name"] for kind, one in encoders.items() if not is_scorer(kind)))


def encoding_facts(evidence: Mapping[EncoderKind, Evidence]) -> dict[str, dict[str, str]]:
    """The device and the number format of the encoding, by kind; "" if a part is not known."""
    found: dict[str, dict[str, str]] = {}
    for kind, one in evidence.items():
        parts = [text.rpartition(" ") for text in sorted(one.made_on)]
        both = [dict.fromkeys(part[at] for part in parts) for at in (0, 2)]
        device, dtype = ("" if "" in names else " and ".join(names) for names in both)
        found[kind] = {"device": device, "dtype": dtype}
    return found


def reference_facts(references: Mapping[EncoderKind, Reference]) -> dict[str, dict[str, Any]]:
    """What identifies the reference of each kind of encoder."""
    return {
        kind: {
            "name": reference.name,
            "encoder": reference.encoder,
            "count": reference.count or None,
            "stored_features": max(map(len, reference.features.values()), default=0),
            "image_hash": reference.image_hash,
            "sha256": reference.sha256,
        }
        for kind, reference in references.items()
    }


def _counts(images: ImageSet, found: Mapping[str, Any]) -> dict[str, int]:
    statuses = [record.status for record in images.all_records]
    refused = sum(status.startswith("refused") for status in statuses)
    made, missing = statuses.count("ok"), statuses.count("missing")
    return {
        "requested": images.requested,
        "ok": made,
        "refused": refused,
        "failed": len(statuses) - made - refused - missing,
        "missing": found["missing"]["count"],
        "skipped": found["skipped"],
        "duplicate_images": found["duplicates"]["count"],
    }


def _vocabulary(prompts: Sequence[str]) -> dict[str, int]:
    found = coverage(prompts)
    return {
        "known_words": sum(item.known for item in found),
        "total_words": sum(item.total for item in found),
        "prompts_without_known_word": sum(item.known == 0 for item in found),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
