"""The documentation site, as mkdocs builds it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from pages import ROOT

BUILDS = all(importlib.util.find_spec(name) for name in ("material", "mkdocstrings"))
MISSING = "mkdocs-material and mkdocstrings are not installed"


def build(folder: Path) -> Path:
    """Build the site into a folder; any warning, as of a broken link or anchor, is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder
