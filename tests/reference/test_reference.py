"""Reference statistics: built from pictures, read back, refused where they do not fit."""

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
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.images import encode_png, to_tensor
from evalkit.metrics import frechet
from evalkit.reference import build as reference
from evalkit.reference import files as reference_files
from evalkit.reference import accumulator
from evalkit.reference.files import fid_floor


def picture(seed: int) -> Image.Image:
    coarse = np.random.RandomState(seed).randint(0, 256, (2, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((20, 16 + seed % 2), Image.Resampling.BICUBIC)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither shipped references nor those of the person who runs the tests."""
    monkeypatch.setattr(
        reference_files, "_roots", lambda: [tmp_path / "shipped", tmp_path / "user"]
    )
    monkeypatch.setattr(reference, "user_folder", lambda: tmp_path / "user")
    return tmp_path


def test_statistics_are_those_of_all_pictures(tmp_path: Path):
    pictures = [picture(seed) for seed in range(50)]
    folder = reference.build_from_images(
        pictures,
        name="toy",
        encoders=[Pixels()],
        out=tmp_path / "toy",
        batch_size=7,
        card={"licence": "CC0-1.0"},
    )
    encoder = Pixels()
    pool = torch.cat([encoder(encoder.prepare(image)[None])["pool"] for image in pictures])
    found = reference_files.reference(str(folder), encoder)
    expected = frechet.moments(pool)
    assert found.count == 50
    assert torch.allclose(found.moments["pool"].mean, expected.mean, rtol=1e-12)
    assert torch.allclose(found.moments["pool"].cov, expected.cov, rtol=1e-9, atol=1e-14)
    assert sorted(map(tuple, found.features["pool"].tolist())) == sorted(map(tuple, pool.tolist()))
    card = tomllib.loads((folder / "card.toml").read_text())
    assert (card["name"], card["count"], card["licence"]) == ("toy", 50, "CC0-1.0")
    assert len(card["image_hash"]) == 64


def test_nothing_depends_on_the_order_or_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(accumulator, "SAMPLE", 10)
    pictures = [picture(seed) for seed in range(40)]
    one = reference.build_from_images(
        pictures, name="toy", encoders=[Pixels()], out=tmp_path / "one", batch_size=1
    )
    other = reference.build_from_images(
        pictures[::-1], name="toy", encoders=[Pixels()], out=tmp_path / "other", batch_size=16
    )
    first, second = (
        reference_files.reference(str(one), Pixels()),
        reference_files.reference(str(other), Pixels()),
    )
    assert first.image_hash == second.image_hash
    assert torch.allclose(
        first.moments["pool"].cov, second.moments["pool"].cov, rtol=1e-9, atol=1e-14
    )
    assert first.features["pool"].shape == (10, 192)
    assert torch.equal(first.features["pool"], second.features["pool"])


def test_the_file_is_read_by_tools_that_know_mu_and_sigma(tmp_path: Path):
    folder = reference.build_from_images(
        [picture(seed) for seed in range(9)], name="toy", encoders=[Pixels()], out=tmp_path / "toy"
    )
    with np.load(folder / "pixels.npz", allow_pickle=False) as file:
        mu, sigma = file["mu"][:], file["sigma"][:]
    assert mu.dtype == sigma.dtype == np.float64
    assert (mu.shape, sigma.shape) == ((192,), (192, 192))


def test_build_takes_a_folder_with_subfolders(tmp_path: Path):
    for seed in range(6):
        path = tmp_path / "photos" / ("a" if seed % 2 else "b/c") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(path)
    folder = reference.reference_build(tmp_path / "photos", name="photos", encoders="pixels")
    assert folder == tmp_path / "user" / "photos"
    assert reference_files.reference("photos", Pixels()).count == 6
    card = reference_files.reference_list()[0]
    assert (card.name, card.count, card.encoders) == ("photos", 6, ("pixels",))


class Wide(Pixels):
    """Keeps the size of a picture, as Inception does, and gives spatial features too."""

    name = "wide"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return to_tensor(image)

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.batches.append(len(images))
        pool = images.float().mean(dim=(2, 3))
        return {
            "pool": pool,
            "spatial": torch.cat([pool, images.float().amax(dim=(2, 3))], dim=1),
            "logits": pool,
        }


def packed(place: Path, count: int = 30) -> dict[str, Path]:
    """The same pictures as a folder, zip, tar, array and dataset."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    data = {f"{seed:03d}.png": encode_png(picture(2 * seed)) for seed in range(count)}
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
    np.savez(place / "a.npz", np.stack([np.asarray(picture(2 * seed)) for seed in range(count)]))
    parquet.write_table(
        arrow.table({"image": [{"bytes": item, "path": name} for name, item in data.items()]}),
        place / "a.parquet",
    )
    return {name: place / name for name in ("f", "a.zip", "a.tar.gz", "a.npz", "a.parquet")}


def test_every_source_gives_the_same_statistics(tmp_path: Path):
    found = []
    for name, place in packed(tmp_path / "packed").items():
        folder = reference.reference_build(
            place, name=name, encoders="pixels", out=tmp_path / "out" / name, batch_size=4
        )
        found.append(reference_files.reference(str(folder), Pixels()))
    for other in found[1:]:
        assert other.image_hash == found[0].image_hash
        assert torch.allclose(
            other.moments["pool"].cov, found[0].moments["pool"].cov, rtol=1e-9, atol=1e-14
        )
        assert torch.equal(other.features["pool"], found[0].features["pool"])


def test_spatial_features_have_moments_of_their_own_and_several_encoders_share_one_decode(
    tmp_path: Path,
):
    pictures = [picture(seed) for seed in range(20)]
    wide = Wide()
    folder = reference.build_from_images(
        pictures, name="toy", encoders=[Pixels(), wide], out=tmp_path / "toy", batch_size=3
    )
    found = reference_files.reference(str(folder), wide)
    rows = torch.cat([wide(wide.prepare(image)[None])["spatial"] for image in pictures])
    assert found.moments.keys() == {"pool", "spatial"}
    assert torch.allclose(
        found.moments["spatial"].cov, frechet.moments(rows).cov, rtol=1e-9, atol=1e-9
    )
    assert reference_files.reference(str(folder), Pixels()).moments.keys() == {"pool"}
    card = tomllib.loads((folder / "card.toml").read_text())
    assert set(card["encoder"]) == {"pixels", "wide"}
    assert card["encoder"]["wide"]["features"] == ["pool", "spatial"]
    assert card["encoder"]["pixels"] == {
        "fingerprint": "pixels-8x8-1", "count": 20, "features": ["pool"], "stored_rows": 20, "stored_bytes": 20 * 192 * 4,
    }  # fmt: skip


def test_the_features_of_all_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accumulator, "SAMPLE", 10)
    monkeypatch.setattr(accumulator, "BLOCK", 8)
    places = packed(tmp_path / "packed")
    some = reference.reference_build(
        places["f"], name="some", encoders="pixels", out=tmp_path / "some"
    )
    every = reference.reference_build(
        places["f"], name="every", encoders="pixels", out=tmp_path / "every", keep_all=True
    )
    first, second = (
        reference_files.reference(str(some), Pixels()),
        reference_files.reference(str(every), Pixels()),
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


def test_pictures_of_many_sizes_do_not_pile_up(tmp_path: Path):
    wide = Wide()
    pictures = [Image.new("RGB", (8 + number, 9), (number, 0, 0)) for number in range(100)]
    counts = accumulator.Accumulator(wide, 4)
    for number, image in enumerate(pictures):
        counts.add(bytes([number]), wide.prepare(image))
    assert sum(wide.batches) >= 100 - 8 * 4
    counts.finish()
    assert counts.moments["pool"].count == 100


def test_what_cannot_be_taken_refuses_the_build_or_is_skipped(tmp_path: Path):
    place = packed(tmp_path / "packed")["f"]
    (place / "bad.png").write_bytes(b"no picture")
    (place / "cut.png").write_bytes(encode_png(picture(1))[:200])
    (place / "black.png").write_bytes(encode_png(Image.new("RGB", (20, 16))))
    with pytest.raises(
        EvalkitError,
        match=r"2 of 33 images .* \(1 not an image, 1 truncated or damaged\): bad\.png",
    ):
        reference.reference_build(place, name="r", encoders="pixels", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    folder = reference.reference_build(
        place, name="r", encoders="pixels", out=tmp_path / "r", on_bad="skip"
    )
    assert reference_files.reference(str(folder), Pixels()).count == 31
    card = tomllib.loads((folder / "card.toml").read_text())
    assert (card["count"], card["validation"]["taken"], card["validation"]["skipped"]) == (
        31,
        31,
        2,
    )
    assert "1 images are all black" in card["validation"]["notes"]
    found = json.loads((folder / "validation.json").read_text())
    assert {item["name"] for item in found["skipped_names"]} == {"bad.png", "cut.png"}


def test_a_reference_that_compares_pictures_of_one_prompt_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Grouped(Pixels):
        grouped = True

    monkeypatch.setattr(reference.plugins, "encoder", lambda name, device: Grouped())
    with pytest.raises(EvalkitError, match="compares images of one prompt"):
        reference.reference_build(packed(tmp_path / "packed")["f"], encoders="pixels")


def test_bad_folders_are_one_clear_error(tmp_path: Path):
    with pytest.raises(EvalkitError, match="There is no file or folder"):
        reference.reference_build(tmp_path / "absent", encoders="pixels")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvalkitError, match="has no images"):
        reference.reference_build(tmp_path / "empty", encoders="pixels")
    picture(0).save(tmp_path / "empty" / "one.png")
    with pytest.raises(EvalkitError, match="expected at least 2"):
        reference.reference_build(tmp_path / "empty", encoders="pixels")
    assert not (tmp_path / "user").exists()


def test_references_that_do_not_fit_are_refused(tmp_path: Path):
    class Other(Pixels):
        fingerprint = "pixels-other"

    class Unknown(Pixels):
        name = "unknown"

    reference.build_from_images(
        [picture(seed) for seed in range(9)], name="toy", encoders=[Pixels()]
    )
    with pytest.raises(
        EvalkitError, match="was built with pixels-8x8-1; the encoder pixels is pixels-other"
    ):
        reference_files.reference("toy", Other())
    with pytest.raises(EvalkitError, match=r"no statistics for the encoder unknown.*pixels"):
        reference_files.reference("toy", Unknown())
    with pytest.raises(EvalkitError, match="Did you mean 'toy'"):
        reference_files.reference("toi", Pixels())
    damaged = tmp_path / "damaged.npz"
    for data in (b"", b"PK\x03\x04"):
        damaged.write_bytes(data)
        with pytest.raises(EvalkitError, match="cannot be read"):
            reference_files.reference(str(damaged), Pixels())
    np.savez(damaged, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    with pytest.raises(EvalkitError, match="expected finite"):
        reference_files.reference(str(damaged), Pixels())


def test_statistics_of_other_tools_are_moments_only(tmp_path: Path):
    np.savez(tmp_path / "coco.npz", mu=np.zeros(192), sigma=np.eye(192))
    found = reference_files.reference(str(tmp_path / "coco.npz"), Pixels())
    assert (found.name, found.features, found.count) == ("coco", {}, 0)
    assert fid_floor(found, 10) is None


def test_fid_floor_is_what_real_pictures_score():
    random = np.random.RandomState(0)
    mixing = random.randn(24, 24) * (1 + np.arange(24)) ** -0.7
    features = torch.from_numpy(random.randn(2000, 24) @ mixing.T).float()
    found = reference_files.Reference(
        "toy", "x", {"pool": frechet.moments(features)}, {"pool": features}, ""
    )
    for count in (50, 400):
        fresh = [torch.from_numpy(random.randn(count, 24) @ mixing.T) for _ in range(200)]
        expected = np.mean(
            [float(frechet.fid(fake=rows, real_moments=found.moments["pool"])) for rows in fresh]
        )
        assert fid_floor(found, count) == pytest.approx(expected, rel=0.25)
    assert fid_floor(found, 10_000) == pytest.approx((fid_floor(found, 1000) or 0) / 10, rel=1e-9)
    assert fid_floor(found, 1) is None
