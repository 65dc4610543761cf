"""What only an accelerator can show: its trainings, in its precisions, and pictures that are the
same whatever the batch.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_trainings import CLIP, COACH, JUDGE, held_out, settings, small_dalle, world

from evalkit.encoders import mini
from evalkit.generators import dalle, gan
from evalkit.training.gan import train_gan
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.classifier import train_classifier
from evalkit.training.clip import train_clip
from evalkit.training.options import ClassifierOptions, DalleOptions, GanOptions, TokenizerOptions

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
PROMPTS = ["a dog", "a red ball on grass", "three cats", "a boat left of a tree"] * 10


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_a_dalle_learns_in_every_precision(tmp_path: Path, precision: str):
    how = settings(tmp_path, "dalle", 40, every=20, device="cuda", precision=precision)
    small_dalle(how, DalleOptions(depth=1, text_pretraining=5))
    before, after = rows(tmp_path / "dalle.csv")
    assert float(after["loss"]) < float(before["loss"])
    assert float(after["memory_gb"]) > 0


@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_a_gan_grows_hears_its_critics_and_goes_on(tmp_path: Path, precision: str):
    parts = {"clip": CLIP, "feature_network": COACH, "judge": JUDGE}
    for steps in (12, 24):  # the second training finds the first one's checkpoint
        how = settings(tmp_path, "gan", steps, every=4, device="cuda", precision=precision)
        train_gan(
            how,
            world(),
            held_out(),
            GanOptions(discriminator_start=0.2, gradient_penalty=1.0, text_pretraining=5),
            **parts,
        )
    found = rows(tmp_path / "gan.csv")
    assert [int(row["step"]) for row in found] == [4, 8, 12, 16, 20, 24]
    assert all(float(row["discriminator"]) >= 0 for row in found if row["discriminator"])
    assert all(
        isinstance(image, Image.Image)
        for image in gan.load(weights=str(tmp_path), device="cuda")(PROMPTS, range(40))
    )


def test_the_other_networks_learn(tmp_path: Path):
    options = TokenizerOptions(levels="5,5,5", perceptual=0.5)
    train_image_tokenizer(
        settings(tmp_path, "image-tokenizer", 20, every=10, device="cuda"),
        world(),
        held_out(),
        options,
        feature_network=COACH,
    )
    train_classifier(
        settings(tmp_path, "mini-inception", 20, every=10, device="cuda"),
        world(),
        ClassifierOptions(),
    )
    train_clip(
        settings(tmp_path, "mini-clip", 20, every=10, device="cuda"),
        world(),
        held_out(),
        classifier=tmp_path / "mini-inception.safetensors",
    )
    for name in ("image-tokenizer", "mini-inception", "mini-clip"):
        before, after = rows(tmp_path / f"{name}.csv")
        assert float(after["loss"]) < float(before["loss"]), name


@pytest.mark.parametrize("load", [dalle.load, gan.load])
def test_a_picture_is_the_same_whatever_the_batch(load: Callable[..., object]):
    generator = load(device="cuda")
    many = [np.asarray(image) for image in generator(PROMPTS, range(40))]  # pyright: ignore[reportCallIssue]
    alone = [np.asarray(generator([PROMPTS[place]], [place])[0]) for place in (0, 17, 39)]  # pyright: ignore[reportCallIssue]
    assert all(
        np.array_equal(one, many[place]) for one, place in zip(alone, (0, 17, 39), strict=True)
    )


@pytest.mark.parametrize("load", [mini.load_inception, mini.load_clip_encoder])
def test_features_are_those_of_a_processor(load: Callable[..., object]):
    pictures = list(gan.load(device="cpu")(PROMPTS[:8], range(8)))
    found: list[np.ndarray] = []
    for device in ("cpu", "cuda"):
        encoder = load(device=device)
        prepared = torch.stack([encoder.prepare(picture) for picture in pictures])  # pyright: ignore[reportAttributeAccessIssue]
        found.append(encoder(prepared.to(device))["pool"].cpu().numpy())  # pyright: ignore[reportCallIssue]
    assert np.allclose(*found, rtol=1e-2, atol=1e-2)
