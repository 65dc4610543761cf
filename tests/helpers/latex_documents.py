"""Documents with the columns of conferences, in which tests compile the tables."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

needs_latex = pytest.mark.skipif(
    not shutil.which("pdflatex") or not shutil.which("kpsewhich")
    or subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False).returncode,
    reason="pdflatex with siunitx is not installed",
)  # fmt: skip
_PACKAGES = r"""
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp,booktabs,siunitx}
\setlength{\textheight}{9in}
\setlength{\topmargin}{-0.5in}
"""
_TWO = r"\setlength{\textwidth}{6.75in}\setlength{\columnsep}{0.25in}"
_ONE = r"\setlength{\textwidth}{5.5in}"
PAPERS = {
    "icml": rf"\documentclass[10pt,twocolumn]{{article}}{_PACKAGES}\usepackage{{times}}{_TWO}",
    "neurips": rf"\documentclass[10pt]{{article}}{_PACKAGES}\usepackage{{times}}{_ONE}",
    # Computer Modern is wider than Times
    "modern": rf"\documentclass[10pt,twocolumn]{{article}}{_PACKAGES}{_TWO}",
}


def complaints(tables: Sequence[Path], paper: str, folder: Path, more: str = "") -> list[str]:
    """What pdflatex says about a document of these tables: errors, overfull boxes, warnings."""
    inputs = "\n".join(rf"\input{{{path}}}\clearpage" for path in tables)
    text = f"{PAPERS[paper]}\n\\begin{{document}}\nText.\n{inputs}\n{more}\n\\end{{document}}\n"
    (folder / "paper.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^(?:!|Overfull|LaTeX Warning|.*too large).*", log, re.MULTILINE)
    known = ("Label(s) may have changed", "There were undefined")  # of the first of two passes
    found = [line for line in found if not any(part in line for part in known)]
    return found if found or done.returncode == 0 else [log[-2000:]]
