"""Figures: the same bytes every time, fonts that publishers accept, no global state."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import pandas
import pytest
from figures_for_tests import MODELS, functions, run_figures

from evalkit.figures.metric_dots import metric_dots
from evalkit.figures.style import COLOURS, look, to_bytes, to_csv

FIGURES = {
    **functions(Path(tempfile.mkdtemp()), MODELS),
    **run_figures(),
}


@pytest.mark.parametrize("name", FIGURES)
def test_same_rows_give_same_bytes(name):
    first, second = FIGURES[name](), FIGURES[name]()
    for kind in ("svg", "pdf", "png"):
        data = to_bytes(first, kind)
        assert data == to_bytes(second, kind)
        assert not re.search(rb"(?i)matplotlib v|creationdate|<dc:date|20[2-9]\d-\d\d", data)


def test_global_state_does_not_change():
    before = dict(matplotlib.rcParams)
    to_bytes(FIGURES["metric_dots"](), "svg")
    assert dict(matplotlib.rcParams) == before
    code = "import sys, evalkit.figures.metric_dots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_matplotlibrc_of_the_user_has_no_effect():
    plain = to_bytes(FIGURES["outcomes"](), "svg")
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9, "svg.fonttype": "none"}
    ):
        assert to_bytes(FIGURES["outcomes"](), "svg") == plain


def test_csv_has_every_number_in_full():
    rows = [
        {"model": 'a "b", c', "value": 0.1 + 0.2, "low": None},
        {"model": "d", "value": 1.0, "count": 3},
    ]
    back = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert back[0] == {"model": 'a "b", c', "value": repr(0.1 + 0.2), "low": "", "count": ""}
    assert back[1]["count"] == "3"


def test_models_look_different():
    models = [str(place) for place in range(84)]
    assert len({look(models, model) for model in models}) == 84
    assert len({look(models, model).colour for model in models[:6]}) == len(COLOURS)


@pytest.mark.skipif(shutil.which("pdffonts") is None, reason="needs pdffonts (poppler-utils)")
@pytest.mark.parametrize("name", FIGURES)
def test_fonts_are_embedded_and_not_type_3(name, tmp_path):
    path = tmp_path / "figure.pdf"
    path.write_bytes(to_bytes(FIGURES[name](), "pdf"))
    done = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()[2:]
    assert lines
    assert all("Type 3" not in line and "TrueType" in line for line in lines)
    assert all(re.search(r"\byes\s+(yes|no)\s+(yes|no)\s+\d+\s+\d+$", line) for line in lines)


@pytest.mark.skipif(shutil.which("pdffonts") is None, reason="needs pdffonts (poppler-utils)")
def test_savefig_embeds_fonts_whatever_the_settings_of_the_user(tmp_path):
    path = tmp_path / "figure.pdf"
    with matplotlib.rc_context({"pdf.fonttype": 3}):
        FIGURES["pareto"]().savefig(path)
    done = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True)
    assert "TrueType" in done.stdout
    assert "Type 3" not in done.stdout


def test_a_notebook_shows_the_figure():
    assert FIGURES["pareto"]()._repr_png_().startswith(b"\x89PNG")


def test_a_csv_holds_no_formula_and_draws_the_same_figure_again():
    label = '=HYPERLINK("https://example.org")'
    about = {"metric": "fid", "better": "lower", "low": 1.0, "high": 3.0}
    rows = [{"model": name, "value": 2.0, **about} for name in (label, "'quoted", "-x")]
    text = to_csv(rows)
    back = list(csv.DictReader(io.StringIO(text)))
    assert [row["model"] for row in back] == [f"'{label}", "'quoted", "'-x"]
    again = pandas.read_csv(io.StringIO(text))
    assert to_bytes(metric_dots(again), "svg") == to_bytes(metric_dots(rows), "svg")
