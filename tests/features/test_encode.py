"""The cache of features: what is encoded, what is not, and that nothing depends on batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_clip import ToyClip

from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.features import encode as features
from evalkit.features.encode import image_features, text_features
from evalkit.features.groups import group_features
from evalkit.features.image_file import ImageFile
from evalkit.images import encode_png, to_tensor


def picture(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    coarse = np.random.RandomState(seed).randint(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def files(folder: Path, count: int) -> list[ImageFile]:
    made = []
    for number in range(count):
        data = encode_png(picture(number, (16 + 8 * (number % 3), 20)))
        path = folder / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        made.append(ImageFile(path, hashlib.sha256(data).hexdigest()))
    return made


class Counting(Pixels):
    """Keeps the size of the picture (as Inception does) and counts what it is given."""

    name = "counting"

    def __init__(self, fingerprint: str = "a") -> None:
        self.fingerprint = fingerprint
        self.batches: list[int] = []

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return to_tensor(image)

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.batches.append(len(images))
        return {"pool": images.float().mean(dim=(2, 3)), "logits": images.float().amax(dim=(2, 3))}


def test_pixels_are_mean_colours():
    encoder = Pixels()
    image = Image.new("RGB", (50, 31), (255, 51, 0))
    found = encoder(encoder.prepare(image)[None])["pool"]
    assert found.shape == (1, 192)
    assert found.dtype == torch.float32
    assert torch.allclose(found.view(3, 64).mean(dim=1), torch.tensor([1.0, 0.2, 0.0]))
    array = np.random.RandomState(0).randint(0, 256, (16, 16, 3), dtype=np.uint8)
    cells = array.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1).reshape(-1) / 255
    assert np.allclose(
        encoder(encoder.prepare(Image.fromarray(array))[None])["pool"][0].numpy(),
        cells,
        atol=1.01 / 255,
    )


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_features_do_not_depend_on_the_batch_size_or_the_order(tmp_path: Path, batch_size: int):
    images = files(tmp_path / "images", 11)
    order = [images[place] for place in np.random.RandomState(0).permutation(len(images))]
    one = image_features(images, Counting(), tmp_path / "one.npz", batch_size=4)
    other = image_features(order, Counting(), tmp_path / "other.npz", batch_size=batch_size)
    again = image_features(images, Counting(), tmp_path / "other.npz", batch_size=batch_size)
    for name in ("pool", "logits"):
        assert torch.equal(one.values[name], again.values[name])
        assert torch.equal(
            one.values[name][[images.index(image) for image in order]], other.values[name]
        )


def test_only_new_images_are_encoded_and_each_content_once(tmp_path: Path):
    images, cache = files(tmp_path / "images", 6), tmp_path / "features" / "x.npz"
    encoder = Counting()
    first = image_features([*images[:4], images[0]], encoder, cache)
    assert sum(encoder.batches) == 4
    assert torch.equal(first.values["pool"][0], first.values["pool"][4])
    encoder = Counting()
    second = image_features(images, encoder, cache)
    assert sum(encoder.batches) == 2
    assert torch.equal(second.values["pool"][:4], first.values["pool"][:4])
    encoder = Counting()
    image_features(images, encoder, cache)
    assert encoder.batches == []
    encoder = Counting("b")  # other weights
    image_features(images, encoder, cache)
    assert sum(encoder.batches) == 6


def test_batches_hold_images_of_one_size(tmp_path: Path):
    encoder = Counting()
    image_features(files(tmp_path, 9), encoder, tmp_path / "x.npz", batch_size=2)
    assert sorted(encoder.batches) == [1, 1, 1, 2, 2, 2]


def test_a_damaged_cache_is_made_anew(tmp_path: Path):
    images, cache = files(tmp_path / "images", 3), tmp_path / "x.npz"
    for damage in (b"", b"PK\x03\x04 no zip", b"\x93NUMPY"):
        cache.write_bytes(damage)
        assert image_features(images, Counting(), cache).values["pool"].shape == (3, 3)
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2])
    assert image_features(images, Counting(), cache).values["pool"].shape == (3, 3)


def test_work_is_saved_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Failing(Counting):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().__call__(images)

    images, cache = files(tmp_path / "images", 9), tmp_path / "x.npz"
    images = [image for number, image in enumerate(images) if number % 3 == 0]
    monkeypatch.setattr(features, "SAVE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        image_features(images, Failing(), cache, batch_size=1)
    encoder = Counting()
    image_features(images, encoder, cache, batch_size=1)
    assert 0 < len(encoder.batches) < 3


def test_a_changed_or_damaged_image_is_one_clear_error(tmp_path: Path):
    images = files(tmp_path / "images", 3)
    images[1].path.write_bytes(images[2].path.read_bytes())
    with pytest.raises(EvalkitError, match=r"1\.png has changed"):
        image_features(images, Counting(), tmp_path / "x.npz")
    half = images[1].path.read_bytes()[:60]
    images[1].path.write_bytes(half)
    with pytest.raises(EvalkitError, match="truncated or damaged"):
        image_features(
            [*images[:1], ImageFile(images[1].path, hashlib.sha256(half).hexdigest())],
            Counting(),
            tmp_path / "x.npz",
        )
    assert not (tmp_path / "x.npz").exists()


def test_an_encoder_that_loses_images_is_named(tmp_path: Path):
    class Losing(Counting):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"pool": torch.zeros(1, 3)}

    with pytest.raises(EvalkitError, match="counting returned pool"):
        image_features(files(tmp_path, 7), Losing(), tmp_path / "x.npz")


def test_no_images_are_no_features(tmp_path: Path):
    assert image_features([], Counting(), tmp_path / "x.npz") == ({}, [])
    assert not (tmp_path / "x.npz").exists()


def test_texts_are_read_once(tmp_path: Path):
    class Reading(ToyClip):
        def __init__(self) -> None:
            self.read: list[str] = []

        def text(self, prompts: Sequence[str]) -> torch.Tensor:
            self.read += prompts
            return super().text(prompts)

    encoder, texts = Reading(), ["a tree", "an apple", "a tree", "\u2028 odd \ud800"]
    first = text_features(texts, encoder, tmp_path / "t.npz")
    assert encoder.read == ["a tree", "an apple", "\u2028 odd \ud800"]
    assert torch.equal(first[0], first[2])
    assert torch.equal(text_features(["new", *texts], encoder, tmp_path / "t.npz")[1:], first)
    assert encoder.read[3:] == ["new"]


def test_the_cache_holds_no_pickles(tmp_path: Path):
    image_features(files(tmp_path / "images", 3), Counting(), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= set("Uuf")


def test_an_encoder_that_changed_without_its_fingerprint_is_named(tmp_path: Path):
    class Changed(Counting):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"pool": images.float().mean(dim=(2, 3))}

    images = files(tmp_path / "images", 4)
    image_features(images[:2], Counting(), tmp_path / "x.npz")
    with pytest.raises(EvalkitError, match="other features than those in the cache"):
        image_features(images, Changed(), tmp_path / "x.npz")


def test_only_features_that_were_asked_for_are_kept(tmp_path: Path):
    images, cache, encoder = files(tmp_path / "images", 5), tmp_path / "x.npz", Counting()
    first = image_features(images, encoder, cache, wanted=("pool",))
    with np.load(cache) as file:
        assert [name for name in file.files if name.startswith("feature.")] == ["feature.pool"]
    both = image_features(images, encoder, cache, wanted=("logits", "nothing"))
    assert list(both.values) == ["logits"]
    assert sum(encoder.batches) == 10  # logits were not kept the first time
    again = image_features(
        images, encoder, cache, wanted=("pool", "nothing")
    )  # what the encoder does not give is not sought again
    assert sum(encoder.batches) == 10
    assert torch.equal(again.values["pool"], first.values["pool"])


class Spread(Counting):
    """How far the mean colour of each picture is from those of its group."""

    grouped = True

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        colours = super().__call__(images)["pool"]
        return {
            "diversity": torch.cdist(colours, colours).sum(dim=1, keepdim=True)
            / max(1, len(images) - 1)
        }

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return to_tensor(image.resize((8, 8)))


def test_groups_are_encoded_together_and_only_changed_ones_again(tmp_path: Path):
    images, cache, encoder = files(tmp_path / "images", 8), tmp_path / "x.npz", Spread()
    labels = ["a", "b", "c", "a", "b", "a", "d", "a"]
    found = group_features(images, labels, encoder, cache, wanted=("diversity",)).values[
        "diversity"
    ]
    assert sorted(encoder.batches) == [1, 1, 2, 4]
    alone = group_features(
        [images[1], images[4]], ["x", "x"], Spread(), tmp_path / "y.npz", wanted=("diversity",)
    ).values["diversity"]
    assert torch.equal(found[[1, 4]], alone)
    encoder = Spread()
    again = group_features(images, labels, encoder, cache, wanted=("diversity",)).values[
        "diversity"
    ]
    assert encoder.batches == []
    assert torch.equal(again, found)
    changed = group_features(
        images, ["a", "b", "c", "a", "b", "a", "b", "a"], encoder, cache, wanted=("diversity",)
    ).values["diversity"]
    assert encoder.batches == [3]
    assert torch.equal(changed[[0, 2, 3]], found[[0, 2, 3]])
    assert not torch.equal(changed[[1, 4]], found[[1, 4]])


def test_equal_pictures_in_a_group(tmp_path: Path):
    images = files(tmp_path / "images", 2)
    found = group_features(
        [images[0], images[0], images[1]],
        ["a"] * 3,
        Spread(),
        tmp_path / "x.npz",
        wanted=("diversity",),
    )
    value = found.values["diversity"].flatten().tolist()
    assert value[0] == value[1]
    assert value[2] == pytest.approx(2 * value[0], rel=1e-6)
