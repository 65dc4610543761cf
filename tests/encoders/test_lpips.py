"""LPIPS with seeded weights against torch-fidelity's."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from evalkit.core import EvalkitError
from evalkit.encoders import lpips

SIZES = [(80, 100), (20, 30), (130, 40)]  # larger than 64 pixels, smaller, mixed


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    """torchvision's VGG16 without its classifier, with seeded weights."""
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    layers = make_layers(cfgs["D"])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            assert layer.bias is not None
            nn.init.normal_(layer.bias, std=0.1)
    return {f"features.{name}": tensor for name, tensor in layers.state_dict().items()}


@pytest.fixture(scope="module")
def heads() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        f"lin{index}.model.1.weight": torch.rand(1, count, 1, 1, generator=random)
        for index, count in enumerate((64, 128, 256, 512, 512))
    }


@pytest.fixture(scope="module")
def encoder(trunk: dict[str, Tensor], heads: dict[str, Tensor]) -> lpips.Lpips:
    return lpips.Lpips(trunk, heads, "0" * 16)


@pytest.fixture(scope="module")
def peer(trunk: dict[str, Tensor], heads: dict[str, Tensor]) -> nn.Module:
    """torch-fidelity's own LPIPS with these weights."""
    from torch_fidelity import sample_similarity_lpips
    from torchvision.models.vgg import cfgs, make_layers

    features = make_layers(cfgs["D"])
    features.load_state_dict(
        {name.removeprefix("features."): tensor for name, tensor in trunk.items()}
    )
    with pytest.MonkeyPatch.context() as patch:  # its constructor downloads the weights
        patch.setattr(
            sample_similarity_lpips, "load_state_dict_from_url", lambda *args, **kwargs: heads
        )
        patch.setattr(
            sample_similarity_lpips,
            "torchvision_load_pretrained_vgg16",
            lambda: SimpleNamespace(features=features),
        )
        return sample_similarity_lpips.SampleSimilarityLPIPS(
            "lpips-vgg16", sample_similarity_resize=256, sample_similarity_dtype="uint8"
        )


@pytest.fixture
def small(peer: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both networks at 64 pixels, for tests that do not depend on the size."""
    monkeypatch.setattr(lpips, "SIZE", 64)
    monkeypatch.setattr(peer, "sample_similarity_resize", 64)


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def theirs(peer: nn.Module, first: Image.Image, second: Image.Image) -> float:
    one, two = (
        torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] for image in (first, second)
    )
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peer(one, two).item()


def test_a_pair_agrees_with_torch_fidelity_at_256_pixels(encoder: lpips.Lpips, peer: nn.Module):
    first, second = noise((300, 400), 0), noise((500, 120), 1)
    found = encoder.distances(torch.stack([encoder.prepare(first), encoder.prepare(second)]))
    assert found[0, 1].item() == pytest.approx(theirs(peer, first, second), rel=1e-5)


def test_every_pair_agrees_with_torch_fidelity(encoder: lpips.Lpips, peer: nn.Module, small: None):
    images = [noise(size, seed) for seed, size in enumerate(SIZES)]
    found = encoder.distances(torch.stack([encoder.prepare(image) for image in images]))
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.zeros(len(images), dtype=torch.float64))
    for row, first in enumerate(images):
        for column in range(row + 1, len(images)):
            assert found[row, column].item() == pytest.approx(
                theirs(peer, first, images[column]), rel=1e-5
            )


def test_diversity_is_the_mean_distance_to_the_others(
    encoder: lpips.Lpips, peer: nn.Module, small: None
):
    images = [noise((100, 90), seed) for seed in range(3)]
    found = encoder(torch.stack([encoder.prepare(image) for image in images]))
    assert list(found) == ["diversity"]
    assert (found["diversity"].shape, found["diversity"].dtype) == ((3, 1), torch.float32)
    expected = [
        np.mean([theirs(peer, one, two) for two in images if two is not one]) for one in images
    ]
    assert found["diversity"][:, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_equal_images_have_diversity_zero_and_a_single_image_has_none(
    encoder: lpips.Lpips, small: None
):
    image = encoder.prepare(noise((80, 80), 5))
    assert encoder(image.expand(3, -1, -1, -1))["diversity"].abs().max().item() == 0
    assert encoder(image[None])["diversity"].isnan().all()
    assert encoder(image[None])["diversity"].shape == (1, 1)


def test_images_of_different_blocks_are_compared(encoder: lpips.Lpips, small: None):
    """18 images are more than one block; pairs alone fit into one."""
    images = torch.stack([encoder.prepare(noise((40, 40), seed)) for seed in range(18)])
    found = encoder.distances(images)
    for first, second in ((0, 1), (3, 16), (15, 17), (16, 17)):
        alone = encoder.distances(images[[first, second]])[0, 1]
        assert found[first, second].item() == pytest.approx(alone.item(), rel=1e-5)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(encoder.distances(images[order]), found[order][:, order], rtol=1e-5)


@pytest.fixture
def saved(trunk: dict[str, Tensor], heads: dict[str, Tensor], tmp_path: Path) -> tuple[str, str]:
    """The two weights files."""
    torch.save(trunk, tmp_path / "vgg.pth")
    torch.save(heads, tmp_path / "heads.pth")
    return str(tmp_path / "vgg.pth"), str(tmp_path / "heads.pth")


def test_weights_are_loaded_from_files(
    encoder: lpips.Lpips, saved: tuple[str, str], heads: dict[str, Tensor], small: None
):
    loaded = lpips.load(device="cpu", trunk=saved[0], heads=saved[1])
    images = torch.stack([encoder.prepare(noise((50, 50), seed)) for seed in range(2)])
    assert torch.equal(loaded(images)["diversity"], encoder(images)["diversity"])
    torch.save(heads | {"lin0.model.1.weight": heads["lin0.model.1.weight"] + 1}, saved[1])
    other = lpips.load(device="cpu", trunk=saved[0], heads=saved[1])
    assert other.fingerprint != loaded.fingerprint


def test_other_files_are_refused(
    saved: tuple[str, str], tmp_path: Path, empty_caches: Path, heads: dict[str, Tensor]
):
    with pytest.raises(EvalkitError, match=r"features\.0\.weight'? is missing"):
        lpips.load(trunk=saved[1], heads=saved[1])
    with pytest.raises(EvalkitError, match="There is no weights file"):
        lpips.load(trunk=str(tmp_path / "nowhere"), heads=saved[1])
    torch.save(heads | {"lin4.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / "narrow.pth")
    with pytest.raises(EvalkitError, match="shapes differ"):
        lpips.load(trunk=saved[0], heads=str(tmp_path / "narrow.pth"))
    with pytest.raises(EvalkitError, match=r"vgg16-397923af\.pth\) were not found in the cache"):
        lpips.load(fetch=False)


def test_images_of_another_type_are_refused(encoder: lpips.Lpips):
    with pytest.raises(ValueError, match=r"expected float32 \[N, 3, 256, 256\]"):
        encoder(torch.zeros(2, 3, 256, 256, dtype=torch.uint8))
