"""Reference statistics from images: exact, independent of order and source, validated."""

from __future__ import annotations

import io
import json
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from counting_encoder import CountingEncoder, smooth_image
from PIL import Image

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.images import encode_png
from evalkit.metrics import frechet
from evalkit.reference import accumulator
from evalkit.reference.build import build_from_images, reference_build
from evalkit.reference.files import reference, reference_list


def image(seed: int) -> Image.Image:
    """Images of even seeds have one size."""
    return smooth_image(seed, (20, 16 + seed % 2))


def test_the_moments_are_those_of_all_images(tmp_path: Path):
    images = [image(seed) for seed in range(50)]
    folder = build_from_images(
        images,
        name="toy",
        encoders=[Pixels()],
        out=tmp_path / "toy",
        batch_size=7,
        card={"licence": "CC0-1.0"},
    )
    encoder = Pixels()
    pool = torch.cat([encoder(encoder.prepare(image)[None])["pool"] for image in images])
    found = reference(str(folder), encoder)
    expected = frechet.moments(pool)
    assert found.count == 50
    assert torch.allclose(found.moments["pool"].mean, expected.mean, rtol=1e-12)
    assert torch.allclose(found.moments["pool"].cov, expected.cov, rtol=1e-9, atol=1e-14)
    assert sorted(map(tuple, found.features["pool"].tolist())) == sorted(map(tuple, pool.tolist()))
    card = tomllib.loads((folder / "card.toml").read_text())
    assert (card["name"], card["count"], card["licence"]) == ("toy", 50, "CC0-1.0")
    assert len(card["image_hash"]) == 64


def test_results_do_not_depend_on_order_or_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accumulator, "SAMPLE", 10)
    images = [image(seed) for seed in range(40)]
    one = build_from_images(
        images, name="toy", encoders=[Pixels()], out=tmp_path / "one", batch_size=1
    )
    other = build_from_images(
        images[::-1], name="toy", encoders=[Pixels()], out=tmp_path / "other", batch_size=16
    )
    first, second = (
        reference(str(one), Pixels()),
        reference(str(other), Pixels()),
    )
    assert first.image_hash == second.image_hash
    assert torch.allclose(
        first.moments["pool"].cov, second.moments["pool"].cov, rtol=1e-9, atol=1e-14
    )
    assert first.features["pool"].shape == (10, 192)
    assert torch.equal(first.features["pool"], second.features["pool"])


def test_the_file_holds_mu_and_sigma_in_float64(tmp_path: Path):
    folder = build_from_images(
        [image(seed) for seed in range(9)], name="toy", encoders=[Pixels()], out=tmp_path / "toy"
    )
    with np.load(folder / "pixels.npz", allow_pickle=False) as file:
        mu, sigma = file["mu"][:], file["sigma"][:]
    assert mu.dtype == sigma.dtype == np.float64
    assert (mu.shape, sigma.shape) == ((192,), (192, 192))


def test_build_takes_a_folder_with_subfolders(tmp_path: Path, user_folder: Path):
    for seed in range(6):
        path = tmp_path / "photos" / ("a" if seed % 2 else "b/c") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image(seed).save(path)
    folder = reference_build(tmp_path / "photos", name="photos", encoders="pixels")
    assert folder == user_folder / "photos"
    assert reference("photos", Pixels()).count == 6
    [card] = [card for card in reference_list() if card.name == "photos"]
    assert (card.count, card.encoders) == (6, ("pixels",))


