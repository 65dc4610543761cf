"""Mixed and reversed scales are found, and raters who only disagree are not named."""

import random
import time

from evalkit.rate.scale_checks import (
    Score,
    contradiction,
    mixed_scales,
    reversed_sides,
    same_raters,
    unfinished,
)


def scores(raters: int, items: int, noise: float, seed: int = 0, reverse: int = 0) -> list[Score]:
    """Raters of points 1 to 5; the first `reverse` of them use the scale the other way round."""
    rng = random.Random(seed)
    truth = [rng.uniform(1, 5) for _ in range(items)]
    found = []
    for rater in range(raters):
        for item, value in enumerate(truth):
            given = min(5, max(1, round(rng.gauss(value, noise))))
            given = 6 - given if rater < reverse else given
            found.append(Score("f.csv", f"r{rater}", "q", f"i{item}", float(given)))
    return found


def test_a_planted_reversed_rater_is_found_and_nobody_else() -> None:
    found = [set(reversed_sides(scores(5, 50, 1.0, seed, reverse=1))) for seed in range(40)]
    assert found.count({("r0", "q")}) >= 39
    assert all(names <= {("r0", "q")} for names in found)


def test_raters_at_random_are_hardly_ever_named() -> None:
    named = sum(bool(reversed_sides(scores(3, 10, 100.0, seed))) for seed in range(300))
    assert named <= 3
    named = sum(bool(contradiction(scores(2, 10, 100.0, seed))) for seed in range(300))
    assert named <= 3


def test_two_raters_that_contradict_each_other_are_named_together() -> None:
    assert contradiction(scores(2, 30, 0.5)) == ""
    found = contradiction(scores(2, 30, 0.5, reverse=1))
    assert found.startswith("The raters r0 and r1 contradict each other on q: their correlation")
    assert reversed_sides(scores(2, 30, 0.5, reverse=1)) == {}


def test_a_thousand_raters_take_seconds() -> None:
    start = time.monotonic()
    assert reversed_sides(scores(1000, 20, 1.0)) == {}
    assert time.monotonic() - start < 20


def test_a_mixture_needs_both_scales_and_nobody_who_uses_both_ends() -> None:
    def rater(name: str, *values: float) -> list[Score]:
        return [Score("f.csv", name, "q", str(at), value) for at, value in enumerate(values)]

    zero, one, both = rater("a", 0, 2, 4), rater("b", 1, 3, 5), rater("c", 0, 5)
    assert "raters a use 0 to 4, and b use 1 to 5" in mixed_scales([*zero, *one])
    assert mixed_scales([*zero, *one, *both]) == ""
    assert mixed_scales(zero) == mixed_scales(one) == mixed_scales([]) == ""


def test_raters_that_differ_in_case_or_blanks() -> None:
    assert same_raters(["Anna", "Bob", "anna", "B ob", "Carl"]) == {"anna": "Anna", "B ob": "Bob"}
    assert same_raters(["007", "7", "70", "0"]) == {"7": "007"}


def test_raters_with_few_answers() -> None:
    assert unfinished({"a": 40, "b": 40, "c": 12}) == [
        "Raters with fewer than half of the usual 40 answers: c (12)."
    ]
    assert unfinished({"a": 40, "b": 30}) == unfinished({"a": 1}) == unfinished({}) == []
