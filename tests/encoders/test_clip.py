"""A small CLIP with seeded weights, in OpenAI's format and in transformers', against both networks
written out and transformers itself.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from evalkit.core import EvalkitError
from evalkit.encoders import clip, clip_model, torchscript, weights

transformers = pytest.importorskip("transformers")
CONTEXT, TOKENS, SIZE = 77, 49408, 224


class Block(nn.Module):
    """One layer as OpenAI published it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:  # [length, N, width]
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        inner = self.mlp[0](self.ln_2(x))
        return x + self.mlp[1](inner * torch.sigmoid(1.702 * inner))


class Visual(nn.Module):
    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 32, 32, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((SIZE // 32) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(width) for _ in range(2))
        self.proj = nn.Parameter(torch.randn(width, dimensions) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).permute(0, 2, 1)  # [N, cells, width]
        x = (
            torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
            + self.positional_embedding
        )
        x = self.ln_pre(x).permute(1, 0, 2)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x[0]) @ self.proj


class OpenAI(nn.Module):
    """The whole network in OpenAI's layout and names."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Visual(128, 16)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(64) for _ in range(2))
        self.token_embedding = nn.Embedding(TOKENS, 64)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, 64))
        self.ln_final = nn.LayerNorm(64)
        self.text_projection = nn.Parameter(torch.randn(64, 16) / 8)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.register_buffer("input_resolution", torch.tensor(SIZE))
        self.register_buffer("context_length", torch.tensor(CONTEXT))
        self.register_buffer("vocab_size", torch.tensor(TOKENS))

    def forward(self, x: Tensor) -> Tensor:
        return x

    def text(self, tokens: list[int]) -> Tensor:
        x = (self.token_embedding(torch.tensor(tokens)) + self.positional_embedding[: len(tokens)])[
            :, None
        ]
        mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, mask)
        return self.ln_final(x[-1, 0]) @ self.text_projection  # the end token is the last


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.fixture(scope="module")
def openai() -> OpenAI:
    torch.manual_seed(0)
    model = OpenAI()
    for name, tensor in model.named_parameters():
        if "ln_" in name or name.endswith("bias"):
            nn.init.normal_(tensor, float("ln_" in name and name.endswith("weight")), 0.1)
    for module in (
        part
        for part in model.modules()
        if isinstance(part, (nn.Linear, nn.Conv2d, nn.MultiheadAttention))
    ):
        module.half()  # as in OpenAI's files: layer norms and embeddings stay in float32
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def archive(openai: OpenAI, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript archive such as OpenAI publishes."""
    path = tmp_path_factory.mktemp("openai") / "ViT.pt"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # TorchScript is deprecated, but the published files are what they are
        torch.jit.trace(openai, torch.zeros(1)).save(str(path))
    openai.float()
    return path


@pytest.fixture(scope="module")
def encoder(archive: Path) -> clip.Clip:
    return clip.load_b32(device="cpu", path=str(archive))


@pytest.fixture(scope="module")
def folder(encoder: clip.Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as transformers saves it, and CLIP's vocabulary as Hugging Face offers it."""
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


def test_cosines_agree_with_the_whole_path_of_transformers(encoder: clip.Clip, folder: Path):
    """From pictures and prompts to cosines through CLIPProcessor and CLIPModel, as torchmetrics and
    others call them.
    """
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


def test_the_tokenizer_is_the_published_one(encoder: clip.Clip, folder: Path):
    """The vocabulary that we derive is, byte for byte, the vocab.json and merges.txt of OpenAI's
    repositories at Hugging Face.
    """
    vocabulary = encoder.tokenizer.get_vocab()
    ordered = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    published = "5047b556ce86ccaf6aa22b3ffccfc52d391ea4accdab9c2f2407da5b742d4363"
    assert (
        hashlib.sha256(
            json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
        ).hexdigest()
        == published
    )
    import gzip

    merges = gzip.decompress((Path(clip_model.__file__).parent / "clip_merges.txt.gz").read_bytes())
    assert (
        hashlib.sha256(merges).hexdigest()
        == "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"
    )
    ids = encoder.tokenizer(["a photo of a cat"])["input_ids"][0]
    assert ids == [
        49406,
        320,
        1125,
        539,
        320,
        2368,
        49407,
    ]  # the numbers that OpenAI's own code gives


def test_long_prompts_do_not_collapse_into_one_feature(encoder: clip.Clip):
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


@pytest.mark.parametrize("size", [(336, 336), (64, 64), (301, 200), (150, 333)])
def test_cmmd_crops_first(archive: Path, size: tuple[int, int]):
    encoder = clip.load_cmmd(device="cpu", path=str(archive))
    image = noise(*size, seed=1)
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
    assert np.array_equal(encoder.prepare(image).permute(1, 2, 0).numpy(), np.asarray(square))
    plain = clip.load_l14_336(device="cpu", path=str(archive))
    assert torch.equal(encoder.prepare(image), plain.prepare(image)) == (size[0] == size[1])
    assert encoder.fingerprint != plain.fingerprint
    assert (encoder.kind, plain.kind) == ("clip-large", "clip")


def test_every_format_gives_the_same_network_and_fingerprint(
    encoder: clip.Clip, folder: Path, archive: Path, tmp_path: Path
):
    state = clip_model.read_state(archive)
    assert set(state) == set(encoder.model.state_dict())
    assert all(
        torch.equal(tensor, encoder.model.state_dict()[name]) for name, tensor in state.items()
    )
    # as the older published files: plain torch.save, with the positions that newer versions leave
    # out
    torch.save(
        state | {"text_model.embeddings.position_ids": torch.arange(77)[None]},
        tmp_path / "pytorch_model.bin",
    )
    save_file(state, tmp_path / "other.safetensors")
    for path in (tmp_path, tmp_path / "other.safetensors", folder):
        assert clip.load_l14(device="cpu", path=str(path)).fingerprint == encoder.fingerprint
    state["logit_scale"] += 1
    save_file(state, tmp_path / "model.safetensors")
    assert clip.load_b16(device="cpu", path=str(tmp_path)).fingerprint != encoder.fingerprint


def test_the_names_of_openai_and_transformers_go_both_ways(openai: OpenAI, encoder: clip.Clip):
    """Backwards, written out here: what `renamed` split and transposed comes back as it was."""
    theirs = encoder.model.state_dict()
    layer = "vision_model.encoder.layers.1.self_attn."
    joint = torch.cat([theirs[f"{layer}{part}_proj.weight"] for part in "qkv"])
    assert torch.equal(joint, openai.visual.transformer.resblocks[1].attn.in_proj_weight)
    assert torch.equal(theirs["visual_projection.weight"].T, openai.visual.proj)
    assert torch.equal(theirs["text_projection.weight"].T, openai.text_projection)
    assert torch.equal(
        theirs["text_model.encoder.layers.0.mlp.fc1.bias"],
        openai.transformer.resblocks[0].mlp[0].bias,
    )
    masked = openai.state_dict() | {
        "transformer.resblocks.0.attn_mask": torch.zeros(77, 77)
    }  # no weight
    renamed = clip_model.renamed(masked)
    assert set(renamed) == set(theirs)
    assert sum(tensor.numel() for tensor in renamed.values()) == sum(
        tensor.numel() for tensor in openai.parameters()
    )


def test_the_archive_is_read_as_pytorch_reads_it(archive: Path, openai: OpenAI):
    read = torchscript.read_tensors(archive)
    assert read["visual.conv1.weight"].dtype == torch.float16
    assert read["ln_final.weight"].dtype == torch.float32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.jit.load(str(archive)).state_dict()
    assert set(read) == set(theirs)
    assert all(torch.equal(read[name], tensor) for name, tensor in theirs.items())


def test_an_archive_cannot_call_anything(tmp_path: Path):
    import pickle
    import zipfile

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "touched",))  # pyright: ignore[reportReturnType]

    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as file:
        file.writestr("evil/data.pkl", pickle.dumps(Evil()))
        file.writestr("evil/constants.pkl", b"")
    with pytest.raises(EvalkitError, match="is not allowed"):
        clip_model.read_state(tmp_path / "evil.pt")
    assert not (tmp_path / "touched").exists()


def test_other_files_are_one_clear_sentence(tmp_path: Path, encoder: clip.Clip):
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(EvalkitError, match="holds no CLIP that can be read"):
        clip.load_b32(path=str(tmp_path / "text.pt"))
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    with pytest.raises(EvalkitError, match="are of no CLIP"):
        clip.load_b32(path=str(tmp_path / "other.pt"))
    state = dict(encoder.model.state_dict())
    del state["text_model.final_layer_norm.bias"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(EvalkitError, match=r"final_layer_norm\.bias are missing"):
        clip.load_b32(path=str(tmp_path / "part.safetensors"))
    with pytest.raises(EvalkitError, match="There is no CLIP model in"):
        clip.load_b32(path=str(tmp_path / "nowhere"))


def test_missing_weights_are_one_quick_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "find", lambda name: None)
    with pytest.raises(EvalkitError, match="are in no cache"):
        clip.load_b32(fetch=False)
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "reachable", lambda url: False)
    with pytest.raises(EvalkitError, match="could not be fetched"):
        clip.load_l14()
    monkeypatch.setattr(clip, "find_spec", lambda name: None)
    with pytest.raises(EvalkitError, match="needs transformers, which is not installed"):
        clip.load_b16()
