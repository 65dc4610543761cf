"""What the text encoder of a dalle is taught before there are pictures: which of two things a
caption puts first.

From pictures alone this is learned late or never. Which thing is on the left is one choice, 0.7 of
about 40 nats of a picture, and it is worth nothing until three things come together: words that
find the relation, blocks that pass it on and a Transformer that reads it. Here it is all that is
asked. After a few hundred steps the encoder knows, and the Transformer has something to read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

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
from evalkit.training.data import read
from evalkit.training.runtime.loop import random_of
from evalkit.training.runtime.muon import Muon

log = logging.getLogger(__name__)
PAIRS = 32  # captions of a step


class Places(nn.Module):
    """Asks the words of a text for the thing in each of two places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.places = nn.Parameter(0.3 * torch.randn(2, width))
        self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.noun = nn.Linear(width, len(NOUNS))

    def forward(self, text: TextFeatures) -> Tensor:
        """float [N, 2, nouns]: logits of what is on the left of a pair or above, and of the other."""
        scores = self.places @ self.key(text.tokens).mT / self.places.shape[1] ** 0.5  # [N, 2, T]
        weights = scores.masked_fill(~text.mask[:, None], -1e4).softmax(2)
        return self.noun(weights @ self.value(text.tokens))


def in_order(scene: Scene) -> tuple[int, int]:
    """Which thing is on the left or above, and which is the other."""
    first, second = (NOUNS.index(item.noun) for item in scene.items)
    return (first, second) if scene.relation in ("left", "above") else (second, first)


def take_lessons(
    network: Dalle | Gan,
    blocks: nn.Module,
    below: Iterable[nn.Parameter],
    examples: Examples,
    pieces: SubwordTokenizer,
    *,
    steps: int,
    seed: int,
) -> None:
    """`teach_order` before the first picture, where the examples are of the bundled world; of a
    user's nobody knows what stands where.
    """
    pairs = (
        [scene for scene in examples.scenes if scene.kind == "pair"]
        if isinstance(examples, SceneDataset)
        else []
    )
    if pairs and steps > 0:
        right = teach_order(network, blocks, below, pairs, pieces, steps=steps, seed=seed)
        log.info("reads which of two things stands first in %.0f%% of the captions", 100 * right)


def teach_order(
    network: Dalle | Gan,
    blocks: nn.Module,
    below: Iterable[nn.Parameter],
    pairs: Sequence[Scene],
    pieces: SubwordTokenizer,
    *,
    steps: int,
    seed: int,
) -> float:
    """Teach the text encoder of a generator on scenes of two things. Returns the share of the last
    captions of which both places were right.

    blocks: those that are to learn it. below: what feeds them and knows the words already, which
    learns more slowly.
    """
    device = next(network.parameters()).device
    asked = Places(network.text.position.shape[1]).to(device)
    matrices = [parameter for parameter in blocks.parameters() if parameter.ndim == 2]
    others = [
        *asked.parameters(),
        *(parameter for parameter in blocks.parameters() if parameter.ndim < 2),
    ]
    tower = {"params": list(below), "lr": 5e-4}
    optimisers = (
        Muon(matrices),
        torch.optim.AdamW(
            [{"params": others, "lr": 3e-3}, tower], weight_decay=0.0, betas=(0.9, 0.98)
        ),
    )
    right: list[float] = []
    for step in track(range(steps), "learning to read", steps, "steps"):
        randoms = [
            random_of(seed, -1 - step, place) for place in range(PAIRS)
        ]  # steps before the first one
        chosen = [random.choice(pairs) for random in randoms]
        told = [
            caption(scene, random.getrandbits(48), complete=True)
            for scene, random in zip(chosen, randoms, strict=True)
        ]
        texts = read(told, pieces).to(device)
        goal = torch.tensor([in_order(scene) for scene in chosen], device=device)
        logits = asked(network.encode_text(texts))
        F.cross_entropy(logits.flatten(0, 1), goal.flatten()).backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        right.append(float((logits.argmax(2) == goal).all(1).float().mean()))
    return sum(right[-10:]) / len(right[-10:])
