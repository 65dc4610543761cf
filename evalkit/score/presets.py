"""Sets of metrics and common spellings of their names."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit import plugins

# Measured where no metric is named.
DEFAULT = ("fid", "kid", "inception_score", "clip_score", "precision", "recall")
PRESETS: dict[str, tuple[str, ...]] = {
    "all": (),  # every installed metric; a scorer, which may cost hours or money, is named
    "default": DEFAULT,
    "quality": ("fid", "kid", "inception_score", "precision", "density"),
    "alignment": ("clip_score", "retrieval_precision", "vqa_score"),
    "preference": ("pickscore", "hpsv2.1", "image_reward", "aesthetic"),
    "diversity": ("recall", "coverage", "vendi", "lpips_diversity"),
    "copying": ("memorization", "duplicates"),
}
# In lower case with underscores, as every name is compared.
ALIASES: dict[str, tuple[str, ...]] = {
    "frechet_inception_distance": ("fid",),
    "kernel_inception_distance": ("kid",),
    "is": ("inception_score",),
    "clip": ("clip_score",),
    "clipscore": ("clip_score",),
    "fd_dino": ("fd_dinov2",),
    "lpips": ("lpips_diversity",),
    "pr": ("precision", "recall"),
    "dc": ("density", "coverage"),
    "prdc": ("precision", "recall", "density", "coverage"),
    "usual": DEFAULT,
    "standard": DEFAULT,
    "text": PRESETS["alignment"],
}


def expand(specs: Sequence[str]) -> tuple[str, ...]:
    """The metrics that are meant, by installed name: `("FID", "pr")` is fid, precision, recall.

    The exact name of an installed metric is always this metric. One that several presets hold is
    there once; one that is named twice is there twice, for `select` to refuse. Unknown names and
    `package.module:attribute` specs stay as they are.
    """
    meant = [_meant(spec) for spec in specs]
    named = [names[0] for names in meant if len(names) == 1]
    twice = [name for place, name in enumerate(named) if name in named[:place]]
    return (*dict.fromkeys(name for names in meant for name in names), *twice)


def _meant(spec: str) -> tuple[str, ...]:
    installed = plugins.metric_names()
    if spec in installed or ":" in spec:
        return (spec,)
    name = spec.strip().lower().replace("-", "_").replace(" ", "_")
    if name in installed:
        return (name,)
    if name == "all":
        return (*DEFAULT, *(other for other in plugins.names("metric") if other not in DEFAULT))
    return PRESETS.get(name) or ALIASES.get(name) or (spec,)
