"""Inception with seeded weights, against the tools that each encoder reproduces."""

from __future__ import annotations

import hashlib
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from seeded_inception import sample_images, state_dict, torch_fidelity_network
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from evalkit.core import EvalkitError
from evalkit.encoders import inception
from evalkit.encoders.inception_network import Activations
from evalkit.features.encode import image_features
from evalkit.features.image_file import ImageFile
from evalkit.images import file_sha256, to_images, to_tensor

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


def jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return Image.open(file).convert("RGB")


def images(height: int, width: int) -> list[Image.Image]:
    return [jpeg(image) for image in to_images(sample_images(2, height, width, height))]


def relative(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


def encoded(encoder: inception.Inception, some: list[Image.Image]) -> dict[str, Tensor]:
    return encoder(torch.stack([encoder.prepare(image) for image in some]))


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
    from cleanfid.resize import build_resizer

    # clean-fid downloads its network: its resizing, then torch-fidelity's network.
    resize, some = build_resizer("clean"), images(*size)
    resized = [torch.from_numpy(resize(np.array(image))).permute(2, 0, 1) for image in some]
    x = (torch.stack(resized) - 128) / 128
    with torch.no_grad():
        for name, layer in torch_fidelity.named_children():
            x = layer(x) if name != "fc" else x
    assert relative(encoded(encoders["inception-clean"], some)["pool"], x.flatten(1)) < 1e-5


def test_spatial_features_follow_adm(encoders: dict[str, inception.Inception]):
    """Seven channels of the first branch of Mixed_6d, in the order row, column, channel."""
    some, outputs = images(64, 64), []
    network = torch_fidelity_network(state_dict())
    network.Mixed_6d.branch1x1.register_forward_hook(
        lambda module, given, output: outputs.append(output)
    )
    network(torch.stack([to_tensor(image) for image in some]))
    expected = outputs[0].permute(0, 2, 3, 1)[..., :7].reshape(2, -1)  # of [N, 17, 17, C]
    assert relative(encoded(encoders["inception"], some)["spatial"], expected) < 1e-5


def test_each_convention_has_its_own_features_and_fingerprint(
    encoders: dict[str, inception.Inception],
):
    some = images(256, 256)
    found = {name: encoded(encoder, some)["pool"] for name, encoder in encoders.items()}
    for first, second in itertools.combinations(NAMES, 2):
        assert relative(found[first], found[second]) > 1e-4, (first, second)
    assert len({encoder.fingerprint for encoder in encoders.values()}) == 4
    assert [encoder.name for encoder in encoders.values()] == list(NAMES)


def test_at_299_pixels_all_conventions_agree(encoders: dict[str, inception.Inception]):
    """No image is resized; only pytorch-fid's scale differs, by half a gray level."""
    some = images(299, 299)
    found = {name: encoded(encoder, some)["pool"] for name, encoder in encoders.items()}
    assert relative(found["inception-clean"], found["inception"]) < 1e-6
    assert relative(found["inception-antialias"], found["inception"]) < 1e-6
    assert 1e-5 < relative(found["inception-torch"], found["inception"]) < 0.1


def test_features_do_not_depend_on_batch_size_or_order(encoders: dict[str, inception.Inception]):
    some, encoder = to_images(sample_images(11, 48, 64, 5)), encoders["inception"]
    together = encoded(encoder, some)
    one_by_one = [encoded(encoder, [image]) for image in some]
    reversed_order = encoded(encoder, some[::-1])
    for name, values in together.items():
        assert relative(torch.cat([single[name] for single in one_by_one]), values) < 2e-6, name
        assert relative(reversed_order[name].flip(0), values) < 2e-6, name


def test_images_of_many_sizes_fill_the_batches(tmp_path: Path):
    sizes: list[int] = []

    class Network:
        device = torch.device("meta")

        def __call__(self, images: Tensor, precision: str) -> Activations:
            sizes.append(len(images))
            return Activations(*(torch.ones(len(images), 1) for _ in Activations._fields))

    encoder: Any = inception.Inception("inception", Network(), "")  # type: ignore[arg-type]
    for at in range(10):
        to_images(sample_images(1, 20 + at, 40 - at, at))[0].save(tmp_path / f"{at}.png")
    files = [ImageFile(path, file_sha256(path)) for path in sorted(tmp_path.iterdir())]
    found = image_features(files, encoder, tmp_path / "cache.npz", batch_size=4)
    assert found.values["pool"].shape == (10, 1)
    assert sizes == [4, 4, 2]


def test_one_network_serves_all_conventions(encoders: dict[str, inception.Inception]):
    assert len({id(encoder.network) for encoder in encoders.values()}) == 1


def test_images_of_another_type_are_refused(encoders: dict[str, inception.Inception]):
    for wrong in (torch.rand(1, 3, 8, 8), torch.zeros(1, 3, 299, 299, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"expected float32 \[N, 3, 299, 299\]"):
            encoders["inception"](wrong)


def test_weights_of_another_hash_are_refused(weights_file: tuple[str, str]):
    with pytest.raises(EvalkitError, match="expected one that starts with 6726825d"):
        inception.load(path=weights_file[0], sha256_prefix="6726825d")


def test_other_files_are_refused(tmp_path: Path):
    (tmp_path / "damaged.pth").write_bytes(b"not weights at all")
    with pytest.raises(EvalkitError, match=r"damaged\.pth cannot be read"):
        inception.load(path=str(tmp_path / "damaged.pth"))
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(EvalkitError, match="do not fit Inception v3"):
        inception.load(path=str(tmp_path / "other.pth"))
    with pytest.raises(EvalkitError, match="There is no weights file"):
        inception.load(path=str(tmp_path / "missing.pth"))


def test_missing_weights_name_the_command(empty_caches: Path):
    with pytest.raises(EvalkitError, match="were not found in the cache") as caught:
        inception.load(fetch=False)
    assert "evalkit weights fetch inception" in caught.value.hint
    assert not empty_caches.exists()
