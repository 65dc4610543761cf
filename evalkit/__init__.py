"""evalkit: honest, comparable numbers for text-to-image generators.

Public names load on first use, so that `import evalkit` is fast and silent. Not even `typing` is
imported: until __main__.py has run, Ctrl-C prints a traceback.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evalkit import figures as figures
    from evalkit.api import generate as generate
    from evalkit.api import run as run
    from evalkit.compare.compare import compare as compare
    from evalkit.compare.report import report as report
    from evalkit.config import Config as Config
    from evalkit.core import EvalkitError as EvalkitError
    from evalkit.core import Metric as Metric
    from evalkit.core import Prompt as Prompt
    from evalkit.crosscheck.crosscheck import crosscheck as crosscheck
    from evalkit.doctor.doctor import doctor as doctor
    from evalkit.encoders.manage_weights import weights_fetch as weights_fetch
    from evalkit.encoders.manage_weights import weights_import as weights_import
    from evalkit.encoders.manage_weights import weights_list as weights_list
    from evalkit.encoders.manage_weights import weights_verify as weights_verify
    from evalkit.export.hub import export_hub as export_hub
    from evalkit.export.imagefolder import export_imagefolder as export_imagefolder
    from evalkit.export.tracker import export_tracker as export_tracker
    from evalkit.gate.baseline import baseline_save as baseline_save
    from evalkit.gate.baseline import baseline_update as baseline_update
    from evalkit.gate.gate import gate as gate
    from evalkit.gate.selftest.selftest import gate_selftest as gate_selftest
    from evalkit.init.init import init as init
    from evalkit.judge.appraisal import appraise as appraise
    from evalkit.judge.judge import judge as judge
    from evalkit.listing import list_encoders as list_encoders
    from evalkit.listing import list_generators as list_generators
    from evalkit.listing import list_metrics as list_metrics
    from evalkit.listing import list_runs as list_runs
    from evalkit.listing import list_scenes as list_scenes
    from evalkit.listing import list_scorers as list_scorers
    from evalkit.listing import list_suites as list_suites
    from evalkit.plugins import encoder as encoder
    from evalkit.rate.export_ratings import rate_export as rate_export
    from evalkit.rate.import_ratings import rate_import as rate_import
    from evalkit.rate.judge.judge import rate_judge as rate_judge
    from evalkit.rate.plan import rate_plan as rate_plan
    from evalkit.rate.serve.serve import rate_serve as rate_serve
    from evalkit.rate.summary import rate_summary as rate_summary
    from evalkit.reference.build import reference_build as reference_build
    from evalkit.reference.exchange import reference_export as reference_export
    from evalkit.reference.exchange import reference_import as reference_import
    from evalkit.reference.files import reference as reference
    from evalkit.reference.files import reference_list as reference_list
    from evalkit.reference.files import reference_show as reference_show
    from evalkit.report.tables import tables as tables
    from evalkit.results import Run as Run
    from evalkit.results import load as load
    from evalkit.score.conventions import conventions as conventions
    from evalkit.score.encode import encode as encode
    from evalkit.score.score import score as score
    from evalkit.scorer import Answer as Answer
    from evalkit.scorer import NoAnswer as NoAnswer
    from evalkit.scorer import Scorer as Scorer
    from evalkit.serve.serve import serve as serve
    from evalkit.training import train as train
    from evalkit.training.presets import list_training as list_training

    __version__: str

_PUBLIC = {  # name: the module that defines it
    "Answer": "evalkit.scorer",
    "Config": "evalkit.config",
    "EvalkitError": "evalkit.core",
    "Metric": "evalkit.core",
    "NoAnswer": "evalkit.scorer",
    "Prompt": "evalkit.core",
    "Run": "evalkit.results",
    "Scorer": "evalkit.scorer",
    "appraise": "evalkit.judge.appraisal",
    "baseline_save": "evalkit.gate.baseline",
    "baseline_update": "evalkit.gate.baseline",
    "compare": "evalkit.compare.compare",
    "conventions": "evalkit.score.conventions",
    "crosscheck": "evalkit.crosscheck.crosscheck",
    "doctor": "evalkit.doctor.doctor",
    "encode": "evalkit.score.encode",
    "encoder": "evalkit.plugins",
    "export_hub": "evalkit.export.hub",
    "export_imagefolder": "evalkit.export.imagefolder",
    "export_tracker": "evalkit.export.tracker",
    "figures": "evalkit.figures",
    "gate": "evalkit.gate.gate",
    "gate_selftest": "evalkit.gate.selftest.selftest",
    "generate": "evalkit.api",
    "init": "evalkit.init.init",
    "judge": "evalkit.judge.judge",
    "list_encoders": "evalkit.listing",
    "list_generators": "evalkit.listing",
    "list_metrics": "evalkit.listing",
    "list_runs": "evalkit.listing",
    "list_scenes": "evalkit.listing",
    "list_scorers": "evalkit.listing",
    "list_suites": "evalkit.listing",
    "list_training": "evalkit.training.presets",
    "load": "evalkit.results",
    "rate_export": "evalkit.rate.export_ratings",
    "rate_import": "evalkit.rate.import_ratings",
    "rate_judge": "evalkit.rate.judge.judge",
    "rate_plan": "evalkit.rate.plan",
    "rate_serve": "evalkit.rate.serve.serve",
    "rate_summary": "evalkit.rate.summary",
    "reference": "evalkit.reference.files",
    "reference_build": "evalkit.reference.build",
    "reference_export": "evalkit.reference.exchange",
    "reference_import": "evalkit.reference.exchange",
    "reference_list": "evalkit.reference.files",
    "reference_show": "evalkit.reference.files",
    "report": "evalkit.compare.report",
    "run": "evalkit.api",
    "score": "evalkit.score.score",
    "serve": "evalkit.serve.serve",
    "tables": "evalkit.report.tables",
    "train": "evalkit.training",
    "weights_fetch": "evalkit.encoders.manage_weights",
    "weights_import": "evalkit.encoders.manage_weights",
    "weights_list": "evalkit.encoders.manage_weights",
    "weights_verify": "evalkit.encoders.manage_weights",
}
__all__ = list(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        from evalkit.core import DISTRIBUTION

        return version(DISTRIBUTION)
    if name not in _PUBLIC:
        raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_PUBLIC[name])
    # `figures` is a room of functions that can itself be called.
    value = module if name == "figures" else getattr(module, name)
    globals()[name] = value
    return value


_Module = type(sys)


class _Package(_Module):
    """Keeps `evalkit.score` the function, although the folder evalkit/score/ has the same name.

    Importing a submodule binds the subpackage as an attribute of its parent. This class skips that
    binding for public names. `from evalkit.score.measure import measure` still works.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PUBLIC and isinstance(value, _Module)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, "__version__"})
