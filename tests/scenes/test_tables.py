"""The tables of the bundled data set."""

from collections import Counter

from evalkit.scenes.tables import (
    BACKGROUNDS,
    COLOUR_WORDS,
    COLOURS,
    COUNT_WORDS,
    HIDDEN_COLOURS,
    NOUN_FORMS,
    OBJECTS,
    RELATIONS,
    SHAPES,
    STYLES,
    TINTS,
)

COCO = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball,
kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup,
fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut,
cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush"""
CATEGORIES = COCO.replace("\n", " ").split(", ")


def test_the_numbers_of_entries() -> None:
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 80
    names = [thing.name for thing in OBJECTS]
    assert len(names) == len(set(names)) == 65
    assert set(names) <= set(CATEGORIES)
    assert (len(SHAPES), len(COLOURS), len(BACKGROUNDS), len(STYLES)) == (6, 12, 9, 4)
    assert set(RELATIONS) == {"left", "right", "above", "below"}
    assert set(COUNT_WORDS) == {2, 3, 4}


def test_plurals() -> None:
    assert NOUN_FORMS["elephant"] == (("elephant", "elephants"),)
    assert ("man", "men") in NOUN_FORMS["person"]
    assert NOUN_FORMS["square"] == (("square", "squares"), ("box", "boxes"))


def test_colours() -> None:
    assert COLOURS["red"] == (220, 40, 40)
    assert (COLOUR_WORDS["red"], COLOUR_WORDS["gray"]) == (("red",), ("gray", "grey"))
    for background in BACKGROUNDS:
        assert len(set(TINTS[background])) == 2
        assert set(HIDDEN_COLOURS[background]) < set(COLOURS)


def test_no_phrase_has_two_meanings() -> None:
    nouns = [
        phrase
        for forms in NOUN_FORMS.values()
        for phrase in {phrase for form in forms for phrase in form}
    ]
    places = [phrase for phrases in BACKGROUNDS.values() for phrase in phrases]
    relations = [phrase for phrases in RELATIONS.values() for phrase in phrases]
    for phrases in (nouns, places, relations):
        assert [phrase for phrase, count in Counter(phrases).items() if count > 1] == []
