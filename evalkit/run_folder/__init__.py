"""A run is a folder: its names, what generation writes, and what is derived from the images."""

from __future__ import annotations

from evalkit.run_folder.images import NO_IMAGE
from evalkit.run_folder.names import folder_name, image_file, image_place
from evalkit.run_folder.results import SCHEMA, SCORES, Results

__all__ = ["NO_IMAGE", "SCHEMA", "SCORES", "Run", "folder_name", "image_file", "image_place"]


class Run(Results):
    """Reads and writes one run folder. The path is its only state; files are written atomically."""
