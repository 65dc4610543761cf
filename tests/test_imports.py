"""Importing is fast and silent, and public names are never shadowed by submodules."""

import json
import resource
import subprocess
import sys

import pytest

SLOW = ("torch", "PIL", "matplotlib", "pandas", "numpy", "scipy", "torchmetrics", "rich.console")

HELP = """
import sys; sys.argv = {}
from evalkit.cli.app import main
try: main()
except SystemExit as end: assert not end.code
"""


def python(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    "code",
    [
        "import evalkit",
        "import evalkit; dir(evalkit); evalkit.__version__",
        "import evalkit.cli.app",
        "from evalkit import Config, EvalkitError, Metric, Prompt, Run",
        HELP.format(["evalkit", "--help"]),
        HELP.format(["evalkit", "run", "--help"]),
    ],
)
def test_nothing_slow_is_imported(code: str) -> None:
    output = python(f"{code}\nimport json, sys; print(); print(json.dumps(sorted(sys.modules)))")
    modules = set(json.loads(output.splitlines()[-1]))
    assert "evalkit" in modules
    assert not modules & set(SLOW)


def test_import_prints_nothing() -> None:
    assert python("import evalkit, evalkit.cli.app, evalkit.api") == ""


def test_help_is_fast() -> None:
    """Processor time, the best of five: the wall clock of a busy machine says little."""
    times: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python(
            "import sys; sys.argv = ['evalkit', '--help']\nfrom evalkit.cli.app import main; main()"
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5


def test_public_names_resolve_and_survive_the_import_of_every_submodule() -> None:
    code = """
import importlib, pkgutil, evalkit
for item in pkgutil.iter_modules(evalkit.__path__):
    importlib.import_module(f"evalkit.{item.name}")
modules = {item.name for item in pkgutil.iter_modules(evalkit.__path__)}
print(sorted(modules & set(evalkit.__all__)))
print([name for name in evalkit.__all__ if not callable(getattr(evalkit, name))])
"""
    assert python(code) == "[]\n[]\n"


def test_unknown_names_and_dir() -> None:
    import evalkit

    assert set(evalkit.__all__) <= set(dir(evalkit))
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = evalkit.rum
    with pytest.raises(ImportError):
        from evalkit import generat
