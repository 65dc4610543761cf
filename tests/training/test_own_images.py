"""A dalle and a gan are trained on a folder of images with captions; every preset runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.generators import dalle, gan
from evalkit.models.load import load_clip, load_dalle, load_gan, load_image_tokenizer
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import compose, render
from evalkit.training import presets, train


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(24):
        scene = compose(seed)
        Image.fromarray(render(scene, 64)).resize((80, 64)).save(folder / f"{seed}.png")
        (folder / f"{seed}.txt").write_text(f"A quaint vignette: {caption(scene, seed)}.\n")
    return folder


def test_generators_of_own_images(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    with pytest.raises(EvalkitError, match="no mini-clip in"):
        train("dalle", out=out, data=images)
    for model in ("mini-clip", "image-tokenizer", "dalle", "gan"):
        assert train(model, out=out, data=images, steps=2, batch=8) == out / f"{model}.safetensors"
        assert (out / f"{model}.png").is_file()
    words = load_clip(out / "mini-clip.safetensors")[1]["words"]
    assert "vignette" in words  # a frequent word is one token
    assert load_dalle(out / "dalle.safetensors")[1]["pieces"] == words
    for module in (dalle, gan):
        [image] = module.load(weights=str(out), device="cpu")(["a quaint vignette of a dog"], [1])
        assert isinstance(image, Image.Image)
        assert image.size == (32, 32)


def test_a_folder_without_captions_is_refused(images: Path, tmp_path: Path) -> None:
    for path in images.glob("*.txt"):
        path.unlink()
    with pytest.raises(EvalkitError, match="24 images and no captions"):
        train("image-tokenizer", out=tmp_path / "mine", data=images)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["64", "128"])
def test_the_larger_presets_run(size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for model in ("image-tokenizer", "dalle", "gan"):
        monkeypatch.setitem(
            presets.PRESETS[model], size, replace(presets.PRESETS[model][size], scenes=16)
        )
    for model in ("image-tokenizer", "dalle", "gan"):
        # The judge of the generators needs every kind of scene.
        monkeypatch.setattr("evalkit.training.HELD_OUT", 8 if model == "image-tokenizer" else 64)
        # A dalle of one block draws the samples of its curve several times faster.
        options = {"depth": 1} if model == "dalle" else None
        train(model, out=tmp_path, preset=size, steps=1, batch=4, options=options)
    assert load_gan(tmp_path / "gan.safetensors")[0].size == int(size)
    images, network = (
        load_image_tokenizer(tmp_path / "image-tokenizer.safetensors")[0],
        load_dalle(tmp_path / "dalle.safetensors")[0],
    )
    assert network.side * images.factor == int(size)


def test_a_student_learns_from_the_bundled_dalle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        presets.PRESETS["dalle"], "student", replace(presets.PRESETS["dalle"]["student"], scenes=64)
    )
    monkeypatch.setattr("evalkit.training.HELD_OUT", 64)
    path = train("dalle", out=tmp_path, preset="student", steps=2, batch=8)
    assert path.name == "dalle-student.safetensors"
    assert load_dalle(path)[1]["depth"] == 2


def test_a_teacher_that_speaks_another_language_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        presets.PRESETS["image-tokenizer"],
        "32",
        replace(presets.PRESETS["image-tokenizer"]["32"], scenes=16),
    )
    monkeypatch.setitem(
        presets.PRESETS["dalle"], "student", replace(presets.PRESETS["dalle"]["student"], scenes=16)
    )
    train("image-tokenizer", out=tmp_path, steps=1, batch=4, options={"levels": "5,5,5"})
    with pytest.raises(EvalkitError, match="differs from its student in codes"):
        train("dalle", out=tmp_path, preset="student", steps=1, batch=4)
