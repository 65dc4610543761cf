"""Labels fit, and different names have different labels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evalkit.report.labels import labels, shorten


def test_shortened_in_the_middle():
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 10) == "abcde…hijk"
    assert shorten("a\nb\x1b\u202e", 10) == "a\ufffdb\ufffd\ufffd"


def test_equal_after_shortening():
    names = [f"organisation/model-{'x' * 40}{i}{'y' * 40}" for i in range(12)]
    found = labels(names, 22)
    assert len(set(found.values())) == 12
    assert found[names[1]].endswith(" (2)")
    assert found[names[11]].endswith(" (12)")


def test_name_that_looks_like_another_label():
    names = ["a\x1b", "a\x1a", "a\ufffd (2)"]
    assert len(set(labels(names, 22).values())) == 3


@given(st.lists(st.text(alphabet="ab\n\x1b…()12 ", max_size=12), unique=True, max_size=9))
def test_always_distinct_and_short(names):
    found = labels(names, 8)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert all(len(label) <= 8 for label in found.values())
