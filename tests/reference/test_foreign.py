"""Statistics in the files of other tools: read as they are, refused where they do not fit, written
so that those tools read them.
"""

from __future__ import annotations

import json
import pickle
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.metrics import frechet
from evalkit.reference import exchange as reference_exchange
from evalkit.reference import files as reference_files
from evalkit.reference import foreign as foreign_statistics
from evalkit.reference import restricted_pickle


class Named(Pixels):
    """An encoder by name only: references ask it for nothing else."""

    def __init__(self, name: str, fingerprint: str = "f") -> None:
        self.name, self.fingerprint = name, fingerprint


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_files, "_roots", lambda: [tmp_path / "user"])
    monkeypatch.setattr(reference_exchange, "user_folder", lambda: tmp_path / "user")
    monkeypatch.setattr(
        foreign_statistics, "DIMENSIONS", dict.fromkeys(foreign_statistics.DIMENSIONS, 8)
    )
    monkeypatch.chdir(tmp_path)


ROWS = np.random.RandomState(0).randn(40, 8).astype(np.float32)
MU, SIGMA = ROWS.mean(axis=0).astype(np.float64), np.cov(ROWS.astype(np.float64), rowvar=False)


def plain(path: Path) -> None:
    np.savez(path, mu=MU, sigma=SIGMA)


def clean(path: Path) -> None:
    plain(path)
    np.savez_compressed(path.with_name(f"{path.stem}_kid.npz"), feats=ROWS)


def adm(path: Path) -> None:
    np.savez(
        path,
        mu=MU,
        sigma=SIGMA,
        mu_s=MU[:3],
        sigma_s=SIGMA[:3, :3],
        arr_0=np.zeros((2, 8, 8, 3), np.uint8),
    )


def edm2(path: Path) -> None:
    both = {"mu": MU, "sigma": SIGMA}
    path.write_bytes(pickle.dumps({"num_images": 40, "fid": both, "fd_dinov2": both}))


def cmmd(path: Path) -> None:
    np.save(path, ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True))


def reps(path: Path) -> None:
    np.savez(
        path, reps=ROWS, model=np.array([{"a": 1}], dtype=object)
    )  # the pickled part beside it is never touched


def stat(path: Path) -> None:
    torch.save({"mu": MU, "sigma": SIGMA}, path)


def rows(path: Path) -> None:
    torch.save(torch.from_numpy(ROWS), path)


