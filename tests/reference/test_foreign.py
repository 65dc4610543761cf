"""Files of statistics of all known tools: their content, their encoder, and invalid files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from statistics_files import MU, ROWS, SIGMA, Named, adm, clean, cmmd, edm2, plain, reps, rows, stat

from evalkit.core import EvalkitError
from evalkit.reference import foreign
from evalkit.reference.files import encoders_of, reference

pytestmark = pytest.mark.usefixtures("eight_dimensions")

FILES: list[tuple[str, Callable[[Path], None], list[str]]] = [
    ("coco.npz", plain, [""]),
    ("ffhq_clean_trainval70k_1024.npz", clean, ["inception-clean"]),
    ("a_b_legacy_tensorflow_custom_na.npz", plain, ["inception"]),
    ("cifar10_legacy_pytorch_train_32.npz", plain, ["inception-torch"]),
    ("cifar10_clean_clip_vit_b_32_train_32.npz", plain, ["clean-fid's clip_vit_b_32"]),
    ("VIRTUAL_imagenet256_labeled.npz", adm, ["inception"]),
    ("img512.pkl", edm2, ["inception", "dinov2-l14"]),
    ("ref_embs_coco_30k.npy", cmmd, ["clip-l14-336-cmmd"]),
    ("reps_cifar10_dinov2_nimage-40_train.npz", reps, ["dinov2-l14"]),
    ("reps_cifar10_mae_nimage-40_train.npz", reps, [""]),
    ("cifar10-train-inception-v3-compat-stat-fid-2048.pt", stat, ["inception"]),
    ("cifar10-train-inception-v3-compat-features-2048.pt", rows, ["inception"]),
    ("x-dinov2-vit-l-14-features-dinov2.pt", rows, ["torch-fidelity's dinov2-vit-l-14 dinov2"]),
    ("anything.pt", rows, [""]),
]


@pytest.mark.parametrize(
    ("name", "write", "conventions"), FILES, ids=[name for name, _, _ in FILES]
)
def test_each_format_is_read_with_its_convention(
    name: str, write: Callable[[Path], None], conventions: list[str], tmp_path: Path
):
    write(tmp_path / name)
    found = foreign.read(tmp_path / name)
    assert [item.convention for item in found] == conventions
    for item in found:
        expected = (MU, SIGMA)
        if item.format == "CMMD":
            unit = item.features["pool"].double()
            expected = (unit.mean(dim=0).numpy(), np.cov(unit.numpy(), rowvar=False))
        assert np.allclose(item.moments["pool"].mean.numpy(), expected[0], atol=1e-7)
        assert np.allclose(item.moments["pool"].cov.numpy(), expected[1], atol=1e-7)
        assert item.moments["pool"].cov.dtype == torch.float64
    if write in (clean, rows, reps):
        assert torch.equal(found[0].features["pool"], torch.from_numpy(ROWS))
    if write is adm:
        assert found[0].moments["spatial"].cov.shape == (3, 3)
    if write is edm2:
        assert [item.moments["pool"].count for item in found] == [40, 40]


def test_the_error_on_another_encoder_names_both(tmp_path: Path):
    place = tmp_path / "faces_clean_custom_na.npz"
    plain(place)
    assert reference(str(place), Named("inception-clean")).moments["pool"].mean.shape == (8,)
    with pytest.raises(
        EvalkitError, match="was made with inception-clean; the encoder is inception"
    ):
        reference(str(place), Named("inception"))
    edm2(tmp_path / "a.pkl")
    assert encoders_of(str(tmp_path / "a.pkl")) == {"inception", "dinov2-l14"}
    with pytest.raises(EvalkitError, match=r"inception and dinov2-l14; the encoder is clip-b32"):
        reference(str(tmp_path / "a.pkl"), Named("clip-b32"))
    assert reference(str(tmp_path / "a.pkl"), Named("dinov2-l14")).count == 40


def test_the_note_lists_the_missing_facts(tmp_path: Path):
    plain(tmp_path / "coco.npz")
    found = reference(str(tmp_path / "coco.npz"), Named("inception-torch"))
    assert found.note == "the reference does not state its encoder and its number of images"
    assert found.count == 0
    edm2(tmp_path / "a.pkl")
    assert reference(str(tmp_path / "a.pkl"), Named("inception")).note.endswith(
        "the weights of its encoder"
    )


def test_another_dimension_is_refused(tmp_path: Path):
    np.savez(tmp_path / "a.npz", mu=MU[:5], sigma=SIGMA[:5, :5])
    with pytest.raises(EvalkitError, match="has 5 dimensions; the encoder inception has 8"):
        reference(str(tmp_path / "a.npz"), Named("inception"))
    np.savez(tmp_path / "x_clean_custom_na.npz", mu=MU[:5], sigma=SIGMA[:5, :5])
    with pytest.raises(EvalkitError, match="has 5 dimensions; inception-clean has 8"):
        foreign.read(tmp_path / "x_clean_custom_na.npz")


SKEW = SIGMA.copy()


SKEW[0, 1] += 1.0


NEGATIVE = SIGMA - 3 * np.eye(8)


WRONG = {
    "not symmetric": ({"mu": MU, "sigma": SKEW}, "not symmetric"),
    "negative": ({"mu": MU, "sigma": NEGATIVE}, "negative variance"),
    "not finite": ({"mu": MU, "sigma": SIGMA * np.nan}, "expected finite"),
    "mean not finite": ({"mu": MU * np.inf, "sigma": SIGMA}, "expected finite"),
    "shapes": ({"mu": MU[:3], "sigma": SIGMA}, r"mu \[3\] and sigma \[8, 8\]"),
    "no sigma": ({"mu": MU}, "contains mu; expected mu and sigma"),
    "spatial": (
        {"mu": MU, "sigma": SIGMA, "mu_s": MU, "sigma_s": SKEW},
        "spatial is not symmetric",
    ),
    "texts": ({"mu": np.array("a"), "sigma": SIGMA}, "cannot be read"),
    "features": ({"feats": ROWS * np.nan}, "not all finite"),
    "rows": ({"reps": ROWS[0]}, r"float32 \[8\]"),
    "images": ({"arr_0": np.zeros((2, 8, 8, 3), np.uint8)}, "contains images and no statistics"),
    "half": ({"mu": MU.astype(np.float16), "sigma": SIGMA.astype(np.float16)}, "mu is float16"),
    "complex": ({"mu": MU.astype(np.complex128), "sigma": SIGMA}, "mu is complex128 and sigma"),
    "whole numbers": ({"mu": np.arange(8), "sigma": SIGMA}, "mu is int64"),
    "one row": ({"feats": ROWS[:1]}, "features of 1 image; 2 are the least"),
    "no row": ({"feats": ROWS[:0]}, "features of 0 images; 2 are the least"),
    "objects": ({"mu": np.array([{}]), "sigma": SIGMA}, "holds Python objects"),
    "nothing": ({}, "contains nothing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_impossible_statistics_are_refused(case: str, tmp_path: Path):
    arrays, message = WRONG[case]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(EvalkitError, match=message):
        foreign.read(tmp_path / "a.npz")


def test_a_covariance_of_few_images_or_in_float32_is_valid(tmp_path: Path):
    few = np.random.RandomState(1).randn(5, 200) * 100
    sigma = np.cov(few, rowvar=False)
    for name, array in (
        ("double", sigma),
        ("single", sigma.astype(np.float32)),
        ("zero", np.zeros((200, 200))),
    ):
        np.savez(tmp_path / f"{name}.npz", mu=few.mean(axis=0), sigma=array)
        assert foreign.read(tmp_path / f"{name}.npz")[0].moments["pool"].cov.shape == (
            200,
            200,
        )


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pkl", ".pt", ".txt"])
def test_damaged_files_are_refused(suffix: str, tmp_path: Path):
    for data in (b"", b"PK\x03\x04", b"\x80\x04\x95", b"\x93NUMPY\x01\x00", b"hello"):
        (tmp_path / f"a{suffix}").write_bytes(data)
        with pytest.raises(EvalkitError, match=r"a\.\w+"):
            foreign.read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>404 Not Found</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n", r"an image \(PNG\)"),
        (b'{"error": "no such file"}', "a text answer of a server"),
        (b"hello", "text"),
        (b"", "empty"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x40" + bytes(7) + b'{"a": 1}', "a safetensors file"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pt", ".safetensors", ".zip"])
def test_a_file_is_named_for_what_it_is(suffix: str, content: bytes, message: str, tmp_path: Path):
    (tmp_path / f"s{suffix}").write_bytes(content)
    with pytest.raises(EvalkitError, match=f"is {message}.*; expected") as found:
        foreign.read(tmp_path / f"s{suffix}")
    assert "pickle" not in found.value.message
