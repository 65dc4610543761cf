"""Generators for tests of the judge: one is always right, one refuses."""

from PIL import Image

from evalkit.core import Refusal
from evalkit.scenes import dataset
from evalkit.scenes.captions import caption
from evalkit.scenes.compose import compose

SCENES = {
    caption(scene, 7, complete=True): scene for scene in (compose(seed) for seed in range(400))
}


def perfect(prompts: list[str], seeds: list[int]) -> list[Image.Image | Refusal]:
    """Returns the image of the scene that a caption was made from."""
    images = dataset.render_images([SCENES[prompt] for prompt in prompts])
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


def refusing(prompts: list[str], seeds: list[int]) -> list[Image.Image | Refusal]:
    return [Refusal("refused_input", "not today") for _ in prompts]
