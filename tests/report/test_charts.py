"""Figures: the same bytes every time, fonts that publishers take, text that can be read, nothing
left in global state.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest
from matplotlib.text import Text

from evalkit.report import charts
from evalkit.report.chart_style import to_bytes, to_csv
from evalkit.report.figures import inline_svg

MODELS = ["dalle", "$\\LaTeX_{}$ <b> \x1b[31m\u202e & a very long name that goes on"]


def forest_rows():
    common = {
        "encoder": "mini",
        "reference": "r",
        "title": "FID",
        "better": "lower",
        "metric": "fid",
    }
    rows = [
        {**common, "model": model, "value": 30.0 + i, "low": 28.0, "high": 33.0, "floor": 9.0}
        for i, model in enumerate(MODELS)
    ]
    other = {
        "encoder": "",
        "reference": "",
        "title": "KID",
        "better": "lower",
        "metric": "kid",
        "zero": True,
    }
    return [
        *rows,
        *({**other, "model": model, "value": 0.01, "low": None, "high": None} for model in MODELS),
    ]


def group_rows():
    spread = {"low": 1.0, "high": 3.0, "count": 4, "overall": 2.1}
    return [
        {"group": group, "model": model, "value": 2.0, **spread}
        for group in ("colour", "<b> & $x$")
        for model in MODELS
    ]


FIGURES = {
    "forest": lambda: charts.forest(forest_rows(), MODELS),
    "distribution": lambda: charts.distribution(
        [{"model": m, "value": 20 + i / 7} for m in MODELS for i in range(30)], MODELS, "Scores"
    ),
    "by_group": lambda: charts.by_group(group_rows(), MODELS, "Groups"),
    "floor": lambda: charts.small_sample_floor(
        [
            {"kind": "floor", "model": "", "count": 40, "value": 9.0},
            {"kind": "carried on", "model": "", "count": 40, "value": 9.0},
            {"kind": "carried on", "model": "", "count": 80, "value": 4.5},
            {
                "kind": "model",
                "model": MODELS[1],
                "count": 40,
                "value": 30.0,
                "low": 28.0,
                "high": 32.0,
            },
        ],
        MODELS,
        "FID and the count",
    ),
    "outcomes": lambda: charts.outcomes(
        [
            {"model": m, "outcome": o, "count": n}
            for m in MODELS
            for o, n in (("ok", 9), ("refused", 1), ("failed", 0))
        ],
        MODELS,
    ),
    "speed": lambda: charts.speed(
        [{"model": m, "value": 0.2, "low": 0.001, "high": 0.9} for m in MODELS], MODELS
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_same_rows_same_bytes_and_readable_text(name):
    first, second = FIGURES[name](), FIGURES[name]()
    for kind in ("svg", "pdf", "png"):
        data = to_bytes(first, kind)
        assert data == to_bytes(second, kind)
        assert not re.search(rb"(?i)matplotlib v|creationdate|<dc:date|20[2-9]\d-\d\d", data)
    texts = [
        item for item in first.findobj(Text) if isinstance(item, Text) and item.get_text().strip()
    ]
    assert texts
    assert min(item.get_fontsize() for item in texts) >= 6
    assert not any(item.get_parse_math() for item in texts)
    assert first.get_figwidth() <= 6.75


@pytest.mark.parametrize("name", FIGURES)
def test_inline_svg_obeys_the_page(name):
    text = inline_svg(FIGURES[name](), "p")
    root = ElementTree.fromstring(text)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        assert element.tag in {
            "svg",
            "g",
            "path",
            "defs",
            "use",
            "text",
            "clipPath",
            "rect",
            "pattern",
            "tspan",
        }, element.tag
        assert "style" not in element.attrib
        assert element.get("href", "#p").startswith("#p")
    assert "://" not in text
    for target in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
        assert target in ids


def test_direction_and_reference_lines_are_drawn():
    figure = charts.forest(forest_rows(), MODELS)
    assert [axes.get_xlabel() for axes in figure.axes] == ["← lower is better"] * 2
    zero = [
        line.get_xdata()[0]
        for line in figure.axes[1].lines
        if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]
    assert zero == [0]
    assert figure.axes[0].get_xlim()[0] < 9  # the floor is in sight
    assert figure.axes[0].get_title(loc="left") == "FID · mini"


def test_global_state_is_left_alone():
    before = dict(matplotlib.rcParams)
    to_bytes(FIGURES["forest"](), "svg")
    assert dict(matplotlib.rcParams) == before
    code = "import sys, evalkit.report.charts; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_users_matplotlibrc_changes_nothing():
    plain = to_bytes(FIGURES["outcomes"](), "svg")
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9, "svg.fonttype": "none"}
    ):
        assert to_bytes(FIGURES["outcomes"](), "svg") == plain


def test_csv_holds_every_number_in_full():
    rows = [
        {"model": 'a "b", c', "value": 0.1 + 0.2, "low": None},
        {"model": "d", "value": 1.0, "count": 3},
    ]
    back = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert back[0] == {"model": 'a "b", c', "value": repr(0.1 + 0.2), "low": "", "count": ""}
    assert back[1]["count"] == "3"


@pytest.mark.skipif(shutil.which("pdffonts") is None, reason="needs pdffonts (poppler-utils)")
@pytest.mark.parametrize("name", FIGURES)
def test_fonts_are_embedded_and_not_type_3(name, tmp_path):
    path = tmp_path / "figure.pdf"
    path.write_bytes(to_bytes(FIGURES[name](), "pdf"))
    lines = subprocess.run(
        ["pdffonts", path], capture_output=True, text=True, check=True
    ).stdout.splitlines()[2:]
    assert lines
    assert all("Type 3" not in line and "TrueType" in line for line in lines)
    assert all(re.search(r"\byes\s+(yes|no)\s+(yes|no)\s+\d+\s+\d+$", line) for line in lines)
