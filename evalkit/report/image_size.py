"""The size of an image file, which may be damaged or made to do harm."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

# What Pillow raises for a file that is not an image, for one that is cut off, and for one that
# would fill the memory: by its size, or by the texts and the colour profile in its header.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height in pixels; (0, 0) if there is no such file or it is not an image."""
    try:
        with Image.open(path) as image:  # reads the header only
            return image.size
    except UNREADABLE:
        return 0, 0
