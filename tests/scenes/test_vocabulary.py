"""The vocabulary of the bundled models, and what a prompt mentions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scenes.tables import BACKGROUNDS, NOUN_FORMS
from evalkit.scenes.vocabulary import UNKNOWN_WORD, Coverage, coverage, mentions, words
from evalkit.scenes.words import split_words


def test_words_are_sorted_single_words() -> None:
    assert list(words()) == sorted(set(words()))
    assert all(split_words(word) == [word] for word in words())
    assert {"giraffe", "red", "two", "left", "beach", "a"} <= set(words())
    assert UNKNOWN_WORD not in words()


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [(noun, phrase) for noun, forms in NOUN_FORMS.items() for form in forms for phrase in form],
)
def test_every_phrase_for_an_object_is_recognised(noun: str, phrase: str) -> None:
    assert mentions(f"A photo of the {phrase}!").nouns == (noun,)


@pytest.mark.parametrize(
    ("background", "phrase"),
    [(name, phrase) for name, phrases in BACKGROUNDS.items() for phrase in phrases],
)
def test_every_phrase_for_a_background_is_recognised(background: str, phrase: str) -> None:
    assert mentions(f"A giraffe {phrase}.") == (("giraffe",), (background,))


@pytest.mark.parametrize(
    ("text", "nouns", "backgrounds"),
    [
        ("A hot dog is no dog", ("hot dog", "dog"), ()),
        ("a teddy bear next to a bear", ("teddy bear", "bear"), ()),
        ("a man riding a wave on top of a surfboard", ("person", "surfboard"), ()),
        ("a cat under the stars", ("cat",), ("night",)),
        ("a star over a cat", ("star", "cat"), ()),
        ("CATS, dogs & cats", ("cat", "dog"), ()),
        ("a catalogue of doghouses", (), ()),
        ("the person's cat's tv", ("cat", "tv"), ()),
        ("", (), ()),
    ],
)
def test_mentions(text: str, nouns: tuple[str, ...], backgrounds: tuple[str, ...]) -> None:
    assert mentions(text) == (nouns, backgrounds)


def test_coverage() -> None:
    assert coverage(["a red xylophone", "", "ein Hund, a dog!"]) == [
        Coverage(2, 3),
        Coverage(0, 0),
        Coverage(2, 4),
    ]


@given(text=st.text(max_size=200))
def test_any_text_is_accepted(text: str) -> None:
    [found] = coverage([text])
    assert 0 <= found.known <= found.total
    assert set(mentions(text).nouns) <= set(NOUN_FORMS)
