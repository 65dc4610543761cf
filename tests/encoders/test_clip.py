"""A small CLIP with seeded weights, against OpenAI's network written out and transformers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from openai_clip import CONTEXT, OpenAI, noise
from safetensors.torch import save_file
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.encoders import clip, clip_model

transformers = pytest.importorskip("transformers")


def error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.fixture(scope="module")
def encoder(archive: Path) -> clip.Clip:
    return clip.load_b32(device="cpu", path=str(archive))


@pytest.fixture(scope="module")
def folder(encoder: clip.Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network and the tokenizer, saved by transformers."""
    path = tmp_path_factory.mktemp("transformers")
    encoder.model.save_pretrained(path)
    encoder.tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("size", [(224, 224), (64, 64), (301, 200), (150, 333), (225, 448)])
def test_image_features_agree_with_transformers_and_openai(
    encoder: clip.Clip, openai: OpenAI, folder: Path, size: tuple[int, int]
):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    image = noise(*size, seed=size[0])
    model = transformers.CLIPModel.from_pretrained(folder)
    pixels = CLIPImageProcessorPil()(images=image, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        theirs = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        published = openai.visual(pixels)
    ours = encoder(encoder.prepare(image)[None])["pool"]
    assert ours.shape == (1, 16)
    assert error(ours, theirs) < 1e-5
    assert error(ours, published) < 1e-5


def test_text_features_agree_with_transformers_and_openai_for_prompts_of_any_length(
    encoder: clip.Clip, openai: OpenAI, folder: Path
):
    prompts = [
        "a cat",
        "two red dogs on a beach",
        "",
        "x " * 75,
        "y " * 76,
        "word " * 100,
        "Größe ½ 12345 😀 don't!  " * 30,
    ]
    model, tokenizer = (
        transformers.CLIPModel.from_pretrained(folder),
        transformers.CLIPTokenizer.from_pretrained(folder),
    )
    ours = encoder.text(prompts)
    for prompt, found in zip(prompts, ours, strict=True):
        tokens = tokenizer([prompt], truncation=True, max_length=CONTEXT, return_tensors="pt")
        with torch.inference_mode():
            read = model.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            theirs = model.text_projection(read.pooler_output)[0]
        assert error(found, theirs) < 1e-5, prompt
        assert error(found, openai.text(tokens["input_ids"][0].tolist())) < 1e-5, prompt
    assert encoder.truncated(prompts) == 3


def test_cosines_agree_with_transformers_from_end_to_end(encoder: clip.Clip, folder: Path):
    """Through CLIPProcessor and CLIPModel, as torchmetrics and others call them."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = transformers.CLIPProcessor(
        CLIPImageProcessorPil(), transformers.CLIPTokenizer.from_pretrained(folder)
    )
    model = transformers.CLIPModel.from_pretrained(folder)
    images, prompts = (
        [noise(300, 224 + seed, seed) for seed in range(3)],
        ["a cat", "two red dogs", "A photo depicts a boat"],
    )
    with torch.inference_mode():
        found = model(**processor(text=prompts, images=images, return_tensors="pt", padding=True))
        theirs = found.logits_per_image / model.logit_scale.exp()
    pool = torch.nn.functional.normalize(
        encoder(torch.stack([encoder.prepare(image) for image in images]))["pool"]
    )
    ours = pool @ torch.nn.functional.normalize(encoder.text(prompts)).T
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_long_prompts_keep_different_features(encoder: clip.Clip):
    first, second = encoder.text(["cat " * 90, "dog " * 90])
    assert torch.nn.functional.cosine_similarity(first, second, dim=0) < 0.99


def test_features_do_not_depend_on_the_batch(encoder: clip.Clip):
    prompts = [f"{'word ' * (n % 30)}end" for n in range(130)]
    together, alone = (
        encoder.text(prompts),
        torch.cat([encoder.text([prompt]) for prompt in prompts[:20]]),
    )
    assert error(together[:20], alone) < 1e-5
    images = torch.stack([encoder.prepare(noise(224, 224, seed)) for seed in range(11)])
    alone = torch.cat([encoder(image[None])["pool"] for image in images])
    assert error(encoder(images)["pool"], alone) < 1e-5


@pytest.fixture(scope="module")
def cmmd(archive: Path) -> clip.Clip:
    return clip.load_cmmd(device="cpu", path=str(archive))


@pytest.mark.parametrize("size", [(301, 200), (150, 333)])
def test_cmmd_uses_the_centre_square_only(
    encoder: clip.Clip, cmmd: clip.Clip, size: tuple[int, int]
):
    """CMMD crops before it resizes; CLIP's filter mixes pixels across the edge of the square."""
    image, side = noise(*size, seed=1), min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    square = image.crop((left, top, left + side, top + side))
    inside = noise(*size, seed=2)
    inside.paste(square, (left, top))
    assert torch.equal(cmmd.prepare(inside), cmmd.prepare(image))
    assert torch.equal(cmmd.prepare(square), cmmd.prepare(image))
    assert not torch.equal(encoder.prepare(inside), encoder.prepare(image))


@pytest.mark.parametrize("side", [64, 224, 336])
def test_square_images_are_prepared_alike(encoder: clip.Clip, cmmd: clip.Clip, side: int):
    image = noise(side, side, seed=1)
    assert torch.equal(cmmd.prepare(image), encoder.prepare(image))


def test_each_preprocessing_has_its_own_fingerprint_and_kind(
    encoder: clip.Clip, cmmd: clip.Clip, archive: Path
):
    paper = clip.load_b32_openai(device="cpu", path=str(archive))
    assert len({encoder.fingerprint, cmmd.fingerprint, paper.fingerprint}) == 3
    assert (encoder.kind, paper.kind, cmmd.kind) == ("clip", "clip-paper", "clip-large")
    image = noise(224, 335, seed=1)  # 55.5 rows are left out on each side
    assert not torch.equal(paper.prepare(image), encoder.prepare(image))
    assert torch.equal(paper.prepare(image)[:, :-1], encoder.prepare(image)[:, 1:])


def test_the_fingerprint_does_not_depend_on_the_format(
    encoder: clip.Clip, folder: Path, archive: Path, tmp_path: Path
):
    state = clip_model.read_state(archive)
    torch.save(state, tmp_path / "pytorch_model.bin")
    save_file(state, tmp_path / "other.safetensors")
    for path in (tmp_path, tmp_path / "other.safetensors", folder):
        assert clip.load_l14(device="cpu", path=str(path)).fingerprint == encoder.fingerprint
    state["logit_scale"] += 1
    save_file(state, tmp_path / "model.safetensors")
    assert clip.load_b16(device="cpu", path=str(tmp_path)).fingerprint != encoder.fingerprint


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(EvalkitError, match="There is no CLIP model in"):
        clip.load_b32(path=str(tmp_path / "nowhere"))


def test_missing_weights_name_the_command(empty_caches: Path):
    with pytest.raises(EvalkitError, match=r'Run `evalkit\.weights_fetch\("clip-b32"\)`'):
        clip.load_b32(fetch=False)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(EvalkitError, match="needs transformers, which is not installed"):
        clip.load_b16()
