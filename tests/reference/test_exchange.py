"""Import and export of statistics; the other tools themselves read the exported files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from statistics_files import MU, ROWS, SIGMA, Named, cmmd, edm2, plain
from typer.testing import CliRunner

import evalkit
from evalkit import plugins
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.encoders.select import STANDARD
from evalkit.reference import foreign
from evalkit.reference.exchange import reference_export, reference_import
from evalkit.reference.files import reference, reference_list, reference_show

pytestmark = pytest.mark.usefixtures("eight_dimensions")


def test_import_makes_a_reference_with_a_card(tmp_path: Path, user_folder: Path):
    edm2(tmp_path / "img512.pkl")
    folder = reference_import(
        tmp_path / "img512.pkl", name="imagenet", licence="CC0-1.0", source="a paper"
    )
    assert folder == user_folder / "imagenet"
    [card] = [card for card in reference_list() if card.name == "imagenet"]
    assert (card.count, card.encoders, card.source) == (
        40,
        ("dinov2-l14", "inception"),
        "a paper",
    )
    found = reference("imagenet", Named("inception"))
    assert np.array_equal(found.moments["pool"].cov.numpy(), SIGMA)
    assert found.note == "the reference does not state the weights of its encoder"
    shown = tomllib.loads(reference_show("imagenet"))
    assert shown["licence"] == "CC0-1.0"
    assert set(shown["encoder"]) == {"inception", "dinov2-l14"}


def test_import_takes_known_encoders_only(tmp_path: Path, user_folder: Path):
    plain(tmp_path / "coco.npz")
    for wrong, near in (("inceptoin", "Did you mean 'inception'"), ("foo", "Known: ")):
        with pytest.raises(EvalkitError, match=f"There is no encoder '{wrong}'") as error:
            reference_import(tmp_path / "coco.npz", name="coco", encoder=wrong)
        assert near in error.value.hint
    np.savez(tmp_path / "other.npz", mu=np.zeros(5), sigma=np.eye(5))
    with pytest.raises(EvalkitError, match="has 5 dimensions; inception has 8"):
        reference_import(tmp_path / "other.npz", name="coco", encoder="inception")
    with pytest.raises(EvalkitError, match="inception in a faster arithmetic") as error:
        reference_import(tmp_path / "coco.npz", name="coco", encoder="inception-bf16")
    assert "--encoder inception`" in error.value.hint
    assert not (user_folder / "coco").exists()
    own = "counting_encoder:CountingEncoder"  # your own, by module and attribute
    folder = reference_import(tmp_path / "other.npz", name="own", encoder=own)
    assert (folder / "counting.npz").is_file()


def test_import_asks_for_missing_facts(tmp_path: Path, user_folder: Path):
    plain(tmp_path / "coco.npz")
    with pytest.raises(EvalkitError, match="does not state the encoder"):
        reference_import(tmp_path / "coco.npz", name="coco")
    assert not user_folder.exists()
    reference_import(tmp_path / "coco.npz", name="coco", encoder="inception-torch", count=40504)
    found = reference("coco", Named("inception-torch"))
    assert (found.count, found.features) == (40504, {})
    plain(tmp_path / "x_clean_custom_na.npz")
    with pytest.raises(EvalkitError, match="were made with inception-clean, not with inception"):
        reference_import(tmp_path / "x_clean_custom_na.npz", name="x", encoder="inception")
    plain(tmp_path / "x_clean_clip_vit_b_32_custom_na.npz")
    with pytest.raises(EvalkitError, match="no encoder of evalkit follows that"):
        reference_import(tmp_path / "x_clean_clip_vit_b_32_custom_na.npz", name="x")
    with pytest.raises(EvalkitError, match="There is no file"):
        reference_import(tmp_path / "absent.npz", name="x")


def test_the_images_in_files_of_adm_can_be_encoded(
    tmp_path: Path, user_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    images = np.random.RandomState(0).randint(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "VIRTUAL_x.npz", mu=MU, sigma=SIGMA, mu_s=MU, sigma_s=SIGMA, arr_0=images)
    encoder = Named("inception")
    monkeypatch.setattr(plugins, "encoder", lambda name, device: {"inception": encoder}[name])
    reference_import(tmp_path / "VIRTUAL_x.npz", name="x", encode_images=True)
    with np.load(user_folder / "x" / "inception.npz", allow_pickle=False) as file:
        stored = file["features"]
        assert np.array_equal(file["sigma_s"], SIGMA)
    pool = torch.cat(
        [encoder(encoder.prepare(Image.fromarray(image))[None])["pool"] for image in images]
    )
    assert sorted(map(tuple, stored.tolist())) == sorted(map(tuple, pool.tolist()))


def made(user_folder: Path, encoder: str, spatial: bool = True) -> Path:
    folder = user_folder / "toy"
    folder.mkdir(parents=True, exist_ok=True)
    more = {"mu_s": MU[:3], "sigma_s": SIGMA[:3, :3]} if spatial else {}
    meta = np.array(
        json.dumps({"name": "toy", "encoder": encoder, "fingerprint": "f", "image_hash": "h"})
    )
    np.savez(folder / f"{encoder}.npz", mu=MU, sigma=SIGMA, n=40, features=ROWS, meta=meta, **more)
    keys = ("name", "description", "source", "licence", "date", "command", "image_hash")
    (folder / "card.toml").write_text("count = 40\n" + "".join(f'{key} = "toy"\n' for key in keys))
    return folder


def test_pytorch_fid_reads_its_export(tmp_path: Path, user_folder: Path):
    from pytorch_fid.fid_score import compute_statistics_of_path

    made(user_folder, "inception-torch")
    [path] = reference_export("toy", "pytorch-fid")
    mu, sigma = compute_statistics_of_path(str(path), None, 1, 8, "cpu")
    assert np.array_equal(mu, MU)
    assert np.array_equal(sigma, SIGMA)
    own = user_folder / "toy" / "inception-torch.npz"
    assert np.array_equal(compute_statistics_of_path(str(own), None, 1, 8, "cpu")[1], SIGMA)


@pytest.mark.parametrize("encoder", ["inception", "inception-torch", "inception-clean"])
def test_clean_fid_export_has_its_names_and_keys(tmp_path: Path, user_folder: Path, encoder: str):
    made(user_folder, encoder)
    stats, kid = reference_export("toy", "clean-fid", out=tmp_path)
    mode = {
        "inception": "legacy_tensorflow",
        "inception-torch": "legacy_pytorch",
        "inception-clean": "clean",
    }[encoder]
    assert (stats.name, kid.name) == (f"toy_{mode}_custom_na.npz", f"toy_{mode}_custom_na_kid.npz")
    with np.load(stats, allow_pickle=False) as file, np.load(kid, allow_pickle=False) as features:
        assert np.array_equal(file["sigma"], SIGMA)
        assert np.array_equal(features["feats"], ROWS)
    [back] = foreign.read(stats)
    assert back.convention == encoder
    assert torch.equal(back.features["pool"], torch.from_numpy(ROWS))


def test_exports_for_adm_and_edm(tmp_path: Path, user_folder: Path):
    made(user_folder, "inception")
    [path] = reference_export("toy", "adm", out=tmp_path)
    with np.load(path, allow_pickle=False) as file:
        assert {name: (file[name].shape, file[name].dtype) for name in file.files} == {
            "mu": ((8,), np.float64),
            "sigma": ((8, 8), np.float64),
            "mu_s": ((3,), np.float64),
            "sigma_s": ((3, 3), np.float64),
        }
    [path] = reference_export("toy", "edm", out=tmp_path / "e.npz")
    with np.load(path, allow_pickle=False) as file:
        assert np.array_equal(file["mu"], MU)
        assert {name: file[name].dtype for name in file.files} == dict.fromkeys(
            ("mu", "sigma"), np.float64
        )
    made(user_folder, "inception", spatial=False)
    with pytest.raises(EvalkitError, match="needs moments of spatial features"):
        reference_export("toy", "adm")


def test_an_export_of_another_convention_is_refused(tmp_path: Path, user_folder: Path):
    made(user_folder, "inception")
    with pytest.raises(EvalkitError, match="has inception; pytorch-fid needs inception-torch"):
        reference_export("toy", "pytorch-fid")
    with pytest.raises(EvalkitError, match="no format 'csv'"):
        reference_export("toy", "csv")
    made(user_folder, "inception-clean")
    with pytest.raises(EvalkitError, match="several of them fit"):
        reference_export("toy", "clean-fid")
    assert (
        reference_export("toy", "clean-fid", encoder="inception-clean")[0].name
        == "toy_clean_custom_na.npz"
    )


def test_the_commands_import_show_and_export(tmp_path: Path, user_folder: Path):
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
    assert done.stdout.strip() == str(user_folder / "coco")
    assert "count = 9" in runner.invoke(app, ["reference", "show", "coco"]).stdout
    out = runner.invoke(
        app, ["reference", "export", "coco", "--format", "pytorch-fid", "--out", "again.npz"]
    )
    assert (out.exit_code, out.stdout.strip()) == (0, "again.npz")
    assert runner.invoke(app, ["reference", "show", "again.npz"]).exit_code == 2


CMMD_ENCODERS = """
import torch


