"""A trained generator that learns to read, beside the same one that is told what is meant: what
learns in it, and how far it is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evalkit.core import EvalkitError
from evalkit.models.dalle import GUIDANCE
from evalkit.models.load import codes_fingerprint, load_dalle, load_gan, load_image_tokenizer
from evalkit.models.mini_inception import to_unit
from evalkit.models.text import SubwordTokenizer
from evalkit.scenes import dataset
from evalkit.scenes.underspecified import UnderspecifiedCaption
from evalkit.training import dalle, data, gan
from evalkit.training.runtime.checkpoints import differences, tokens_of


class Pupil(Protocol):
    config: dict[str, Any]
    pieces: SubwordTokenizer

    @property
    def network(self) -> nn.Module:
        """Of which only the text encoder learns."""
        ...

    def misread(
        self, told: Sequence[UnderspecifiedCaption], rows: Sequence[int], randoms: Sequence[Random]
    ) -> Tensor:
        """How far the rest of the generator is from getting of each text what it got of its
        meaning: mean squared differences, each relative to the mean square of the teacher's for
        that text.

        rows: of the scenes of which texts and meanings are true.
        """
        ...

    def draw(self, state: dict[str, Tensor], prompts: list[str]) -> Tensor:
        """One picture for each prompt, with other weights: uint8 [N, 3, S, S]."""
        ...


class GanPupil:
    """The text decides the plan of a picture: its style, and what is where in 8 x 8 places."""

    def __init__(self, path: Path, device: str) -> None:
        self.device = device
        self.network, self.config = load_gan(path)
        self.teacher = deepcopy(self.network).requires_grad_(False).eval().to(device)
        self.network.requires_grad_(False).to(device).text.requires_grad_(True)
        self.pieces = SubwordTokenizer(self.config["pieces"], self.config["context"])

    def misread(
        self, told: Sequence[UnderspecifiedCaption], rows: Sequence[int], randoms: Sequence[Random]
    ) -> Tensor:
        texts, meanings = (part.to(self.device) for part in read(told, randoms, self.pieces))
        noise = self.network.noise_of([random.getrandbits(62) for random in randoms]).to(
            self.device
        )
        with torch.no_grad():
            goals = self.teacher.plan(self.teacher.encode_text(meanings), noise)
        plans = self.network.plan(self.network.encode_text(texts), noise)
        return sum(
            (_relative(plan - goal, goal) for plan, goal in zip(plans, goals, strict=True)),
            noise.new_zeros(()),
        )

    def draw(self, state: dict[str, Tensor], prompts: list[str]) -> Tensor:
        network = deepcopy(self.teacher)
        network.load_state_dict(state)
        return gan.draw(network, self.pieces, prompts, self.device, gan.Stage(network.size, 1.0))


class DallePupil:
    """Every block looks at the text. Each is asked by itself: what it makes of the text where all
    before it was as the teacher has it.
    """

    def __init__(
        self, path: Path, tokenizer: Path, examples: dataset.Examples, device: str
    ) -> None:
        """Raises EvalkitError where the dalle writes image tokens of another tokenizer."""
        self.examples, self.device = examples, device
        self.images = load_image_tokenizer(tokenizer)[0].to(device)
        self.network, self.config = load_dalle(path)
        ours = {"codes": self.images.codes, "image_tokenizer": codes_fingerprint(self.images)}
        if found := differences(("codes", *tokens_of(self.config)), self.config, ours):
            raise EvalkitError(
                f"{path} writes other image tokens than {tokenizer} has: it differs in {found}.",
                "Take both of one training.",
            )
        self.teacher = deepcopy(self.network).requires_grad_(False).eval().to(device)
        self.network.requires_grad_(False).to(device)
        for encoder in (self.network.text, self.network.order):
            encoder.requires_grad_(True)
        self.pieces = SubwordTokenizer(self.config["pieces"], self.config["context"])

    def misread(
        self, told: Sequence[UnderspecifiedCaption], rows: Sequence[int], randoms: Sequence[Random]
    ) -> Tensor:
        texts, meanings = (part.to(self.device) for part in read(told, randoms, self.pieces))
        with torch.no_grad():
            tokens = self.images.encode(to_unit(self.examples.pictures(rows).to(self.device)))
            meant = self.teacher.encode_text(meanings)
            x = self.teacher.embed(meant, tokens)
            sight = self.teacher.attention_mask(meant, tokens.shape[1])
        text = self.network.encode_text(texts)
        own_sight = self.network.attention_mask(text, tokens.shape[1])
        first, goal = self.network.start(text.pooled), self.teacher.start(meant.pooled)
        total = _relative(first - goal, goal)
        for block in self.teacher.each_block():  # the pupil's own are the same
            with torch.no_grad():
                goal = block.attention(x, block.project_text(meant), sight)
            total = total + _relative(
                block.attention(x, block.project_text(text), own_sight) - goal, goal - x
            )
            with torch.no_grad():
                x = block.feed_forward(goal)
        return total

    def draw(self, state: dict[str, Tensor], prompts: list[str]) -> Tensor:
        network = deepcopy(self.teacher)
        network.load_state_dict(state)
        return dalle.draw(
            network,
            self.images,
            self.pieces,
            prompts,
            self.device,
            float(self.config.get("guidance", GUIDANCE)),
        )


def read(
    told: Sequence[UnderspecifiedCaption], randoms: Sequence[Random], pieces: SubwordTokenizer
) -> tuple[Tensor, Tensor]:
    """Texts, as a generator is trained on them, and meanings as they are; each int64 [N, T] and as
    long as its longest.
    """
    texts = [
        data.read_apart(text, random, pieces)
        for (text, _), random in zip(told, randoms, strict=True)
    ]
    meanings = data.read([meaning for _, meaning in told], pieces)
    return data.up_to_the_longest(pieces.pad(texts)), data.up_to_the_longest(meanings)


def _relative(difference: Tensor, whole: Tensor) -> Tensor:
    """The mean over texts, so that it is the same whatever the shares of a batch."""
    parts = (values.float().flatten(1).square().sum(1) for values in (difference, whole))
    return torch.div(*parts).mean()
