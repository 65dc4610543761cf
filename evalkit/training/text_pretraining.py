"""Text pre-training: the text encoder of a generator learns object order from captions alone.

From images alone the order is learned late or never. Which object is on the left is one choice, 0.7
of about 40 nats of an image, and it has no effect until three parts work together: words that find
the relation, blocks that pass it on, and a generator that uses it. As the only task, a few hundred
steps are enough.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.dalle import Dalle
from evalkit.models.gan import Gan
from evalkit.models.text import SubwordTokenizer, TextFeatures
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import Scene
from evalkit.scenes.dataset import NOUNS, Examples, SceneDataset
from evalkit.terminal import track
from evalkit.training.runtime.loop import random_of
from evalkit.training.runtime.muon import Muon
from evalkit.training.tokens import tokenize

log = logging.getLogger(__name__)
PAIRS = 32  # captions per step


class OrderProbe(nn.Module):
    """Reads the object in each of two places from the features of a text."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.places = nn.Parameter(0.3 * torch.randn(2, width))
        self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.noun = nn.Linear(width, len(NOUNS))

    def forward(self, text: TextFeatures) -> Tensor:
        """float [N, 2, nouns]: logits of the object that is on the left or above, and the other."""
        scores = self.places @ self.key(text.tokens).mT / self.places.shape[1] ** 0.5  # [N, 2, T]
        weights = scores.masked_fill(~text.mask[:, None], -1e4).softmax(2)
        return self.noun(weights @ self.value(text.tokens))


def in_order(scene: Scene) -> tuple[int, int]:
    """The object on the left or above, then the other."""
    first, second = (NOUNS.index(item.noun) for item in scene.items)
    return (first, second) if scene.relation in ("left", "above") else (second, first)


def pretrain_text(
    network: Dalle | Gan,
    blocks: nn.Module,
    inputs: Iterable[nn.Parameter],
    examples: Examples,
    tokenizer: SubwordTokenizer,
    *,
    steps: int,
    seed: int,
) -> None:
    """`learn_order` before the first image, for the bundled data set only.

    The object order in a user's images is unknown.
    """
    pairs: list[Scene] = []
    if isinstance(examples, SceneDataset):
        pairs = [scene for scene in examples.scenes if scene.kind == "pair"]
    if pairs and steps > 0:
        right = learn_order(network, blocks, inputs, pairs, tokenizer, steps=steps, seed=seed)
        log.info("text pre-training: %.0f%% of the captions in the right order", 100 * right)


def learn_order(
    network: Dalle | Gan,
    blocks: nn.Module,
    inputs: Iterable[nn.Parameter],
    pairs: Sequence[Scene],
    tokenizer: SubwordTokenizer,
    *,
    steps: int,
    seed: int,
) -> float:
    """Train the text encoder on scenes of two objects.

    Returns the share of the last captions for which both places were right.

    blocks: the part to train. inputs: parameters before it that are trained already and therefore
    learn more slowly.
    """
    device = next(network.parameters()).device
    probe = OrderProbe(network.text.position.shape[1]).to(device)
    matrices = [parameter for parameter in blocks.parameters() if parameter.ndim == 2]
    vectors = [parameter for parameter in blocks.parameters() if parameter.ndim < 2]
    groups = [
        {"params": [*probe.parameters(), *vectors], "lr": 3e-3},
        {"params": list(inputs), "lr": 5e-4},
    ]
    optimisers = Muon(matrices), torch.optim.AdamW(groups, weight_decay=0.0, betas=(0.9, 0.98))
    right: list[float] = []
    for step in track(range(steps), "text pre-training", steps, "steps"):
        # Negative steps: before the first one of the training.
        randoms = [random_of(seed, -1 - step, place) for place in range(PAIRS)]
        texts, goal = _batch(pairs, randoms, tokenizer)
        logits, goal = probe(network.encode_text(texts.to(device))), goal.to(device)
        F.cross_entropy(logits.flatten(0, 1), goal.flatten()).backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        right.append(float((logits.argmax(2) == goal).all(1).float().mean()))
    return sum(right[-10:]) / len(right[-10:])


def _batch(
    pairs: Sequence[Scene], randoms: Sequence[Random], tokenizer: SubwordTokenizer
) -> tuple[Tensor, Tensor]:
    """Captions, int64 [N, T], and the two objects of each in order, int64 [N, 2]."""
    scenes = [random.choice(pairs) for random in randoms]
    captions = [
        caption(scene, random.getrandbits(48), complete=True)
        for scene, random in zip(scenes, randoms, strict=True)
    ]
    return tokenize(captions, tokenizer), torch.tensor([in_order(scene) for scene in scenes])
