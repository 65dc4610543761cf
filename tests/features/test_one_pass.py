"""Several encoders in one pass: each image is decoded once, and nothing else is different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_encoder import CountingEncoder, image_files, smooth_image
from PIL import Image
from PIL import ImageFile as Reading
from torch import Tensor

import evalkit
from evalkit.core import EvalkitError
from evalkit.encoders.mini import MiniClipEncoder, MiniInceptionEncoder
from evalkit.encoders.pixels import Pixels
from evalkit.features.encode import Encoding, encode_images, image_features
from evalkit.features.image_file import ImageFile
from evalkit.images import encode_png, to_tensor
from evalkit.images.room import decoders


class Own(CountingEncoder):
    """Passes for an encoder of evalkit, and records what it prepares."""

    device: Any = None  # with one, small batches would be filled

    def __init_subclass__(cls) -> None:
        cls.__module__ = Own.__module__

    def __init__(self, name: str = "own") -> None:
        super().__init__()
        self.name, self.sizes = name, list[tuple[int, int]]()

    def prepare(self, image: Image.Image) -> Tensor:
        self.sizes.append(image.size)
        return to_tensor(image)


Own.__module__ = Pixels.__module__


class Failing(Own):
    """Fails at its second batch."""

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        if self.batches:
            raise RuntimeError("no more")
        return super().__call__(images)


def counted(images: Sequence[ImageFile], reads: Counter[str]) -> list[ImageFile]:
    """The same images, which count every decoding."""

    def on_decoded(name: str) -> Any:
        return lambda *_: reads.update([name])

    return [image._replace(on_decoded=on_decoded(image.path.name)) for image in images]


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].tolist() for name in file.files}


def encodings(place: Path, *encoders: Any, batch_size: int = 32) -> list[Encoding]:
    return [
        Encoding(encoder, place / f"{encoder.name}.npz", batch_size=batch_size)
        for encoder in encoders
    ]


def test_one_pass_gives_the_features_and_files_of_several(tmp_path: Path) -> None:
    images = image_files(tmp_path / "images", 50)
    images.append(images[3])  # the same image twice
    encoders = Pixels(), MiniInceptionEncoder("cpu"), MiniClipEncoder("cpu"), Own()
    reads = Counter[str]()
    together = encode_images(
        counted(images, reads), encodings(tmp_path / "together", *encoders, batch_size=8)
    )
    assert reads == Counter(image.path.name for image in images[:50])
    for encoder, found in zip(encoders, together, strict=True):
        alone = tmp_path / "alone" / f"{encoder.name}.npz"
        expected = image_features(images, encoder, alone, batch_size=8)
        assert found.values.keys() == expected.values.keys()
        for name, values in expected.values.items():
            assert torch.equal(found.values[name], values)
        assert (found.notes, found.made_on) == (expected.notes, expected.made_on)
        assert arrays(tmp_path / "together" / alone.name) == arrays(alone)


def test_an_image_is_prepared_only_for_the_encoders_that_lack_it(tmp_path: Path) -> None:
    images = image_files(tmp_path / "images", 6)
    image_features(images[:4], Own("first"), tmp_path / "first.npz")
    reads, first, second = Counter[str](), Own("first"), Own("second")
    made = encode_images(counted(images, reads), encodings(tmp_path, first, second))
    assert set(reads.values()) == {1}
    assert (len(first.sizes), len(second.sizes)) == (2, 6)
    assert torch.equal(made[0].values["pool"], made[1].values["pool"])
    encode_images(counted(images, reads), encodings(tmp_path, first, second))
    assert set(reads.values()) == {1}


@pytest.mark.parametrize("first", [True, False])
def test_a_plugin_may_change_images_in_place(tmp_path: Path, first: bool) -> None:
    class Blackens(CountingEncoder):
        def prepare(self, image: Image.Image) -> Tensor:
            image.paste((0, 0, 0), (0, 0, *image.size))
            return to_tensor(image)

    images = image_files(tmp_path / "images", 7)
    expected = image_features(images, Pixels(), tmp_path / "alone.npz").values["pool"]
    encoders = (Blackens(), Pixels()) if first else (Pixels(), Blackens())
    made = encode_images(images, encodings(tmp_path, *encoders))
    assert torch.equal(made[1 if first else 0].values["pool"], expected)
    assert not made[0 if first else 1].values["pool"].any()


def test_the_settings_of_a_plugin_are_not_those_of_other_encoders(tmp_path: Path) -> None:
    class Sets(CountingEncoder):
        __module__ = "sets_the_dtype"  # the setting holds in all calls of this module

        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            torch.set_default_dtype(torch.float64)
            return super().__call__(images)

    class Notes(Own):
        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            seen.append(torch.get_default_dtype())
            return super().__call__(images)

    seen: list[torch.dtype] = []
    images = image_files(tmp_path / "images", 6)
    encode_images(images, encodings(tmp_path, Sets(), Notes(), batch_size=2))
    assert set(seen) == {torch.float32}
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("first", [True, False])
def test_where_one_encoder_fails_the_others_keep_what_they_have(
    tmp_path: Path, first: bool
) -> None:
    images = [image for at, image in enumerate(image_files(tmp_path / "images", 30)) if at % 3 == 0]
    good, failing = Own("good"), Failing("failing")
    encoders = (failing, good) if first else (good, failing)
    with pytest.raises(EvalkitError, match="The encoder 'failing' failed: RuntimeError: no more"):
        encode_images(images, encodings(tmp_path, *encoders, batch_size=2))
    assert not (tmp_path / "failing.npz").exists()
    encoded, again = sum(good.batches), Own("good")
    assert encoded >= 2
    image_features(images, again, tmp_path / "good.npz", batch_size=2)
    assert sum(again.batches) == len(images) - encoded


def test_features_other_than_those_of_the_cache_cost_the_others_nothing(tmp_path: Path) -> None:
    class Fewer(Own):
        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            return {"pool": super().__call__(images)["pool"]}

    images, again = image_files(tmp_path / "images", 6), Own("good")
    image_features(images[:2], Own("fewer"), tmp_path / "fewer.npz")
    with pytest.raises(EvalkitError, match="other features than those in the cache"):
        encode_images(images, encodings(tmp_path, Fewer("fewer"), Own("good")))
    image_features(images, again, tmp_path / "good.npz")
    assert again.batches == []


def test_an_invalid_image_refuses_the_set_once(tmp_path: Path) -> None:
    images = image_files(tmp_path / "images", 3)
    images[1].path.write_bytes(b"changed")
    with pytest.raises(EvalkitError, match=r"1 of 3 images .*1\.png has changed"):
        encode_images(images, encodings(tmp_path, Pixels(), Own()))
    assert not list(tmp_path.glob("*.npz"))


def test_few_prepared_images_wait_however_many_sizes_there_are(tmp_path: Path) -> None:
    class Counts(Own):
        most = 0

        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            self.most = max(self.most, len(self.sizes) - sum(self.batches))
            return super().__call__(images)

    images = []
    for number in range(300):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode_png(smooth_image(number, (4 + number // 20, 4 + number % 20))))
        images.append(ImageFile(path, evalkit.images.file_sha256(path)))
    encoder = Counts()
    made = image_features(images, encoder, tmp_path / "x.npz", batch_size=2)
    assert len(made.values["pool"]) == 300
    # Eight batches that wait for others of their size, two that go, and what threads are ahead.
    assert encoder.most <= 8 * 2 + 2 * 2 + 2 * decoders() + 2


def test_a_batch_is_launched_before_the_features_of_the_last_one_are_read(tmp_path: Path) -> None:
    class NotFinite(Own):
        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            return {"pool": super().__call__(images)["pool"] * torch.nan}

    encoder = NotFinite()
    with pytest.raises(EvalkitError, match="features that are not finite for 1 images"):
        image_features(image_files(tmp_path, 5), encoder, tmp_path / "x.npz", batch_size=1)
    assert encoder.batches == [1, 1]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows with every decoding of a PNG file from its bytes."""
    found: list[Any] = []
    load = Reading.ImageFile.load_prepare

    def counting(image: Any) -> None:
        if not image.filename:  # else a figure of the report shows the file
            found.append(image)
        load(image)

    monkeypatch.setattr(Reading.ImageFile, "load_prepare", counting)
    return found


def test_score_and_run_decode_each_image_once(
    tmp_path: Path, loads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prompts = ["a dog", "a cat", "a tree", "a red car", "two apples"]
    given: dict[str, Any] = {"metrics": "fid,clip_score,fd_dinov2"}
    given["encoders"] = "mini-inception,mini-clip,counting_encoder:third"
    run = evalkit.run(["noise"], prompts, out="run", **given)
    assert len(list((run.path / "features" / "noise").glob("*.npz"))) == 3
    assert len(loads) == len(prompts)
    loads.clear()
    evalkit.score(run.path / "images" / "noise", **given)
    assert len(loads) == len(prompts)
    evalkit.score(run.path / "images" / "noise", **given)
    assert len(loads) == len(prompts)
