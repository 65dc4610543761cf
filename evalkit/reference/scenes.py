"""The reference statistics of the bundled data set, from scenes that are not used in training."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from evalkit import plugins
from evalkit.reference.build import build_from_images
from evalkit.scenes.compose import compose, render
from evalkit.scenes.dataset import REFERENCE


def build_scenes_reference(
    *,
    name: str = "scenes",
    out: Path | str | None = None,
    count: int = 10_000,
    device: str = "auto",
) -> Path:
    """Compute the statistics of `count` scenes for both mini encoders; returns the folder."""
    seeds = range(REFERENCE, REFERENCE + count)
    return build_from_images(
        (Image.fromarray(render(compose(seed), 32)) for seed in seeds),
        name=name,
        encoders=[plugins.encoder(encoder, device) for encoder in ("mini-inception", "mini-clip")],
        out=out,
        count=count,
        card={
            "source": "composed by evalkit.scenes from seeds that no training uses",
            "description": f"{count} scenes of the bundled data set, 32 x 32 pixels",
            "licence": "Apache-2.0; the sprites' licences are in "
            "evalkit/scenes/sprites/LICENSES.md",
            "command": f"evalkit reference build scenes --name {name}",
        },
    )