FILES: list[tuple[str, Callable[[Path], None], list[str]]] = [
    ("coco.npz", plain, [""]),
    ("ffhq_clean_trainval70k_1024.npz", clean, ["inception-clean"]),
    ("a_b_legacy_tensorflow_custom_na.npz", plain, ["inception"]),
    ("cifar10_legacy_pytorch_train_32.npz", plain, ["inception-torch"]),
    ("cifar10_clean_clip_vit_b_32_train_32.npz", plain, ["clean-fid's clip_vit_b_32"]),
    ("VIRTUAL_imagenet256_labeled.npz", adm, ["inception"]),
    ("img512.pkl", edm2, ["inception", "dinov2-l14"]),
    ("ref_embs_coco_30k.npy", cmmd, ["clip-l14-336"]),
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
def test_each_format_is_read_and_knows_its_convention(
    name: str, write: Callable[[Path], None], conventions: list[str], tmp_path: Path
):
    write(tmp_path / name)
    found = foreign_statistics.read(tmp_path / name)
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


def test_another_encoder_is_refused_naming_both(tmp_path: Path):
    place = tmp_path / "faces_clean_custom_na.npz"
    plain(place)
    assert reference_files.reference(str(place), Named("inception-clean")).moments[
        "pool"
    ].mean.shape == (8,)
    with pytest.raises(
        EvalkitError, match="was made with inception-clean; the encoder is inception"
    ):
        reference_files.reference(str(place), Named("inception"))
    edm2(tmp_path / "a.pkl")
    assert reference_files.encoders_of(str(tmp_path / "a.pkl")) == {"inception", "dinov2-l14"}
    with pytest.raises(EvalkitError, match=r"inception and dinov2-l14; the encoder is clip-b32"):
        reference_files.reference(str(tmp_path / "a.pkl"), Named("clip-b32"))
    assert reference_files.reference(str(tmp_path / "a.pkl"), Named("dinov2-l14")).count == 40


def test_what_a_file_cannot_say_is_said(tmp_path: Path):
    plain(tmp_path / "coco.npz")
    found = reference_files.reference(str(tmp_path / "coco.npz"), Named("inception-torch"))
    assert found.note == "the reference does not state its encoder and its number of images"
    assert found.count == 0
    edm2(tmp_path / "a.pkl")
    assert reference_files.reference(str(tmp_path / "a.pkl"), Named("inception")).note.endswith(
        "the weights of its encoder"
    )


def test_another_dimension_is_refused(tmp_path: Path):
    np.savez(tmp_path / "a.npz", mu=MU[:5], sigma=SIGMA[:5, :5])
    with pytest.raises(EvalkitError, match="has 5 dimensions; the encoder inception has 8"):
        reference_files.reference(str(tmp_path / "a.npz"), Named("inception"))
    np.savez(tmp_path / "x_clean_custom_na.npz", mu=MU[:5], sigma=SIGMA[:5, :5])
    with pytest.raises(EvalkitError, match="has 5 dimensions; inception-clean has 8"):
        foreign_statistics.read(tmp_path / "x_clean_custom_na.npz")


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
    "pictures": ({"arr_0": np.zeros((2, 8, 8, 3), np.uint8)}, "contains images and no statistics"),
    "nothing": ({}, "contains nothing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_impossible_statistics_are_refused(case: str, tmp_path: Path):
    arrays, message = WRONG[case]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(EvalkitError, match=message):
        foreign_statistics.read(tmp_path / "a.npz")


def test_a_covariance_of_few_pictures_or_in_float32_is_fine(tmp_path: Path):
    few = np.random.RandomState(1).randn(5, 200) * 100
    sigma = np.cov(few, rowvar=False)
    for name, array in (
        ("double", sigma),
        ("single", sigma.astype(np.float32)),
        ("zero", np.zeros((200, 200))),
    ):
        np.savez(tmp_path / f"{name}.npz", mu=few.mean(axis=0), sigma=array)
        assert foreign_statistics.read(tmp_path / f"{name}.npz")[0].moments["pool"].cov.shape == (
            200,
            200,
        )


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pkl", ".pt", ".txt"])
def test_damaged_files_are_one_sentence(suffix: str, tmp_path: Path):
    for data in (b"", b"PK\x03\x04", b"\x80\x04\x95", b"\x93NUMPY\x01\x00", b"hello"):
        (tmp_path / f"a{suffix}").write_bytes(data)
        with pytest.raises(EvalkitError, match=r"a\.\w+"):
            foreign_statistics.read(tmp_path / f"a{suffix}")


# --- pickles
# -----------------------------------------------------------------------------------------------------------


class Runs:
    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.what = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what


def evil(marker: Path) -> dict[str, Any]:
    reconstruct = np.ones(2).__reduce__()[0]
    dtype = np.dtype("O")
    return {
        "touch": Runs(Path.touch, marker),
        "os.system": Runs(__import__("os").system, f"touch {marker}"),
        "eval": Runs(eval, f"open({str(marker)!r}, 'w')"),
        "in an array": np.array([Runs(Path.touch, marker)], dtype=object),
        "in the state of an array": Runs(
            reconstruct,
            np.ndarray,
            (0,),
            b"b",
            state=(1, (1,), dtype, False, [Runs(Path.touch, marker)]),
        ),
        "a subclass": Runs(reconstruct, np.memmap, (0,), b"b"),
        "numpy.load": Runs(np.load, str(marker)),
        "numpy.fromfile": Runs(np.fromfile, str(marker)),
        "getattr": Runs(getattr, dict, "fromkeys"),
        "a tensor": torch.zeros(2),
    }


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("case", list(evil(Path("x"))))
def test_pickles_that_are_programs_are_refused_unrun(case: str, protocol: int, tmp_path: Path):
    marker = tmp_path / "ran"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"fid": evil(marker)[case]}, protocol=protocol))
    with pytest.raises(EvalkitError, match="is not read"):
        restricted_pickle.load(tmp_path / "a.pkl")
    torch.save({"mu": evil(marker)[case], "sigma": SIGMA}, tmp_path / "a.pt")
    with pytest.raises(EvalkitError):
        foreign_statistics.read(tmp_path / "a.pt")
    assert not marker.exists()


