"""Draws the sprites from the emoji sets. For developers of evalkit only: users get the drawn files.

    npm pack @iconify-json/noto @iconify-json/fluent-emoji @iconify-json/fluent-emoji-flat
    @iconify-json/twemoji for f in *.tgz; do mkdir -p "icons/${f%.tgz}" && tar xzf "$f" -C
    "icons/${f%.tgz}"; done pip install resvg-py && python -m evalkit.scenes.make_sprites icons

Each style becomes one atlas, `sprites/<style>.webp`: a row of 96-pixel cells with transparency,
lossless, in the order of `world.OBJECTS`. Every sprite is cropped to its ink and centred, so that
all objects fill their cell alike.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from evalkit.scenes.world import OBJECTS, STYLES

# divides by all sprite sizes of a 64-pixel scene (48, 32) and is the largest of a 128-pixel scene
CELL = 96
COLUMNS = 13


def draw(icons: dict[str, Any], name: str) -> Image.Image:
    """One icon as RGBA [CELL, CELL]."""
    import resvg_py  # pyright: ignore[reportMissingImports]  # needed here only

    alias = icons.get("aliases", {}).get(name)
    icon = icons["icons"][alias["parent"] if alias else name]
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}">'
    png = bytes(resvg_py.svg_to_bytes(svg_string=f"{head}{icon['body']}</svg>", width=4 * CELL))
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    ink = picture.getchannel("A").point([255 * (alpha > 16) for alpha in range(256)]).getbbox()
    picture = picture.crop(ink)
    scale = CELL / max(picture.size)
    # Premultiplied resampling, so that no colour of transparent pixels bleeds into the edge.
    picture = picture.convert("RGBa").resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))),
        Image.Resampling.LANCZOS,
    )
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(picture.convert("RGBA"), ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    return cell


def main(folder: str) -> None:
    for style, source in STYLES.items():
        [path] = Path(folder).glob(f"iconify-json-{source}-[0-9]*/package/icons.json")
        icons = json.loads(path.read_text(encoding="utf-8"))
        rows = -(-len(OBJECTS) // COLUMNS)
        atlas = Image.new("RGBA", (CELL * COLUMNS, CELL * rows))
        for place, thing in enumerate(OBJECTS):
            atlas.paste(
                draw(icons, thing.emoji), (CELL * (place % COLUMNS), CELL * (place // COLUMNS))
            )
        atlas.save(
            Path(__file__).parent / "sprites" / f"{style}.webp",
            lossless=True,
            quality=100,
            method=6,
            exact=False,
        )


if __name__ == "__main__":
    main(sys.argv[1])
