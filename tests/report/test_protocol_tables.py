"""Nested content as flat tables."""

from __future__ import annotations

from evalkit.report.numbers import DASH
from evalkit.report.protocol_tables import Table, tables


def test_nested_content():
    content = {
        "seed": 0,
        "exact": True,
        "share": 1 / 3,
        "none": None,
        "names": ["a", "b"],
        "encoders": {"clip": {"name": "c", "size": 2}, "lpips": {"name": "l"}},
        "intervals": {
            "level": 0.95,
            "methods": {"fid": ["one sentence of more than 30 characters"]},
        },
        "reasons": ["the first of two sentences that are long", "the second one"],
        "empty": {},
    }
    assert tables(content) == [
        Table(
            "settings",
            ["value"],
            [
                ("seed", "0"),
                ("exact", "yes"),
                ("share", "0.333333"),
                ("names", "a, b"),
            ],
        ),
        Table("encoders", ["name", "size"], [("clip", "c", "2"), ("lpips", "l", DASH)]),
        Table("intervals", ["value"], [("level", "0.95")]),
        Table(
            "intervals: methods", ["value"], [("fid", "one sentence of more than 30 characters")]
        ),
        Table(
            "reasons",
            ["value"],
            [("1", "the first of two sentences that are long"), ("2", "the second one")],
        ),
    ]


def test_keys_are_written_as_words():
    content = {"known_words": 3, "none": None, "of": {"clip_score": {"sub_sets": 1}}}
    assert tables(content, words=lambda key: key.replace("_", " ")) == [
        Table("settings", ["value"], [("known words", "3")]),
        Table("of", ["sub sets"], [("clip score", "1")]),
    ]
    assert tables({"none": None, "empty": []}) == []


def test_list_of_tables():
    assert tables({"steps": [{"a": 1}, {"b": [[2]]}]}) == [
        Table("steps", ["a", "b"], [("1", "1", DASH), ("2", DASH, "[[2]]")])
    ]
    assert tables({}) == []
