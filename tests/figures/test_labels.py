"""Labels fit, and different names have different labels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evalkit.report.labels import labels, shorten


def test_shortened_in_the_middle():
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 10) == "abcde…hijk"
    assert shorten("a\nb\x1b\u202e", 10) == "a\ufffdb\ufffd\ufffd"


def test_names_that_differ_at_the_end_are_cut_in_the_middle():
    names = [f"./checkpoints/sdxl-turbo-finetuned-step-{step}" for step in (12000, 13000)]
    assert list(labels(names, 13).values()) == ["./chec…-12000", "./chec…-13000"]
    assert list(labels([*names, "dalle"], 60).values()) == [*names, "dalle"]


def test_names_that_differ_in_the_middle_show_the_difference():
    names = [f"organisation/model-{'x' * 40}{i}{'y' * 40}" for i in range(12)]
    found = labels([*names, "dalle"], 22)
    assert len(set(found.values())) == 13
    assert all(f"x{i}y" in found[name] for i, name in enumerate(names))
    assert found["dalle"] == "dalle"


def test_names_that_no_cut_tells_apart_are_numbered():
    names = [f"{'x' * 40}{i}{'y' * 40}" for i in "ab"] + [f"{'z' * 40}{i}{'y' * 40}" for i in "ab"]
    assert list(labels(names, 22).values())[1].endswith(" (2)")


def test_name_that_looks_like_another_label():
    names = ["a\x1b", "a\x1a", "a\ufffd (2)"]
    assert len(set(labels(names, 22).values())) == 3


@given(st.lists(st.text(alphabet="ab\n\x1b…()12 ", max_size=12), unique=True, max_size=9))
def test_always_distinct_and_short(names):
    found = labels(names, 8)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert all(len(label) <= 8 for label in found.values())


@given(
    st.lists(st.text(alphabet="ab/", max_size=5), unique=True, max_size=7),
    st.text(alphabet="ab/", max_size=30),
    st.text(alphabet="ab/", max_size=30),
    st.integers(8, 24),
)
def test_distinct_whatever_long_names_have_in_common(middles, before, after, most):
    names = list(dict.fromkeys(f"{before}{middle}{after}" for middle in middles))
    found = labels(names, most)
    assert len(set(found.values())) == len(names)
    assert all(len(label) <= most for label in found.values())
    assert all(found[name] == name for name in names if len(name) <= most)


@given(st.text(alphabet="ab/-", min_size=25, max_size=60))
def test_a_long_name_keeps_its_beginning_and_its_end(name):
    first, last = labels([name, "dalle"], 24)[name].split("…")
    assert first
    assert last
    assert name.startswith(first)
    assert name.endswith(last)