def test_crafted_dtypes_and_states_are_refused(tmp_path: Path):
    """Raw bytes taken for objects, sizes that do not fit, and stand-ins used for what they are not."""
    reconstruct = np.ones(2).__reduce__()[0]

    def array(dtype: Any, shape: Any, data: Any) -> Runs:
        return Runs(reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, data))

    as_objects = Runs(
        np.dtype,
        "V8",
        False,
        True,
        state=(3, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 1, 0),
    )
    bad = [
        array(as_objects, (1,), b"\x41" * 8),
        array(np.dtype("O"), (1,), b"\x41" * 8),
        array(np.dtype("f8"), (1 << 40,), b"\x41" * 8),
        array(np.dtype("f8"), (-1,), b"\x41" * 8),
        array(np.dtype("f8"), (2,), b"\x41" * 8),
        array("f8", (1,), b"\x41" * 8),
        array(np.dtype("f8"), (1,), "text"),
        Runs(reconstruct, np.ndarray, (0,), b"b"),
        Runs(np.dtype, "f8"),
    ]
    for value in bad:
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"fid": {"mu": value, "sigma": SIGMA}}))
        with pytest.raises(EvalkitError, match="is not read"):
            restricted_pickle.load(tmp_path / "a.pkl")


def test_pickles_that_swell_are_refused(tmp_path: Path):
    laughs: list[Any] = ["ha"]
    for _ in range(40):
        laughs = [laughs, laughs]
    ring: list[Any] = []
    ring.append(ring)
    for value in (laughs, ring):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(EvalkitError, match="too large or contain themselves"):
            restricted_pickle.load(tmp_path / "a.pkl")


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    kind=st.sampled_from(["<f8", ">f4", "f2", "i8", "u1", "?"]),
    protocol=st.integers(0, 5),
    fortran=st.booleans(),
)
def test_arrays_come_out_of_pickles_as_they_went_in(
    shape: tuple[int, ...],
    kind: str,
    protocol: int,
    fortran: bool,
    tmp_path_factory: pytest.TempPathFactory,
):
    values = (
        (np.random.RandomState(0).rand(*shape) * 9).astype(kind)
        if shape
        else np.array(3).astype(kind)
    )
    array = np.asfortranarray(values) if fortran else values
    held = {"a": array, "n": np.float64(2.5), "m": np.int64(7), "l": [1, (2.5, "x"), None, True]}
    place = tmp_path_factory.mktemp("pickle") / "a.pkl"
    place.write_bytes(pickle.dumps(held, protocol=protocol))
    found = restricted_pickle.load(place)
    assert np.array_equal(found["a"], array)
    assert found["a"].dtype == array.dtype
    assert (found["n"], found["m"], found["l"]) == (2.5, 7, held["l"])


