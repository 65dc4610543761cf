"""Generators as students of themselves: the loss of a caption against its full meaning."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evalkit.core import EvalkitError
from evalkit.models.dalle import GUIDANCE, Dalle
from evalkit.models.gan import Gan
from evalkit.models.load import codes_fingerprint, load_dalle, load_gan, load_image_tokenizer
from evalkit.models.mini_inception import to_unit
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes.dataset import Examples
from evalkit.scenes.underspecified import UnderspecifiedCaption
from evalkit.training import dalle, gan
from evalkit.training.gan_schedule import Stage
from evalkit.training.runtime.checkpoints import differences, tokenizer_field
from evalkit.training.tokens import regularised_tokens, tokenize, trim


class Student(Protocol):
    config: dict[str, Any]
    tokenizer: SubwordTokenizer

    @property
    def network(self) -> nn.Module:
        """Only its text encoder learns."""
        ...

    def distillation_loss(
        self,
        captions: Sequence[UnderspecifiedCaption],
        rows: Sequence[int],
        randoms: Sequence[Random],
    ) -> Tensor:
        """The difference between the student given the texts and the teacher given the meanings.

        Mean squared differences, each relative to the mean square of the teacher's for that text.

        rows: of the scenes that the captions describe.
        """
        ...

    def draw(self, network: Any, prompts: list[str]) -> Tensor:
        """One image per prompt, with another network like the student's: uint8 [N, 3, S, S]."""
        ...


class GanStudent:
    """The text decides the plan of an image: its style, and the content of 8 x 8 places."""

    def __init__(self, path: Path, device: str) -> None:
        self.device = device
        self.network, self.config = load_gan(path)
        self.teacher = deepcopy(self.network).requires_grad_(False).eval().to(device)
        self.network.requires_grad_(False).to(device).text.requires_grad_(True)
        self.tokenizer = SubwordTokenizer(self.config["pieces"], self.config["context"])

    def distillation_loss(
        self,
        captions: Sequence[UnderspecifiedCaption],
        rows: Sequence[int],
        randoms: Sequence[Random],
    ) -> Tensor:
        texts, meanings = (x.to(self.device) for x in _tokens(captions, randoms, self.tokenizer))
        noise = self.network.noise_of([random.getrandbits(62) for random in randoms])
        noise = noise.to(self.device)
        with torch.no_grad():
            goals = self.teacher.plan(self.teacher.encode_text(meanings), noise)
        plans = self.network.plan(self.network.encode_text(texts), noise)
        return sum(
            (_relative(plan - goal, goal) for plan, goal in zip(plans, goals, strict=True)),
            noise.new_zeros(()),
        )

    def draw(self, network: Gan, prompts: list[str]) -> Tensor:
        return gan.draw(network, self.tokenizer, prompts, self.device, Stage(network.size, 1.0))


class DalleStudent:
    """Every block attends to the text.

    The loss compares each block alone: its output for the text of the student, given the input from
    the blocks of the teacher.
    """

    def __init__(self, path: Path, image_tokenizer: Path, examples: Examples, device: str) -> None:
        """Raises EvalkitError for a dalle with the image tokens of another tokenizer."""
        self.examples, self.device = examples, device
        self.image_tokenizer = load_image_tokenizer(image_tokenizer)[0].to(device)
        self.network, self.config = load_dalle(path)
        ours = {
            "codes": self.image_tokenizer.codes,
            "image_tokenizer": codes_fingerprint(self.image_tokenizer),
        }
        if found := differences(("codes", *tokenizer_field(self.config)), self.config, ours):
            raise EvalkitError(
                f"{path} has other image tokens than {image_tokenizer}: it differs in {found}.",
                "Take both from one training.",
                code="training-43",
            )
        self.teacher = deepcopy(self.network).requires_grad_(False).eval().to(device)
        self.network.requires_grad_(False).to(device)
        for encoder in (self.network.text, self.network.order):
            encoder.requires_grad_(True)
        self.tokenizer = SubwordTokenizer(self.config["pieces"], self.config["context"])

    def distillation_loss(
        self,
        captions: Sequence[UnderspecifiedCaption],
        rows: Sequence[int],
        randoms: Sequence[Random],
    ) -> Tensor:
        texts, meanings = (x.to(self.device) for x in _tokens(captions, randoms, self.tokenizer))
        with torch.no_grad():
            images = to_unit(self.examples.images(rows).to(self.device))
            tokens = self.image_tokenizer.encode(images)
            meant = self.teacher.encode_text(meanings)
            x = self.teacher.embed(meant, tokens)
            sight = self.teacher.attention_mask(meant, tokens.shape[1])
        text = self.network.encode_text(texts)
        own_sight = self.network.attention_mask(text, tokens.shape[1])
        first, goal = self.network.start(text.pooled), self.teacher.start(meant.pooled)
        total = _relative(first - goal, goal)
        for block in self.teacher.each_block():  # the student has the same blocks
            with torch.no_grad():
                goal = block.attention(x, block.project_text(meant), sight)
            total = total + _relative(
                block.attention(x, block.project_text(text), own_sight) - goal, goal - x
            )
            with torch.no_grad():
                x = block.feed_forward(goal)
        return total

    def draw(self, network: Dalle, prompts: list[str]) -> Tensor:
        guidance = float(self.config.get("guidance", GUIDANCE))
        return dalle.draw(
            network, self.image_tokenizer, self.tokenizer, prompts, self.device, guidance
        )


def _tokens(
    captions: Sequence[UnderspecifiedCaption],
    randoms: Sequence[Random],
    tokenizer: SubwordTokenizer,
) -> tuple[Tensor, Tensor]:
    """Texts, as for training a generator, and meanings; int64 [N, T], as long as the longest."""
    texts = [
        regularised_tokens(caption.text, random, tokenizer)
        for caption, random in zip(captions, randoms, strict=True)
    ]
    meanings = tokenize([caption.meaning for caption in captions], tokenizer)
    return trim(tokenizer.pad(texts)), trim(meanings)


def _relative(difference: Tensor, whole: Tensor) -> Tensor:
    """The mean over texts of relative squares, which does not depend on the shares of a batch."""
    parts = (values.float().flatten(1).square().sum(1) for values in (difference, whole))
    return torch.div(*parts).mean()
