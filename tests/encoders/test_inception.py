"""Inception with seeded weights, through the real loading code, against the tools whose numbers
each encoder stands for.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from seeded_inception import pictures, state_dict, torch_fidelity_network
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from evalkit.core import EvalkitError
from evalkit.encoders import inception, inception_network, weights
from evalkit.encoders.inception_preprocessing import ANTIALIAS, CLEAN, TF1, TORCH
from evalkit.images import to_images, to_tensor

NAMES = tuple(inception.PREPROCESSING)
SIZES = [(32, 32), (256, 256), (299, 299), (512, 512), (300, 117)]


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    path = tmp_path_factory.mktemp("weights") / "seeded.pth"
    torch.save(state_dict(), path)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def encoders(weights_file: tuple[str, str]) -> dict[str, inception.Inception]:
    return {
        name: inception.load(
            device="cpu", path=weights_file[0], sha256_prefix=weights_file[1], name=name
        )
        for name in NAMES
    }


@pytest.fixture(scope="module")
def torch_fidelity() -> FeatureExtractorInceptionV3:
    return torch_fidelity_network(state_dict())


def jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return Image.open(file).convert("RGB")


def images(height: int, width: int) -> list[Image.Image]:
    return [jpeg(image) for image in to_images(pictures(2, height, width, height))]


def relative(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


def encoded(encoder: inception.Inception, some: list[Image.Image]) -> dict[str, Tensor]:
    return encoder(torch.stack([encoder.prepare(image) for image in some]))


# --- The tools themselves, with the same weights
# ------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_features_agree_with_torch_fidelity(
    encoders: dict[str, inception.Inception],
    size: tuple[int, int],
    torch_fidelity: FeatureExtractorInceptionV3,
):
    some = images(*size)
    found = encoded(encoders["inception"], some)
    pool, logits = torch_fidelity(torch.stack([to_tensor(image) for image in some]))
    assert found["pool"].shape == (2, 2048)
    assert found["logits"].shape == (2, 1008)
    assert found["spatial"].shape == (2, 2023)
    assert relative(found["pool"], pool) < 1e-5
    assert relative(found["logits"], logits) < 1e-5


@pytest.mark.parametrize("size", SIZES)
def test_features_agree_with_pytorch_fid(
    encoders: dict[str, inception.Inception], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    import pytorch_fid.inception
    from torchvision.transforms.functional import to_tensor as as_pytorch_fid_reads

    monkeypatch.setattr(
        pytorch_fid.inception, "load_state_dict_from_url", lambda *args, **options: state_dict()
    )
    network = pytorch_fid.inception.InceptionV3().eval()
    some = images(*size)
    with torch.no_grad():
        expected = network(torch.stack([as_pytorch_fid_reads(image) for image in some]))[0].flatten(
            1
        )
    assert relative(encoded(encoders["inception-torch"], some)["pool"], expected) < 1e-5


def test_features_agree_with_torchmetrics(
    encoders: dict[str, inception.Inception], weights_file: tuple[str, str]
):
    from torchmetrics.image.fid import NoTrainInceptionV3

    network = NoTrainInceptionV3("seeded", ["2048"], feature_extractor_weights_path=weights_file[0])
    for size in SIZES:
        some = images(*size)
        expected = network(torch.stack([to_tensor(image) for image in some]))
        assert relative(encoded(encoders["inception-antialias"], some)["pool"], expected) < 1e-5, (
            size
        )


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("size", SIZES)
def test_features_agree_with_clean_fid(
    encoders: dict[str, inception.Inception],
    size: tuple[int, int],
    torch_fidelity: FeatureExtractorInceptionV3,
):
    from cleanfid.resize import (
        build_resizer,
    )  # its network is a download: its resizing, then torch-fidelity's network

    resize, some = build_resizer("clean"), images(*size)
    resized = torch.stack(
        [torch.from_numpy(resize(np.array(image))).permute(2, 0, 1) for image in some]
    )
    x = (resized - 128) / 128
    with torch.no_grad():
        for name, layer in torch_fidelity.named_children():
            x = layer(x) if name != "fc" else x
    assert torch.equal(torch.stack([CLEAN.prepare(image) for image in some]), resized)
    assert relative(encoded(encoders["inception-clean"], some)["pool"], x.flatten(1)) < 1e-5


@pytest.mark.parametrize("size", [*SIZES, (1, 1), (2, 700), (1024, 768)])
def test_tf1_resize_is_that_of_tensorflow_1_to_the_bit(size: tuple[int, int]):
    some = torch.randint(
        0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    slow = interpolate_bilinear_2d_like_tensorflow1x(
        some.float(), size=(299, 299), align_corners=False
    )
    assert torch.equal(TF1.normalised(some), (slow - 128) / 128)


def test_spatial_features_are_those_of_adm(encoders: dict[str, inception.Inception]):
    """Seven channels of the first branch of mixed_6, laid out row by row as a TensorFlow graph has
    them.
    """
    some, seen = torch.stack([to_tensor(image) for image in images(64, 64)]), []
    network = torch_fidelity_network(state_dict())
    network.Mixed_6d.branch1x1.register_forward_hook(
        lambda module, given, output: seen.append(output)
    )
    network(some)
    as_tensorflow = seen[0].permute(0, 2, 3, 1)  # [N, 17, 17, C]
    assert (
        relative(encoders["inception"](some)["spatial"], as_tensorflow[..., :7].reshape(2, -1))
        < 1e-5
    )


# --- Conventions are told apart
# -----------------------------------------------------------------------------------
def test_each_convention_has_its_own_pixels_and_fingerprint(
    encoders: dict[str, inception.Inception],
):
    some = images(256, 256)
    found = {name: encoded(encoder, some)["pool"] for name, encoder in encoders.items()}
    for place, first in enumerate(NAMES):
        for second in NAMES[place + 1 :]:
            assert relative(found[first], found[second]) > 1e-4, (first, second)
    assert len({encoder.fingerprint for encoder in encoders.values()}) == 4
    assert [encoder.name for encoder in encoders.values()] == list(NAMES)


def test_at_299_pixels_all_conventions_agree(encoders: dict[str, inception.Inception]):
    """Nothing is resized there; pytorch-fid's scale alone differs, by half a level of gray."""
    some = images(299, 299)
    found = {name: encoded(encoder, some)["pool"] for name, encoder in encoders.items()}
    assert relative(found["inception-clean"], found["inception"]) < 1e-6
    assert relative(found["inception-antialias"], found["inception"]) < 1e-6
    assert 1e-5 < relative(found["inception-torch"], found["inception"]) < 0.1


