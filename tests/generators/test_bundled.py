"""The bundled generators dalle and gan: images, options and weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from evalkit.core import EvalkitError, Generator
from evalkit.generators import dalle, gan

PROMPTS = [
    "a dog on the grass",
    "two red circles in the snow",
    "a man riding a wave",
    "",
    "unheard words only",
]


@pytest.fixture(scope="module", params=[dalle, gan], ids=["dalle", "gan"])
def generator(request: pytest.FixtureRequest) -> Generator:
    return request.param.load(device="cpu")


def _pixels(images: list[object]) -> list[np.ndarray]:
    assert all(isinstance(image, Image.Image) and image.mode == "RGB" for image in images)
    return [np.asarray(image) for image in images]


def test_an_image_depends_on_its_own_prompt_and_seed_only(generator: Generator) -> None:
    many = _pixels(generator(PROMPTS * 8, list(range(40))))  # more than one batch
    alone = [_pixels(generator([(PROMPTS * 8)[place]], [place]))[0] for place in (0, 7, 33, 39)]
    for place, image in zip((0, 7, 33, 39), alone, strict=True):
        assert np.array_equal(many[place], image)
    backwards = _pixels(generator((PROMPTS * 8)[::-1], list(range(40))[::-1]))[::-1]
    assert all(np.array_equal(a, b) for a, b in zip(many, backwards, strict=True))


def test_every_batch_has_the_same_size_and_its_padding_is_dropped() -> None:
    from evalkit.generators.image_batches import FixedBatches
    from evalkit.models.text import SubwordTokenizer

    asked: list[tuple[list[list[str]], list[int]]] = []

    def draw(texts: list[list[str]], seeds: list[int]) -> torch.Tensor:
        asked.append((texts, seeds))
        return torch.tensor(seeds)[:, None, None, None].expand(-1, 3, 2, 2) / 127.5 - 1

    images = _pixels(
        FixedBatches(draw, SubwordTokenizer(["dog"], 4), "none", 3)(
            ["dog"] * 7, list(range(10, 17))
        )
    )
    assert [int(image[0, 0, 0]) for image in images] == list(range(10, 17))
    assert [len(texts) for texts, _ in asked] == [3, 3, 3]
    assert asked[-1] == ([["dog"], [], []], [16, 0, 0])


def test_seeds_and_prompts_matter(generator: Generator) -> None:
    first, other_seed, other_prompt = _pixels(
        generator([PROMPTS[0], PROMPTS[0], PROMPTS[1]], [1, 2, 1])
    )
    assert not np.array_equal(first, other_seed)
    assert not np.array_equal(first, other_prompt)


def test_a_prompt_longer_than_the_context_is_noted(generator: Generator) -> None:
    short, long = generator(["a dog", "a dog " * 20], [1, 1])
    assert isinstance(short, Image.Image)
    assert isinstance(long, Image.Image)
    assert "note" not in short.info
    assert long.info["note"] == "only the first 24 of the prompt's 40 text tokens were read"


def test_short_prompts_are_enough(generator: Generator) -> None:
    """Underspecified prompts, and one with a word that is not in the training data."""
    from evalkit.judge.judge import generate_images
    from evalkit.models.load import BUNDLED, load_classifier
    from evalkit.scorers.verdicts import detected_nouns

    judge = load_classifier(BUNDLED / "mini-judge.safetensors").eval()
    for prompt, thing in (
        ("people", "person"),
        ("umbrellas", "umbrella"),
        ("a man riding a horse", "horse"),
        ("bus", "bus"),
    ):
        found = detected_nouns(judge, generate_images(generator, [prompt] * 16, range(16), prompt))
        assert sum(thing in things for things in found) >= 10, prompt


@pytest.mark.parametrize(
    ("load", "options"),
    [
        (dalle.load, {"temperature": -1.0}),
        (dalle.load, {"top_p": 0.0}),
        (gan.load, {"truncation": 2.0}),
    ],
)
def test_options_out_of_range(load, options: dict[str, float]) -> None:
    with pytest.raises(EvalkitError, match=f"{next(iter(options))} is .*, expected"):
        load(**options)


def test_a_folder_without_weights_is_an_error(tmp_path) -> None:
    with pytest.raises(EvalkitError, match="There are no dalle weights at"):
        dalle.load(weights=str(tmp_path))


def test_with_truncation_zero_the_seed_has_no_effect() -> None:
    first, second = _pixels(gan.load(truncation=0.0, device="cpu")(["a cat", "a cat"], [1, 2]))
    assert np.array_equal(first, second)


def test_best_of_increases_the_similarity_to_the_prompt_by_mini_clip() -> None:
    from evalkit.encoders.mini import load_clip_encoder

    prompts = [prompt for prompt in PROMPTS[:2] for _ in range(16)]
    seeds = list(range(32))
    encoder = load_clip_encoder(device="cpu")

    def similarity(images: list[object]) -> torch.Tensor:
        stacked = torch.stack([encoder.prepare(image) for image in images])
        return (encoder(stacked)["pool"] * encoder.text(prompts)).sum(1)

    one, four = (dalle.load(device="cpu", best_of=count)(prompts, seeds) for count in (1, 4))
    assert (similarity(four) >= similarity(one) - 1e-3).all()
    assert similarity(four).mean() > similarity(one).mean() + 0.003


def test_a_dalle_and_a_tokenizer_of_different_trainings_are_refused(tmp_path) -> None:
    import shutil

    from evalkit.models.image_tokenizer import ImageTokenizer
    from evalkit.models.load import BUNDLED
    from evalkit.training.runtime.checkpoints import save_weights

    shutil.copy(BUNDLED / "dalle.safetensors", tmp_path)
    other = ImageTokenizer((5, 5, 5), 64)
    config = {"kind": "image tokenizer", "levels": [5, 5, 5], "width": 64, "doublings": 2}
    save_weights(tmp_path / "image-tokenizer.safetensors", other.state_dict(), config)
    with pytest.raises(
        EvalkitError, match=r"of 3072 codes, and .* has 125 codes \(levels \[5, 5, 5\]\)"
    ):
        dalle.load(weights=str(tmp_path))


def test_weights_are_a_folder_or_a_file_in_it(tmp_path) -> None:
    from evalkit.models.load import BUNDLED

    (tmp_path / "gan-loose.safetensors").symlink_to(BUNDLED / "gan.safetensors")
    with pytest.raises(EvalkitError, match=r"There are no gan weights at .*gan\.safetensors"):
        gan.load(weights=str(tmp_path))
    places = (tmp_path / "gan-loose.safetensors", BUNDLED, "")
    drawn = [
        _pixels(gan.load(weights=str(place), device="cpu")(["a cat"], [1]))[0] for place in places
    ]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn[2])


def test_dalle_weights_are_bound_to_their_tokenizer(tmp_path) -> None:
    """A dalle trained with the bundled tokenizer needs no file; another tokenizer is refused."""
    from evalkit.models.image_tokenizer import ImageTokenizer
    from evalkit.models.load import BUNDLED, codes_fingerprint, load_dalle, load_image_tokenizer
    from evalkit.training.runtime.checkpoints import save_weights

    network, config = load_dalle(BUNDLED / "dalle.safetensors")
    tokenizer = codes_fingerprint(load_image_tokenizer(BUNDLED / "image-tokenizer.safetensors")[0])
    save_weights(
        tmp_path / "dalle.safetensors",
        network.state_dict(),
        config | {"image_tokenizer": tokenizer},
    )
    drawn = [
        _pixels(dalle.load(weights=weights, device="cpu")(["a cat"], [1]))[0]
        for weights in (str(tmp_path), "")
    ]
    assert np.array_equal(drawn[0], drawn[1])
    other = {"kind": "image tokenizer", "levels": [8, 8, 8, 6], "width": 64, "doublings": 2}
    save_weights(
        tmp_path / "image-tokenizer.safetensors",
        ImageTokenizer((8, 8, 8, 6), 64).state_dict(),
        other,
    )
    with pytest.raises(EvalkitError, match="was trained on the image tokens of another file than"):
        dalle.load(weights=str(tmp_path))
