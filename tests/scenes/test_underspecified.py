"""Loose captions and what they mean."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.scenes.compose import compose
from evalkit.scenes.tables import COUNT_WORDS, RELATIONS
from evalkit.scenes.underspecified import underspecified_caption
from evalkit.scenes.vocabulary import UNKNOWN_WORD, mentions, words
from evalkit.scenes.words import split_words

SOME = [
    (scene, underspecified_caption(scene, Random(seed)))
    for seed, scene in enumerate(map(compose, range(600)))
]
NUMBERS = [f" {word} " for phrases in COUNT_WORDS.values() for word in phrases]
SIDES = [f" {phrase} " for phrases in RELATIONS.values() for phrase in phrases]


def _said(text: str, phrases: list[str]) -> list[str]:
    """Which of the phrases are in a text; "under the stars" is no side."""
    return [phrase for phrase in phrases if phrase in f" {text} ".replace(" under the stars ", " ")]


@settings(deadline=None)
@given(seed=st.integers(0, 2**40))
def test_a_loose_caption_names_what_it_means(seed: int) -> None:
    scene = compose(seed)
    loose = underspecified_caption(scene, Random(seed))
    assert loose == underspecified_caption(scene, Random(seed))
    said, meant = mentions(loose.text), mentions(loose.meaning)
    things = tuple(dict.fromkeys(item.noun for item in scene.items))
    assert sorted(noun for noun in meant.nouns if noun in things or noun != "orange") == sorted(
        things
    )  # an orange box is no orange
    assert said.nouns[: max(2, len(meant.nouns))] == meant.nouns
    assert said.backgrounds == meant.backgrounds
    assert meant.backgrounds in ((), (scene.background,))
    assert set(split_words(loose.meaning)) <= set(words())
    assert set(split_words(loose.text)) <= {UNKNOWN_WORD, *words()}


def test_the_meaning_leaves_no_number_and_no_side_open() -> None:
    counts, pairs = (
        [loose for scene, loose in SOME if scene.kind == kind] for kind in ("count", "pair")
    )
    assert all(_said(loose.meaning, NUMBERS) for loose in counts)
    assert all(_said(loose.meaning, SIDES) for loose in pairs)
    open_counts = [loose for loose in counts if not _said(loose.text, NUMBERS)]
    open_pairs = [loose for loose in pairs if not _said(loose.text, SIDES)]
    assert len(open_counts) > len(counts) / 5
    assert len(open_pairs) > len(pairs) / 5
    assert all(loose.meaning.startswith("two ") for loose in open_counts)
    assert all(" to the left of " in loose.meaning for loose in open_pairs)


def test_a_true_meaning_is_what_the_picture_shows() -> None:
    """Where the number or the side is left open, the scene has two things, or the first one on the
    left.
    """
    opened: list[str] = []
    for scene, loose in SOME:
        if scene.kind == "count" and not _said(loose.text, NUMBERS):
            opened.append("number")
            assert len(scene.items) == 2
        if scene.kind == "pair" and not _said(loose.text, SIDES):
            opened.append("side")
            first, second = (mentions(loose.meaning).nouns.index(item.noun) for item in scene.items)
            left, right = scene.items if first < second else scene.items[::-1]
            assert left.x < right.x
    assert min(opened.count("number"), opened.count("side")) > 20


def test_what_is_said_is_meant() -> None:
    """Numbers and sides are in the meaning where the caption has them, and in the same words."""
    for scene, loose in SOME:
        if scene.kind == "count" and _said(loose.text, NUMBERS):
            assert _said(loose.text, NUMBERS) == _said(loose.meaning, NUMBERS)
        if scene.kind == "pair" and _said(loose.text, SIDES):
            assert _said(loose.text, SIDES) == _said(loose.meaning, SIDES)


def test_some_are_short_and_some_are_long() -> None:
    lengths = [len(loose.text.split()) for _, loose in SOME]
    assert min(lengths) == 1
    assert max(lengths) > 15
    assert sum(UNKNOWN_WORD in loose.text for _, loose in SOME) > len(SOME) / 3