class Cmmd:
    name, kind, fingerprint, version = "clip-l14-336-cmmd", "clip-large", "f", ""

    def prepare(self, image):
        pixels = torch.tensor(list(image.resize((2, 4)).convert("L").tobytes()))
        return pixels.reshape(1, 4, 2).float()

    def __call__(self, images):
        return {"pool": images.flatten(1) + 1}


class Other(Cmmd):
    name = "clip-l14-336"


for own in (Cmmd, Other):  # in place of evalkit's, whose names no other encoder may have
    own.__module__ = "evalkit.encoders.clip"
"""


def test_an_array_of_cmmd_serves_the_metric_and_its_hint_names_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "cmmd_encoders.py").write_text(CMMD_ENCODERS)
    cmmd(tmp_path / "ref_embs.npy")
    (tmp_path / "images").mkdir()
    pixels = np.random.RandomState(1).randint(0, 256, (6, 4, 2), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    options = {"metrics": "cmmd", "reference": "ref_embs.npy"}
    with pytest.raises(EvalkitError, match="made with clip-l14-336-cmmd") as error:
        evalkit.score("images", encoders="cmmd_encoders:Other", **options)
    assert "`--encoders clip-l14-336-cmmd`" in error.value.hint
    assert STANDARD["clip-large"] == "clip-l14-336-cmmd"  # what `cmmd` asks for
    found = evalkit.score("images", encoders="cmmd_encoders:Cmmd", **options)
    x, y = pixels.reshape(6, 8) + 1.0, np.load(tmp_path / "ref_embs.npy").astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)

    def mean(a, b):  # of the authors' kernel: sigma 10
        return np.exp(-np.square(a[:, None] - b[None]).sum(axis=2) / 200).mean()

    expected = 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))
    [row] = [row for row in found if row.metric == "cmmd"]
    assert row.value == pytest.approx(expected, rel=1e-5)