def packed(place: Path, count: int = 30) -> dict[str, Path]:
    """The same images as a folder, zip, tar, array and dataset."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    data = {f"{seed:03d}.png": encode_png(image(2 * seed)) for seed in range(count)}
    (place / "f").mkdir(parents=True)
    with (
        zipfile.ZipFile(place / "a.zip", "w") as zipped,
        tarfile.open(place / "a.tar.gz", "w:gz") as tar,
    ):
        for name, content in data.items():
            (place / "f" / name).write_bytes(content)
            zipped.writestr(name, content)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    np.savez(place / "a.npz", np.stack([np.asarray(image(2 * seed)) for seed in range(count)]))
    parquet.write_table(
        arrow.table({"image": [{"bytes": item, "path": name} for name, item in data.items()]}),
        place / "a.parquet",
    )
    return {name: place / name for name in ("f", "a.zip", "a.tar.gz", "a.npz", "a.parquet")}


def test_every_source_gives_the_same_statistics(tmp_path: Path):
    found = []
    for name, place in packed(tmp_path / "packed").items():
        folder = reference_build(
            place, name=name, encoders="pixels", out=tmp_path / "out" / name, batch_size=4
        )
        found.append(reference(str(folder), Pixels()))
    for other in found[1:]:
        assert other.image_hash == found[0].image_hash
        assert torch.allclose(
            other.moments["pool"].cov, found[0].moments["pool"].cov, rtol=1e-9, atol=1e-14
        )
        assert torch.equal(other.features["pool"], found[0].features["pool"])


def test_spatial_features_and_several_encoders(
    tmp_path: Path,
):
    images = [image(seed) for seed in range(20)]
    encoder = CountingEncoder()
    folder = build_from_images(
        images, name="toy", encoders=[Pixels(), encoder], out=tmp_path / "toy", batch_size=3
    )
    found = reference(str(folder), encoder)
    rows = torch.cat([encoder(encoder.prepare(image)[None])["spatial"] for image in images])
    assert found.moments.keys() == {"pool", "spatial"}
    assert torch.allclose(
        found.moments["spatial"].cov, frechet.moments(rows).cov, rtol=1e-9, atol=1e-9
    )
    assert reference(str(folder), Pixels()).moments.keys() == {"pool"}
    card = tomllib.loads((folder / "card.toml").read_text())
    assert set(card["encoder"]) == {"pixels", "counting"}
    assert card["encoder"]["counting"]["features"] == ["pool", "spatial"]
    assert card["encoder"]["pixels"] == {
        "fingerprint": "pixels-8x8-1",
        "count": 20,
        "features": ["pool"],
        "stored_rows": 20,
        "stored_bytes": 20 * 192 * 4,
    }


def test_the_features_of_all_images_can_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accumulator, "SAMPLE", 10)
    monkeypatch.setattr(accumulator, "BLOCK", 8)
    places = packed(tmp_path / "packed")
    some = reference_build(places["f"], name="some", encoders="pixels", out=tmp_path / "some")
    every = reference_build(
        places["f"], name="every", encoders="pixels", out=tmp_path / "every", keep_all=True
    )
    first, second = (
        reference(str(some), Pixels()),
        reference(str(every), Pixels()),
    )
    assert (first.features["pool"].shape, second.features["pool"].shape) == ((10, 192), (30, 192))
    assert torch.equal(
        first.features["pool"], second.features["pool"][:10]
    )  # the ten smallest digests
    assert torch.allclose(
        first.moments["pool"].cov,
        frechet.moments(second.features["pool"]).cov,
        rtol=1e-9,
        atol=1e-14,
    )


def test_invalid_images_refuse_the_build_or_are_skipped(tmp_path: Path):
    place = packed(tmp_path / "packed")["f"]
    (place / "bad.png").write_bytes(b"not an image")
    (place / "cut.png").write_bytes(encode_png(image(1))[:200])
    (place / "black.png").write_bytes(encode_png(Image.new("RGB", (20, 16))))
    with pytest.raises(
        EvalkitError,
        match=r"2 of 33 images .* \(1 not an image, 1 truncated or damaged\): bad\.png",
    ):
        reference_build(place, name="r", encoders="pixels", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    folder = reference_build(place, name="r", encoders="pixels", out=tmp_path / "r", on_bad="skip")
    assert reference(str(folder), Pixels()).count == 31
    card = tomllib.loads((folder / "card.toml").read_text())
    assert (card["count"], card["validation"]["taken"], card["validation"]["skipped"]) == (
        31,
        31,
        2,
    )
    assert "1 image all black" in card["validation"]["notes"]
    found = json.loads((folder / "image_checks.json").read_text())
    assert {item["name"] for item in found["skipped_names"]} == {"bad.png", "cut.png"}


def test_an_encoder_of_groups_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Grouped(Pixels):
        grouped = True

    monkeypatch.setattr(plugins, "encoder", lambda name, device: Grouped())
    with pytest.raises(EvalkitError, match="compares images of one prompt"):
        reference_build(packed(tmp_path / "packed")["f"], encoders="pixels")


def test_folders_without_enough_images_are_refused(tmp_path: Path, user_folder: Path):
    with pytest.raises(EvalkitError, match="There is no file or folder"):
        reference_build(tmp_path / "absent", encoders="pixels")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvalkitError, match="has no images"):
        reference_build(tmp_path / "empty", encoders="pixels")
    image(0).save(tmp_path / "empty" / "one.png")
    with pytest.raises(EvalkitError, match="expected at least 2"):
        reference_build(tmp_path / "empty", encoders="pixels")
    assert not user_folder.exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a\\b"])
def test_a_name_that_is_a_path_is_refused_before_an_image_is_read(tmp_path: Path, name: str):
    image(0).save(tmp_path / "0.png")
    with pytest.raises(EvalkitError, match="it is a path"):
        reference_build(tmp_path, name=name, encoders="pixels")
