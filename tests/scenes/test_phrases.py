"""Prompts that name a shape in its colour, then something unknown in another colour."""

from evalkit.scenes.compose import compose
from evalkit.scenes.phrases import PHRASES, phrased_prompt, shape_scenes
from evalkit.scenes.tables import COLOUR_WORDS, NOUN_FORMS
from evalkit.scenes.vocabulary import mentions

SCENES = shape_scenes(500, 300)
PROMPTS = [phrased_prompt(scene, seed) for seed, scene in enumerate(SCENES)]


def test_the_scenes_are_the_first_of_a_single_shape() -> None:
    single = [scene for scene in map(compose, range(500, 600)) if scene.kind == "single"]
    shapes = [scene for scene in single if scene.items[0].colour]
    assert shapes
    assert SCENES[: len(shapes)] == shapes


def test_a_prompt_names_the_shape_in_its_colour_and_one_other_colour() -> None:
    for scene, prompt in zip(SCENES, PROMPTS, strict=True):
        item, words = scene.items[0], prompt.split()
        assert words[0] in ("a", "an")
        assert words[1] in COLOUR_WORDS[item.colour]
        assert words[2] in {singular for singular, _ in NOUN_FORMS[item.noun]}
        others = {
            colour for colour, names in COLOUR_WORDS.items() if not set(names).isdisjoint(words[3:])
        }
        assert len(others) == 1
        assert item.colour not in others
        assert "{" not in prompt


def test_a_phrase_mentions_no_object_or_background() -> None:
    for phrase in PHRASES:
        assert mentions(phrase.format("white")) == ((), ())


def test_prompts_depend_on_scene_and_seed_only_and_vary() -> None:
    assert [phrased_prompt(scene, seed) for seed, scene in enumerate(SCENES)] == PROMPTS
    assert len(set(PROMPTS)) > 290
    used = {phrase for phrase in PHRASES for prompt in PROMPTS if phrase.split("{}")[1] in prompt}
    assert len(used) == len(PHRASES)
    assert any(" an orange " in prompt for prompt in PROMPTS)
    assert not any(" a orange " in prompt for prompt in PROMPTS)
