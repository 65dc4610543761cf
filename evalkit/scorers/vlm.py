"""A vision-language model that is asked one question about an image: the probabilities of the first
token of its answer.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.files import plain_name
from evalkit.generators.pipeline_files import quiet
from evalkit.generators.pipeline_setup import DTYPES, dtype_of
from evalkit.models.load import device_of
from evalkit.precision import computing
from evalkit.scorers.model_files import LIBRARY, find_model, load_chat_processor, load_network

# Of a scorer without a model, in `evalkit list scorers`.
NEEDS_MODEL = (
    "name a vision-language model: `--set {}.model=…`, a folder, a name in the hub's cache, or,"
    " with the option base_url, a model of a service"
)
# Two scorers of one model share its network, as long as one of them is in use.
_LOADED: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()
_HINT = "Change it with `--set NAME.option=value` or in `[scorer.NAME]`."


class VisionLanguageModel:
    """Any image-text-to-text model of transformers with a chat template.

    Questions are batched with padding on the right, so that positions are those of each question
    alone, and read at the last token: one prefill per question. Probabilities equal those of
    `generate(max_new_tokens=1, do_sample=False, output_scores=True)` on each question, including
    the repetition penalty of the model's generation_config.json.

    Args:
        model: a folder, or a name in the hub's cache.
        dtype: auto (fp32 on the CPU, bf16 on an accelerator), fp32, bf16 or fp16.
        max_pixels: images with more are resized to at most this many (bicubic, the same aspect
            ratio) before the model's own preprocessing; 0 for no limit.
        batch: questions per pass; results agree up to rounding.
    """

    def __init__(
        self, model: str, device: str, dtype: str = "auto", max_pixels: int = 0, batch: int = 8
    ) -> None:
        for good, text in (
            (dtype in ("auto", *DTYPES), f"dtype is {dtype!r}; expected auto, fp32, bf16 or fp16"),
            (max_pixels >= 0, f"max_pixels is {max_pixels}; expected 0 or more"),
            (batch >= 1, f"batch is {batch}; expected at least 1"),
        ):
            if not good:
                raise EvalkitError(f"The option {text}.", _HINT, code="scorers-59")
        self.device = device_of(device)
        self._dtype = dtype_of(dtype, self.device, unet=False)
        self.dtype = str(self._dtype).removeprefix("torch.")
        self._model, self._max_pixels, self._batch = model, max_pixels, batch
        self._folder, self._identity = find_model(model)
        self._processor = load_chat_processor(self._folder, model)
        short = next(name for name, one in DTYPES.items() if one == self._dtype)
        own = Path(model).expanduser()
        place = own.resolve().name if own.is_dir() else model.rpartition("/")[2]
        self.name = f"{plain_name(place, 50)}-{short}"
        if max_pixels:
            self.name += f"-{max_pixels}px"
        library = ".".join(version("transformers").split(".")[:2])  # it has the preprocessing
        self.fingerprint = f"{self._identity}/transformers-{library}/{self.dtype}/{max_pixels}"

    def first_ids(self, forms: Iterable[str]) -> list[int]:
        """The first token of each form of an answer; forms without a known token are left out."""
        tokenizer, forms = self._processor.tokenizer, tuple(forms)
        encoded = [tokenizer.encode(form, add_special_tokens=False) for form in forms]
        return self._known([ids[0] for ids in encoded if ids], forms)

    def whole_ids(self, forms: Iterable[str]) -> list[int]:
        """The tokens of those forms of an answer that are one token, each once: a part of a word
        stands for other answers too.
        """
        tokenizer, forms = self._processor.tokenizer, tuple(forms)
        encoded = [tokenizer.encode(form, add_special_tokens=False) for form in forms]
        return sorted(set(self._known([ids[0] for ids in encoded if len(ids) == 1], forms)))

    def _known(self, ids: Iterable[int], forms: Sequence[str]) -> list[int]:
        """Raises EvalkitError where the tokenizer knows no form of an answer."""
        found = [one for one in ids if one != self._processor.tokenizer.unk_token_id]
        if forms and not found:
            raise EvalkitError(
                f"The tokenizer of {self._model} has no token for {' or '.join(map(repr, forms))}.",
                "Name a model that answers in these words, or other answers.",
                code="scorers-60",
            )
        return found

    def text(self, token: int) -> str:
        """The text of a token."""
        return self._processor.tokenizer.decode([token])

    def first_tokens(self, images: Sequence[Image], questions: Sequence[str]) -> Iterator[Tensor]:
        """float32 [tokens] for each image and its question: the probability of every first token.

        They are computed in batches, as they are read.
        """
        start = 0
        while start < len(images):
            part = slice(start, start + self._batch)
            try:
                rows = self._probabilities(images[part], questions[part])
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2
                continue
            yield from rows
            start = part.stop

    @functools.cached_property
    def _network(self) -> Any:
        key = self._identity, self._dtype, self.device
        found = _LOADED.get(key)
        if found is None:
            found = load_network(self._folder, self._model, self._dtype, self.device)
            _LOADED[key] = found
        return found

    @computing("exact")
    def _probabilities(self, images: Sequence[Image], questions: Sequence[str]) -> Tensor:
        with quiet(names=LIBRARY):
            inputs = self._inputs(images, questions)
            ids, last = inputs["input_ids"], inputs["attention_mask"].sum(1) - 1
            rows, keep = torch.arange(len(last), device=last.device), last.unique()
            if "logits_to_keep" in inspect.signature(self._network.forward).parameters:
                found = self._network(**inputs, logits_to_keep=keep, use_cache=False)
                logits = found.logits[rows, torch.searchsorted(keep, last)].float()
            else:
                logits = self._network(**inputs, use_cache=False).logits[rows, last].float()
            penalty = self._network.generation_config.repetition_penalty
            if penalty not in (None, 1.0):
                from transformers import RepetitionPenaltyLogitsProcessor

                apply = RepetitionPenaltyLogitsProcessor(penalty)
                for n, end in enumerate(last.tolist()):
                    logits[n : n + 1] = apply(ids[n : n + 1, : end + 1], logits[n : n + 1])
        return logits.softmax(-1).cpu()

    def _inputs(self, images: Sequence[Image], questions: Sequence[str]) -> Any:
        chats = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": self._resized(image)},
                        {"type": "text", "text": question},
                    ],
                }
            ]
            for image, question in zip(images, questions, strict=True)
        ]
        options: dict[str, Any] = {}
        if "enable_thinking" in str(self._processor.chat_template):
            options["enable_thinking"] = False  # the first token is to be the answer
        known = inspect.signature(self._processor.apply_chat_template).parameters
        if "sanitize_control_tokens" in known:  # a prompt may contain <|im_end|>
            options["sanitize_control_tokens"] = True
        inputs = self._processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "right"},
            **options,
        )
        return inputs.to(self.device, self._dtype)

    def _resized(self, image: Image) -> Image:
        pixels = image.width * image.height
        if not self._max_pixels or pixels <= self._max_pixels:
            return image
        scale = math.sqrt(self._max_pixels / pixels)
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        return image.resize(size, Resampling.BICUBIC)
