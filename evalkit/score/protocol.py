"""protocol.json: everything that the numbers of a run depend on, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from evalkit.core import Metric, MetricRow
from evalkit.encoders.select import Choice, Kind
from evalkit.features import validation as firewall
from evalkit.features.image_sets import ImageSet
from evalkit.reference.files import Reference
from evalkit.scenes.vocabulary import coverage
from evalkit.score import measure
from evalkit.statistics import intervals


def facts(
    sets: Sequence[ImageSet],
    prompts: Sequence[str],
    table: Sequence[Metric],
    choice: Choice,
    references: Mapping[Kind, Reference],
    floors: Mapping[str, Mapping[str, float]],
    rows: Sequence[MetricRow],
    findings: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of protocol.json.

    fid_floor: by encoder and count, the FID of so many real images (see `fid_floor`). vocabulary:
    how many words of the prompts the bundled models can read. image_notes: by model, what the
    firewall found, in words (firewall.json has the names).
    """
    names = list(dict.fromkeys(row.metric for row in rows))
    return {
        "encoders": {
            kind: {"name": encoder.name, "fingerprint": encoder.fingerprint}
            for kind, encoder in choice.encoders.items()
        },
        "encoder_reasons": choice.reasons,
        "encoders_missing": choice.missing,
        "references": {
            kind: {
                "name": reference.name,
                "encoder": reference.encoder,
                "count": reference.count or None,
                "stored_features": max(map(len, reference.features.values()), default=0),
                "image_hash": reference.image_hash,
            }
            for kind, reference in references.items()
        },
        "metrics": {
            metric.name: {"options": measure.options(metric), "paper": metric.paper}
            for metric in table
        },
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
        "fid_floor": {encoder: dict(values) for encoder, values in floors.items() if values},
        "counts": {images.model: _counts(images, findings[images.model]) for images in sets},
        "prompts": {"count": len(prompts), "duplicates": len(prompts) - len(set(prompts))},
        "vocabulary": _vocabulary(prompts),
        "image_notes": {model: firewall.notes(found) for model, found in findings.items()},
        "versions": {
            name: _version(name)
            for name in ("evalkit", "torch", "numpy", "scipy", "pillow", "transformers")
        },
    }


def _counts(images: ImageSet, found: Mapping[str, Any]) -> dict[str, int]:
    statuses = [record.status for record in images.all_records]
    refused = sum(status.startswith("refused") for status in statuses)
    made = statuses.count("ok")
    return {
        "requested": images.requested,
        "ok": made,
        "refused": refused,
        "failed": len(statuses) - made - refused,
        "missing": max(0, images.requested - len(statuses)),
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
