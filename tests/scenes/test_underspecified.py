"""Underspecified captions and their meanings."""

from itertools import chain
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from evalkit.scenes.compose import compose
from evalkit.scenes.tables import COLOUR_WORDS, COUNT_WORDS, NOUN_FORMS, RELATIONS
from evalkit.scenes.underspecified import underspecified_caption
from evalkit.scenes.vocabulary import UNKNOWN_WORD, mentions, words
from evalkit.scenes.words import split_words

SOME = [
    (scene, underspecified_caption(scene, Random(seed)))
    for seed, scene in enumerate(map(compose, range(600)))
]
COLOUR_NAMES = set(chain.from_iterable(COLOUR_WORDS.values()))
COUNT_PHRASES = [f" {word} " for phrases in COUNT_WORDS.values() for word in phrases]
RELATION_PHRASES = [f" {phrase} " for phrases in RELATIONS.values() for phrase in phrases]


def _stated(text: str, phrases: list[str]) -> list[str]:
    """The phrases that a text states; "under the stars" is not a relation."""
    return [phrase for phrase in phrases if phrase in f" {text} ".replace(" under the stars ", " ")]


def _without_one_colour(text: str) -> list[str]:
    words_of = text.split()
    places = [at for at, word in enumerate(words_of) if word in COLOUR_NAMES]
    return [" ".join(words_of[:at] + words_of[at + 1 :]) for at in places]


@settings(deadline=None)
@given(seed=st.integers(0, 2**40))
@example(seed=36975)
@example(seed=30198)
def test_caption_and_meaning_mention_the_same_objects(seed: int) -> None:
    scene = compose(seed)
    captioned = underspecified_caption(scene, Random(seed))
    assert captioned == underspecified_caption(scene, Random(seed))
    stated, meant = mentions(captioned.text), mentions(captioned.meaning)
    things = tuple(dict.fromkeys(item.noun for item in scene.items))
    assert sorted(noun for noun in meant.nouns if noun in things or noun != "orange") == sorted(
        things
    )  # an orange box is not an orange
    plain = " ".join(word for word in captioned.text.split() if word not in COLOUR_NAMES)
    named = {*mentions(plain).nouns, "orange"}  # "under the purple stars" is a background, too
    colours = set() if "orange" in things else {"orange"}  # "an orange unknownword"
    nouns = [noun for noun in stated.nouns if noun in named - colours]
    expected = tuple(noun for noun in meant.nouns if noun not in colours)
    assert tuple(nouns[: max(2, len(expected))]) == expected
    # A colour may stand within the phrase of a background: "against a violet blue sky".
    readings = (captioned.text, plain, *_without_one_colour(captioned.text))
    assert meant.backgrounds in [mentions(text).backgrounds for text in readings]
    assert meant.backgrounds in ((), (scene.background,))
    assert set(split_words(captioned.meaning)) <= set(words())
    assert set(split_words(captioned.text)) <= {UNKNOWN_WORD, *words()}


def test_the_meaning_states_every_count_and_relation() -> None:
    counts, pairs = (
        [captioned for scene, captioned in SOME if scene.kind == kind] for kind in ("count", "pair")
    )
    assert all(_stated(captioned.meaning, COUNT_PHRASES) for captioned in counts)
    assert all(_stated(captioned.meaning, RELATION_PHRASES) for captioned in pairs)
    open_counts = [captioned for captioned in counts if not _stated(captioned.text, COUNT_PHRASES)]
    open_pairs = [captioned for captioned in pairs if not _stated(captioned.text, RELATION_PHRASES)]
    assert len(open_counts) > len(counts) / 5
    assert len(open_pairs) > len(pairs) / 5
    assert all(captioned.meaning.startswith("two ") for captioned in open_counts)
    assert all(" to the left of " in captioned.meaning for captioned in open_pairs)


def test_a_shape_keeps_its_colour_beside_colours_that_the_meaning_omits() -> None:
    coloured = [(scene, each) for scene, each in SOME if any(item.colour for item in scene.items)]
    for scene, captioned in coloured:
        for item in (item for item in scene.items if item.colour):
            forms = chain.from_iterable(NOUN_FORMS[item.noun])
            phrases = [f" {word} {form} " for form in forms for word in COLOUR_WORDS[item.colour]]
            assert _stated(captioned.text, phrases)
            assert _stated(captioned.meaning, phrases)
    more = sum(
        _colour_count(captioned.text) > _colour_count(captioned.meaning)
        for _, captioned in coloured
    )
    assert len(coloured) / 4 < more < len(coloured) * 3 / 4


def _colour_count(text: str) -> int:
    return sum(word in COLOUR_NAMES for word in split_words(text))


def test_the_meaning_is_true_of_the_scene() -> None:
    """Where the count or the relation is left open, the scene has two objects, or the first one is
    on the left.
    """
    opened: list[str] = []
    for scene, captioned in SOME:
        if scene.kind == "count" and not _stated(captioned.text, COUNT_PHRASES):
            opened.append("count")
            assert len(scene.items) == 2
        if scene.kind == "pair" and not _stated(captioned.text, RELATION_PHRASES):
            opened.append("relation")
            first, second = (
                mentions(captioned.meaning).nouns.index(item.noun) for item in scene.items
            )
            left, right = scene.items if first < second else scene.items[::-1]
            assert left.x < right.x
    assert min(opened.count("count"), opened.count("relation")) > 20


def test_the_meaning_keeps_what_the_caption_states() -> None:
    """Counts and relations, in the same words."""
    for scene, captioned in SOME:
        if scene.kind == "count" and _stated(captioned.text, COUNT_PHRASES):
            assert _stated(captioned.text, COUNT_PHRASES) == _stated(
                captioned.meaning, COUNT_PHRASES
            )
        if scene.kind == "pair" and _stated(captioned.text, RELATION_PHRASES):
            assert _stated(captioned.text, RELATION_PHRASES) == _stated(
                captioned.meaning, RELATION_PHRASES
            )


def test_lengths_vary_and_a_third_has_unknown_words() -> None:
    lengths = [len(captioned.text.split()) for _, captioned in SOME]
    assert min(lengths) == 1
    assert max(lengths) > 15
    assert sum(UNKNOWN_WORD in captioned.text for _, captioned in SOME) > len(SOME) / 3
