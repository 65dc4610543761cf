"""The mutation test itself, on a small module whose mutants are known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
MODULE = '''"""A module of one function."""
def counted(a: int) -> int:
    """At least 0."""
    if a < 0:
        raise ValueError(f"{a - 1} is below 0; " + "expected 1 or more")
    return a
'''
TESTS = """from small import counted
import pytest
def test_counted():
    assert counted(3) == 3
    with pytest.raises(ValueError):
        counted(-1)
"""
SCRIPT = """import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
sys.path.insert(0, ".")
import mutants
mutants.ROOT = Path.cwd()
for one in mutants.mutants_of(Path("small.py")):
    alive = mutants.survives(one, ["test_small.py"])
    print(one.text.split("->")[1].strip(), "survives" if alive else "killed", sep=": ")
"""


def test_a_mutant_survives_only_where_no_test_fails(tmp_path: Path) -> None:
    """Messages, annotations and docstrings have no mutants."""
    (tmp_path / "small.py").write_text(MODULE)
    (tmp_path / "test_small.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    quick = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(BENCHMARKS)],
        capture_output=True, text=True, cwd=tmp_path, check=True, env=quick,
    )  # fmt: skip
    assert found.stdout.splitlines() == [
        "a <= 0: survives",  # no test has a = 0
        "a >= 0: killed",
        "1: survives",
        "-1: killed",
        "pass: killed",
        "return None: killed",
    ]
