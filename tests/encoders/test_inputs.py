"""Crops, checks and batches of the inputs of the networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from PIL import Image
from seeded_inception import sample_images, state_dict
from torch import Tensor

from evalkit.encoders import inputs, mini
from evalkit.encoders.inception import Inception
from evalkit.encoders.inception_network import InceptionNetwork
from evalkit.images import to_images

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize(("size", "left", "top"), [((7, 4), 1, 0), ((4, 9), 0, 2), ((4, 4), 0, 0)])
def test_the_centre_square_is_cropped(size: tuple[int, int], left: int, top: int):
    image = Image.new("L", size)
    image.paste(255, (left, top, left + 4, top + 4))
    cropped = inputs.centre_crop(image, 4)
    assert cropped.size == (4, 4)
    assert cropped.getextrema() == (255, 255)


@pytest.mark.parametrize("long", [224, 225, 226, 227, 334, 335, 336, 337, 448])
def test_the_crop_of_the_paper_is_that_of_torchvision(long: int):
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    theirs = Compose([Resize(224, InterpolationMode.BICUBIC), CenterCrop(224)])
    pixels = to_images(sample_images(1, 300, round(300 * long / 224), long))[0]
    for image in (pixels, pixels.transpose(Image.Transpose.ROTATE_90)):
        found = inputs.rounded_crop(inputs.resize_shorter(image, 224), 224)
        assert found.tobytes() == theirs(image).tobytes()


def test_the_two_crops_differ_where_three_more_rows_than_a_multiple_of_four_are_left_out():
    for length in range(224, 240):
        image = to_images(sample_images(1, length, 224, 0))[0]
        same = inputs.rounded_crop(image, 224) == inputs.centre_crop(image, 224)
        assert same == (length % 4 != 3)


def test_other_types_and_sizes_are_refused():
    inputs.check(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.uint8, 8)
    for images in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 9, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"expected uint8 \[N, 3, 8, 8\]"):
            inputs.check(images, torch.uint8, 8)


def test_batches_are_small_on_a_cpu_only():
    assert [len(part) for part in inputs.split(torch.zeros(10, 1), CPU, 4)] == [4, 4, 2]
    assert [len(part) for part in inputs.split(torch.zeros(10, 1), META, 4)] == [10]
    assert [len(part) for part in inputs.split(torch.zeros(0, 1), CPU, 4)] == [0]


def test_an_image_of_the_mean_colour_is_zero():
    mean, deviation = (0.2, 0.4, 0.6), (0.5, 1.0, 2.0)
    images = torch.tensor([51, 102, 153], dtype=torch.uint8).view(1, 3, 1, 1).repeat(5, 1, 2, 2)
    found = torch.cat(list(inputs.normalised(images, mean, deviation, CPU, 2)))
    assert torch.allclose(found, torch.zeros(5, 3, 2, 2), atol=1e-6)
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    [found] = inputs.normalised(white, mean, deviation, CPU, 2)
    assert found.flatten().tolist() == pytest.approx([1.6, 0.6, 0.2])


# --- settings of a training script ---
BACKENDS: Any = torch.backends
PLACES = [
    *(BACKENDS, BACKENDS.cudnn, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn, BACKENDS.cuda.matmul),
    *(BACKENDS.mkldnn, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.rnn, BACKENDS.mkldnn.matmul),
]
SETTINGS: dict[str, Callable[[], object]] = {
    "products": lambda: torch.set_float32_matmul_precision("medium"),
    "products and cudnn": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
    "everything": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
    "CPU": lambda: setattr(BACKENDS.mkldnn, "fp32_precision", "bf16"),
    "benchmark": lambda: setattr(BACKENDS.cudnn, "benchmark", True),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
}


def settings() -> list[object]:
    return [
        *(place.fp32_precision for place in PLACES),
        *(BACKENDS.cudnn.benchmark, BACKENDS.cudnn.deterministic),
        *(torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")),
    ]


@pytest.fixture
def restored() -> Iterator[None]:
    before = [place.fp32_precision for place in PLACES]
    yield
    torch.set_float32_matmul_precision("highest")
    for place, precision in zip(PLACES, before, strict=True):
        place.fp32_precision = precision
    BACKENDS.cudnn.benchmark = False
    torch.set_autocast_enabled("cpu", False)


@pytest.fixture(scope="module")
def encoders() -> list[Any]:
    network = InceptionNetwork(state_dict(), CPU)
    return [mini.load_inception(), mini.load_clip_encoder(), Inception("inception", network, "")]


def features(encoder: Any) -> list[Tensor]:
    image = to_images(sample_images(1, 40, 50, 0))[0]
    found = list(encoder(encoder.prepare(image)[None]).values())
    return [*found, encoder.text(["a red bird"])] if hasattr(encoder, "text") else found


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_a_training_script_change_no_feature_and_stay(
    setting: str, encoders: list[Any], restored: None
):
    expected = [features(encoder) for encoder in encoders]
    SETTINGS[setting]()
    before = settings()
    for encoder, values in zip(encoders, expected, strict=True):
        found = features(encoder)
        assert all(map(torch.equal, found, values)), (encoder.name, setting)
    assert settings() == before


def test_a_precision_that_follows_that_of_all_still_follows_it(restored: None):
    BACKENDS.fp32_precision = "tf32"
    with inputs.exact():
        assert BACKENDS.mkldnn.conv.fp32_precision == "ieee"
    BACKENDS.fp32_precision = "ieee"
    assert BACKENDS.mkldnn.conv.fp32_precision == "ieee"
