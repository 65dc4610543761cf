"""Damage that the model makes itself: its images with half the guidance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evalkit.config import Config, load_config
from evalkit.core import EvalkitError
from evalkit.features.image_file import ImageFile
from evalkit.features.image_sets import ImageSet
from evalkit.generate.generate import generate
from evalkit.run_folder import Run


def guidance_of(run: Run, label: str) -> float | str:
    """The guidance that a model's images were made with, or why they cannot be made with half."""
    if any(record.attempts for record in run.records(label)):
        return "a remote service makes its images: they would cost money"
    value = _config(run, label).options.get(label, {}).get("guidance")
    if isinstance(value, int | float) and value > 0:
        return float(value)
    return f"run.toml states no guidance of {label!r}"


def with_half_guidance(run: Run, label: str, images: ImageSet, folder: Path) -> list[ImageFile]:
    """The images of a set, made again in a folder with half the guidance, in their order."""
    guidance = guidance_of(run, label)
    assert isinstance(guidance, float)
    config = _config(run, label)
    options = {label: {**config.options.get(label, {}), "guidance": guidance / 2}}
    made = generate(replace(config, out=str(folder / "run"), options=options))
    files = {
        (one.index, one.sample): ImageFile(made.image_path(label, one), one.sha256)
        for one in made.records(label)
        if one.status == "ok"
    }
    wanted = [(one.index, one.sample) for one in images.records]
    if any(key not in files for key in wanted):
        raise EvalkitError(
            f"With half the guidance {label} made {len(files)} of {len(wanted)} images.",
            "Test without `--generate`.",
            code="gate-49",
        )
    return [files[key] for key in wanted]


def _config(run: Run, label: str) -> Config:
    """The configuration of the run, of this model only."""
    spec = run.model(label).get("spec", label)
    text = label if spec == label else f"{label}={spec}"
    return load_config(run.config_path, {"models": (text,)})
