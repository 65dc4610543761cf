"""A figure as an <svg> element for an HTML page under a strict CSP."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from matplotlib.figure import Figure

from evalkit.figures.style import to_bytes

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_PLACES = {"d", "x", "y", "transform"}  # two digits of these are 0.01 pt, and half as long
_LONG = re.compile(r"-?\d+\.\d{3,}")
_DROPPED = {f"{_SVG}style", f"{_SVG}metadata", f"{_SVG}script"}

_GEOMETRY = {"d", "x", "y", "width", "height", "transform"}


def inline_svg(figure: Figure, prefix: str) -> str:
    """The figure as an element of the page.

    matplotlib sets style attributes, which the CSP forbids. They become presentation attributes,
    which the style sheet of the page can override for dark screens. Text stays text, in the font of
    the page. Ids get the prefix, so that several figures can be in one page.
    """
    root = ElementTree.fromstring(to_bytes(figure, "svg", text="none"))
    for parent in root.iter():
        for child in [child for child in parent if child.tag in _DROPPED]:
            parent.remove(child)
    kept = {name for element in root.iter() for name in _references(element)}
    for element in root.iter():
        _simplify(element, prefix, kept)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    title = f"Chart: {figure.axes[0].get_title(loc='left')}"
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.attrib |= {"role": "img", "aria-label": title}
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
    return re.sub(r"\s*\n\s*", " ", text)


def _references(element: ElementTree.Element) -> list[str]:
    found = re.findall(r"url\(#([^)]+)\)", " ".join(element.attrib.values()))
    href = element.get(f"{_XLINK}href", "")
    return [*found, href[1:]] if href.startswith("#") else found


def _rounded(number: re.Match[str]) -> str:
    """Two digits after the point: no eye sees more, and the page is smaller."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _simplify(element: ElementTree.Element, prefix: str, kept: set[str]) -> None:
    """In place: no namespaces, no style attribute, no id without a reference to it."""
    element.tag = element.tag.removeprefix(_SVG)
    for name in [name for name in element.attrib if name.startswith("{")]:
        element.set("href", element.attrib.pop(name))
    for part in element.attrib.pop("style", "").split(";"):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name == "font":  # the shorthand of older matplotlib is not a presentation attribute
            element.set("font-size", next(iter(re.findall(r"[\d.]+px", value)), "7px"))
            if "bold" in value or "700" in value:
                element.set("font-weight", "bold")
        elif name and name != "font-family":
            element.set(name, value)
    for name in _GEOMETRY & element.attrib.keys():
        element.set(name, re.sub(r"\d+\.\d{3,}", _rounded, element.attrib[name]))
    if element.get("id") not in kept:
        element.attrib.pop("id", None)
    for name in _PLACES & element.attrib.keys():
        element.set(name, _LONG.sub(lambda found: f"{float(found[0]):.2f}", element.attrib[name]))
    for name, value in element.attrib.items():
        if name == "id":
            element.set(name, f"{prefix}-{value}")
        elif name == "href" and value.startswith("#"):
            element.set(name, f"#{prefix}-{value[1:]}")
        elif "url(#" in value:
            element.set(name, value.replace("url(#", f"url(#{prefix}-"))
