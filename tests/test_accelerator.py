"""The benchmark of accelerators runs on a CPU, and says what it did not measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "accelerator.py"


def rows(folder: Path, *options: str) -> list[dict]:
    command = [sys.executable, str(SCRIPT), "--quick", "--device", "cpu", *options]
    done = subprocess.run(
        [*command, "--encoders", "clip-b32,dinov2-l14"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "accelerator.json").read_text())["rows"]
    assert all(f"| {row['part']} | {row['what']} |" in done.stdout for row in found)
    return found


def test_every_part_has_figures(tmp_path: Path) -> None:
    found = rows(tmp_path, "--parts", "network,end,decode,error,same")
    parts = {row["part"] for row in found}
    assert parts == {"network", "end to end", "decoding", "error", "same bits"}
    figures = {row["what"]: row["figure"] for row in found if row["part"] == "end to end"}
    assert set(figures) == {"clip-b32", "clip-b32-bf16", "dinov2-l14", "dinov2-l14-bf16"}
    assert all(figure > 0 for figure in figures.values())
    assert all(row["figure"] == 1 for row in found if row["part"] == "same bits")
    [decoded] = [row for row in found if row["what"] == "evalkit, checks included"]
    assert decoded["remark"] == "100.0% equal to Pillow's"
    errors = [row for row in found if "distance from exact" in row["what"]]
    assert len(errors) == 2
    assert all(row["figure"] > 0 for row in errors)


def test_what_the_time_does_not_suffice_for_is_named(tmp_path: Path) -> None:
    found = rows(tmp_path, "--parts", "decode,same", "--seconds", "0")
    assert [row["what"] for row in found] == ["Pillow", "what would follow"]
    assert found[-1]["remark"] == "left out: the time was over"
