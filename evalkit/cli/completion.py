"""What the shell proposes for names of models, metrics and encoders, in lists with commas too."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path


def models(incomplete: str) -> list[str]:
    """Installed generators and folders."""
    from evalkit import plugins

    part = incomplete.rpartition(",")[2]
    folders = [f"{path}/" for path in glob.glob(f"{glob.escape(part)}*") if Path(path).is_dir()]
    return _last(incomplete, [*plugins.names("generator"), *sorted(folders)])


def metrics(incomplete: str) -> list[str]:
    """Installed metrics and presets."""
    from evalkit import plugins
    from evalkit.score.presets import PRESETS

    return _last(incomplete, [*PRESETS, *plugins.metric_names()])


def encoders(incomplete: str) -> list[str]:
    """Installed encoders and choices."""
    from evalkit import plugins

    return _last(incomplete, ["auto", "standard", "mini", *plugins.names("encoder")])


def _last(incomplete: str, known: Iterable[str]) -> list[str]:
    """The list so far with each known name that its last part begins."""
    before, comma, part = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in known if name.startswith(part)]
