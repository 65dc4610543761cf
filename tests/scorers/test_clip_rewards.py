"""PickScore and HPS with small seeded networks, against the code that published them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from openai_clip import CONTEXT, OpenAI, network, noise
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.encoders import clip_model
from evalkit.scorers import hps, pickscore
from evalkit.scorers.rewards import ClipReward

transformers = pytest.importorskip("transformers")
SIZES = [(224, 224), (64, 48), (301, 200), (150, 333), (224, 100), (3, 401)]
IMAGES = [  # noise in single pixels, which every step of a resize changes
    Image.fromarray(
        np.random.RandomState(width).randint(0, 256, (height, width, 3), dtype=np.uint8)
    )
    for width, height in SIZES
]
PROMPTS = ["a cat", "two red dogs on a beach", "", "word " * 100, "a boat at night", "Größe ½"]
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def peer() -> OpenAI:
    """A small network of the kind of ViT-H/14: heads of 80 in the image tower, and GELU."""
    model = network(width=160, head=80, gelu=True).float()
    model.logit_scale.fill_(4.5)
    return model


@pytest.fixture
def hps_cosine(pin, peer: OpenAI) -> ClipReward:
    pin("hpsv2", lambda path: torch.save({"state_dict": peer.state_dict()}, path))
    return hps.load_v2(convention="cosine", device="cpu")


@pytest.fixture
def pickscore_file(pin, peer: OpenAI) -> None:
    state = clip_model.renamed(peer.state_dict())
    positions = {"text_model.embeddings.position_ids": torch.arange(CONTEXT)[None]}
    pin("pickscore", lambda path: save_file(state | positions, path))


def as_hpsv2(image: Image.Image, antialias: bool = True) -> Tensor:
    """ToTensor, ResizeMaxSize(224) and Normalize of hpsv2 1.2 (src/open_clip/transform.py).

    It does not pad images whose longer side is 224, and cannot read them where they are no squares.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    x = F.to_tensor(image)
    height, width = x.shape[1:]
    scale = 224 / float(max(height, width))
    size = [max(1, round(side * scale)) for side in (height, width)]
    x = F.resize(x, size, InterpolationMode.BICUBIC, antialias=antialias)
    rows, columns = 224 - size[0], 224 - size[1]
    x = F.pad(x, [columns // 2, rows // 2, columns - columns // 2, rows - rows // 2], fill=0)
    return F.normalize(x, list(MEAN), list(DEVIATION))


tokenizer = functools.cache(clip_model.tokenizer)


def cosine(peer: OpenAI, pixels: Tensor, prompt: str) -> float:
    """encode_image and encode_text of open_clip, each divided by its norm, and their product."""
    tokens = tokenizer()([prompt], truncation=True, max_length=CONTEXT)["input_ids"][0]
    with torch.inference_mode():
        image, text = peer.visual(pixels[None])[0], peer.text(tokens)
        return ((image / image.norm()) @ (text / text.norm())).item()


def test_hps_agrees_with_its_own_code(hps_cosine: ClipReward, peer: OpenAI):
    theirs = [
        cosine(peer, as_hpsv2(image), text) for image, text in zip(IMAGES, PROMPTS, strict=True)
    ]
    assert hps_cosine(IMAGES, PROMPTS) == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    assert hps_cosine.name == "hpsv2.0-cosine"


def test_hps_without_antialiasing_is_another_scorer(hps_cosine: ClipReward, peer: OpenAI):
    plain = hps.load_v2(convention="cosine", antialias=False, device="cpu")
    pairs = list(zip(IMAGES, PROMPTS, strict=True))[2:4]
    theirs = [cosine(peer, as_hpsv2(image, antialias=False), text) for image, text in pairs]
    images, prompts = zip(*pairs, strict=True)
    assert plain(images, prompts) == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    assert plain(images, prompts) != pytest.approx(hps_cosine(images, prompts), rel=1e-3)
    assert plain.name == "hpsv2.0-aliased-cosine"
    assert plain.fingerprint != hps_cosine.fingerprint


def test_hps_tables_print_a_hundred_times_the_cosine(pin, hps_cosine: ClipReward):
    [cosine] = hps_cosine(IMAGES[:1], PROMPTS[:1])
    printed = hps.load_v2(device="cpu")
    assert printed(IMAGES[:1], PROMPTS[:1]) == pytest.approx([100 * cosine], rel=1e-6)
    assert printed.name == "hpsv2.0-cosine-x100"
    assert printed.fingerprint != hps_cosine.fingerprint


def test_each_version_of_hps_has_its_own_weights(pin, peer: OpenAI, hps_cosine: ClipReward):
    other = {name: tensor + 0.01 for name, tensor in peer.state_dict().items()}
    pin("hpsv2.1", lambda path: torch.save({"state_dict": other}, path))
    second = hps.load_v2_1(convention="cosine", device="cpu")
    assert second.name == "hpsv2.1-cosine"
    assert second(IMAGES[:2], PROMPTS[:2]) != pytest.approx(hps_cosine(IMAGES[:2], PROMPTS[:2]))


@pytest.mark.usefixtures("pickscore_file")
def test_pickscore_agrees_with_its_model_card(peer: OpenAI):
    """Through CLIPProcessor and CLIPModel, as the card of PickScore_v1 computes scores."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = transformers.CLIPProcessor(CLIPImageProcessorPil(), tokenizer())
    model = clip_model.build(clip_model.renamed(peer.state_dict()), "gelu", 80)
    with torch.inference_mode():
        images = processor(images=IMAGES, return_tensors="pt")
        texts = processor(
            text=PROMPTS, padding=True, truncation=True, max_length=77, return_tensors="pt"
        )
        image_embs = model.get_image_features(**images).pooler_output
        image_embs = image_embs / torch.norm(image_embs, dim=-1, keepdim=True)
        text_embs = model.get_text_features(**texts).pooler_output
        text_embs = text_embs / torch.norm(text_embs, dim=-1, keepdim=True)
        theirs = (model.logit_scale.exp() * (text_embs @ image_embs.T)).diag().tolist()
    ours = pickscore.load(device="cpu")
    assert ours(IMAGES, PROMPTS) == pytest.approx(theirs, rel=1e-5, abs=1e-4)
    assert ours.name == "pickscore-v1-logit"


@pytest.mark.usefixtures("pickscore_file")
def test_conventions_of_pickscore_differ_by_a_factor_and_in_name():
    [logit] = pickscore.load(device="cpu")(IMAGES[:1], PROMPTS[:1])
    scale = torch.tensor(4.5).exp().item()
    for convention, factor in (("logit/26", 26), ("cosine", scale)):
        other = pickscore.load(convention=convention, device="cpu")
        assert other(IMAGES[:1], PROMPTS[:1]) == pytest.approx([logit / factor], rel=1e-6)
        assert other.name == f"pickscore-v1-{convention.replace('/', '-')}"


def test_an_unknown_convention_is_refused(hps_cosine: ClipReward):
    with pytest.raises(
        EvalkitError,
        match=r"hpsv2 has no convention 'cosin'; expected cosine-x100 or cosine.*Did you mean 'cos",
    ):
        hps.load_v2(convention="cosin")


def test_values_do_not_depend_on_the_batch(hps_cosine: ClipReward):
    images = [noise(90 + 7 * n, 200, seed=n) for n in range(11)]
    prompts = [f"{'word ' * (3 * n)}end" for n in range(11)]
    alone = [hps_cosine([image], [text])[0] for image, text in zip(images, prompts, strict=True)]
    assert hps_cosine(images, prompts) == pytest.approx(alone, rel=1e-5, abs=1e-6)


def test_the_network_is_loaded_at_the_first_call(pin):
    """A file that holds no network: everything that answers from the cache need works with it."""
    pin("hpsv2", lambda path: Path(path).write_bytes(b"no network"))
    scorer = hps.load_v2(device="cpu")
    assert scorer.fingerprint
    assert scorer.truncated(PROMPTS) == 1
    with pytest.raises(EvalkitError, match="cannot be read as CLIP weights"):
        scorer(IMAGES[:1], PROMPTS[:1])
