"""Files of statistics between evalkit and other tools, through the public functions of both.

All tools have one seeded network, of which the first layers suffice: 64 features are quick, and
test_inception.py compares whole networks. Each value is compared with that of the other tool.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cleanfid.features
import cleanfid.inception_pytorch
import pytest
import torch
import torch_fidelity.registry
from seeded_inception import sample_images, state_dict, torch_fidelity_network
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from evalkit.core import EncoderKind
from evalkit.encoders.inception import PREPROCESSING
from evalkit.images import read_image, to_images
from evalkit.metrics import frechet, kernel
from evalkit.reference import files, foreign
from evalkit.reference.build import build_from_images
from evalkit.reference.exchange import reference_export

pytestmark = [  # of the other tools
    pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning"),
]
CPU = torch.device("cpu")
MODES = {  # of clean-fid
    "clean": "inception-clean",
    "legacy_pytorch": "inception-torch",
    "legacy_tensorflow": "inception",
}


def first_layers(network: FeatureExtractorInceptionV3, x: Tensor) -> Tensor:
    """Images in [-1, 1] to 64 features."""
    for layer in (network.Conv2d_1a_3x3, network.Conv2d_2a_3x3, network.Conv2d_2b_3x3):
        x = layer(x)
    return network.MaxPool_1(x).mean(dim=(2, 3))


def tf1(images: Tensor) -> Tensor:
    """torch-fidelity's resize; 0 .. 255 to [-1, 1]."""
    resized = interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    return (resized - 128) / 128


class Short:
    """evalkit's preprocessing of one convention, and the first layers."""

    kind: EncoderKind = "inception"
    fingerprint = "short"

    def __init__(self, name: str, network: FeatureExtractorInceptionV3) -> None:
        self.name, self.network, self.prepare = name, network, PREPROCESSING[name].prepare

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return {"pool": first_layers(self.network, images)}


class Place(NamedTuple):
    """The folder of this module: weights, six generated and six real images, a reference."""

    folder: Path
    encoders: dict[str, Short]
    fakes: dict[str, Tensor]  # features of the generated images by encoder, float32 [6, 64]

    @property
    def fake(self) -> str:
        return str(self.folder / "fake")

    @property
    def real(self) -> str:
        return str(self.folder / "real")

    @property
    def built(self) -> str:
        """evalkit's statistics of the real images, with all features."""
        return str(self.folder / "built")

    def fid(self, reference: Path | str, encoder: str) -> float:
        """FID of the generated images against a reference or file, by evalkit."""
        found = files.reference(str(reference), self.encoders[encoder])
        fid = frechet.fid(fake=self.fakes[encoder], real_moments=found.moments["pool"])
        return float(fid)

    def kid(self, reference: Path | str, encoder: str) -> float:
        found = files.reference(str(reference), self.encoders[encoder])
        return float(kernel.kid(fake=self.fakes[encoder], real=found.features["pool"]))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("peers")
    torch.save(state_dict(), folder / "seeded.pth")
    for name, seed, tint in (("fake", 1, 40), ("real", 2, 0)):
        (folder / name).mkdir()
        tinted = (sample_images(6, 40, 56, seed).int() + tint).clamp_max(255).to(torch.uint8)
        for number, image in enumerate(to_images(tinted)):
            image.save(folder / name / f"{number}.png")
    network = torch_fidelity_network(state_dict())
    encoders = {name: Short(name, network) for name in MODES.values()}
    images = {
        name: [read_image(path) for path in sorted((folder / name).iterdir())]
        for name in ("fake", "real")
    }
    fakes = {
        name: encoder(torch.stack([encoder.prepare(image) for image in images["fake"]]))["pool"]
        for name, encoder in encoders.items()
    }
    every = list(encoders.values())
    build_from_images(
        images["real"], name="Photos", encoders=every, out=folder / "built", keep_all=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign, "DIMENSIONS", dict.fromkeys(foreign.DIMENSIONS, 64))
        yield Place(folder, encoders, fakes)


