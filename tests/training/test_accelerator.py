"""Tests that need an accelerator: trainings in its precisions, and images for any batch size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_trainings import (
    CLIP,
    COACH,
    JUDGE,
    curve_rows,
    held_out,
    scenes,
    settings,
    small_dalle,
)

from evalkit.encoders import mini
from evalkit.generators import dalle, gan
from evalkit.training.classifier import train_classifier
from evalkit.training.clip import train_clip
from evalkit.training.gan import train_gan
from evalkit.training.image_tokenizer import train_image_tokenizer
from evalkit.training.options import ClassifierOptions, DalleOptions, GanOptions, TokenizerOptions

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
PROMPTS = ["a dog", "a red ball on grass", "three cats", "a boat left of a tree"] * 10


@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_a_dalle_learns_in_every_precision(tmp_path: Path, precision: str) -> None:
    how = settings(tmp_path, "dalle", 40, every=20, device="cuda", precision=precision)
    small_dalle(how, DalleOptions(depth=1, text_pretraining=5))
    before, after = curve_rows(tmp_path / "dalle.csv")
    assert float(after["loss"]) < float(before["loss"])
    assert float(after["memory_gb"]) > 0


@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_a_gan_grows_and_resumes_in_every_precision(tmp_path: Path, precision: str) -> None:
    options = GanOptions(discriminator_start=0.2, gradient_penalty=1.0, text_pretraining=5)
    networks = {"clip": CLIP, "feature_network": COACH, "judge": JUDGE}
    for steps in (12, 24):  # the second training finds the checkpoint of the first
        how = settings(tmp_path, "gan", steps, every=4, device="cuda", precision=precision)
        train_gan(how, scenes(), held_out(), options, **networks)
    rows = curve_rows(tmp_path / "gan.csv")
    assert [int(row["step"]) for row in rows] == [4, 8, 12, 16, 20, 24]
    assert all(float(row["discriminator"]) >= 0 for row in rows if row["discriminator"])
    images = gan.load(weights=str(tmp_path), device="cuda")(PROMPTS, range(40))
    assert all(isinstance(image, Image.Image) for image in images)


def test_the_other_networks_learn(tmp_path: Path) -> None:
    cuda: dict[str, Any] = {"every": 10, "device": "cuda"}
    train_image_tokenizer(
        settings(tmp_path, "image-tokenizer", 20, **cuda),
        scenes(),
        held_out(),
        TokenizerOptions(levels="5,5,5", perceptual=0.5),
        feature_network=COACH,
    )
    how = settings(tmp_path, "mini-inception", 20, **cuda)
    train_classifier(how, scenes(), ClassifierOptions())
    clip = settings(tmp_path, "mini-clip", 20, **cuda)
    train_clip(clip, scenes(), held_out(), classifier=how.out)
    for name in ("image-tokenizer", "mini-inception", "mini-clip"):
        before, after = curve_rows(tmp_path / f"{name}.csv")
        assert float(after["loss"]) < float(before["loss"]), name


@pytest.mark.parametrize("load", [dalle.load, gan.load])
def test_an_image_does_not_depend_on_the_batch(load: Callable[..., Any]) -> None:
    generator = load(device="cuda")
    many = [np.asarray(image) for image in generator(PROMPTS, range(40))]
    for place in (0, 17, 39):
        alone = generator([PROMPTS[place]], [place])[0]
        assert np.array_equal(np.asarray(alone), many[place])


@pytest.mark.parametrize("load", [mini.load_inception, mini.load_clip_encoder])
def test_features_are_those_of_a_cpu(load: Callable[..., Any]) -> None:
    images = list(gan.load(device="cpu")(PROMPTS[:8], range(8)))
    found: list[np.ndarray] = []
    for device in ("cpu", "cuda"):
        encoder = load(device=device)
        prepared = torch.stack([encoder.prepare(image) for image in images])
        found.append(encoder(prepared.to(device))["pool"].cpu().numpy())
    assert np.allclose(*found, rtol=1e-2, atol=1e-2)
