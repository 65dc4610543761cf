"""The file of a study: strict, one sentence per mistake, and never another design."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from ratings_for_tests import preference, studies

from evalkit.core import EvalkitError
from evalkit.ratings.study import SCALES, Exclusion, Question, Study
from evalkit.ratings.study_file import from_toml, read_study, to_toml, write_study
from evalkit.run_folder import Run


@given(studies())
@settings(deadline=None)
def test_a_study_is_read_as_it_was_written(study: Study) -> None:
    assert from_toml(to_toml(study)) == study


def test_the_file_is_a_table_that_people_can_read(tmp_path: Path) -> None:
    run, study = Run(tmp_path), preference(title="Which is better?")
    assert write_study(run, study) == study
    assert read_study(run, "preference") == study
    text = (tmp_path / "ratings/preference.toml").read_text(encoding="utf-8")
    assert 'title = "Which is better?"' in text
    assert 'name = "preference"' in text
    assert "[exclude]" in text


def test_the_same_design_again_changes_nothing(tmp_path: Path) -> None:
    run, study = Run(tmp_path), preference(created_at="2026-01-01T00:00:00Z")
    write_study(run, study)
    before = run.study_path("preference").read_bytes()
    assert write_study(run, dataclasses.replace(study, created_at="2026-02-02T00:00:00Z")) == study
    assert run.study_path("preference").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"seed": 1}, "seed is 0, not 1"),
        ({"models": ("b", "a")}, 'models is ["a", "b"], not ["b", "a"]'),
        ({"exclude": Exclusion(fast_ms=5)}, "exclude is "),
        ({"questions": (Question("other", "Which?"),)}, "questions is "),
    ],
)
def test_another_design_under_the_name_is_refused(
    tmp_path: Path, change: dict[str, object], found: str
) -> None:
    run, study = Run(tmp_path), preference()
    write_study(run, study)
    before = run.study_path("preference").read_bytes()
    with pytest.raises(EvalkitError, match=re.escape(found)) as error:
        write_study(run, dataclasses.replace(study, **change))
    assert "another name" in error.value.hint
    assert run.study_path("preference").read_bytes() == before


GOOD = to_toml(dataclasses.replace(preference(), mode="scale", questions=SCALES[:1]))


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("seed = 0", "sed = 0", "unknown key 'sed'", "Did you mean 'seed'?"),
        ("seed = 0", 'seed = "0"', 'seed = "0"; expected a whole number', ""),
        ("seed = 0", "seed = true", "seed = true; expected a whole number", ""),
        ("seed = 0", "seed = -1", "seed = -1; expected a whole number, 0 or more", ""),
        ('mode = "scale"', 'mode = "scales"', 'mode = "scales"; expected pairwise, scale', ""),
        ('mode = "scale"', "mode = 5", "mode = 5; expected a text", ""),
        ('mode = "scale"', "", "has no mode", ""),
        ('mode = "scale"', 'mode = "checklist"', "expected no anchors in the mode checklist", ""),
        ("fast_ms = 700", "fast = 700", "unknown key 'fast'", "Did you mean 'fast_ms'?"),
        ("fast_share = 0.3", "fast_share = 30", "expected 0 to 1 for fast_share", ""),
        ("fast_share = 0.3", "fast_share = nan", "expected 0 to 1 for fast_share", ""),
        ('name = "alignment"', 'name = "the text"', "expected names of 1 to 64 letters", ""),
        ('name = "alignment"', "nam = 1", "question 1 of x.toml has the unknown key 'nam'", ""),
        ("[[questions]]", "[questions]", "has questions = ", ""),
        ("    \"Matches the text exactly\",\n", "    5,\n", "anchors = ", ""),
        ('study = "preference"', 'study = "../up"', 'study = "../up"; expected 1 to 64 let', ""),
        ('study = "preference"', 'study = "', "is not valid TOML", ""),
    ],
)  # fmt: skip
def test_every_mistake_is_one_sentence(old: str, new: str, message: str, hint: str) -> None:
    assert old in GOOD
    with pytest.raises(EvalkitError, match=re.escape(message)) as error:
        from_toml(GOOD.replace(old, new), "x.toml")
    assert "x.toml" in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ("a",)}, "expected two or more labels"),
        ({"models": ("a", "a")}, "expected each label once"),
        ({"prompts": ()}, "expected at least one id"),
        ({"questions": ()}, "expected at least one"),
        ({"questions": SCALES}, "expected no anchors in the mode pairwise"),
        ({"mode": "scale"}, "expected 2 to 101 anchors"),
    ],
)
def test_a_design_that_cannot_be_is_not_written(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    run = Run(tmp_path)
    with pytest.raises(EvalkitError, match=message):
        write_study(run, dataclasses.replace(preference(), **change))
    assert not run.ratings_path.exists()


def test_a_study_that_the_run_does_not_have(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_study(run, preference())
    with pytest.raises(EvalkitError, match="has no study 'preferences'") as error:
        read_study(run, "preferences")
    assert error.value.hint == "Did you mean 'preference'?"
    for name in ("", "../preference", "a\0b"):
        with pytest.raises(EvalkitError, match="has no study"):
            read_study(run, name)


def test_a_file_under_another_name_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_study(run, preference())
    run.study_path("preference").rename(run.study_path("other"))
    with pytest.raises(EvalkitError, match="holds the study 'preference'; expected 'other'"):
        read_study(run, "other")
