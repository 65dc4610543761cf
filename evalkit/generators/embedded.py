"""The prompts that a generator wrote into its image.

WebUI: PNG text `parameters`, or the EXIF user comment of a JPEG; Fooocus: JSON there. Midjourney:
PNG text `Description`. InvokeAI: PNG text `invokeai_metadata`, JSON with `positive_prompt`.
ComfyUI: PNG texts `prompt` and `workflow`, the graph of its nodes. Others: PNG text `prompt`, the
EXIF image description, and the description in XMP.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image as PILImage

from evalkit.generators.file_names import LEAST, exact, slug
from evalkit.images import FORMATS

_USER_COMMENT, _EXIF = 0x9286, 0x8769
_DESCRIPTION, _MODEL = 0x010E, 0x0110  # ComfyUI writes its graph of a WebP as the camera's model
_MOST = 1 << 20  # bytes of a text
_FAULTS = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)
_HAS_TEXT = re.compile(r"(?i)text|string|prompt")  # types of the nodes of ComfyUI
_NO_TEXT = ("clip", "model", "vae", "image", "negative")  # inputs that lead to no positive text
_XMP = re.compile(r"<dc:description>.*?<rdf:li[^>]*>(.*?)</rdf:li>", re.DOTALL)


class Inside(NamedTuple):
    """The texts in a file."""

    texts: tuple[str, ...] = ()
    positive: str = ""  # the only text of them that can be the prompt, "" if that is unknown
    free: bool = False  # a description, which need not be a prompt

    def prompt_of(self, prompts: Collection[str]) -> str:
        """The one of the prompts that the file has, "" for none or several."""
        if self.positive in prompts:
            return self.positive
        found = {text for text in self.texts if text in prompts}
        return found.pop() if len(found) == 1 else ""

    def may_be(self, prompt: str) -> bool:
        """Whether a text has the prompt, maybe with a style before or after it, or its start."""
        return any(is_about(text, prompt) for text in self.texts)


def is_about(text: str, prompt: str) -> bool:
    """Whether a text has the prompt in it, or is the start of a long one."""
    own, found = slug(prompt), slug(text)
    if not own or not found:
        return exact(prompt) in text
    cut = len(found) >= LEAST and own.startswith(found)
    return cut or re.search(rf"(?<![a-z\d]){re.escape(own)}(?![a-z\d])", found) is not None


def inside(file: Path) -> Inside:
    """The texts in a file, none where there is nothing to find. Reads no pixels."""
    try:
        with PILImage.open(file, formats=FORMATS) as image:
            exif, info = image.getexif(), image.info
            comment = _decoded(exif.get_ifd(_EXIF).get(_USER_COMMENT, b""))
            graph = str(exif.get(_MODEL, "")).partition("prompt:")[2]
            found = _of_generator(info, comment) or _of_comfyui(info, graph)
            return found or _described(exif.get(_DESCRIPTION), info) or Inside()
    except Exception:  # whatever is wrong with the file is reported when it is decoded
        return Inside()


def of_parameters(text: str) -> str:
    """The prompt in the text that WebUI or Fooocus writes, with further lines or as JSON."""
    if text.startswith("{"):
        try:
            return str(json.loads(text)["prompt"]).strip()
        except _FAULTS:
            pass
    return re.split(r"\n(?:Negative prompt:|Steps:)", text[:_MOST])[0].strip()


def _one(text: str, free: bool = False) -> Inside | None:
    return Inside((exact(text),), exact(text), free) if text.strip() else None


def _of_generator(info: Mapping[Any, Any], comment: str | None) -> Inside | None:
    parameters = info.get("parameters") or comment
    if isinstance(parameters, str):
        return _one(of_parameters(parameters))
    description = info.get("Description")
    if isinstance(description, str):
        return _one(re.split(r"\s(?:--[a-z]|Job ID:)", description[:_MOST])[0])
    try:
        return _one(str(json.loads(info["invokeai_metadata"])["positive_prompt"]))
    except _FAULTS:
        return None


def _of_comfyui(info: Mapping[Any, Any], of_webp: str) -> Inside | None:
    """The texts of the nodes; a PNG text `prompt` that is no graph is the prompt itself."""
    prompt = info.get("prompt") or of_webp
    if isinstance(prompt, str) and prompt and not prompt.lstrip().startswith("{"):
        return _one(prompt)
    try:
        return _of_graph(json.loads(prompt))
    except _FAULTS:
        pass
    try:  # the graph as it is drawn, with the values of the fields of each node
        nodes = json.loads(info["workflow"])["nodes"]
        values = [node["widgets_values"] for node in nodes if _HAS_TEXT.search(node["type"])]
        texts = {exact(text): None for row in values for text in row if isinstance(text, str)}
    except _FAULTS:
        return None
    return Inside(tuple(filter(None, texts))) if any(texts) else None


def _of_graph(graph: Mapping[str, Any]) -> Inside | None:
    nodes = {
        key: node["inputs"] for key, node in graph.items() if isinstance(node.get("inputs"), dict)
    }
    with_text = [key for key in nodes if _HAS_TEXT.search(str(graph[key].get("class_type")))]
    links = [
        inputs["positive"] for inputs in nodes.values() if isinstance(inputs.get("positive"), list)
    ]
    positive = {*_texts(nodes, [str(link[0]) for link in links])}
    texts = dict.fromkeys([*positive, *_texts(nodes, with_text)])
    one = positive.pop() if len(positive) == 1 else ""
    return Inside(tuple(texts), one) if texts else None


def _texts(nodes: Mapping[str, Mapping[str, Any]], start: Iterable[str]) -> Iterator[str]:
    """The texts of the nodes, and of the nodes that these have them from."""
    todo, seen = list(start), set[str]()
    while todo:
        key = todo.pop(0)
        if key in seen or key not in nodes:
            continue
        seen.add(key)
        for name, value in nodes[key].items():
            if isinstance(value, str) and value.strip() and name not in _NO_TEXT:
                yield exact(value)
            elif isinstance(value, list) and value and name not in _NO_TEXT:
                todo.append(str(value[0]))


def _described(description: object, info: Mapping[Any, Any]) -> Inside | None:
    """The description of an image: of a generator, or of a camera."""
    if isinstance(description, str) and description.strip():
        return _one(description[:_MOST], free=True)
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    found = _XMP.search(text[:_MOST])
    return _one(html.unescape(found[1]), free=True) if found else None


def _decoded(comment: object) -> str | None:
    """The text of an EXIF user comment; None where it has no known encoding."""
    if not isinstance(comment, bytes):
        return comment if isinstance(comment, str) else None
    if comment.startswith(b"UNICODE\0"):
        code = "utf-16-le" if comment[9:10] == b"\0" else "utf-16-be"
        return comment[8:].decode(code, "replace")
    return comment[8:].decode("ascii", "replace") if comment.startswith(b"ASCII\0") else None
