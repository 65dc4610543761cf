"""`evalkit doctor`: states, advice and exit codes; faults of an installation are found."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from typer.testing import CliRunner

import evalkit
from evalkit import plugins
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.doctor import doctor, encoders, folders, machine, metrics, networks, packages
from evalkit.doctor.check import Check, reason
from evalkit.doctor.packages import Needed
from evalkit.encoders import weights
from evalkit.encoders.weight_files import FILES

PACKAGE = Path(evalkit.__file__).parent


def bad(lines: Sequence[Check]) -> list[Check]:
    return [line for line in lines if line.state == "bad"]


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["doctor", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def without_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing every package takes ten seconds."""
    monkeypatch.setattr(packages, "failed_imports", lambda modules: {})


def test_metrics_and_networks_of_this_installation_are_right() -> None:
    lines = [*metrics.checks(), *networks.checks()]
    assert not bad(lines)
    topics = {line.topic for line in lines}
    assert {f"metric {name}" for name in plugins.names("metric")} <= topics
    assert {"dalle on cpu", "resize inception-clean", "weights gan.safetensors"} <= topics


def test_the_whole_report_as_lines_and_as_json(without_imports: None) -> None:
    status, output, errors = call("--json")
    rows = json.loads(output)
    assert list(rows[0]) == ["topic", "state", "finding", "advice"]
    assert {row["state"] for row in rows} <= {"ok", "note", "bad"}
    assert all(bool(row["advice"]) == (row["state"] != "ok") for row in rows)
    assert status == (2 if any(row["state"] == "bad" for row in rows) else 0)
    topics = {row["topic"]: row for row in rows}
    assert topics["torch"]["finding"].startswith(torch.__version__)
    assert topics["encoder timm"]["finding"].endswith("write `timm:MODEL`")
    assert {"python", "packages", "clock", "current folder", "device cpu", "metric fid"} <= set(
        topics
    )
    assert errors.splitlines()[-1].startswith(("all ", "hint: "))


def test_nothing_bad_is_exit_code_0_with_a_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PARTS", ("metrics",))
    status, output, errors = call()
    assert (status, errors) == (0, "all 19 checks are ok, 0 notes\n")
    assert output.splitlines()[0] == "topic\tstate\tfinding\tadvice"


def test_a_damaged_library_makes_metrics_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda matrix: right(matrix) * 1.0001)
    monkeypatch.setattr(doctor, "PARTS", ("metrics",))
    status, output, errors = call("--json")
    rows = {row["topic"]: row for row in json.loads(output)}
    assert status == 2
    assert (rows["metric vendi"]["state"], rows["metric kid"]["state"]) == ("bad", "ok")
    assert "where numpy" in rows["metric vendi"]["finding"]
    assert errors.startswith("error: ")
    assert "metric vendi" in errors


def test_a_check_that_fails_is_a_line_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PARTS", ("no_such_part", "folders"))
    first, *rest = evalkit.doctor()
    assert (first.topic, first.state) == ("no_such_part", "bad")
    assert "ModuleNotFoundError" in first.finding
    assert [line.topic for line in rest][:1] == ["current folder"]


def test_a_changed_metric_and_a_changed_weight_are_found(tmp_path: Path) -> None:
    """A copy of the package with another factor in CMMD, and with other weights of a network."""
    copy = tmp_path / "evalkit"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    source = copy / "metrics" / "cmmd.py"
    source.write_text(source.read_text().replace("SCALE = 1000.0", "SCALE = 1001.0"))
    file = copy / "weights" / "mini-coach.safetensors"
    data = bytearray(file.read_bytes())
    half = len(data) // 2
    data[half:] = bytes(byte & 0xBF for byte in data[half:])  # smaller exponents: still numbers
    file.write_bytes(data)
    code = (
        "from evalkit.doctor import doctor; doctor.PARTS = ('metrics', 'networks');"
        "from evalkit.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr.decode()
    rows = json.loads(done.stdout)
    assert [row["topic"] for row in rows if row["state"] == "bad"] == [
        "metric cmmd",
        "weights mini-coach.safetensors",
        "mini-coach on cpu",
    ]


def test_weights_that_are_missing_are_a_note_and_damaged_ones_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "cached", lambda file: None)
    monkeypatch.setattr(weights, "_hub_cache", lambda: tmp_path)
    found = {line.topic: line for line in encoders.checks()}
    assert found["encoder clip-b32"] == Check(
        "encoder clip-b32",
        "note",
        "the weights of clip-b32 were not found in the cache; licence of the weights: MIT",
        "Run `evalkit weights fetch clip-b32`.",
    )
    (tmp_path / "cut").write_bytes(b"the first bytes")
    name = weights.NEEDS["clip-b32"][0][0]
    monkeypatch.setattr(
        weights, "cached", lambda file: tmp_path / "cut" if file == FILES[name].file else None
    )
    found = {line.topic: line for line in encoders.checks()}
    assert found["encoder clip-b32"].state == "bad"
    assert "has 15 bytes" in found["encoder clip-b32"].finding
    others = [line for line in found.values() if not line.topic.startswith("encoder clip-b32")]
    assert not bad(others)


