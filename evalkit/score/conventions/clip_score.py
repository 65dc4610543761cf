"""How tools compute CLIP score: the network, the crop, the prefix of prompts and the scale."""

from __future__ import annotations

from evalkit.encoders import inception_conventions
from evalkit.metrics.alignment import PREFIX, WEIGHT
from evalkit.score.conventions.cosines import Source
from evalkit.score.conventions.per_image import HALF_DIFFERS, Convention

_GIGAGAN = next(
    item.before for item in inception_conventions.CONVENTIONS if item.name == "gigagan-coco"
)

# Tools that hand floats from 0 to 1 to transformers (HEIM, ImagenHub) are left out: it divides them
# by 255 a second time.
_B32, _OPENAI = "ViT-B/32, crop of transformers", "ViT-B/32, crop of OpenAI's code"
_TORCHMETRICS = "100 times the cosine, a negative mean is 0"
_HALF = "in half precision on a GPU"
CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        "torchmetrics",
        "torchmetrics with its default network",
        f"ViT-L/14, crop of transformers; {_TORCHMETRICS}",
        Source("clip-l14"),
        100,
        "mean",
    ),
    Convention(
        "torchmetrics-b16",
        "torchmetrics with clip-vit-base-patch16, the guide of diffusers",
        f"ViT-B/16, crop of transformers; {_TORCHMETRICS}",
        Source("clip-b16"),
        100,
        "mean",
    ),
    Convention(
        "torchmetrics-b32",
        "torchmetrics with clip-vit-base-patch32, clip_score of evalkit",
        f"{_B32}; {_TORCHMETRICS}, not by evalkit",
        Source("clip-b32"),
        100,
        "mean",
    ),
    Convention(
        "clip-score",
        "clip-score since April 2025",
        f"{_B32}; the cosine",
        Source("clip-b32"),
    ),
    Convention(
        "mlperf",
        "MLPerf's SDXL benchmark, clip-score before April 2025",
        f"{_OPENAI}; 100 times the cosine; clip-score {_HALF}",
        Source("clip-b32-openai"),
        100,
        tools_differ=HALF_DIFFERS,
    ),
    Convention(
        "t2ibenchmark",
        "T2IBenchmark",
        f"{_OPENAI}; the cosine; {_HALF}",
        Source("clip-b32-openai"),
        tools_differ=HALF_DIFFERS,
    ),
    Convention(
        "clipscore-paper",
        "the code of the CLIPScore paper, clip_score_paper of evalkit",
        f'{_OPENAI}; "{PREFIX}" before the prompt; {WEIGHT:g} times the cosine, a negative one is'
        f" 0; the code {_HALF}",
        Source("clip-b32-openai", PREFIX),
        WEIGHT,
        "image",
        HALF_DIFFERS,
    ),
    Convention(
        "gigagan-coco",
        "GigaGAN's COCO script",
        f'centre crop, Pillow Lanczos to 256 rounded to 8 bits, then {_OPENAI}; "{PREFIX}" before'
        f" the prompt; the cosine; {_HALF}",
        Source("clip-b32-openai", PREFIX, _GIGAGAN),
        tools_differ=HALF_DIFFERS,
    ),
)
