"""Prompts in images: of the nodes of ComfyUI and other texts, as proof and against numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
from models_for_tests import make_image
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from evalkit.core import EvalkitError, Request
from evalkit.generate.plan import requests_of
from evalkit.generators import folder
from evalkit.prompts import prompts_from_list

TEXTS = ["a red cube", "two dogs", "a green cat"]
WANTED = requests_of(prompts_from_list(TEXTS), 1, 0)


def graph(positive: str, negative: str = "ugly", linked: str = "") -> dict[str, Any]:
    """A graph of ComfyUI; `linked`: the type of the node that the positive text comes from."""
    text: object = ["9", 0] if linked else positive
    nodes = {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.ckpt"}},
        "5": {"class_type": "SamplerCustom", "inputs": {"positive": ["6", 0], "seed": 5}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": negative, "clip": ["4", 1]}},
    }
    if linked:
        nodes["9"] = {"class_type": linked, "inputs": {"value": positive}}
    return nodes


def save(path: Path, at: int, **texts: object) -> None:
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text if isinstance(text, str) else json.dumps(text))
    make_image(at, "inside").save(path / f"ComfyUI_{at + 1:05d}_.png", pnginfo=info)


def order(path: Path, wanted: list[Request] = WANTED, **options: str) -> list[int]:
    """The number of the image that each request gets."""
    pixels = {make_image(at, "inside").tobytes(): at for at in range(len(wanted))}
    made = folder.load(folder=str(path), requests=wanted, **options)
    results = made([r.prompt.text for r in wanted], [r.seed for r in wanted])
    return [pixels[image.tobytes()] for image in results]  # type: ignore[union-attr]


@pytest.mark.parametrize("linked", ["", "PrimitiveString", "ShowText|pysssss", "Any Primitive"])
def test_texts_of_the_nodes_of_comfyui_are_proof(linked: str, tmp_path: Path) -> None:
    for at, text in enumerate(reversed(TEXTS)):
        save(tmp_path, at, prompt=graph(text, linked=linked))
    assert order(tmp_path) == [2, 1, 0]


def test_a_workflow_alone_is_proof(tmp_path: Path) -> None:
    for at, text in enumerate(reversed(TEXTS)):
        nodes = [{"type": "CLIPTextEncode", "widgets_values": [words]} for words in (text, "ugly")]
        save(tmp_path, at, workflow={"nodes": nodes})
    assert order(tmp_path) == [2, 1, 0]


OTHER: dict[str, Any] = {
    "comfyui": {"prompt": graph("a house on a hill")},
    "plain": {"prompt": "a house on a hill"},
    "webui": {"parameters": "a house on a hill\nSteps: 20"},
    "invokeai": {"invokeai_metadata": {"positive_prompt": "a house on a hill"}},
    "midjourney": {"Description": "a house on a hill --v 6"},
}


@pytest.mark.parametrize("kind", OTHER)
def test_a_text_of_another_prompt_against_the_number_is_refused(kind: str, tmp_path: Path) -> None:
    for at in range(3):
        save(tmp_path, at, **OTHER[kind])
    with pytest.raises(EvalkitError) as error:
        order(tmp_path)
    assert "for 3 of 3 images. ComfyUI_00001_.png is by its number" in error.value.message
    assert "'a red cube'); the text in it is 'a house on a hill'" in error.value.message
    assert "match=from1" in error.value.hint
    assert order(tmp_path, match="from1") == [0, 1, 2]


def test_a_style_around_the_prompt_is_no_contradiction(tmp_path: Path) -> None:
    for at, text in enumerate(TEXTS):
        save(tmp_path, at, prompt=graph(f"masterpiece, {text.title()}, 4k"))
    assert order(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("way", ["exif", "xmp"])
def test_descriptions_of_other_prompts_are_refused_and_names_of_cameras_are_not(
    way: str, tmp_path: Path
) -> None:
    def written(texts: list[str]) -> None:
        for at, text in enumerate(texts):
            exif, image = Image.Exif(), make_image(at, "inside")
            exif[0x010E] = text
            xmp = f'<dc:description><rdf:Alt><rdf:li xml:lang="x">{text}</rdf:li></rdf:Alt>'
            own: dict[str, Any] = {"exif": exif} if way == "exif" else {"xmp": xmp.encode()}
            image.save(tmp_path / f"{at}.webp", lossless=True, **own)

    written(["SONY DSC"] * 3)
    assert order(tmp_path) == [0, 1, 2]
    written(TEXTS[::-1])
    assert order(tmp_path) == [2, 1, 0]
    written(["a house", "a hill", "a tree"])
    with pytest.raises(EvalkitError, match="contradict the texts in the images"):
        order(tmp_path)