def test_packages_that_are_missing_old_or_broken(tmp_path: Path) -> None:
    wanted = [
        Needed(Requirement(text), "")
        for text in ("numpy>=1", "pillow>=999", "no-such-package-here>=1")
    ]
    found = packages.problems(wanted)
    assert found["no-such-package-here"] == "no-such-package-here is not installed"
    assert found["pillow"].endswith("; evalkit supports >=999")
    assert set(found) == {"pillow", "no-such-package-here"}


def test_a_library_that_ends_python_does_not_end_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_python.py").write_text("import os; os._exit(7)")
    (tmp_path / "raises.py").write_text("print('noise'); raise OSError('libfoo.so is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert packages.failed_imports(["json", "raises", "ends_python", "csv"]) == {
        "raises": "raises cannot be imported: OSError: libfoo.so is missing",
        "ends_python": "ends_python ended Python with code 7 when imported",
    }


def test_extras_are_optional_and_required_packages_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = {"timm": "timm cannot be imported: x", "scipy": "scipy cannot be imported: x"}
    monkeypatch.setattr(packages, "failed_imports", lambda modules: broken)
    found = {line.topic: line for line in packages.checks()}
    assert (found["extra timm"].state, found["package scipy"].state) == ("note", "bad")
    # It is installed, so that `pip install` alone would do nothing.
    assert "Run `pip uninstall timm`, then `pip install timm`" in found["extra timm"].advice


def test_an_error_of_evalkit_is_a_line_without_its_code() -> None:
    error = EvalkitError("The file is damaged.", "Fetch it with `evalkit x`.", code="doctor-99")
    assert reason(error) == "The file is damaged."


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = folders.folder("cache", tmp_path / "file" / "cache", 0, "note", "use another one")
    assert (found.state, found.advice) == ("note", "Use another one.")
    assert "cannot be written" in found.finding
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_full_or_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = tmp_path / "not" / "yet"
    assert folders.folder("here", later, 0, "bad", "").state == "ok"
    assert not later.exists()
    full = folders.folder("here", later, 1e9, "bad", "use another one")
    assert (full.state, full.advice) == ("bad", "Free some space, or use another one.")

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folders, "take_lock", refuse)
    found = folders.folder("here", tmp_path, 0, "bad", "")
    assert (found.state, "has no locks" in found.finding) == ("note", True)
    assert not list(tmp_path.iterdir())


def test_a_clock_in_the_past_and_a_file_server_with_another_clock() -> None:
    now = (PACKAGE / "__init__.py").stat().st_mtime + 3600
    now = max(now, machine.RELEASED + 3600)
    assert machine.clock(now, now + 5).state == "ok"
    past = machine.clock(0, 0)
    assert (past.state, past.finding) == (
        "bad",
        "1970-01-01 00:00 UTC, before evalkit was installed",
    )
    assert machine.clock(now, now - 900).finding.endswith("a time -900 s away")


def test_an_output_that_cannot_print_every_prompt_is_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled(), open(os.devnull, "w", encoding="ascii") as output:
        monkeypatch.setattr(sys, "stdout", output)
        found = machine.text_encoding()
    assert (found.state, "PYTHONUTF8=1" in found.advice) == ("note", True)
