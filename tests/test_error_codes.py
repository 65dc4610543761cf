"""Every error has a code of its own, which is shown, and which the documentation explains."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pages import ROOT
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError

PACKAGE = Path(evalkit.__file__).parent
NAMES = {"EvalkitError", "Unavailable", "UnknownMetric", "ScorerFailed", "_WrongCountError"}


def calls() -> list[tuple[Path, ast.Call]]:
    """Every place that makes an error."""
    return [
        (path.relative_to(PACKAGE), node)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and NAMES & {getattr(node.func, "id", ""), getattr(node.func, "attr", "")}
    ]


def test_the_errors_are_those_that_are_looked_at():
    kinds, found = [EvalkitError], set[str]()
    while kinds:
        kind = kinds.pop()
        found.add(kind.__name__)
        kinds += [one for one in kind.__subclasses__() if one.__module__.startswith("evalkit.")]
    assert found <= NAMES


def test_every_error_has_a_code_of_its_room_and_no_two_the_same():
    used: Counter[str] = Counter()
    for path, call in calls():
        codes = [key.value for key in call.keywords if key.arg == "code"]
        where = f"{path}:{call.lineno}"
        assert len(codes) == 1, f"{where} has no code"
        if isinstance(codes[0], ast.Constant):
            room = path.parts[0] if len(path.parts) > 1 else path.stem
            name, _, number = str(codes[0].value).rpartition("-")
            assert name == room, where
            assert int(number) > 0, where
            used[codes[0].value] += 1
        else:  # an error that is passed on with more words
            assert ast.unparse(codes[0]).endswith(".code"), where
    assert [code for code, count in used.items() if count > 1] == []


def test_the_pages_list_the_errors_of_the_source():
    command = [sys.executable, str(ROOT / "docs" / "make_errors.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_code_is_at_the_end_of_an_error(tmp_path: Path):
    shown = CliRunner().invoke(app, ["encode", str(tmp_path)])
    assert shown.exit_code == 2
    first, *_ = shown.stderr.splitlines()
    with pytest.raises(EvalkitError) as error:
        evalkit.encode(tmp_path)
    assert first == f"error: {error.value.message} [{error.value.code}]"
    assert str(error.value).endswith(f" [{error.value.code}]")
    page = (ROOT / "docs" / "errors" / "score.md").read_text(encoding="utf-8")
    assert f"| `{error.value.code}` | … is not a run folder. |" in page


def test_an_error_of_a_plug_in_needs_no_code():
    assert str(EvalkitError("It is wrong.", "Mend it.")) == "It is wrong. Mend it."
