"""How many images one call of an encoder has, and batches that do not fit into memory."""

from __future__ import annotations

import logging

import pytest
import torch
from counting_encoder import CountingEncoder

from evalkit.encoders import batches


@pytest.mark.parametrize(
    ("free", "images"),
    [(0, 32), (2 << 30, 32), (8 << 30, 64), (16 << 30, 128), (24 << 30, 128), (139 << 30, 256)],
)
def test_larger_batches_where_memory_is_free(free: int, images: int) -> None:
    assert batches.fitting(free) == images


def test_a_given_number_counts_and_a_cpu_has_the_usual_one() -> None:
    encoder = CountingEncoder()
    assert batches.size(encoder, 7) == 7
    assert batches.size(encoder) == 32


class Small(CountingEncoder):
    """A device whose memory holds a few images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().__call__(images)


def test_batches_are_halved_until_they_fit_and_stay_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "evalkit")
    images = torch.arange(10 * 3 * 4, dtype=torch.uint8).view(10, 3, 2, 2)
    encoder = Small(3)
    call = batches.in_parts(encoder)
    first, second = call(images), call(images[:8])
    assert encoder.batches == [3, 3, 3, 1, 3, 3, 2]  # 10 and 5 did not fit
    expected = CountingEncoder()(images)
    assert all(torch.equal(first[name], expected[name]) for name in expected)
    assert all(torch.equal(second[name], expected[name][:8]) for name in expected)
    assert [record.getMessage() for record in caplog.records] == [
        "counting: 10 images do not fit into the memory of cpu; it takes 5 at a time now",
        "counting: 5 images do not fit into the memory of cpu; it takes 3 at a time now",
    ]


def test_a_single_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        batches.in_parts(Small(0))(torch.zeros(4, 3, 2, 2))


def test_images_of_one_prompt_are_not_parted() -> None:
    encoder = Small(3)
    encoder.grouped = True  # type: ignore[attr-defined]
    with pytest.raises(torch.OutOfMemoryError):
        batches.in_parts(encoder)(torch.zeros(4, 3, 2, 2))
