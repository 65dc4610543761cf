"""Subword pieces: how texts are split, and how the pieces are learned."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.models.text import (
    UNKNOWN,
    SubwordTokenizer,
    append_end,
    directional_mask,
    learn_pieces,
)
from evalkit.scenes.vocabulary import pieces, words

PIECES = SubwordTokenizer(["skate", "skateboard", "dog", "dogs", "##s", "##er", "##ers"], 4)


def _pieces(ids: list[int]) -> list[str]:
    return [PIECES.pieces[each - 2] if each > UNKNOWN else "?" for each in ids]


def test_the_longest_pieces_from_the_left() -> None:
    assert _pieces(PIECES.piece_ids(["skateboarders", "dogs", "skates"])) == [
        "skateboard",
        "##ers",
        "dogs",
        "skate",
        "##s",
    ]


def test_a_word_that_no_pieces_form_is_one_unknown_piece() -> None:
    assert _pieces(PIECES.piece_ids(["dogma", "cat", ""])) == ["?", "?"]


def test_words_are_split_further_where_requested_and_possible() -> None:
    assert _pieces(PIECES.piece_ids(["dogs", "dogs", "dog"], apart={1, 2})) == [
        "dogs",
        "dog",
        "##s",
        "dog",
    ]


def test_long_texts_are_cut_and_an_empty_text_is_one_unknown_piece() -> None:
    assert PIECES.encode([["dog"] * 6, [], ["dogs"]]).tolist() == [
        [4, 4, 4, 4],
        [1, 0, 0, 0],
        [5, 0, 0, 0],
    ]
    assert PIECES.encode([["dog"]]).dtype == torch.int64
    assert PIECES.encode([["dog", "unheard"]]).tolist() == [[4, 1, 0, 0]]


def test_the_bundled_pieces_form_inflections_that_no_caption_has() -> None:
    tokenizer = SubwordTokenizer(pieces(), 24)
    assert [tokenizer.pieces[each - 2] for each in tokenizer.split("skateboarders")] == [
        "skateboard",
        "##ers",
    ]
    assert all(
        len(tokenizer.split(word)) == 1 and tokenizer.split(word) != (UNKNOWN,) for word in words()
    )
    assert [tokenizer.split(word) for word in ("cardboard", "catch", "beard")] == [
        (UNKNOWN,)
    ] * 3  # no car, cat or bear


def test_learned_pieces_by_hand() -> None:
    """The most frequent pair is "ab", then "abc"; ties are broken alphabetically."""
    learned = learn_pieces([["ab"] * 3, ["abc"] * 2], 5)
    assert learned == ("##b", "##c", "a", "ab", "abc")


@given(
    st.lists(st.text("abcd", min_size=1, max_size=8), min_size=1, max_size=20), st.integers(1, 40)
)
def test_learned_pieces_form_every_word_of_their_corpus(corpus: list[str], count: int) -> None:
    learned = learn_pieces([corpus], count)
    letters = {"##" * (place > 0) + letter for word in corpus for place, letter in enumerate(word)}
    assert letters <= set(learned)
    assert len(learned) == len(set(learned)) <= max(count, len(letters))
    tokenizer = SubwordTokenizer(learned, 64)
    for word in corpus:
        for whole in (True, False):
            split = (tokenizer.pieces[each - 2] for each in tokenizer.split(word, whole))
            assert "".join(piece.removeprefix("##") for piece in split) == word


def test_learning_does_not_depend_on_the_order_of_texts() -> None:
    texts = [["red", "dog"], ["dogs", "run"], ["a", "red", "run"]]
    assert learn_pieces(texts, 14) == learn_pieces(random.Random(1).sample(texts, 3), 14)


@pytest.mark.parametrize("count", [4, 6])
def test_more_pieces_make_shorter_texts(count: int) -> None:
    few, more = (
        SubwordTokenizer(learn_pieces([["abab", "abba"]], size), 64) for size in (count, count + 2)
    )
    assert len(more.piece_ids(["abab", "abba"])) < len(few.piece_ids(["abab", "abba"]))


def test_half_of_the_heads_look_back_and_half_ahead() -> None:
    ahead, back = directional_mask(3, 2)
    assert back.tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert torch.equal(ahead, back.T)
    assert directional_mask(5, 4).sum() == 4 * 15


def test_the_end_is_appended_where_the_context_has_room() -> None:
    texts = torch.tensor([[5, 0, 0], [5, 6, 0], [5, 6, 7], [UNKNOWN, 0, 0]])
    longer = torch.tensor([[5, 1, 0, 0], [5, 6, 1, 0], [5, 6, 7, 1], [1, 1, 0, 0]])
    assert torch.equal(append_end(texts, 24), longer)
    assert torch.equal(append_end(texts, 3), longer[:, :3])
