"""evalkit: honest, comparable numbers for text-to-image generators.

Public names load on first use, so that `import evalkit` is fast and silent.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
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
    from evalkit.judge.judge import judge as judge
    from evalkit.plugins import encoder as encoder
    from evalkit.reference.build import available as reference_list
    from evalkit.reference.build import build as reference_build
    from evalkit.reference.exchange import export as reference_export
    from evalkit.reference.exchange import import_file as reference_import
    from evalkit.reference.files import card_text as reference_show
    from evalkit.reference.files import load as reference
    from evalkit.report.report import report as report
    from evalkit.run_folder import Run as Run
    from evalkit.score.conventions import conventions as conventions
    from evalkit.score.score import score as score
    from evalkit.serve.serve import serve as serve
    from evalkit.training import train as train

    __version__: str

_PUBLIC = {
    "Config": "evalkit.config:Config",
    "EvalkitError": "evalkit.core:EvalkitError",
    "Metric": "evalkit.core:Metric",
    "Prompt": "evalkit.core:Prompt",
    "Run": "evalkit.run_folder:Run",
    "conventions": "evalkit.score.conventions:conventions",
    "doctor": "evalkit.diagnosis:doctor",
    "encoder": "evalkit.plugins:encoder",
    "estimate": "evalkit.api:estimate",
    "generate": "evalkit.api:generate",
    "judge": "evalkit.judge.judge:judge",
    "reference": "evalkit.reference.files:load",
    "reference_build": "evalkit.reference.build:build",
    "reference_export": "evalkit.reference.exchange:export",
    "reference_import": "evalkit.reference.exchange:import_file",
    "reference_list": "evalkit.reference.build:available",
    "reference_show": "evalkit.reference.files:card_text",
    "report": "evalkit.report.report:report",
    "run": "evalkit.api:run",
    "score": "evalkit.score.score:score",
    "serve": "evalkit.serve.serve:serve",
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


class _Package(ModuleType):
    """`evalkit.score` is the function, although the folder evalkit/score/ has the same name.

    Importing any submodule of a package binds the subpackage as an attribute of its parent. Here
    public names keep what they stand for; `from evalkit.score.measure import measure` works as
    ever.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, "__version__"})
