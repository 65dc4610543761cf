"""Features of groups: encoded together, and again only for changed groups."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from counting_encoder import CountingEncoder, image_files
from PIL import Image

from evalkit.features.groups import group_features
from evalkit.images import to_tensor


class Spread(CountingEncoder):
    """The mean distance of an image's mean colour from those of its group."""

    grouped = True

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        colours = super().__call__(images)["pool"]
        return {
            "diversity": torch.cdist(colours, colours).sum(dim=1, keepdim=True)
            / max(1, len(images) - 1)
        }

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return to_tensor(image.resize((8, 8)))


def test_groups_are_encoded_together_and_again_only_if_changed(tmp_path: Path):
    images, cache, encoder = image_files(tmp_path / "images", 8), tmp_path / "x.npz", Spread()
    labels = ["a", "b", "c", "a", "b", "a", "d", "a"]
    found = group_features(images, labels, encoder, cache, wanted=("diversity",)).values[
        "diversity"
    ]
    assert sorted(encoder.batches) == [1, 1, 2, 4]
    alone = group_features(
        [images[1], images[4]], ["x", "x"], Spread(), tmp_path / "y.npz", wanted=("diversity",)
    ).values["diversity"]
    assert torch.equal(found[[1, 4]], alone)
    encoder = Spread()
    again = group_features(images, labels, encoder, cache, wanted=("diversity",)).values[
        "diversity"
    ]
    assert encoder.batches == []
    assert torch.equal(again, found)
    changed = group_features(
        images, ["a", "b", "c", "a", "b", "a", "b", "a"], encoder, cache, wanted=("diversity",)
    ).values["diversity"]
    assert encoder.batches == [3]
    assert torch.equal(changed[[0, 2, 3]], found[[0, 2, 3]])
    assert not torch.equal(changed[[1, 4]], found[[1, 4]])


def test_equal_images_in_a_group_have_equal_features(tmp_path: Path):
    images = image_files(tmp_path / "images", 2)
    found = group_features(
        [images[0], images[0], images[1]],
        ["a"] * 3,
        Spread(),
        tmp_path / "x.npz",
        wanted=("diversity",),
    )
    value = found.values["diversity"].flatten().tolist()
    assert value[0] == value[1]
    assert value[2] == pytest.approx(2 * value[0], rel=1e-6)
