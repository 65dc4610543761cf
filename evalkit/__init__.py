"""evalkit: honest, comparable numbers for text-to-image generators.

Public names load on first use, so that `import evalkit` is fast and silent.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.api import estimate as estimate
    from evalkit.api import generate as generate
    from evalkit.api import run as run
    from evalkit.config import Config as Config
    from evalkit.core import EvalkitError as EvalkitError
    from evalkit.core import Metric as Metric
    from evalkit.core import Prompt as Prompt
    from evalkit.diagnosis import doctor as doctor
    from evalkit.encoders.manage_weights import weights_fetch as weights_fetch
    from evalkit.encoders.manage_weights import weights_import as weights_import
    from evalkit.encoders.manage_weights import weights_list as weights_list
    from evalkit.encoders.manage_weights import weights_verify as weights_verify
    from evalkit.plugins import encoder as encoder
    from evalkit.run_folder import Run as Run
    from evalkit.stages.conventions import conventions as conventions
    from evalkit.stages.reference import available as reference_list
    from evalkit.stages.reference import build as reference_build
    from evalkit.stages.reference_exchange import export as reference_export
    from evalkit.stages.reference_exchange import import_file as reference_import
    from evalkit.stages.reference_files import card_text as reference_show
    from evalkit.stages.reference_files import load as reference
    from evalkit.stages.report import report as report
    from evalkit.stages.score import score as score
    from evalkit.training import train as train
    from evalkit.training.quality import judge as judge
    from evalkit.web.serving import serve as serve

    __version__: str

# No public name may be the name of a submodule: importing `evalkit.x` sets the attribute `x`, whatever stood there.
_PUBLIC = {
    "Config": "evalkit.config:Config",
    "EvalkitError": "evalkit.core:EvalkitError",
    "Metric": "evalkit.core:Metric",
    "Prompt": "evalkit.core:Prompt",
    "Run": "evalkit.run_folder:Run",
    "conventions": "evalkit.stages.conventions:conventions",
    "doctor": "evalkit.diagnosis:doctor",
    "encoder": "evalkit.plugins:encoder",
    "estimate": "evalkit.api:estimate",
    "generate": "evalkit.api:generate",
    "judge": "evalkit.training.quality:judge",
    "reference": "evalkit.stages.reference_files:load",
    "reference_build": "evalkit.stages.reference:build",
    "reference_export": "evalkit.stages.reference_exchange:export",
    "reference_import": "evalkit.stages.reference_exchange:import_file",
    "reference_list": "evalkit.stages.reference:available",
    "reference_show": "evalkit.stages.reference_files:card_text",
    "report": "evalkit.stages.report:report",
    "run": "evalkit.api:run",
    "score": "evalkit.stages.score:score",
    "serve": "evalkit.web.serving:serve",
    "train": "evalkit.training:train",
    "weights_fetch": "evalkit.encoders.manage_weights:weights_fetch",
    "weights_import": "evalkit.encoders.manage_weights:weights_import",
    "weights_list": "evalkit.encoders.manage_weights:weights_list",
    "weights_verify": "evalkit.encoders.manage_weights:weights_verify",
}
__all__ = [
    "Config",
    "EvalkitError",
    "Metric",
    "Prompt",
    "Run",
    "conventions",
    "doctor",
    "encoder",
    "estimate",
    "generate",
    "judge",
    "reference",
    "reference_build",
    "reference_export",
    "reference_import",
    "reference_list",
    "reference_show",
    "report",
    "run",
    "score",
    "serve",
    "train",
    "weights_fetch",
    "weights_import",
    "weights_list",
    "weights_verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("evalkit")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, "__version__"})
