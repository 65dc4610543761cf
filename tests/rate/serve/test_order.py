"""Which items raters are asked, in which order and on which side."""

import itertools
from collections import Counter

import pytest
from ratings_for_tests import preference

from evalkit.core import EvalkitError
from evalkit.rate.serve.order import Asked, Assigned, assign, items_per_rater, order, study_items
from evalkit.ratings.rating import parts
from evalkit.ratings.study import Study

MODELS = ("a", "b:c", "d")


def study(prompts: int, models: int = 2, **more: object) -> Study:
    ids = tuple(f"p{at}" for at in range(prompts))
    return preference(MODELS[:models], prompts=ids, **more)


def lists(study: Study, raters: int) -> list[list[Assigned]]:
    """The items of raters who join one after the other and answer everything."""
    shown: Counter[Assigned] = Counter()
    found = []
    for rater in range(raters):
        found.append(assign(study, f"rater-{rater}", shown))
        shown.update(found[-1])
    return found


def test_items_are_all_pairs_or_all_images() -> None:
    pairwise = study(2, 3)
    assert len(study_items(pairwise)) == 6
    assert study_items(pairwise)[1] == "p0:a:d"
    scale = study(2, 3, mode="scale")
    assert study_items(scale)[1] == "p0:b%3Ac"


@pytest.mark.parametrize("models", [2, 3])
def test_two_raters_see_each_pair_on_both_sides(models: int) -> None:
    first, second, third, fourth = map(dict, lists(study(15, models), 4))
    assert set(first) == set(second) == set(study_items(study(15, models)))
    assert all(first[item] != second[item] for item in first)
    assert all(third[item] != fourth[item] for item in first)
    assert first != third  # the side of a pair follows from no other one


@pytest.mark.parametrize("models", [2, 3])
def test_sides_are_balanced_within_a_rater(models: int) -> None:
    for assigned in lists(study(15, models), 5):
        sides: dict[tuple[str, ...], Counter] = {}
        for item, left in assigned:
            sides.setdefault(tuple(parts(item)[1:]), Counter())[left] += 1
        for pair, counts in sides.items():
            assert abs(counts[pair[0]] - counts[pair[1]]) <= 1


def test_orders_differ_and_do_not_depend_on_anything_else() -> None:
    first, second = lists(study(30), 2)
    assert [item for item, _ in first] != [item for item, _ in second]
    assert lists(study(30), 2)[0] == first
    assert assign(study(30, seed=1), "rater-0", {}) != first
    # The same on every machine and in every version.
    known = [(3, "b:c"), (4, "a"), (0, "a"), (1, "b:c"), (2, "b:c"), (5, "a")]
    found = assign(study(6), "anna", {})
    assert [(int(item[1]), left) for item, left in found] == known


def test_raters_of_a_part_get_what_was_shown_least() -> None:
    found = lists(study(40, items_per_rater=10), 8)
    counts = Counter(item for assigned in found for item, _ in assigned)
    assert set(counts.values()) == {2}
    assert len(counts) == 40
    sides = Counter(pair for assigned in found for pair in assigned)
    assert set(sides.values()) == {1}  # each of the two saw another side


def pages(prompts: int, **more: object) -> list[Asked]:
    asked = study(prompts, **more)
    return order(asked, "anna", assign(asked, "anna", {}))


@pytest.mark.parametrize("count", [4, 5, 6, 7, 8, 9, 13, 20, 21, 100, 377])
@pytest.mark.parametrize("mode", ["pairwise", "scale"])
def test_checks_are_where_they_should_be(count: int, mode: str) -> None:
    checks = count // 4
    for repeats, attention in itertools.product({0, 1, checks}, {0, 1, checks}):
        found = pages(count, mode=mode, repeat_items=repeats, attention_items=attention)
        main = [page for page in found if not page.check]
        total = len(main) + repeats + attention
        assert [page.position for page in found] == list(range(1, total + 1))
        assert len({page.item for page in main}) == len(main)
        again = [page for page in found if page.check == "repeat"]
        assert len({page.item for page in again}) == len(again) == repeats
        for page in again:
            [source] = [other for other in main if other.item == page.item]
            assert page.position - source.position >= total / 3
            assert page.images == source.images[::-1]
        planted = [page for page in found if page.check == "attention"]
        assert len({page.item for page in planted}) == len(planted) == attention
        assert [sum(image.bad for image in page.images) for page in planted] == [1] * attention
        assert not any(image.bad for page in main + again for image in page.images)
        gaps = [b.position - a.position for a, b in itertools.pairwise(planted)]
        assert not gaps or max(gaps) <= 2 * total / attention
        if mode == "pairwise":
            sides = Counter(page.images[0].bad for page in planted)
            assert abs(sides[True] - sides[False]) <= 1


def test_the_list_of_a_rater_is_the_same_again() -> None:
    checks = {"repeat_items": 3, "attention_items": 3}
    assert pages(30, **checks) == pages(30, **checks)


def test_too_many_checks() -> None:
    with pytest.raises(EvalkitError, match="repeat_items = 3 and 10 items per rater"):
        items_per_rater(study(40, items_per_rater=10, repeat_items=3))
    assert items_per_rater(study(40, items_per_rater=12, repeat_items=3)) == 12
    assert items_per_rater(study(40, items_per_rater=100)) == 40
