"""The pages of the metrics agree with them, and their code runs, also as an installed package."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import PAGES, code
from PIL import Image

import evalkit
from evalkit import plugins
from evalkit.core import Metric, MetricRow
from evalkit.plugins.importing import entries
from evalkit.score.presets import PRESETS
from evalkit.score.select import DEFAULT

PAGE = PAGES["metrics.md"]
SECTIONS = "\n".join(text for name, text in PAGES.items() if name.startswith("metrics/"))
CODE = ("plugins/metric.md", "guides/training-loop.md", "metrics/groups.md")
NAMES = plugins.names("metric")


def block(info: str, start: str) -> str:
    """The one block of code of this language that begins with this text."""
    [found] = [text for text in code(info, *CODE) if text.startswith(start)]
    return found


def section(name: str) -> str:
    """The text about one metric."""
    [found] = re.findall(rf"^## [^`\n]+: `{name}`\n(.*?)(?=^## |\Z)", SECTIONS, re.DOTALL | re.M)
    return found


def test_the_table_of_presets():
    rows = {
        name: tuple(re.findall(r"`([\w.]+)`", members))
        for name, members in re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
        if name in PRESETS
    }
    assert rows == PRESETS


def in_words(ends: tuple[float, float]) -> str:
    low, high = ends
    if math.isfinite(low) and math.isfinite(high):
        return f"{low:.3g} to {high:.3g}"
    return f"{low:.3g} or more" if math.isfinite(low) else "any"


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of images in the current folder; what is imported from there is unloaded."""
    folder = tmp_path / "samples"
    folder.mkdir()
    for seed in range(12):
        array = np.random.RandomState(seed).randint(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(array).resize((32, 32)).save(folder / f"{seed:05d}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    entries.cache_clear()
    yield folder
    sys.modules.pop("my_metrics", None)
    entries.cache_clear()


def rows(command: str) -> dict[str, MetricRow]:
    """The results of a command of the page, by metric."""
    start, names = command.strip().rsplit(" ", 1)
    assert start == "evalkit score samples --metrics"
    found = evalkit.score(
        "samples", metrics=names.split(","), encoders="mini-inception", reference="scenes"
    )
    return {row.metric: row for row in found}


@pytest.mark.parametrize("name", NAMES)
def test_the_page_agrees_with_the_fields_of_each_metric(name: str) -> None:
    metric = plugins.metric(name)
    cells = (
        f"`{name}`",
        metric.measure.title,
        in_words(metric.range),
        metric.better,
        metric.encoder,
        metric.feature,
        "yes" if metric.depends_on_count else "no",
    )
    assert f"| {' | '.join(cells)} |" in PAGE
    text = " ".join(section(name).split())
    assert text.startswith(metric.meaning)
    assert f"({metric.paper})" in text if metric.paper else "](http" not in text


def test_the_page_names_no_other_metric() -> None:
    assert sorted(re.findall(r"^## .*: `(\w+)`$", SECTIONS, re.MULTILINE)) == NAMES
    assert sorted(
        re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]* \| (?:lower|higher) ", PAGE, re.M)
    ) == (NAMES)


def test_the_default_metrics_are_stated() -> None:
    assert all(f"`{name}`" in PAGE.split("\n## All metrics")[0] for name in DEFAULT)


@pytest.mark.parametrize("name", [name for name in NAMES if plugins.metric(name).describe])
def test_every_note_of_a_metric_is_text_at_any_count(name: str) -> None:
    describe = plugins.metric(name).describe
    assert describe is not None
    for fake, real in ((1, 0), (12, 40), (50_000, 2000)):
        assert isinstance(describe(fake=fake, real=real), str)


def test_your_own_metric_beside_the_prompts(samples: Path) -> None:
    Path("my_metrics.py").write_text(block("python", "# my_metrics.py\n"), encoding="utf-8")
    found = rows(block("bash", "evalkit score samples --metrics fid,my"))
    spread = found["spread"]
    assert spread.low is not None
    assert spread.high is not None
    assert 0 < spread.low < (spread.value or 0) < spread.high
    assert spread.encoder == "mini-inception"
    assert (spread.note, spread.baseline) == ("", None)
    assert (found["fid"].value or 0) > 0


def test_the_further_fields_of_your_own_metric(samples: Path) -> None:
    start = block("python", "# my_metrics.py\n")
    Path("my_metrics.py").write_text(start, encoding="utf-8")
    plain = rows(block("bash", "evalkit score samples --metrics fid,my"))["spread"]
    del sys.modules["my_metrics"]
    more = block("python", "# my_metrics.py, continued\n")
    Path("my_metrics.py").write_text(f"{start}\n\n{more}", encoding="utf-8")
    spread = rows(block("bash", "evalkit score samples --metrics fid,my"))["spread"]
    assert spread.baseline == pytest.approx(11 / 12)
    assert "a factor of 0.9167" in spread.note
    assert spread.value == plain.value
    # leave_out is a faster form of the same values
    assert (spread.low, spread.high) == pytest.approx((plain.low, plain.high))


def test_the_baseline_of_the_page_is_the_mean_of_real_samples(samples: Path) -> None:
    space: dict[str, object] = {}
    exec(block("python", "# my_metrics.py\n"), space)
    exec(block("python", "# my_metrics.py, continued\n"), space)
    spread = space["SPREAD"]
    assert isinstance(spread, Metric)
    assert spread.baseline is not None
    real = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moments = evalkit.core.Moments(real.mean(dim=0), real.T.cov(), len(real))
    values = torch.stack(
        [spread.compute(fake=part, real_moments=moments) for part in real.split(5)]
    )
    expected = spread.baseline(real=real, real_moments=moments, count=5)
    assert float(values.mean()) == pytest.approx(expected, abs=0.02)


def test_your_own_metric_by_the_name_of_an_installed_package(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, site = Path("package").absolute(), Path("site").absolute()
    source.mkdir()
    (source / "my_metrics.py").write_text(block("python", "# my_metrics.py\n"), encoding="utf-8")
    (source / "pyproject.toml").write_text(block("toml", "[build-system]"), encoding="utf-8")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target"]
    pip = [sys.executable, "-m", "pip", "install", *options, str(site), str(source)]
    subprocess.run(pip, check=True, capture_output=True)
    monkeypatch.syspath_prepend(site)
    found = rows(block("bash", "evalkit score samples --metrics fid,spread"))
    assert (found["spread"].value or 0) > 0


def test_the_training_loop_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("python", "import torch\n"), "guides/training-loop.md", "exec"), {})
    assert len(json.loads(capsys.readouterr().out)) == 3


@pytest.mark.slow
def test_the_example_by_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(block("python", "import evalkit\n"), {})
    printed = [line.split()[1:3] for line in capsys.readouterr().out.splitlines()[1:]]
    assert printed == [
        [group, model] for group in ("colour", "count") for model in ("dalle", "gan")
    ]
