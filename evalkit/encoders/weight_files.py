"""The files that the standard encoders need: where they come from, their SHA-256, size and licence.
A table, and nothing else.

Every digest stands in public sources: OpenAI's is a part of the address, the others are recorded by
several independent projects. A file with another digest is never loaded.
"""

from __future__ import annotations

from typing import NamedTuple

_FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
_PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
_OPENAI = "https://openaipublic.azureedge.net/clip/models/"
_HUB = "https://huggingface.co/openai/"


class WeightFile(NamedTuple):
    """One file. The same tensors may be offered in several formats; then one of the files is
    enough.
    """

    name: str  # what `evalkit weights` calls it
    file: str  # its name in evalkit's cache, in a mirror, and in torch.hub's cache or OpenAI's
    sha256: str
    size: int  # bytes
    licence: str
    what: str
    urls: tuple[str, ...]  # byte-identical copies; the official one first
    hub: str = ""  # its repository in the cache of Hugging Face, "" where it is in none
    alias: str = ""  # the name under which another tool keeps it


_FILES = (
    WeightFile(
        "inception",
        "weights-inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        95_628_359,
        "Apache-2.0",
        "Inception v3 of 2015-12-05, converted from TensorFlow",
        (
            f"{_FIDELITY}weights-inception-2015-12-05-6726825d.pth",
            f"{_PYTORCH_FID}pt_inception-2015-12-05-6726825d.pth",
        ),
        alias="pt_inception-2015-12-05-6726825d.pth",
    ),
    WeightFile(
        "clip-b32",
        "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        353_976_522,
        "MIT",
        "CLIP ViT-B/32, OpenAI's archive",
        (f"{_OPENAI}40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",),
    ),
    WeightFile(
        "clip-b32-hub",
        "clip-vit-base-patch32.bin",
        "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        605_247_071,
        "MIT",
        "CLIP ViT-B/32, OpenAI's files for transformers",
        (
            f"{_HUB}clip-vit-base-patch32/resolve/3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268/pytorch_model.bin",
        ),
        "openai/clip-vit-base-patch32",
    ),
    WeightFile(
        "clip-b16",
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        350_837_078,
        "MIT",
        "CLIP ViT-B/16, OpenAI's archive",
        (f"{_OPENAI}5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f/ViT-B-16.pt",),
    ),
    WeightFile(
        "clip-l14",
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        932_768_134,
        "MIT",
        "CLIP ViT-L/14, OpenAI's archive",
        (f"{_OPENAI}b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",),
    ),
    WeightFile(
        "clip-l14-hub",
        "clip-vit-large-patch14.safetensors",
        "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        1_710_540_580,
        "MIT",
        "CLIP ViT-L/14, OpenAI's files for transformers",
        (
            f"{_HUB}clip-vit-large-patch14/resolve/32bd64288804d66eefd0ccbe215aa642df71cc41/model.safetensors",
        ),
        "openai/clip-vit-large-patch14",
    ),
    WeightFile(
        "clip-l14-hub-bin",
        "clip-vit-large-patch14.bin",
        "f1a17cdbe0f36fec524f5cafb1c261ea3bbbc13e346e0f74fc9eb0460dedd0d3",
        1_710_671_599,
        "MIT",
        "CLIP ViT-L/14, OpenAI's files for transformers",
        (
            f"{_HUB}clip-vit-large-patch14/resolve/32bd64288804d66eefd0ccbe215aa642df71cc41/pytorch_model.bin",
        ),
        "openai/clip-vit-large-patch14",
    ),
    WeightFile(
        "clip-l14-336",
        "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        934_088_680,
        "MIT",
        "CLIP ViT-L/14 of 336 pixels, OpenAI's archive",
        (
            f"{_OPENAI}3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt",
        ),
    ),
    WeightFile(
        "clip-l14-336-hub",
        "clip-vit-large-patch14-336.bin",
        "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801",
        1_711_974_081,
        "MIT",
        "CLIP ViT-L/14 of 336 pixels, OpenAI's files for transformers",
        (
            f"{_HUB}clip-vit-large-patch14-336/resolve/ce19dc912ca5cd21c8a653c79e251e808ccabcd1/pytorch_model.bin",
        ),
        "openai/clip-vit-large-patch14-336",
    ),
    WeightFile(
        "dinov2-l14",
        "dinov2_vitl14_pretrain.pth",
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        1_217_586_395,
        "Apache-2.0",
        "DINOv2 ViT-L/14",
        ("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",),
    ),
    WeightFile(
        "vgg16",
        "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553_433_881,
        "BSD-3-Clause (torchvision)",
        "VGG16 of torchvision (IMAGENET1K_V1), the trunk of LPIPS",
        ("https://download.pytorch.org/models/vgg16-397923af.pth",),
    ),
    WeightFile(
        "lpips-vgg",
        "weights-vgg16-lpips.pth",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        7_289,
        "BSD-2-Clause",
        "the linear heads of LPIPS v0.1 for VGG16",
        (
            f"{_FIDELITY}weights-vgg16-lpips.pth",
            "https://github.com/richzhang/PerceptualSimilarity/raw/082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1/vgg.pth",
        ),
    ),
)
FILES: dict[str, WeightFile] = {item.name: item for item in _FILES}

# What each standard encoder needs: all of these parts, and of each part one file. The first is the
# one that is fetched.
_INCEPTION = (("inception",),)
_L14_336 = (("clip-l14-336", "clip-l14-336-hub"),)
NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "inception": _INCEPTION,
    "inception-torch": _INCEPTION,
    "inception-clean": _INCEPTION,
    "inception-antialias": _INCEPTION,
    "clip-b32": (("clip-b32", "clip-b32-hub"),),
    "clip-b16": (("clip-b16",),),
    "clip-l14": (("clip-l14", "clip-l14-hub", "clip-l14-hub-bin"),),
    "clip-l14-336": _L14_336,
    "clip-l14-336-cmmd": _L14_336,
    "dinov2-l14": (("dinov2-l14",),),
    "lpips-vgg": (("vgg16",), ("lpips-vgg",)),
}
# The library that runs it, where that is not torch alone.
LIBRARIES: dict[str, str] = {name: "transformers" for name in NEEDS if name.startswith("clip")}


def encoders_of(name: str) -> list[str]:
    """The encoders that can be built with this file."""
    return [encoder for encoder, parts in NEEDS.items() if any(name in part for part in parts)]


def licences(encoder: str) -> str:
    """The licences of an encoder's weights, joined by commas."""
    return ", ".join(dict.fromkeys(FILES[part[0]].licence for part in NEEDS[encoder]))
