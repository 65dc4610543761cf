"""The rules of GenEval to the letter: tasks from texts, and right or wrong from known boxes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pytest

from evalkit.prompts.geneval import CLASSES, COLOURS, NUMBERS, geneval_prompts, plural, with_article
from evalkit.scenes import dataset
from evalkit.scenes.compose import Item, Scene
from evalkit.scenes.tables import SHAPES
from evalkit.scorers.geneval.rules import Found, faults, kept, relations
from evalkit.scorers.geneval.task import Clause, Task, Vocabulary

READ = Vocabulary().task


def boxes(*places: tuple[float, float, float, float], score: float = 0.95) -> list[Found]:
    return [Found(place, score) for place in places]


def own_colours(objects: Sequence[Found], name: str) -> list[str]:
    return [one.colour for one in objects]


def right(prompt: str, found: dict[str, list[Found]]) -> bool:
    task = READ(prompt)
    assert task is not None
    return not faults(task, found, own_colours)


# ------------------------------------------------------------------------ tasks


def test_every_published_prompt_is_read_with_its_tag() -> None:
    for prompt in geneval_prompts():
        task = READ(prompt.text)
        assert task is not None, prompt.text
        assert task.tag == prompt.group


PUBLISHED = {  # lines of evaluation_metadata.jsonl
    "a photo of three apples": {
        "tag": "counting",
        "include": [{"class": "apple", "count": 3}],
        "exclude": [{"class": "apple", "count": 4}],
    },
    "a photo of a dog right of a teddy bear": {
        "tag": "position",
        "include": [
            {"class": "teddy bear", "count": 1},
            {"class": "dog", "count": 1, "position": ["right of", 0]},
        ],
    },
    "a photo of a purple suitcase and an orange pizza": {
        "tag": "color_attr",
        "include": [
            {"class": "suitcase", "count": 1, "color": "purple"},
            {"class": "pizza", "count": 1, "color": "orange"},
        ],
    },
    "a photo of an orange orange": {
        "tag": "colors",
        "include": [{"class": "orange", "count": 1, "color": "orange"}],
    },
    "a photo of an orange": {
        "tag": "single_object",
        "include": [{"class": "orange", "count": 1}],
    },
}


@pytest.mark.parametrize("prompt", PUBLISHED)
def test_the_metadata_of_a_prompt(prompt: str) -> None:
    task = READ(prompt)
    assert task is not None
    stated = json.loads(json.dumps(task.metadata(prompt)))
    assert stated == PUBLISHED[prompt] | {"prompt": prompt}


@pytest.mark.parametrize(
    "prompt",
    [
        "a bench",
        "a photo of bench",
        "a photo of an bench",
        "a photo of a unicorn",
        "a photo of two bench",
        "a photo of one benchs",
        "a photo of a mauve bench",
        "a photo of a bench and a bench",
        "a photo of a red bench and a dog",
        "a photo of a red bench and a red dog",
        "a photo of a red bench left of a dog",
        "a photo of a bench beside a dog",
        "a photo of a ",
        "a photo of ",
    ],
)
def test_other_prompts_are_no_tasks(prompt: str) -> None:
    assert READ(prompt) is None


# ------------------------------------------------------------------------ rules


def test_a_score_must_be_above_the_threshold_and_sixteen_objects_count() -> None:
    some = [Found((0, 0, 1, 1), score) for score in (0.3, 0.31, 0.9)]
    assert [one.score for one in kept({"dog": some}, 0.3)["dog"]] == [0.9, 0.31]
    many = [Found((0, 0, 1, 1), 0.3 + place / 100) for place in range(1, 31)]
    best = kept({"dog": many}, 0.3)["dog"]
    assert len(best) == 16
    assert best[0].score == pytest.approx(0.6)


def test_boxes_that_overlap_are_not_suppressed() -> None:
    same = boxes((0, 0, 9, 9), (0, 0, 9, 9), (0, 0, 9, 9))
    assert right("a photo of three dogs", {"dog": same})


@pytest.mark.parametrize(("count", "good"), [(0, False), (1, False), (2, True), (3, False)])
def test_counting_is_exact(count: int, good: bool) -> None:
    found = {"dog": boxes(*[(0, 0, 9, 9)] * count)}
    assert right("a photo of two dogs", found) is good


@pytest.mark.parametrize(("dogs", "cats", "good"), [(1, 1, True), (5, 2, True), (1, 0, False)])
def test_two_objects_are_both_there_and_more_do_no_harm(dogs: int, cats: int, good: bool) -> None:
    found = {"dog": boxes(*[(0, 0, 9, 9)] * dogs), "cat": boxes(*[(0, 0, 9, 9)] * cats)}
    assert right("a photo of a dog and a cat", found) is good


def test_only_the_best_objects_are_looked_at_for_their_colour() -> None:
    red, blue = (Found((0, 0, 9, 9), 0.5, colour=colour) for colour in ("red", "blue"))
    assert right("a photo of a red dog", {"dog": [red, blue]})
    assert not right("a photo of a red dog", {"dog": [blue, red]})


def test_a_colour_is_asked_for_once_per_clause() -> None:
    calls: list[tuple[int, str]] = []

    def colours_of(objects: Sequence[Found], name: str) -> list[str]:
        calls.append((len(objects), name))
        return ["red"] * len(objects)

    task = READ("a photo of a red dog and a blue cat")
    assert task is not None
    wrong = faults(task, {"dog": boxes((0, 0, 1, 1), (0, 0, 2, 2))}, colours_of)
    assert calls == [(1, "dog")]  # there is no cat whose colour could be asked for
    assert wrong == ["cat: expected 1 or more, found 0"]


@pytest.mark.parametrize(
    ("one", "other", "stands"),
    [
        ((0, 0, 10, 10), (20, 0, 30, 10), {"left of"}),
        ((20, 0, 30, 10), (0, 0, 10, 10), {"right of"}),
        ((0, 0, 10, 10), (0, 20, 10, 30), {"above"}),
        ((0, 20, 10, 30), (0, 0, 10, 10), {"below"}),
        ((0, 0, 10, 10), (20, 20, 30, 30), {"left of", "above"}),
        ((0, 0, 10, 10), (0, 0, 10, 10), set()),
        ((0, 0, 10, 10), (2, 0, 12, 10), set()),  # the margin is 0.1 * (10 + 10) = 2
        ((0, 0, 10, 10), (3.9, 0, 13.9, 10), set()),  # 1.9 of 3.9 is below one half
        ((0, 0, 10, 10), (4.1, 0, 14.1, 10), {"left of"}),  # 2.1 of 4.1 is above
        ((0, 0, 100, 10), (20, 0, 120, 10), set()),  # wide objects: a margin of 20
        ((0, 0, 10, 10), (20, 13, 30, 23), {"left of"}),  # 11 of 23.9 above is below one half
    ],
)
def test_where_a_box_stands(one: Sequence[float], other: Sequence[float], stands: set[str]) -> None:
    assert relations(one, other) == stands


def test_a_position_is_that_of_the_first_object_to_the_second() -> None:
    dog, cat = boxes((0, 0, 10, 10)), boxes((20, 0, 30, 10))
    assert right("a photo of a dog left of a cat", {"dog": dog, "cat": cat})
    assert not right("a photo of a cat left of a dog", {"dog": dog, "cat": cat})
    assert not right("a photo of a dog left of a cat", {"dog": dog})
    assert right("a photo of a dog left of a cat", {"dog": dog, "cat": [*cat, *dog]})  # best only


# ------------------------------------------------------- ground truth of scenes


SCENES = Vocabulary((*CLASSES, *SHAPES), (*COLOURS, "cyan", "gray"))
WORDS = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
KEYBOARD = {"keyboard": "computer keyboard"}  # what scenes name otherwise


def prompts_of(scene: Scene) -> tuple[str, str]:
    """A true prompt of a scene in GenEval's grammar, and a false one."""
    names = [KEYBOARD.get(item.noun, item.noun) for item in scene.items]
    if scene.kind == "single":
        true = with_article(f"{scene.items[0].colour} {names[0]}".strip())
        return true, "a toaster"  # scenes have none
    if scene.kind == "count":
        count = len(scene.items)
        true, false = (f"{NUMBERS[n]} {plural(names[0])}" for n in (count - 2, (count - 1) % 3))
        return true, false
    first, second = map(with_article, names)
    relations = scene.relation, OPPOSITE[scene.relation]
    true, false = (f"{first} {WORDS[relation]} {second}" for relation in relations)
    return true, false


