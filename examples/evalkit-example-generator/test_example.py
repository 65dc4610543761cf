"""The test for every generator: image i depends on prompts[i] and seeds[i] only."""

from evalkit_example_generator import load

from evalkit.core import Refusal

PROMPTS = ["a red circle", "two blue dogs", "a red circle", "something green"]
SEEDS = [1, 2, 3, 2**63 - 1]


def pixels(results):
    return [(result.size, result.mode, result.tobytes()) for result in results]


def test_an_image_depends_on_its_own_prompt_and_seed_only():
    generate = load()
    together = pixels(generate(PROMPTS, SEEDS))
    alone = [
        pixels(generate([prompt], [seed]))[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
    ]
    reversed_order = pixels(load()(PROMPTS[::-1], SEEDS[::-1]))[::-1]
    assert together == alone == reversed_order
    assert together[0] != together[2]  # the same prompt with another seed


def test_a_prompt_without_a_colour_is_refused():
    assert load()(["a dog"], [1]) == [Refusal("refused_input", "the prompt names no colour")]
