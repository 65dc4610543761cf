"""OWLv2, Grounding DINO, Mask2Former and CLIP of random weights: what GenEval sees with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openai_clip import network
from PIL import Image
from safetensors.torch import save_file
from tiny_detectors import save_grounding_dino, save_mask2former, save_owlv2

from evalkit.core import EvalkitError
from evalkit.encoders import clip_model
from evalkit.encoders.clip import PaperClip
from evalkit.encoders.weight_files import FILES
from evalkit.prompts.geneval import CLASSES, COLOURS, plural, with_article
from evalkit.scorer import Answer
from evalkit.scorers.geneval.colours import Colours, crop
from evalkit.scorers.geneval.detectors import GroundingDino, Mask2Former, Owlv2, load_detector
from evalkit.scorers.geneval.rules import Found
from evalkit.scorers.geneval.scorer import GenEval

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def owlv2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_owlv2(tmp_path_factory.mktemp("owlv2"))


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_grounding_dino(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def mask2former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mask2former(tmp_path_factory.mktemp("mask2former"))


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "model.safetensors"
    state = clip_model.renamed(dict(network().state_dict()))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


@pytest.fixture
def clip(clip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CLIP in place of the published ViT-L/14."""
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    place = tmp_path / "weights" / FILES["clip-l14"].file
    place.parent.mkdir()
    place.write_bytes(clip_file.read_bytes())
    digest = hashlib.sha256(place.read_bytes()).hexdigest()
    item = FILES["clip-l14"]._replace(sha256=digest, size=place.stat().st_size)
    monkeypatch.setitem(FILES, "clip-l14", item)
    return place


