"""The four ways to resize to 299 x 299, against the tools that use them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from seeded_inception import sample_images
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from evalkit.encoders.inception_preprocessing import ANTIALIAS, CLEAN, TF1, TORCH
from evalkit.images import to_images

SIZES = [(32, 32), (256, 256), (299, 299), (512, 512), (300, 117)]


@pytest.mark.parametrize("size", [*SIZES, (1, 1), (2, 700), (1024, 768)])
def test_tf1_resize_is_bit_equal_to_tensorflow_1(size: tuple[int, int]):
    images = torch.randint(
        0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    expected = interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    found = torch.stack([TF1.prepare(image) for image in to_images(images)])
    assert torch.equal(found, (expected - 128) / 128)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("size", SIZES)
def test_clean_resize_is_bit_equal_to_clean_fid(size: tuple[int, int]):
    from cleanfid.resize import build_resizer

    resize = build_resizer("clean")
    for image in to_images(sample_images(2, *size, size[0])):
        expected = torch.from_numpy(resize(np.array(image))).permute(2, 0, 1)
        assert torch.equal(CLEAN.prepare(image), (expected - 128) / 128)


def test_the_scale_of_each_convention():
    for preprocessing, expected in (
        (TF1, (-1, 0, 127 / 128)),
        (CLEAN, (-1, 0, 127 / 128)),
        (ANTIALIAS, (-1, 0, 127 / 128)),
        (TORCH, (-1, 1 / 255, 1)),
    ):
        for level, value in zip((0, 128, 255), expected, strict=True):
            found = preprocessing.prepare(Image.new("RGB", (10, 12), (level,) * 3))
            assert found.shape == (3, 299, 299)
            assert found.dtype == torch.float32
            assert torch.allclose(found, torch.tensor(float(value)), atol=1e-6)


def test_clean_does_not_round_and_stays_in_range():
    edge = np.zeros((40, 40, 3), dtype=np.uint8)
    edge[:, 20:] = 255
    found = CLEAN.prepare(Image.fromarray(edge))
    levels = found * 128 + 128
    assert levels.min() == 0  # bicubic overshoots, and clean-fid clips
    assert levels.max() == 255
    assert bool((levels != levels.round()).any())
