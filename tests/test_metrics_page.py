"""docs/metrics.md: it names every metric, and what it shows runs, also as a plug-in of an installed
distribution.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evalkit
from evalkit import plugins
from evalkit.core import MetricRow
from evalkit.metrics import DEFAULT, DESCRIBE, LEAVE_OUT, METRICS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def block(info: str, start: str) -> str:
    """The one block of code of this language that begins so."""
    [found] = [
        text
        for text in re.findall(rf"```{info}\n(.*?)```", PAGE, re.DOTALL)
        if text.startswith(start)
    ]
    return found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(12):
        array = np.random.RandomState(seed).randint(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(array).resize((32, 32)).save(folder / f"{seed:05d}.png")
    return folder


def rows(pictures: Path, command: str) -> dict[str, MetricRow]:
    """What a command of the page measures, by metric."""
    start, names = command.strip().rsplit(" ", 1)
    assert start == "evalkit score pictures --metrics"
    found = evalkit.score(
        pictures, metrics=names.split(","), encoders="mini-inception", reference="scenes"
    )
    return {row.metric: row for row in found}


def test_every_metric_is_on_the_page_with_its_paper() -> None:
    for name, metric in METRICS.items():
        line = next(
            line
            for line in PAGE.splitlines()
            if line.startswith("|") and f"`{name}`" in line.split("|")[1]
        )
        assert metric.paper in PAGE, name
        assert metric.better in line.split("|")[3], name
    assert set(DEFAULT) <= set(METRICS)
    assert all(f"`{name}`" in PAGE.split("\n## ")[0] for name in DEFAULT)


def test_the_table_and_the_entry_points_are_the_same() -> None:
    assert set(METRICS) <= set(plugins.names("metric"))
    assert all(plugins.metric(name) is METRICS[name] for name in METRICS)
    assert set(LEAVE_OUT) <= set(METRICS)
    assert set(DESCRIBE) <= set(METRICS)
    for name, describe in DESCRIBE.items():
        for fake, real in ((1, 0), (12, 40), (50_000, 2000)):
            assert isinstance(describe(fake=fake, real=real), str), name


def test_your_own_metric_beside_the_prompts(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures.parent / "my_metrics.py").write_text(
        block("python", "# my_metrics.py"), encoding="utf-8"
    )
    monkeypatch.chdir(pictures.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = rows(pictures, block("bash", "evalkit score pictures --metrics fid,my"))
    monkeypatch.delitem(sys.modules, "my_metrics")
    spread = found["spread"]
    assert spread.low is not None
    assert spread.high is not None
    assert 0 < spread.low < (spread.value or 0) < spread.high
    assert spread.encoder == "mini-inception"
    assert (found["fid"].value or 0) > 0


def test_your_own_metric_by_the_name_of_an_installed_package(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, site = pictures.parent / "package", pictures.parent / "site"
    source.mkdir()
    (source / "my_metrics.py").write_text(block("python", "# my_metrics.py"), encoding="utf-8")
    (source / "pyproject.toml").write_text(block("toml", "[build-system]"), encoding="utf-8")
    build = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
        "--target",
        str(site),
    ]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(pictures.parent)
    plugins._entries.cache_clear()
    found = rows(pictures, block("bash", "evalkit score pictures --metrics fid,spread"))
    monkeypatch.delitem(sys.modules, "my_metrics")
    plugins._entries.cache_clear()
    assert (found["spread"].value or 0) > 0


def test_the_training_loop_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("python", "import torch\n"), "docs/metrics.md", "exec"), {})
    assert len(json.loads(capsys.readouterr().out)) == 3
