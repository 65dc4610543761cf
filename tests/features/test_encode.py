"""Features and their cache: only new images are encoded, and batches change nothing."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from counting_encoder import CountingEncoder, image_files
from PIL import Image
from PIL import ImageFile as Reading
from toy_clip import ToyClip

from evalkit.core import EvalkitError
from evalkit.encoders.pixels import Pixels
from evalkit.features import growing
from evalkit.features.cache import CachedFeatures, write
from evalkit.features.encode import image_features, text_features
from evalkit.features.image_file import ImageFile


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
    images = image_files(tmp_path / "images", 11)
    order = [images[place] for place in np.random.RandomState(0).permutation(len(images))]
    one = image_features(images, CountingEncoder(), tmp_path / "one.npz", batch_size=4)
    other = image_features(order, CountingEncoder(), tmp_path / "other.npz", batch_size=batch_size)
    again = image_features(images, CountingEncoder(), tmp_path / "other.npz", batch_size=batch_size)
    for name in ("pool", "logits"):
        assert torch.equal(one.values[name], again.values[name])
        assert torch.equal(
            one.values[name][[images.index(image) for image in order]], other.values[name]
        )


def test_only_new_images_are_encoded_and_equal_ones_once(tmp_path: Path):
    images, cache = image_files(tmp_path / "images", 6), tmp_path / "features" / "x.npz"
    encoder = CountingEncoder()
    first = image_features([*images[:4], images[0]], encoder, cache)
    assert sum(encoder.batches) == 4
    assert torch.equal(first.values["pool"][0], first.values["pool"][4])
    encoder = CountingEncoder()
    second = image_features(images, encoder, cache)
    assert sum(encoder.batches) == 2
    assert torch.equal(second.values["pool"][:4], first.values["pool"][:4])
    encoder = CountingEncoder()
    image_features(images, encoder, cache)
    assert encoder.batches == []
    encoder = CountingEncoder("b")  # other weights
    image_features(images, encoder, cache)
    assert sum(encoder.batches) == 6


def test_batches_hold_images_of_one_size(tmp_path: Path):
    encoder = CountingEncoder()
    image_features(image_files(tmp_path, 9), encoder, tmp_path / "x.npz", batch_size=2)
    assert sorted(encoder.batches) == [1, 1, 1, 2, 2, 2]


def test_a_damaged_cache_is_replaced(tmp_path: Path):
    images, cache = image_files(tmp_path / "images", 3), tmp_path / "x.npz"
    for damage in (b"", b"PK\x03\x04 no zip", b"\x93NUMPY"):
        cache.write_bytes(damage)
        assert image_features(images, CountingEncoder(), cache).values["pool"].shape == (3, 3)
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2])
    assert image_features(images, CountingEncoder(), cache).values["pool"].shape == (3, 3)


def test_work_is_saved_during_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Failing(CountingEncoder):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().__call__(images)

    images, cache = image_files(tmp_path / "images", 9), tmp_path / "x.npz"
    images = [image for number, image in enumerate(images) if number % 3 == 0]
    monkeypatch.setattr(growing, "SAVE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        image_features(images, Failing(), cache, batch_size=1)
    encoder = CountingEncoder()
    image_features(images, encoder, cache, batch_size=1)
    assert 0 < len(encoder.batches) < 3


def test_changed_and_damaged_images_are_refused(tmp_path: Path):
    images = image_files(tmp_path / "images", 3)
    images[1].path.write_bytes(images[2].path.read_bytes())
    with pytest.raises(EvalkitError, match=r"1\.png has changed"):
        image_features(images, CountingEncoder(), tmp_path / "x.npz")
    half = images[1].path.read_bytes()[:60]
    images[1].path.write_bytes(half)
    with pytest.raises(EvalkitError, match="truncated or damaged"):
        image_features(
            [*images[:1], ImageFile(images[1].path, hashlib.sha256(half).hexdigest())],
            CountingEncoder(),
            tmp_path / "x.npz",
        )
    assert not (tmp_path / "x.npz").exists()


def test_an_encoder_that_loses_images_is_refused(tmp_path: Path):
    class Losing(CountingEncoder):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"pool": torch.zeros(1, 3)}

    with pytest.raises(
        EvalkitError, match=r"'counting' returned 'pool' features of shape \[1, 3\]"
    ):
        image_features(image_files(tmp_path, 7), Losing(), tmp_path / "x.npz")


class Refusing(CountingEncoder):
    """Fails in one of the ways of a faulty plug-in."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault, self.buffer = fault, torch.ones(3, 4, 4)

    def prepare(self, image):  # type: ignore[override]
        return {
            "prepare fails": lambda: 1 / 0,
            "prepare": lambda: 5,
            "empty": lambda: torch.ones(3, 0, 4),
            "same tensor": lambda: self.buffer,
            "pillow": lambda: setattr(Reading, "LOAD_TRUNCATED_IMAGES", True),
        }.get(self.fault, lambda: super(Refusing, self).prepare(image))()

    def __call__(self, images):  # type: ignore[override]
        return {
            "call fails": lambda: images.no_such_method(),
            "tensor": lambda: torch.ones(len(images), 3),
            "flat": lambda: {"pool": torch.ones(len(images))},
            "nan": lambda: {"pool": torch.full((len(images), 3), torch.nan)},
            "large": lambda: {"pool": torch.full((len(images), 3), 1e300, dtype=torch.float64)},
            "integers": lambda: {"pool": torch.ones(len(images), 3, dtype=torch.int64)},
            "truth values": lambda: {"pool": torch.ones(len(images), 3) > 0},
            "complex": lambda: {"pool": torch.ones(len(images), 3) * 1j},
            "lists": lambda: {"pool": [[0.5, 0.5]] * len(images)},
            "none": lambda: {"pool": None},
            "no width": lambda: {"pool": torch.ones(len(images), 0)},
            "width": lambda: {"pool": torch.ones(len(images), images.shape[-1])},
        }[self.fault]()

    def text(self, prompts):
        return torch.ones(3)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("prepare fails", "failed: ZeroDivisionError: division by zero"),
        ("prepare", "returned an int from prepare; expected a tensor"),
        ("call fails", "failed: AttributeError: 'Tensor' object has no attribute"),
        ("tensor", "returned a Tensor; expected a dict of features"),
        ("flat", r"returned 'pool' features of shape \[3\] for 3 images"),
        ("nan", "returned 'pool' features that are not finite"),
        ("large", "returned 'pool' features that are not finite"),
        ("integers", "returned 'pool' features of the type torch.int64"),
        ("truth values", "returned 'pool' features of the type torch.bool"),
        ("complex", "returned 'pool' features of the type torch.complex64"),
        ("lists", "returned 'pool' features of the type list"),
        ("none", "returned 'pool' features of the type NoneType"),
        ("no width", r"returned 'pool' features of shape \[3, 0\]"),
        ("width", "returned 'pool' features of 24 dimensions and earlier ones of 16"),
        ("empty", "returned an empty tensor from prepare"),
        ("pillow", "failed: RuntimeError: it changed the setting ImageFile.LOAD_TRUNCATED_IMAGES"),
        ("same tensor", "returned one tensor for several images from prepare"),
    ],
)
def test_a_faulty_encoder_is_one_sentence_that_names_it(fault: str, sentence: str, tmp_path: Path):
    with pytest.raises(EvalkitError, match=f"The encoder 'counting' {sentence}"):
        image_features(image_files(tmp_path, 7), Refusing(fault), tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_a_faulty_text_encoder_is_named(tmp_path: Path):
    with pytest.raises(EvalkitError, match=r"'counting' returned .* \[3\] for 2 prompts"):
        text_features(["a", "b"], Refusing("text"), tmp_path / "x.npz")


def test_no_images_give_no_features(tmp_path: Path):
    found = image_features([], CountingEncoder(), tmp_path / "x.npz")
    assert (found.values, found.notes) == ({}, [])
    assert not (tmp_path / "x.npz").exists()


def test_equal_texts_are_encoded_once(tmp_path: Path):
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


def test_the_cache_contains_no_pickles(tmp_path: Path):
    image_features(image_files(tmp_path / "images", 3), CountingEncoder(), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= set("Uuf")


def test_cached_features_are_in_memory_once(tmp_path: Path):
    values = np.random.RandomState(0).rand(2048, 2048).astype(np.float32)  # 16 MiB
    keys = [hashlib.sha256(row).hexdigest() for row in values]
    rows = {key: row for row, key in enumerate(keys)}
    made = CachedFeatures(rows, {"pool": values}, [""] * len(keys), frozenset({"pool"}))
    images = [ImageFile(tmp_path / "gone.png", key) for key in keys]
    path = tmp_path / "a.npz"
    tracemalloc.start()
    write(path, "a", made)
    _, written = tracemalloc.get_traced_memory()
    found = image_features(images, CountingEncoder(), path, wanted=("pool",))
    _, read = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written < 1.5 * values.nbytes  # NumPy writes 16 MiB at a time
    assert read < 1.5 * values.nbytes
    assert np.array_equal(found.values["pool"].numpy(), values)
    some = image_features(images[5:2:-1], CountingEncoder(), path, wanted=("pool",))
    assert np.array_equal(some.values["pool"].numpy(), values[5:2:-1])


def test_a_changed_encoder_with_the_same_fingerprint_is_refused(tmp_path: Path):
    class Changed(CountingEncoder):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"pool": images.float().mean(dim=(2, 3))}

    images = image_files(tmp_path / "images", 4)
    image_features(images[:2], CountingEncoder(), tmp_path / "x.npz")
    with pytest.raises(EvalkitError, match="other features than those in the cache"):
        image_features(images, Changed(), tmp_path / "x.npz")


def test_only_requested_features_are_stored(tmp_path: Path):
    images, cache, encoder = (
        image_files(tmp_path / "images", 5),
        tmp_path / "x.npz",
        CountingEncoder(),
    )
    first = image_features(images, encoder, cache, wanted=("pool",))
    with np.load(cache) as file:
        assert [name for name in file.files if name.startswith("feature.")] == ["feature.pool"]
    both = image_features(images, encoder, cache, wanted=("logits", "nothing"))
    assert list(both.values) == ["logits"]
    assert sum(encoder.batches) == 10  # logits were not kept the first time
    again = image_features(
        images, encoder, cache, wanted=("pool", "nothing")
    )  # a feature that the encoder does not have is not requested again
    assert sum(encoder.batches) == 10
    assert torch.equal(again.values["pool"], first.values["pool"])
