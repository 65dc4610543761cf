"""Figures inside the page."""

from __future__ import annotations

import re
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from figures_for_tests import MODELS, functions, run_figures

from evalkit.report.svg import inline_svg

_OF_PAGE = ("metric_dots", "group_dots", "score_distribution")
_EVERY = functions(Path(tempfile.mkdtemp()), MODELS)
FIGURES = {**{name: _EVERY[name] for name in _OF_PAGE}, **run_figures()}
TAGS = {"svg", "g", "path", "defs", "use", "text", "clipPath", "rect", "pattern", "tspan"}


@pytest.mark.parametrize("name", FIGURES)
def test_svg_obeys_the_policy_of_the_page(name):
    text = inline_svg(FIGURES[name](), "p")
    root = ElementTree.fromstring(text)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        assert element.tag in TAGS, element.tag
        assert "style" not in element.attrib
        assert element.get("href", "#p").startswith("#p")
    assert "://" not in text
    for target in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
        assert target in ids
