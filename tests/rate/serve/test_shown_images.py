"""Images as raters see them."""

import io
from pathlib import Path

import numpy
import pytest
from PIL import Image, PngImagePlugin

from evalkit.core import EvalkitError
from evalkit.rate.serve.order import Shown
from evalkit.rate.serve.shown_images import ShownImages, common_size, fitted, shuffled


def make(folder: Path, **sizes: tuple[int, int]) -> dict[tuple[str, str], Path]:
    """One noisy PNG per model, with metadata."""
    places = {}
    for seed, (model, (width, height)) in enumerate(sizes.items()):
        pixels = numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), numpy.uint8)
        notes = PngImagePlugin.PngInfo()
        notes.add_text("parameters", f"made by {model}")
        places["p0", model] = folder / f"{model}.png"
        Image.fromarray(pixels).save(places["p0", model], pnginfo=notes, dpi=(300, 300))
    return places


def shown(images: ShownImages, model: str, bad: bool = False) -> Image.Image:
    image = Image.open(io.BytesIO(images.png(Shown("p0", model, bad))))
    image.load()
    return image


def test_pixels_of_an_image_of_the_common_size_stay(tmp_path: Path) -> None:
    places = make(tmp_path, a=(31, 17), b=(31, 17))
    images = ShownImages(places, 0)
    assert images.size == (31, 17)
    found = shown(images, "a")
    assert numpy.array_equal(numpy.asarray(found), numpy.asarray(Image.open(places["p0", "a"])))
    assert not found.info
    assert b"made by" not in images.png(Shown("p0", "a"))


def test_images_of_other_sizes_are_fitted_and_padded(tmp_path: Path) -> None:
    images = ShownImages(make(tmp_path, wide=(64, 32), high=(16, 64), small=(16, 16)), 0)
    assert images.size == (64, 64)
    wide, high, small = (numpy.asarray(shown(images, name)) for name in ("wide", "high", "small"))
    assert wide.shape == high.shape == small.shape == (64, 64, 3)
    assert (wide[:16] == 128).all()
    assert (wide[48:] == 128).all()
    assert not (wide[16:48] == 128).all(axis=(1, 2)).any()
    assert (high[:, :24] == 128).all()
    assert (high[:, 40:] == 128).all()
    assert not (small == 128).all(axis=2).all(axis=1).any()  # scaled up, no padding


def test_large_images_are_scaled_down() -> None:
    assert common_size([(4096, 2048), (100, 100)]) == (1024, 512)
    assert common_size([(32, 32)]) == (32, 32)
    assert common_size([(5000, 1)]) == (1024, 1)
    assert fitted(Image.new("RGB", (3000, 10)), (1024, 1024)).size == (1024, 1024)


@pytest.mark.parametrize("size", [(64, 48), (7, 5), (1, 9)])
def test_a_bad_image_has_the_same_pixels_in_another_order(size: tuple[int, int]) -> None:
    pixels = numpy.arange(size[0] * size[1] * 3, dtype=numpy.uint32).astype(numpy.uint8)
    image = Image.fromarray(pixels.reshape(size[1], size[0], 3))
    bad = shuffled(image, 0, "p0", "a")
    assert bad.size == image.size
    assert sorted(bad.tobytes()) == sorted(image.tobytes())
    assert bad.tobytes() != image.tobytes()
    assert bad.tobytes() == shuffled(image, 0, "p0", "a").tobytes()


def test_a_bad_image_on_request(tmp_path: Path) -> None:
    images = ShownImages(make(tmp_path, a=(32, 32)), 0)
    good, bad = shown(images, "a"), shown(images, "a", bad=True)
    assert good.tobytes() != bad.tobytes()
    assert images.png(Shown("p0", "a", True)) == images.png(Shown("p0", "a", True))


def test_files_that_are_gone_or_damaged(tmp_path: Path) -> None:
    places = make(tmp_path, a=(32, 32), b=(32, 32))
    images = ShownImages(places, 0)
    places["p0", "a"].write_bytes(places["p0", "a"].read_bytes()[:300])
    with pytest.raises(EvalkitError, match="truncated or damaged"):
        images.png(Shown("p0", "a"))
    places["p0", "b"].unlink()
    with pytest.raises(EvalkitError, match="missing or damaged"):
        ShownImages(places, 0)