def of_transformers(folder: Path, text: list[str], **more: Any) -> dict[str, Any]:
    """What the library itself finds."""
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder, backend="pil")
    model: Any = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    inputs = processor(images=IMAGE, text=[text], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    sizes = [(IMAGE.height, IMAGE.width)]
    [found] = processor.post_process_grounded_object_detection(outputs, target_sizes=sizes, **more)
    return found


def test_owlv2_finds_what_transformers_finds(owlv2: Path) -> None:
    text = [f"a photo of {with_article(name)}" for name in CLASSES]
    expected = of_transformers(owlv2, text, threshold=0.3)
    names = [CLASSES[label] for label in expected["labels"].tolist()]
    assert len(set(names)) > 3
    found = Owlv2(str(owlv2), "cpu")(IMAGE, CLASSES, 0.3)
    for name in CLASSES:
        rows = [place for place, one in enumerate(names) if one == name]
        boxes, scores = expected["boxes"][rows].tolist(), expected["scores"][rows].tolist()
        assert [list(one.box) for one in found[name]] == [pytest.approx(box) for box in boxes]
        assert [one.score for one in found[name]] == pytest.approx(scores)


def test_owlv2_knows_all_classes_whatever_is_asked_for(owlv2: Path) -> None:
    detector = Owlv2(str(owlv2), "cpu")
    every = detector(IMAGE, CLASSES, 0.3)
    two = detector(IMAGE, ["backpack", "bench"], 0.3)
    assert two == {name: every[name] for name in ("backpack", "bench")}


def test_grounding_dino_finds_what_transformers_finds(dino: Path) -> None:
    names = ["sports ball", "dog"]
    found = GroundingDino(str(dino), "cpu")(IMAGE, names, 0.2)
    expected = of_transformers(dino, names, threshold=0.2)
    boxes = {tuple(np.round(box, 3)): n for n, box in enumerate(expected["boxes"].tolist())}
    seen = 0
    for name in names:
        for one in found[name]:
            place = boxes[tuple(np.round(one.box, 3))]
            best = float(expected["scores"][place])  # also of the mark between names
            assert one.score <= best + 1e-5
            if one.score == pytest.approx(best, abs=1e-5):
                top = of_transformers(dino, names, threshold=0.2, text_threshold=best - 1e-5)
                word = top["text_labels"][place].split()[0].strip(".")
                assert word in name.split()
                seen += 1
    assert all(found.values())
    assert seen > 3


def test_mask2former_finds_what_transformers_finds(mask2former: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

    processor: Any = AutoImageProcessor.from_pretrained(mask2former, backend="pil")
    model: Any = AutoModelForUniversalSegmentation.from_pretrained(mask2former).eval()
    with torch.no_grad():
        outputs = model(**processor(images=IMAGE, return_tensors="pt"))
    [expected] = processor.post_process_instance_segmentation(
        outputs, threshold=0.3, target_sizes=[(48, 80)], return_binary_maps=True
    )
    some = expected["segments_info"]
    assert len({one["label_id"] for one in some}) > 3
    found = Mask2Former(str(mask2former), "cpu")(IMAGE, CLASSES, 0.3)
    assert sum(map(len, found.values())) == len(some)
    for one, mask in zip(some, expected["segmentation"].bool().numpy(), strict=True):
        name = CLASSES[one["label_id"]]
        [same] = [f for f in found[name] if f.score == pytest.approx(one["score"], abs=1e-5)]
        assert same.mask is not None
        assert (same.mask == mask).all()
        left, upper, right, lower = map(int, same.box)
        assert mask[upper:lower, left:right].sum() == mask.sum()
        for edge in (mask[upper], mask[lower - 1], mask[:, left], mask[:, right - 1]):
            assert edge.any()


def test_a_mask2former_of_other_classes_is_refused(mask2former: Path, tmp_path: Path) -> None:
    for file in mask2former.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"].pop("79")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EvalkitError, match="has 79 classes; expected the 80 objects of COCO"):
        Mask2Former(str(tmp_path), "cpu")


def test_an_object_has_the_colour_whose_three_texts_are_nearest(clip: Path) -> None:
    encoder = PaperClip("reference", clip_model.read_state(clip))
    blocks = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (4, 6, 3))
    image = Image.fromarray(blocks).resize((80, 48), Image.Resampling.NEAREST)
    colours, random = Colours("cpu"), np.random.default_rng(1)
    boxes = [(x, y, x + w, y + h) for x, y, w, h in random.uniform(2, 38, (40, 4)).tolist()]
    parts = [image.crop(tuple(map(round, box))) for box in boxes]
    pools = encoder(torch.stack([encoder.prepare(part) for part in parts]))["pool"]
    for name in ("cup", "teddy bear", "orange"):
        classifier = []
        for colour in COLOURS:
            texts = (f"a {colour} {name}", f"a {colour}-colored {name}", f"a {colour} object")
            features = encoder.text([f"a photo of {text}" for text in texts])
            mean = (features / features.norm(dim=1, keepdim=True)).mean(0)
            classifier.append(mean / mean.norm())
        best = (pools @ torch.stack(classifier).T).argmax(1).tolist()
        assert len(set(best)) > 1
        expected = [COLOURS[place] for place in best]
        assert colours(image, [Found(box, 1.0) for box in boxes], name) == expected


def test_a_mask_leaves_the_object_before_grey() -> None:
    mask = np.zeros((48, 80), bool)
    mask[10:20, 10:30] = True
    part = np.asarray(crop(IMAGE, Found((5, 5, 40, 25), 1.0, mask)))
    whole = np.asarray(IMAGE)[5:25, 5:40]
    assert part.shape == (20, 35, 3)
    inside = mask[5:25, 5:40]
    assert (part[inside] == whole[inside]).all()
    assert (part[~inside] == 0x99).all()


def test_a_box_of_less_than_a_pixel_is_one_pixel() -> None:
    assert crop(IMAGE, Found((3.1, 4.2, 3.3, 4.4), 1.0)).size == (1, 1)
    assert crop(IMAGE, Found((-5.0, 2.0, 3.0, 4.0), 1.0)).size == (8, 2)


@pytest.mark.parametrize("detector", ["owlv2", "grounding-dino", "mask2former"])
def test_an_answer(detector: str, owlv2: Path, dino: Path, mask2former: Path, clip: Path) -> None:
    folders = {"owlv2": owlv2, "grounding-dino": dino, "mask2former": mask2former}
    scorer = GenEval(detector, str(folders[detector]), device="cpu")
    assert scorer.name == f"geneval-{detector}"
    prompts = ["a photo of a backpack", "a photo of a red backpack and a blue microwave"]
    together = list(scorer([IMAGE, IMAGE], prompts))
    alone = [next(scorer([IMAGE], [prompt])) for prompt in prompts]
    assert together == alone
    assert all(isinstance(one, Answer) for one in together)


def test_a_prompt_with_a_number_has_the_higher_threshold(owlv2: Path, clip: Path) -> None:
    every = Owlv2(str(owlv2), "cpu")(IMAGE, CLASSES, 0.3)
    unsure = {name: [one for one in some if one.score <= 0.9] for name, some in every.items()}
    name = next(name for name, some in unsure.items() if some)
    count = len(every[name])
    scorer = GenEval("owlv2", str(owlv2), device="cpu")
    counts = {with_article(name): count, f"two {plural(name)}": count - len(unsure[name])}
    for text, count in counts.items():
        [found] = scorer([IMAGE], [f"a photo of {text}"])
        assert isinstance(found, Answer)
        assert len(found.details["objects"][name]) == count


def test_other_weights_have_another_fingerprint(owlv2: Path, clip: Path, tmp_path: Path) -> None:
    made = GenEval("owlv2", str(owlv2), device="cpu").fingerprint
    for file in owlv2.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert GenEval("owlv2", str(tmp_path), device="cpu").fingerprint == made
    with (tmp_path / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    assert GenEval("owlv2", str(tmp_path), device="cpu").fingerprint != made


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _another_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_weights, "has pickled weights only"),
        (_another_type, "is a model of the type 'bert'; expected a detector that finds objects"),
    ],
    ids=["pickle", "type"],
)
def test_files_that_are_no_detector(
    change: Callable[[Path], None], message: str, owlv2: Path, tmp_path: Path
) -> None:
    for file in owlv2.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path)
    with pytest.raises(EvalkitError, match=message):
        GenEval("owlv2", str(tmp_path), device="cpu")


def test_without_clip_there_is_no_scorer(
    owlv2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    with pytest.raises(EvalkitError, match=r"weights of clip-l14 .* were not found in the cache"):
        GenEval("owlv2", str(owlv2), device="cpu")


def test_weights_of_another_detector_are_refused_before_the_first_image(owlv2: Path) -> None:
    with pytest.raises(EvalkitError, match="of the type 'owlv2'; expected 'grounding-dino'") as e:
        load_detector("grounding-dino", str(owlv2), "cpu")
    assert "IDEA-Research/grounding-dino-base" in e.value.hint