def test_the_module_paths_of_old_and_new_numpy(tmp_path: Path):
    data = pickle.dumps({"num_images": 40, "fid": {"mu": MU, "sigma": SIGMA}}, protocol=2)
    assert b"numpy._core.multiarray" in data
    for number, text in enumerate(
        (data, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    ):
        (tmp_path / f"{number}.pkl").write_bytes(text)
        assert np.array_equal(
            restricted_pickle.load(tmp_path / f"{number}.pkl")["fid"]["sigma"], SIGMA
        )


# --- import and export
# -------------------------------------------------------------------------------------------------


def test_import_makes_a_reference_with_a_card(tmp_path: Path):
    edm2(tmp_path / "img512.pkl")
    folder = reference_exchange.reference_import(
        tmp_path / "img512.pkl", name="imagenet", licence="CC0-1.0", source="a paper"
    )
    assert folder == tmp_path / "user" / "imagenet"
    [card] = reference_files.reference_list()
    assert (card.name, card.count, card.encoders, card.source) == (
        "imagenet",
        40,
        ("dinov2-l14", "inception"),
        "a paper",
    )
    found = reference_files.reference("imagenet", Named("inception"))
    assert np.array_equal(found.moments["pool"].cov.numpy(), SIGMA)
    assert found.note == "the reference does not state the weights of its encoder"
    shown = tomllib.loads(reference_files.reference_show("imagenet"))
    assert shown["licence"] == "CC0-1.0"
    assert set(shown["encoder"]) == {"inception", "dinov2-l14"}


def test_import_asks_for_what_the_file_cannot_say(tmp_path: Path):
    plain(tmp_path / "coco.npz")
    with pytest.raises(EvalkitError, match="does not state the encoder"):
        reference_exchange.reference_import(tmp_path / "coco.npz", name="coco")
    assert not (tmp_path / "user").exists()
    reference_exchange.reference_import(
        tmp_path / "coco.npz", name="coco", encoder="inception-torch", count=40504
    )
    found = reference_files.reference("coco", Named("inception-torch"))
    assert (found.count, found.features) == (40504, {})
    plain(tmp_path / "x_clean_custom_na.npz")
    with pytest.raises(EvalkitError, match="were made with inception-clean, not with inception"):
        reference_exchange.reference_import(
            tmp_path / "x_clean_custom_na.npz", name="x", encoder="inception"
        )
    plain(tmp_path / "x_clean_clip_vit_b_32_custom_na.npz")
    with pytest.raises(EvalkitError, match="no encoder of evalkit follows that"):
        reference_exchange.reference_import(
            tmp_path / "x_clean_clip_vit_b_32_custom_na.npz", name="x"
        )
    with pytest.raises(EvalkitError, match="There is no file"):
        reference_exchange.reference_import(tmp_path / "absent.npz", name="x")


def test_the_images_in_adm_files_can_be_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = np.random.RandomState(0).randint(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "VIRTUAL_x.npz", mu=MU, sigma=SIGMA, mu_s=MU, sigma_s=SIGMA, arr_0=images)
    encoder = Named("inception")
    monkeypatch.setattr(
        reference_exchange.plugins, "encoder", lambda name, device: {"inception": encoder}[name]
    )
    reference_exchange.reference_import(tmp_path / "VIRTUAL_x.npz", name="x", encode_images=True)
    with np.load(tmp_path / "user" / "x" / "inception.npz", allow_pickle=False) as file:
        stored = file["features"]
        assert np.array_equal(file["sigma_s"], SIGMA)
    pool = torch.cat(
        [encoder(encoder.prepare(Image.fromarray(image))[None])["pool"] for image in images]
    )
    assert sorted(map(tuple, stored.tolist())) == sorted(map(tuple, pool.tolist()))


def made(tmp_path: Path, encoder: str, spatial: bool = True) -> Path:
    folder = tmp_path / "user" / "toy"
    folder.mkdir(parents=True, exist_ok=True)
    more = {"mu_s": MU[:3], "sigma_s": SIGMA[:3, :3]} if spatial else {}
    meta = np.array(
        json.dumps({"name": "toy", "encoder": encoder, "fingerprint": "f", "image_hash": "h"})
    )
    np.savez(folder / f"{encoder}.npz", mu=MU, sigma=SIGMA, n=40, features=ROWS, meta=meta, **more)
    keys = ("name", "description", "source", "licence", "date", "command", "image_hash")
    (folder / "card.toml").write_text("count = 40\n" + "".join(f'{key} = "toy"\n' for key in keys))
    return folder


def test_pytorch_fid_reads_what_is_exported(tmp_path: Path):
    from pytorch_fid.fid_score import compute_statistics_of_path

    made(tmp_path, "inception-torch")
    [path] = reference_exchange.reference_export("toy", "pytorch-fid")
    mu, sigma = compute_statistics_of_path(str(path), None, 1, 8, "cpu")
    assert np.array_equal(mu, MU)
    assert np.array_equal(sigma, SIGMA)
    own = tmp_path / "user" / "toy" / "inception-torch.npz"
    assert np.array_equal(compute_statistics_of_path(str(own), None, 1, 8, "cpu")[1], SIGMA)


@pytest.mark.parametrize("encoder", ["inception", "inception-torch", "inception-clean"])
def test_clean_fid_s_names_and_keys(tmp_path: Path, encoder: str):
    made(tmp_path, encoder)
    stats, kid = reference_exchange.reference_export("toy", "clean-fid", out=tmp_path)
    mode = {
        "inception": "legacy_tensorflow",
        "inception-torch": "legacy_pytorch",
        "inception-clean": "clean",
    }[encoder]
    assert (stats.name, kid.name) == (f"toy_{mode}_custom_na.npz", f"toy_{mode}_custom_na_kid.npz")
    with np.load(stats, allow_pickle=False) as file, np.load(kid, allow_pickle=False) as features:
        assert np.array_equal(file["sigma"], SIGMA)
        assert np.array_equal(features["feats"], ROWS)
    [back] = foreign_statistics.read(stats)
    assert back.convention == encoder
    assert torch.equal(back.features["pool"], torch.from_numpy(ROWS))


def test_torch_fidelity_reads_its_cache(tmp_path: Path):
    from torch_fidelity.metric_fid import (
        fid_input_id_to_statistics_cached,
        fid_statistics_to_metric,
    )

    made(tmp_path, "inception")
    [path] = reference_exchange.reference_export("toy", "torch-fidelity", out=tmp_path)
    extractor = types.SimpleNamespace(get_name=lambda: "inception-v3-compat")
    options = {
        "input1": "no/such/folder",
        "input1_cache_name": "toy",
        "cache": True,
        "cache_root": str(tmp_path),
        "verbose": False,
    }
    found = fid_input_id_to_statistics_cached(1, extractor, "2048", **options)
    assert path.name == "toy-inception-v3-compat-stat-fid-2048.pt"
    assert np.array_equal(found["sigma"], SIGMA)
    other = {"mu": MU + 0.5, "sigma": SIGMA}
    peer = fid_statistics_to_metric(found, other, False)["frechet_inception_distance"]
    ours = frechet.frechet_distance(
        fake_moments=foreign_statistics.moments(MU + 0.5, SIGMA),
        real_moments=foreign_statistics.read(path)[0].moments["pool"],
    )
    assert float(ours) == pytest.approx(float(peer), rel=1e-6)


def test_adm_and_edm(tmp_path: Path):
    made(tmp_path, "inception")
    [path] = reference_exchange.reference_export("toy", "adm", out=tmp_path)
    with np.load(path, allow_pickle=False) as file:
        assert {name: file[name].shape for name in file.files} == {
            "mu": (8,),
            "sigma": (8, 8),
            "mu_s": (3,),
            "sigma_s": (3, 3),
        }
    [path] = reference_exchange.reference_export("toy", "edm", out=tmp_path / "e.npz")
    with np.load(path, allow_pickle=False) as file:
        assert np.array_equal(file["mu"], MU)
    made(tmp_path, "inception", spatial=False)
    with pytest.raises(EvalkitError, match="needs moments of spatial features"):
        reference_exchange.reference_export("toy", "adm")


def test_an_export_of_another_convention_is_refused(tmp_path: Path):
    made(tmp_path, "inception")
    with pytest.raises(EvalkitError, match="has inception; pytorch-fid needs inception-torch"):
        reference_exchange.reference_export("toy", "pytorch-fid")
    with pytest.raises(EvalkitError, match="no format 'csv'"):
        reference_exchange.reference_export("toy", "csv")
    made(tmp_path, "inception-clean")
    with pytest.raises(EvalkitError, match="several of them fit"):
        reference_exchange.reference_export("toy", "clean-fid")
    assert (
        reference_exchange.reference_export("toy", "clean-fid", encoder="inception-clean")[0].name
        == "toy_clean_custom_na.npz"
    )


def test_the_commands(tmp_path: Path):
    runner = CliRunner()
    plain(tmp_path / "coco.npz")
    wrong = runner.invoke(app, ["reference", "import", "coco.npz", "--name", "coco"])
    assert wrong.exit_code == 2
    assert "does not state the encoder" in wrong.stderr
    done = runner.invoke(
        app,
        [
            "reference",
            "import",
            "coco.npz",
            "--name",
            "coco",
            "--encoder",
            "inception-torch",
            "--count",
            "9",
        ],
    )
    assert done.stdout.strip() == str(tmp_path / "user" / "coco")
    assert "count = 9" in runner.invoke(app, ["reference", "show", "coco"]).stdout
    out = runner.invoke(
        app, ["reference", "export", "coco", "--format", "pytorch-fid", "--out", "again.npz"]
    )
    assert (out.exit_code, out.stdout.strip()) == (0, "again.npz")
    assert runner.invoke(app, ["reference", "show", "again.npz"]).exit_code == 2
