"""The probability of a label by any image classification model of transformers.

`classifier:google/vit-base-patch16-224:tabby` is a metric of its own, and a run may have several.
The scorer `classifier` has the options `model` and `label` instead. Models are read from a folder
or the cache of Hugging Face: nothing is downloaded, weights are safetensors, and no code of a model
is run.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL.Image import Image

from evalkit.core import Better, EvalkitError
from evalkit.encoders.inputs import exact
from evalkit.generators.pipeline_files import first_sentence, quiet
from evalkit.models.load import device_of, hash_tensors
from evalkit.scorer import VALUE, Answer, Scorer
from evalkit.scorers.model_files import LIBRARY, Family, find_model

_NAME = "classifier"
_LOWER = ":lower"
_NEAREST = 5  # labels in a message
_FAMILY = Family(
    "an image classification model",
    "that gives an image a label (image-classification in transformers)",
    "AutoModelForImageClassification",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "google/vit-base-patch16-224",
)


class Classifier:
    """The probability of a label, or with a threshold whether it is reached."""

    def __init__(
        self, *, model: str, label: str, threshold: float | None = None, device: str = "auto"
    ) -> None:
        """Args:
            model: a folder that transformers saved, or the name of a model in its cache.
            label: one of the model's.
            threshold: 0 to 1; the value is then 1 from this probability on, else 0.

        Raises EvalkitError for a model that cannot be read, and for an unknown label.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise EvalkitError(
                f"The threshold of the label {label!r} is {threshold}; expected 0 to 1.",
                "Leave it out for the probability itself.",
                code="scorers-1",
            )
        self.device, self.threshold = torch.device(device_of(device)), threshold
        processor, network = _read(model)
        self._prepare, self._network = processor, network.to(self.device)
        self._place = _place(network.config, label, model)
        self._to_probabilities = _function(network.config, model)
        self.name = _safe(f"{model}.{label}" + ("" if threshold is None else f".{threshold:g}"))
        settings = f"{processor.to_json_string()}/{self._place}/{threshold!r}"
        digest = hashlib.sha256(settings.encode()).hexdigest()
        self.fingerprint = f"{hash_tensors(network.state_dict())[:16]}/{digest[:16]}"

    @exact()
    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> list[float] | list[Answer]:
        """RGB images of any size -> one probability each."""
        pixels = [self._prepare(images=image, return_tensors="pt").pixel_values for image in images]
        logits = self._network(pixel_values=torch.cat(pixels).to(self.device)).logits.float()
        values = self._to_probabilities(logits.cpu())[:, self._place].double().tolist()
        if self.threshold is None:
            return values
        return [
            Answer({VALUE: float(one >= self.threshold)}, {"probability": one}) for one in values
        ]


def _read(model: str) -> tuple[Any, Any]:
    """The image processor (with PIL: the same everywhere) and the network."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    folder, _ = find_model(model, _FAMILY)
    safely = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet(names=LIBRARY):
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **safely)
            network, loading = AutoModelForImageClassification.from_pretrained(
                folder,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **safely,
            )
    except Exception as error:  # several libraries raise their own
        raise EvalkitError(
            f"The image classification model {model!r} cannot be read: {first_sentence(error)}",
            "Give a folder that transformers saved with safetensors, with its image processor.",
            code="scorers-2",
        ) from error
    if absent := sorted(loading["missing_keys"]):  # transformers makes them up, with a warning
        raise EvalkitError(
            f"The model {model!r} is not an image classification model: it has no weights for"
            f" {absent[0]}.",
            "Choose one that was trained to classify images.",
            code="scorers-3",
        )
    return processor, network.eval().requires_grad_(False)


def _place(config: Any, label: str, model: str) -> int:
    places: Mapping[str, int] = {str(name): place for place, name in config.id2label.items()}
    if label not in places:
        nearest = difflib.get_close_matches(label, places, _NEAREST, 0.0)
        raise EvalkitError(
            f"The model {model!r} has no label {label!r}; the nearest of its {len(places)} labels"
            f" are {', '.join(map(repr, nearest))}.",
            "Write the label as the model does.",
            code="scorers-4",
        )
    return int(places[label])


def _function(config: Any, model: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Logits to probabilities as the pipeline of transformers does."""
    if config.problem_type == "regression":
        raise EvalkitError(
            f"The model {model!r} is a regression model: it has no probabilities.",
            "Choose one that was trained to classify images.",
            code="scorers-5",
        )
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return torch.sigmoid
    return partial(torch.softmax, dim=1)


def _safe(text: str) -> str:
    """The text as a name of letters, digits, _, - and dots; a hash where it says less than that."""
    dotted = text.removeprefix("./").replace("/", ".")
    plain = re.sub(r"[^\w.-]+", "-", dotted).strip("-.")
    if plain == dotted and len(plain) <= 80:
        return plain
    return f"{plain[-73:].strip('-.')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def of(argument: str) -> Scorer:
    """The scorer of `classifier:MODEL:LABEL`; with `:lower` at the end, lower values are better."""
    rest = argument.removesuffix(_LOWER)
    model, colon, label = rest.rpartition(":")
    if not (model and colon and label):
        raise EvalkitError(
            f"The classifier {argument!r} is not of the form MODEL:LABEL.",
            "For example `classifier:google/vit-base-patch16-224:tabby`.",
            code="scorers-6",
        )

    def load(*, threshold: float | None = None, device: str = "auto") -> Classifier:
        return Classifier(model=model, label=label, threshold=threshold, device=device)

    better: Better = "higher" if rest == argument else "lower"
    name = f"{_NAME}.{_safe(f'{model}.{label}')}"
    return _scorer(name, better, load, f"the label “{label}” by {model}", f"Label “{label}”")


def _lacks() -> str:
    return "name a model and one of its labels: `--metrics classifier:MODEL:LABEL`"


def _scorer(
    name: str, better: Better, load: Callable[..., Classifier], which: str, title: str
) -> Scorer:
    return Scorer(
        name,
        better,
        load=load,
        title=title,
        question=f"How probable is {which}?",
        meaning=f"Probability of {which}, or whether it reaches a threshold.",
        range=(0.0, 1.0),
        aspect="labels",
        reads_prompts=False,
        from_zero=True,
        with_argument=of if name == _NAME else None,
        missing=_lacks if name == _NAME else None,
    )


CLASSIFIER = _scorer(
    _NAME, "higher", Classifier, "the label that the options name", "Label probability"
)