def truth(scene: Scene) -> dict[str, list[Found]]:
    """The boxes of a scene as they are composed."""
    found: dict[str, list[Found]] = {}
    for item in scene.items:
        name = KEYBOARD.get(item.noun, item.noun)
        box = (item.x, item.y, item.x + item.size, item.y + item.size)
        found.setdefault(name, []).append(Found(box, 1.0, colour=item.colour))
    return found


def test_scenes_are_right_for_their_prompt_and_wrong_for_another() -> None:
    scenes = dataset.scenes(dataset.HELD_OUT, 400)
    assert min(Counter(scene.kind for scene in scenes).values()) > 50
    for scene in scenes:
        for text, good in zip(prompts_of(scene), (True, False), strict=True):
            task = SCENES.task(f"a photo of {text}")
            assert task is not None, text
            assert (not faults(task, truth(scene), own_colours)) is good, text


def test_colours_of_composed_shapes() -> None:
    items = (Item("circle", "red", 0, 16, 32), Item("star", "blue", 32, 16, 32))
    scene = Scene("pair", items, "left", "grass", "soft", 0)
    for text, good in (
        ("a red circle and a blue star", True),
        ("a blue circle and a red star", False),
        ("a red circle", True),
        ("a cyan star", False),
    ):
        task = SCENES.task(f"a photo of {text}")
        assert task is not None
        assert (not faults(task, truth(scene), own_colours)) is good


def test_what_excludes_is_joined_by_or() -> None:
    task = Task("counting", (), (Clause("dog", 2), Clause("cat", 1)))
    assert not faults(task, {"dog": boxes((0, 0, 1, 1))}, own_colours)
    assert faults(task, {"cat": boxes((0, 0, 1, 1))}, own_colours)
