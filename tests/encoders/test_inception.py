"""Inception with seeded weights, through the real loading code, against torch-fidelity with the same file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from evalkit.core import EvalkitError
from evalkit.encoders import inception, weights


def pictures(count: int, height: int, width: int, seed: int) -> Tensor:
    """Smooth pictures with noise, uint8 [N, 3, H, W]."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=random) * 255
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (smooth + 20 * torch.randn(count, 3, height, width, generator=random)).clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A state dict of the network with seeded He weights and calibrated batch norm, and its SHA-256."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save({}, folder / "empty.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], feature_extractor_weights_path=folder / "empty.pth")
    random = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for name, value in state.items():
        if value.ndim == 4:
            value.copy_(torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5)
        elif value.ndim == 2:
            value.copy_(torch.randn(value.shape, generator=random) * 0.05)
        elif name.endswith(("bn.weight", "running_var")):
            value.copy_(0.8 + 0.4 * torch.rand(value.shape, generator=random))
        elif value.is_floating_point():
            value.copy_(0.1 * torch.randn(value.shape, generator=random))
    path = folder / "seeded.pth"
    torch.save(state, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_features_agree_with_torch_fidelity(weights_file: tuple[Path, str]):
    path, digest = weights_file
    ours = inception.load(device="cpu", path=str(path), sha256_prefix=digest[:8])
    theirs = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], feature_extractor_weights_path=path)
    assert ours.fingerprint.startswith(digest[:16])
    for height, width in ((64, 64), (310, 128)):
        images = pictures(3, height, width, height)
        found = ours(images)
        pool, logits = theirs(images)
        assert found["pool"].shape == (3, 2048)
        assert found["logits"].shape == (3, 1008)
        for mine, peer in ((found["pool"], pool), (found["logits"], logits)):
            assert ((mine - peer).norm(dim=1) / peer.norm(dim=1)).max() < 1e-5
    one_by_one = torch.cat([ours(image[None])["pool"] for image in images])
    assert torch.allclose(one_by_one, found["pool"], rtol=1e-4, atol=1e-5 * float(found["pool"].abs().max()))


@pytest.mark.parametrize("size", [(32, 32), (299, 299), (512, 200), (1, 1), (300, 37)])
def test_resize_is_that_of_tensorflow_1(size: tuple[int, int]):
    images = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    slow = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(299, 299), align_corners=False)
    assert (inception.normalised(images) * 128 + 128 - slow).abs().max() < 3e-5 * 255


def test_prepare_keeps_the_size_and_the_pixels():
    array = np.random.RandomState(0).randint(0, 256, (20, 30, 3), dtype=np.uint8)
    encoder = object.__new__(inception.Inception)
    assert torch.equal(encoder.prepare(Image.fromarray(array)), torch.from_numpy(array).permute(2, 0, 1))


def test_weights_of_another_hash_are_refused(weights_file: tuple[Path, str]):
    with pytest.raises(EvalkitError, match="expected one that starts with 6726825d"):
        inception.load(path=str(weights_file[0]))


def test_weights_of_another_network_are_refused(tmp_path: Path):
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(EvalkitError, match="do not fit Inception"):
        inception.load(path=str(tmp_path / "other.pth"), sha256_prefix="")


def test_weights_are_found_in_either_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path / "ours")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert weights.cached("file.pth") is None
    for folder in (tmp_path / "hub" / "checkpoints", tmp_path / "ours"):
        folder.mkdir(parents=True)
        (folder / "file.pth").write_bytes(b"x")
        assert weights.cached("file.pth") == folder / "file.pth"


def test_no_weights_is_one_quick_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "cached", lambda file: None)
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path)
    with pytest.raises(EvalkitError, match="are in no cache"):
        inception.load(fetch=False)
    monkeypatch.setattr(inception, "URL", "http://127.0.0.1:9/weights.pth")
    with pytest.raises(EvalkitError, match="cannot be reached"):
        inception.load()
    assert list(tmp_path.iterdir()) == []


def test_fetched_weights_are_checked_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(weights, "reachable", lambda url: True)
    source = tmp_path / "source.pth"
    source.write_bytes(b"weights")
    with pytest.raises(EvalkitError, match="SHA-256"):
        weights.fetch(source.as_uri(), "w.pth", "00000000")
    assert list((tmp_path / "cache").iterdir()) == []
    fetched = weights.fetch(source.as_uri(), "w.pth", hashlib.sha256(b"weights").hexdigest()[:8])
    assert fetched.read_bytes() == b"weights"


def test_a_silent_server_does_not_hang(monkeypatch: pytest.MonkeyPatch):
    import threading
    import time

    released, gone = threading.Event(), threading.Event()

    def silent(*args: object, **kwargs: object) -> None:
        released.wait(60)
        gone.set()
        raise OSError("nobody there")

    monkeypatch.setattr(weights.urllib.request, "urlopen", silent)
    start = time.monotonic()
    assert not weights.reachable("http://example.invalid", seconds=0.1)
    assert time.monotonic() - start < 20
    released.set()
    gone.wait(20)
