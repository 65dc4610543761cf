"""The reference statistics of the bundled world: scenes that nothing was trained on."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from evalkit import plugins
from evalkit.reference.build import build_from_images
from evalkit.scenes.compose import compose, render
from evalkit.scenes.dataset import REFERENCE


def build_world_reference(
    *, name: str = "scenes", out: Path | None = None, count: int = 10_000, device: str = "auto"
) -> Path:
    """Moments and a sample of the features of `count` scenes, for both mini encoders; returns the
    folder.
    """
    pictures = (
        Image.fromarray(render(compose(seed), 32)) for seed in range(REFERENCE, REFERENCE + count)
    )
    return build_from_images(
        pictures,
        name=name,
        encoders=[plugins.encoder(name, device) for name in ("mini-inception", "mini-clip")],
        out=out,
        count=count,
        source="composed by evalkit.scenes from seeds that no training uses",
        description=f"{count} scenes of the bundled world, 32 x 32 pixels",
        licence="Apache-2.0; the sprites' licences are in evalkit/scenes/sprites/LICENSES.md",
        command=f"evalkit reference build scenes --name {name}",
    )
