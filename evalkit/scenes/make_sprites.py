"""Renders the sprites from the emoji sets. For developers only: users get the rendered files.

    npm pack @iconify-json/noto @iconify-json/twemoji
    npm pack @iconify-json/fluent-emoji @iconify-json/fluent-emoji-flat
    for f in *.tgz; do mkdir -p "icons/${f%.tgz}" && tar xzf "$f" -C "icons/${f%.tgz}"; done
    pip install resvg-py && python -m evalkit.scenes.make_sprites icons

Each style becomes one atlas, `sprites/<style>.webp`: cells of 96 pixels with transparency,
lossless, in the order of `tables.OBJECTS`. Every sprite is cropped to its visible part and centred,
so that all objects fill their cell alike.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from evalkit.scenes.compose import CELL, COLUMNS
from evalkit.scenes.tables import OBJECTS, STYLES


def render_icon(icons: dict[str, Any], name: str) -> Image.Image:
    """One icon as RGBA [CELL, CELL]."""
    import resvg_py  # pyright: ignore[reportMissingImports]  # needed only here

    alias = icons.get("aliases", {}).get(name)
    icon = icons["icons"][alias["parent"] if alias else name]
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=4 * CELL))
    sprite = Image.open(io.BytesIO(png)).convert("RGBA")
    visible = sprite.getchannel("A").point([255 * (alpha > 16) for alpha in range(256)]).getbbox()
    sprite = sprite.crop(visible)
    scale = CELL / max(sprite.size)
    # Resampled with premultiplied alpha: the colour of transparent pixels must not bleed.
    sprite = sprite.convert("RGBa").resize(
        (max(1, round(sprite.width * scale)), max(1, round(sprite.height * scale))),
        Image.Resampling.LANCZOS,
    )
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(sprite.convert("RGBA"), ((CELL - sprite.width) // 2, (CELL - sprite.height) // 2))
    return cell


def main(folder: str) -> None:
    for style, source in STYLES.items():
        [path] = Path(folder).glob(f"iconify-json-{source}-[0-9]*/package/icons.json")
        icons = json.loads(path.read_text(encoding="utf-8"))
        rows = -(-len(OBJECTS) // COLUMNS)
        atlas = Image.new("RGBA", (CELL * COLUMNS, CELL * rows))
        for place, thing in enumerate(OBJECTS):
            atlas.paste(
                render_icon(icons, thing.emoji),
                (CELL * (place % COLUMNS), CELL * (place // COLUMNS)),
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
