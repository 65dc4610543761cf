"""The aesthetic score with a small seeded CLIP, against the published code."""

from __future__ import annotations

import pytest
import torch
from openai_clip import OpenAI, network, noise
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from evalkit.encoders import clip_model
from evalkit.scorers.aesthetic import AESTHETIC, Aesthetic

IMAGES = [noise(*size, seed=size[0]) for size in ((224, 224), (64, 48), (301, 200), (224, 335))]


@pytest.fixture(scope="module")
def peer() -> OpenAI:
    return network().float()


@pytest.fixture(scope="module")
def head() -> nn.Sequential:
    """The layers of simple_inference.py of improved-aesthetic-predictor, on 16 features."""
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Linear(16, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2),
        nn.Linear(128, 64), nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1),
    )  # fmt: skip
    return layers.eval().requires_grad_(False)


@pytest.fixture
def scorer(pin, peer: OpenAI, head: nn.Sequential) -> Aesthetic:
    state = {f"layers.{name}": tensor for name, tensor in head.state_dict().items()}
    pin("aesthetic-head", lambda path: torch.save(state, path))
    pin("clip-l14-hub", lambda path: save_file(clip_model.renamed(peer.state_dict()), path))
    return Aesthetic(device="cpu")


def published(image: Image.Image, peer: OpenAI, head: nn.Sequential) -> float:
    """OpenAI's preprocessing, the unit feature, and the layers one after the other."""
    from torchvision.transforms import (
        CenterCrop,
        Compose,
        InterpolationMode,
        Normalize,
        Resize,
        ToTensor,
    )

    preprocess = Compose(
        [
            Resize(224, interpolation=InterpolationMode.BICUBIC),
            CenterCrop(224),
            ToTensor(),
            Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    with torch.inference_mode():
        features = peer.visual(preprocess(image)[None])
        return head(features / features.norm(dim=-1, keepdim=True)).item()


def test_scores_agree_with_the_published_code(scorer: Aesthetic, peer: OpenAI, head: nn.Sequential):
    theirs = [published(image, peer, head) for image in IMAGES]
    assert scorer(IMAGES, [""] * len(IMAGES)) == pytest.approx(theirs, rel=1e-5)
    assert scorer.name == "aesthetic-v2"


def test_no_prompts_are_read(scorer: Aesthetic):
    assert not AESTHETIC.reads_prompts
    assert scorer(IMAGES[:2], ["a cat", "x " * 99]) == scorer(IMAGES[:2], ["", ""])


def test_values_do_not_depend_on_the_batch(scorer: Aesthetic):
    images = [noise(90 + 7 * n, 200, seed=n) for n in range(11)]
    alone = [scorer([image], [""])[0] for image in images]
    assert scorer(images, [""] * 11) == pytest.approx(alone, rel=1e-5)