# --- torch-fidelity ---
class ShortExtractor(FeatureExtractorInceptionV3):
    """torch-fidelity's own, up to 64 features."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (first_layers(self, tf1(x)),)


@pytest.fixture
def short_extractor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        torch_fidelity.registry.FEATURE_EXTRACTORS_REGISTRY, "inception-v3-compat", ShortExtractor
    )


def fidelity(place: Place, cache: Path, **options: Any) -> dict[str, float]:
    from torch_fidelity import calculate_metrics

    return calculate_metrics(
        input1=place.fake,
        feature_extractor_weights_path=str(place.folder / "seeded.pth"),
        cache_root=str(cache),
        cuda=False,
        save_cpu_ram=True,
        verbose=False,
        kid_subset_size=6,
        kid_subsets=1,
        **options,
    )


@pytest.mark.usefixtures("short_extractor")
def test_files_of_torch_fidelity(place: Place, tmp_path: Path):
    """Its cache is read by evalkit, and evalkit's export is used as its cache."""
    peer = fidelity(
        place, tmp_path, input2=place.real, input2_cache_name="theirs", fid=True, kid=True
    )
    fid, kid = peer["frechet_inception_distance"], peer["kernel_inception_distance_mean"]
    network = "theirs-inception-v3-compat"
    assert place.fid(tmp_path / f"{network}-stat-fid-2048.pt", "inception") == pytest.approx(
        fid, rel=1e-5
    )
    features = tmp_path / f"{network}-features-2048.pt"
    assert place.fid(features, "inception") == pytest.approx(fid, rel=1e-5)
    assert place.kid(features, "inception") == pytest.approx(kid, rel=1e-4)

    written = reference_export(place.built, "torch-fidelity", out=tmp_path)
    assert [path.name for path in written] == [
        "Photos-inception-v3-compat-stat-fid-2048.pt",
        "Photos-inception-v3-compat-features-2048.pt",
    ]
    cached = {"input2": "no folder", "input2_cache_name": "Photos"}
    alone = fidelity(place, tmp_path, fid=True, **cached)  # reads the statistics only
    assert alone["frechet_inception_distance"] == pytest.approx(fid, rel=1e-5)
    both = fidelity(place, tmp_path, fid=True, kid=True, **cached)
    assert both["frechet_inception_distance"] == pytest.approx(fid, rel=1e-5)
    assert both["kernel_inception_distance_mean"] == pytest.approx(kid, rel=1e-4)


# --- pytorch-fid ---
@pytest.fixture
def checkpoints(place: Place, tmp_path: Path) -> Iterator[None]:
    """The folder in which torch.hub has the weights that pytorch-fid would download."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    name = "pt_inception-2015-12-05-6726825d.pth"
    (tmp_path / "hub" / "checkpoints" / name).symlink_to(place.folder / "seeded.pth")
    yield
    torch.hub.set_dir(before)


@pytest.mark.usefixtures("checkpoints")
def test_files_of_pytorch_fid(place: Place, tmp_path: Path):
    from pytorch_fid.fid_score import calculate_fid_given_paths, save_fid_stats

    options = {"batch_size": 6, "device": "cpu", "dims": 64, "num_workers": 0}
    save_fid_stats([place.real, str(tmp_path / "theirs.npz")], **options)
    fid = calculate_fid_given_paths([place.fake, str(tmp_path / "theirs.npz")], **options)
    assert place.fid(tmp_path / "theirs.npz", "inception-torch") == pytest.approx(fid, rel=1e-5)
    [written] = reference_export(place.built, "pytorch-fid", out=tmp_path)
    own = place.folder / "built" / "inception-torch.npz"  # has the same keys, and more
    for path in (written, own):
        again = calculate_fid_given_paths([place.fake, str(path)], **options)
        assert again == pytest.approx(fid, rel=1e-5)


# --- clean-fid ---
class FromNvidia(torch.nn.Module):
    """In place of clean-fid's TorchScript network, which it downloads."""

    def __init__(self, path: str, download: bool, resize_inside: bool) -> None:
        super().__init__()
        self.network, self.resize_inside = torch_fidelity_network(state_dict()), resize_inside

    def forward(self, x: Tensor) -> Tensor:
        return first_layers(self.network, tf1(x) if self.resize_inside else (x - 128) / 128)


class FromPytorch(torch.nn.Module):
    """clean-fid's own network of the mode legacy_pytorch, up to 64 features."""

    def __init__(self, output_blocks: list[int], resize_input: bool) -> None:
        super().__init__()
        self.network = cleanfid.inception_pytorch.InceptionV3([0], resize_input=resize_input)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.network(x)[0].mean(dim=(2, 3), keepdim=True)]


@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize("mode", MODES)
def test_files_of_clean_fid(
    mode: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from cleanfid.fid import compute_fid, compute_kid, make_custom_stats

    monkeypatch.setattr(cleanfid, "__file__", str(tmp_path / "__init__.py"))  # of its statistics
    monkeypatch.setattr(cleanfid.features, "InceptionV3W", FromNvidia)
    monkeypatch.setattr(cleanfid.features, "InceptionV3", FromPytorch)
    options: dict[str, Any] = {"mode": mode, "num_workers": 0, "device": CPU, "verbose": False}
    make_custom_stats("Theirs", place.real, **options)
    options |= {"dataset_split": "custom", "use_dataparallel": False}
    fid = compute_fid(place.fake, dataset_name="Theirs", **options)
    kid = compute_kid(place.fake, dataset_name="Theirs", **options)
    theirs = tmp_path / "stats" / f"theirs_{mode}_custom_na.npz"
    assert place.fid(theirs, MODES[mode]) == pytest.approx(fid, rel=1e-5)
    assert place.kid(theirs, MODES[mode]) == pytest.approx(kid, rel=1e-4)
    assert place.kid(theirs.with_name(f"{theirs.stem}_kid.npz"), MODES[mode]) == pytest.approx(
        kid, rel=1e-4
    )
    reference_export(place.built, "clean-fid", encoder=MODES[mode], out=tmp_path / "stats")
    ours = {"dataset_name": "Photos", **options}
    assert compute_fid(place.fake, **ours) == pytest.approx(fid, rel=1e-5)
    assert compute_kid(place.fake, **ours) == pytest.approx(kid, rel=1e-4)
