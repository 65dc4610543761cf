"""Importing is fast and silent, and no submodule shadows a public name."""

import ast
import inspect
import json
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


def python(code: str, *arguments: str, warnings: str = "error") -> str:
    return subprocess.run(
        [sys.executable, "-W", warnings, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # where `main` leaves what is printed after it
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


def test_public_names_survive_the_import_of_every_submodule(request: pytest.FixtureRequest) -> None:
    """`evalkit.score` is a function and evalkit/score/ a package: the name stays the function."""
    code = """
import importlib, inspect, pkgutil, evalkit
names = [item.name for item in pkgutil.walk_packages(evalkit.__path__, "evalkit.")]
names.remove("evalkit.__main__")
for name in names:
    importlib.import_module(name)
packages = {name.removeprefix("evalkit.") for name in names}
print(len(names) > 100, sorted(packages & set(evalkit.__all__)))
print([name for name in evalkit.__all__ if not callable(getattr(evalkit, name))])
names = {name: getattr(evalkit, name).__name__ for name in evalkit.__all__}
print([name for name, own in names.items() if own not in (name, f"evalkit.{name}")])
from evalkit.score import measure
from evalkit.score.measure import measure as function
print(inspect.ismodule(measure), measure.measure is function, inspect.isfunction(evalkit.score))
"""
    shared = [
        *("compare", "crosscheck", "doctor", "figures", "gate", "generate", "init", "judge"),
        *("reference", "report", "score", "serve"),
    ]
    lenient = request.config.getoption("pythonwarnings")  # `nox -s minimums`
    output = python(code, warnings="ignore" if lenient else "error")
    assert output == f"True {shared}\n[]\n[]\nTrue True True\n"


def test_type_checkers_and_python_see_the_same_public_names() -> None:
    """The imports under TYPE_CHECKING name the modules that `__getattr__` imports at run time."""
    import evalkit

    tree = ast.parse(inspect.getsource(evalkit))
    [block] = [item for item in tree.body if isinstance(item, ast.If)]
    found = {
        alias.asname: item.module if item.module != "evalkit" else f"evalkit.{alias.asname}"
        for item in block.body
        if isinstance(item, ast.ImportFrom)
        for alias in item.names
        if alias.asname == alias.name
    }
    assert found == evalkit._PUBLIC


def test_unknown_names_and_dir() -> None:
    import evalkit

    assert set(evalkit.__all__) <= set(dir(evalkit))
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = evalkit.rum
    with pytest.raises(ImportError):
        exec("from evalkit import generat")