def test_the_scales_are_those_of_the_tools():
    gray = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 3, 10, 10)
    for preprocessing, expected in (
        (TF1, (-1, 0, 127 / 128)),
        (ANTIALIAS, (-1, 0, 127 / 128)),
        (TORCH, (-1, 1 / 255, 1)),
    ):
        found = preprocessing.normalised(gray)
        assert found.shape == (3, 3, 299, 299)
        assert torch.allclose(
            found, torch.tensor(expected).reshape(3, 1, 1, 1).expand(found.shape), atol=1e-6
        )


def test_clean_does_not_round_and_stays_in_range():
    edge = np.zeros((40, 40, 3), dtype=np.uint8)
    edge[:, 20:] = 255
    found = CLEAN.prepare(Image.fromarray(edge))
    assert found.dtype == torch.float32
    assert found.min() == 0  # bicubic overshoots, and clean-fid clips
    assert found.max() == 255
    assert bool((found != found.round()).any())


# --- What features do not depend on
# -------------------------------------------------------------------------------
def test_features_do_not_depend_on_batch_size_or_order(encoders: dict[str, inception.Inception]):
    some = pictures(11, 48, 64, 5)
    together = encoders["inception"](some)
    one_by_one = [encoders["inception"](image[None]) for image in some]
    turned = encoders["inception"](some.flip(0))
    for name, values in together.items():
        assert relative(torch.cat([single[name] for single in one_by_one]), values) < 2e-6, name
        assert relative(turned[name].flip(0), values) < 2e-6, name


def test_plain_convolutions_give_the_same_features(
    weights_file: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    assert inception_network.fused_convolutions_work()
    some = pictures(3, 80, 60, 6)
    fast = inception_network.InceptionNetwork(state_dict(), torch.device("cpu"))
    monkeypatch.setattr(inception_network, "fused_convolutions_work", lambda: False)
    plain = inception_network.InceptionNetwork(state_dict(), torch.device("cpu"))
    for quick, slow in zip(
        inception.encode(fast, some, TF1), inception.encode(plain, some, TF1), strict=True
    ):
        assert relative(quick, slow) < 5e-6


def test_a_fused_convolution_that_is_gone_or_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch):
    check = inception_network.fused_convolutions_work.__wrapped__
    assert check()

    def gone(*given: object) -> Tensor:
        raise AttributeError(
            "'_OpNamespace' 'mkldnn' object has no attribute '_convolution_pointwise'"
        )

    monkeypatch.setattr(inception_network, "_fused", gone)
    assert not check()
    monkeypatch.setattr(inception_network, "_fused", lambda x, *given: torch.zeros(2, 16, 5, 5))
    assert not check()


def test_one_network_serves_all_conventions(encoders: dict[str, inception.Inception]):
    assert len({id(encoder.network) for encoder in encoders.values()}) == 1


# --- Files and images that do not fit
# -----------------------------------------------------------------------------
def test_images_of_another_type_are_refused(encoders: dict[str, inception.Inception]):
    with pytest.raises(ValueError, match=r"expected torch\.uint8"):
        encoders["inception"](torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"expected torch\.float32"):
        encoders["inception-clean"](torch.zeros(1, 3, 299, 299, dtype=torch.uint8))


def test_weights_of_another_hash_are_refused(weights_file: tuple[str, str]):
    with pytest.raises(EvalkitError, match="expected one that starts with 6726825d"):
        inception.load(path=weights_file[0], sha256_prefix="6726825d")


def test_weights_of_another_network_are_refused(tmp_path: Path):
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(
        EvalkitError, match=r"do not fit Inception v3: fc.weight, Conv2d_1a_3x3.conv.weight"
    ):
        inception.load(path=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut off"])
def test_files_that_are_no_weights_are_one_sentence(tmp_path: Path, content: bytes):
    (tmp_path / "damaged.pth").write_bytes(content)
    with pytest.raises(EvalkitError, match="cannot be read: they are no state dict"):
        inception.load(path=str(tmp_path / "damaged.pth"))


def test_a_file_that_holds_no_dict_is_refused(tmp_path: Path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(EvalkitError, match="hold a Tensor; expected a state dict"):
        inception.load(path=str(tmp_path / "tensor.pth"))
    with pytest.raises(EvalkitError, match="There is no weights file"):
        inception.load(path=str(tmp_path / "missing.pth"))


def test_no_weights_is_one_sentence_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(weights, "find", lambda name: None)
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path)
    with pytest.raises(EvalkitError, match="are in no cache") as caught:
        inception.load(fetch=False)
    assert "evalkit weights fetch inception" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
