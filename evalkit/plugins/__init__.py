"""From a spec to an object: generators, encoders, scorers and metrics of any package.

Nothing is imported before it is asked for.
"""

from __future__ import annotations

from evalkit.plugins.generators import BUNDLED, FOLDER, PIPELINE, Model, load_generator, models
from evalkit.plugins.importing import PACKAGES, PluginKind, find, names, own_names
from evalkit.plugins.measures import (
    encoder,
    load_scorer,
    metric,
    metric_names,
    scorer,
    scorer_names,
)
from evalkit.plugins.options import BOUND, checked_options

__all__ = [
    "BOUND",
    "BUNDLED",
    "FOLDER",
    "PACKAGES",
    "PIPELINE",
    "Model",
    "PluginKind",
    "checked_options",
    "encoder",
    "find",
    "load_generator",
    "load_scorer",
    "metric",
    "metric_names",
    "models",
    "names",
    "own_names",
    "scorer",
    "scorer_names",
]
