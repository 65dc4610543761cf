"""Detectors that find objects by the names of their classes: the bundled network, OWLv2, Grounding
DINO and Mask2Former. None has the weights that GenEval's published numbers were made with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import torch
from PIL.Image import Image

from evalkit.core import EvalkitError, Unavailable
from evalkit.encoders.inputs import exact
from evalkit.encoders.mini import PREPARATION, prepare
from evalkit.files import read_utf8
from evalkit.generators.pipeline_files import quiet
from evalkit.hints import nearest, plural
from evalkit.models.load import BUNDLED, device_of, fingerprint, load_classifier
from evalkit.models.mini_inception import GRID, detect, to_unit
from evalkit.prompts.geneval import CLASSES, COLOURS, with_article
from evalkit.scenes.dataset import COLOUR_NAMES, NOUNS
from evalkit.scenes.tables import SHAPES
from evalkit.scorers.geneval.rules import Found
from evalkit.scorers.geneval.task import Task, Vocabulary
from evalkit.scorers.model_files import (
    LIBRARY,
    Family,
    find_model,
    load_network,
    load_processor,
)

_OPEN = Family(
    "a detector",
    "that finds objects by text (zero-shot-object-detection in transformers)",
    "AutoModelForZeroShotObjectDetection",
    "MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES",
    "google/owlv2-base-patch16-ensemble",
)
_SEGMENTATION = Family(
    "a detector",
    "that finds objects with their masks (universal-segmentation in transformers)",
    "AutoModelForUniversalSegmentation",
    "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES",
    "facebook/mask2former-swin-small-coco-instance",
)


class Detector(Protocol):
    """Finds the objects of an image."""

    name: str
    fingerprint: str
    device: str
    vocabulary: Vocabulary

    def unknown(self, task: Task) -> str:
        """What of a task it cannot see, in words; "" for nothing."""
        ...

    def __call__(
        self, image: Image, names: Sequence[str], threshold: float
    ) -> dict[str, list[Found]]:
        """The objects of these classes with scores above the threshold, in any order."""
        ...


class Mini:
    """The bundled judge network. It knows drawn scenes: no other images, few of the colours.

    An object that it sees in a cell of its 8 x 8 grid has a box of half the image's width and
    height around the cell's centre: the size of objects in scenes of several.
    """

    name = "mini"
    # The scenes have no other name for the keyboard of a computer.
    _nouns = tuple("computer keyboard" if noun == "keyboard" else noun for noun in NOUNS)
    vocabulary = Vocabulary((*CLASSES, *SHAPES), tuple(dict.fromkeys((*COLOURS, *COLOUR_NAMES))))

    def __init__(self, model: str, device: str) -> None:
        if model:
            raise EvalkitError(
                f"The detector mini is given the model {model!r}; it is the bundled network.",
                "Leave out the option `model`.",
                code="scorers-7",
            )
        path = BUNDLED / "mini-judge.safetensors"
        self.fingerprint = f"{fingerprint(path)}+prepare{PREPARATION}"
        self.device = device_of(device)
        self._network = load_classifier(path).eval().requires_grad_(False).to(self.device)

    def unknown(self, task: Task) -> str:
        for clause in task.include:
            if clause.name not in self._nouns:
                return f"the bundled network does not know {with_article(clause.name)}"
            if clause.colour and clause.name not in SHAPES:
                return "the bundled network knows the colours of shapes only"
        return ""

    @exact()
    def __call__(
        self, image: Image, names: Sequence[str], threshold: float
    ) -> dict[str, list[Found]]:
        pixels = to_unit(prepare(image)[None].to(self.device))
        [seen] = detect(self._network(pixels), threshold)
        found: dict[str, list[Found]] = {name: [] for name in names}
        wide, high = image.width / GRID, image.height / GRID
        half = GRID / 4
        for one in seen:
            if (name := self._nouns[one.noun]) in found:
                x, y = one.x + 0.5, one.y + 0.5
                box = (wide * (x - half), high * (y - half), wide * (x + half), high * (y + half))
                found[name].append(Found(box, one.score, colour=COLOUR_NAMES[one.colour]))
        return found


class _Published:
    """A detector of transformers.

    It looks at one image at a time, so an answer depends on no other image. The network is loaded
    at the first call: kept answers need none in memory. Preprocessing is that of transformers on
    Pillow, as torchvision's gives other pixels.
    """

    name: str
    kind: str  # `model_type` in config.json
    default: str  # the published weights
    family = _OPEN
    vocabulary = Vocabulary()

    def __init__(self, model: str, device: str) -> None:
        self._model = model or self.default
        try:
            self._folder, identity = find_model(self._model, self.family)
        except EvalkitError as error:
            if model:
                raise
            raise Unavailable(
                error.message, error.hint, code=error.code
            ) from error  # nobody named these weights
        kind = json.loads(read_utf8(self._folder / "config.json")).get("model_type", self.kind)
        if kind != self.kind:
            raise EvalkitError(
                f"{self._model} is a model of the type {kind!r:.60}; expected {self.kind!r}, as the"
                f" detector is {self.name}.",
                f"Change the option detector, or use weights such as {self.default}.",
                code="scorers-65",
            )
        self.device = device_of(device)
        library = ".".join(version("transformers").split(".")[:2])  # it has the preprocessing
        self.fingerprint = f"{identity}/transformers-{library}"

    def unknown(self, task: Task) -> str:
        return ""

    @cached_property
    def _processor(self) -> Any:
        return load_processor(self._folder, self._model, backend="pil")

    @cached_property
    def _network(self) -> Any:
        return load_network(self._folder, self._model, torch.float32, self.device, self.family)


class _OpenVocabulary(_Published):
    """A detector that reads the names of classes."""

    def _seen(
        self, image: Image, texts: Sequence[str], threshold: float
    ) -> tuple[Any, Any, dict[str, Any]]:
        """The inputs, the outputs and the objects of one image, as transformers returns them."""
        with exact(), quiet(names=LIBRARY):
            inputs = self._processor(images=image, text=[list(texts)], return_tensors="pt")
            inputs = inputs.to(self.device)
            outputs = self._network(**inputs)
            [found] = self._processor.post_process_grounded_object_detection(
                outputs,
                threshold=threshold,
                target_sizes=[(image.height, image.width)],
                text_labels=[list(texts)],
            )
        return inputs, outputs, found


class Owlv2(_OpenVocabulary):
    """OWLv2 (Minderer et al. 2023, https://arxiv.org/abs/2306.09683).

    It is asked for all 80 classes ("a photo of a dog"), and an object is of the class with the
    highest score, as for the detector of GenEval.
    """

    name = kind = "owlv2"
    default = "google/owlv2-base-patch16-ensemble"

    def __call__(
        self, image: Image, names: Sequence[str], threshold: float
    ) -> dict[str, list[Found]]:
        texts = [f"a photo of {with_article(name)}" for name in CLASSES]
        _, _, seen = self._seen(image, texts, threshold)
        found: dict[str, list[Found]] = {name: [] for name in names}
        for box, score, label in zip(seen["boxes"], seen["scores"], seen["labels"], strict=True):
            if (name := CLASSES[int(label)]) in found:
                found[name].append(Found(tuple(box.tolist()), float(score)))
        return found


class GroundingDino(_OpenVocabulary):
    """Grounding DINO (Liu et al. 2023, https://arxiv.org/abs/2303.05499).

    It is asked for the classes of the prompt ("bench. sports ball."). An object is of the class
    with the most probable word, and this probability is its score.
    """

    name = kind = "grounding-dino"
    default = "IDEA-Research/grounding-dino-base"

    def __call__(
        self, image: Image, names: Sequence[str], threshold: float
    ) -> dict[str, list[Found]]:
        inputs, outputs, seen = self._seen(image, names, -1.0)  # all boxes, in the order of logits
        ids = inputs["input_ids"][0].tolist()
        stop = self._processor.tokenizer.convert_tokens_to_ids(".")
        ends = [place for place, token in enumerate(ids) if token == stop]
        starts = [1, *(end + 1 for end in ends)]  # after [CLS]
        words = outputs.logits[0].sigmoid()  # [boxes, tokens]
        of_classes = [words[:, start:end].amax(1) for start, end in zip(starts, ends, strict=False)]
        scores, classes = torch.stack(of_classes, 1).max(1)
        found: dict[str, list[Found]] = {name: [] for name in names}
        for box, score, of in zip(seen["boxes"], scores.tolist(), classes.tolist(), strict=True):
            if score > threshold:
                found[names[int(of)]].append(Found(tuple(box.tolist()), score))
        return found


class Mask2Former(_Published):
    """Mask2Former (Cheng et al. 2022, https://arxiv.org/abs/2112.01527) for the objects of COCO.

    The architecture and the post-processing of GenEval's detector, with the weights of its authors
    and not those of mmdetection. A box is the smallest around its mask.
    """

    name = kind = "mask2former"
    default = _SEGMENTATION.example
    family = _SEGMENTATION

    def __init__(self, model: str, device: str) -> None:
        super().__init__(model, device)
        config = json.loads(read_utf8(self._folder / "config.json"))
        labels = config.get("id2label")
        labels = labels if isinstance(labels, dict) else {}
        ends = labels.get("0"), labels.get(str(len(CLASSES) - 1))
        if len(labels) != len(CLASSES) or ends != (CLASSES[0], CLASSES[-1]):
            raise EvalkitError(
                f"{self._model} has {plural(len(labels), 'class', 'classes')}; expected the 80"
                " objects of COCO.",
                f"Use a detector of these, such as {self.default}.",
                code="scorers-8",
            )

    def __call__(
        self, image: Image, names: Sequence[str], threshold: float
    ) -> dict[str, list[Found]]:
        with exact(), quiet(names=LIBRARY):
            inputs = self._processor(images=image, return_tensors="pt").to(self.device)
            outputs = self._network(**inputs)
            for part in ("class_queries_logits", "masks_queries_logits"):
                outputs[part] = outputs[part].cpu()  # the library mixes devices
            [seen] = self._processor.post_process_instance_segmentation(
                outputs,
                threshold=threshold,
                target_sizes=[(image.height, image.width)],
                return_binary_maps=True,
            )
        found: dict[str, list[Found]] = {name: [] for name in names}
        for place, one in enumerate(seen["segments_info"]):
            if (name := CLASSES[one["label_id"]]) in found:
                mask = seen["segmentation"][place].bool().numpy()
                (upper, lower), (left, right) = (
                    np.flatnonzero(mask.any(a))[[0, -1]] for a in (1, 0)
                )
                box = (float(left), float(upper), float(right) + 1, float(lower) + 1)
                found[name].append(Found(box, one["score"], mask))
        return found


DETECTORS: dict[str, Callable[[str, str], Detector]] = {
    one.name: one for one in (Owlv2, GroundingDino, Mask2Former, Mini)
}


def load_detector(name: str, model: str, device: str) -> Detector:
    """A detector by its name. Raises EvalkitError for an unknown one, and without its weights."""
    if name not in DETECTORS:
        raise EvalkitError(
            f"GenEval has no detector {name!r}; expected {', '.join(DETECTORS)}.",
            nearest(name, DETECTORS) or f"Change it with `--set geneval.detector={Owlv2.name}`.",
            code="scorers-9",
        )
    return DETECTORS[name](model, device)
