"""The study that is asked, and what is refused before anybody is asked."""

import logging
from pathlib import Path
from typing import Any

import pytest
from rating_server import MODELS, make_rated_run, serving
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.rate.serve.new_study import open_study
from evalkit.rate.serve.pool import read_pool
from evalkit.ratings.rating import KNOWN_BAD
from evalkit.ratings.study import Exclusion, Study
from evalkit.ratings.study_file import read_study
from evalkit.run_folder import Run


def opened(*runs: Run, **given: Any) -> Study:
    return open_study(runs[0], read_pool(runs), given, "The study")


def refused(*arguments: object) -> str:
    """The error of the command, which ends with exit code 2 before it serves."""
    result = CliRunner().invoke(app, ["rate", "serve", "--no-open", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert not result.stdout
    return result.stderr


def test_two_models_are_compared_and_one_is_rated(tmp_path: Path) -> None:
    two = opened(make_rated_run(tmp_path / "two"))
    assert (two.study, two.mode, two.models) == ("preference", "pairwise", MODELS)
    assert (two.repeat_items, two.attention_items, two.items_per_rater) == (0, 0, 0)
    assert [question.name for question in two.questions] == ["preference"]
    assert two.exclude == Exclusion()
    one = opened(make_rated_run(tmp_path / "one", models=("a",)))
    assert (one.study, one.mode) == ("opinion", "scale")
    assert [question.name for question in one.questions] == ["alignment", "aesthetics", "realism"]
    assert all(len(question.anchors) == 5 for question in one.questions)
    assert one.exclude == Exclusion(attention_errors=3)
    checklist = opened(Run(tmp_path / "two"), mode="checklist")
    assert (checklist.study, checklist.mode) == ("checklist", "checklist")


def test_a_large_study_is_capped_per_rater(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    study = opened(make_rated_run(tmp_path / "run", prompts=41, models=("a", "b", "c")))
    assert (study.items_per_rater, study.repeat_items, study.attention_items) == (100, 5, 5)
    assert "100 of 123 items per rater" in caplog.text
    assert opened(Run(tmp_path / "run"), study="all", items_per_rater=0).items_per_rater == 0


def test_raters_are_asked_about_originals_and_no_variants(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    texts = ["A Cat", "two dogs"]
    run = evalkit.generate(["a=noise", "b=noise"], texts, out=tmp_path / "run", perturb="uppercase")
    assert len(run.prompts()) == 4
    study = opened(run)
    assert [read_pool([run]).prompts[name] for name in study.prompts] == texts
    assert "2 variants of prompts left out: only originals are asked about" in caplog.text
    named = opened(run, study="named", prompts=[run.prompts()[2].id])
    assert read_pool([run]).prompts[named.prompts[0]] == "A CAT"


def test_the_same_again_continues_and_another_design_is_refused(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run")
    study = opened(run, seed=3)
    text = run.study_path("preference").read_text()
    assert opened(run) == opened(run, seed=3) == opened(run, study="preference") == study
    assert run.study_path("preference").read_text() == text
    for key, value in (("seed", 4), ("items_per_rater", 2), ("models", list(MODELS[::-1]))):
        with pytest.raises(EvalkitError, match=key):
            opened(run, **{key: value})
    with pytest.raises(EvalkitError, match='mode is "pairwise", not "scale"'):
        opened(run, study="preference", mode="scale")
    assert opened(run, study="second", seed=4).seed == 4
    assert run.study_path("preference").read_text() == text


def test_a_run_that_grows_keeps_its_study(tmp_path: Path) -> None:
    study = opened(make_rated_run(tmp_path / "run", prompts=3))
    make_rated_run(tmp_path / "run", prompts=5, models=(*MODELS, "third"))
    assert opened(Run(tmp_path / "run")) == study


def test_prompts_without_an_image_of_every_model_are_left_out(tmp_path: Path, caplog: Any) -> None:
    run = make_rated_run(tmp_path / "run", prompts=4)
    manifest = run.image_folder(MODELS[0]) / "manifest.0.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[1:]))
    assert opened(run).prompts == ("00001", "00002", "00003")
    assert "of which a model has no image: 1" in caplog.text


def test_models_of_several_runs(tmp_path: Path) -> None:
    first = make_rated_run(tmp_path / "a", prompts=3, models=("one",))
    second = make_rated_run(tmp_path / "b", prompts=5, models=("two",))
    study = opened(first, second)
    assert (study.models, len(study.prompts)) == (("one", "two"), 3)
    assert (first.study_path("preference").is_file(), second.ratings_path.exists()) == (True, False)
    assert opened(first, second) == study
    with pytest.raises(EvalkitError, match="different labels"):
        opened(first, make_rated_run(tmp_path / "c", models=("one",)))


def test_a_study_file_gives_what_it_holds(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run", prompts=8, models=("a", "b", "c"))
    config = tmp_path / "photos.toml"
    config.write_text(
        "study = 'photos'\nmode = 'scale'\nmodels = ['c', 'a']\nrepeat_items = 1\n"
        "title = 'Photos'\nexclude = {fast_ms = 300}\n"
        "[[questions]]\nname = 'fun'\ntext = 'Is it fun?'\nanchors = ['no', 'a little', 'yes']\n"
    )
    with serving(run.path, "--config", config, "--items", "12"):
        pass
    study = read_study(run, "photos")
    assert (study.models, study.mode, study.title) == (("c", "a"), "scale", "Photos")
    assert (study.repeat_items, study.attention_items, study.items_per_rater) == (1, 0, 12)
    assert study.questions[0].anchors == ("no", "a little", "yes")
    assert study.exclude == Exclusion(fast_ms=300)
    with serving(run.path, "--config", config):
        pass
    assert "items_per_rater is 12, not 13" in refused(run.path, "--config", config, "--items", 13)


def test_a_text_with_the_name_of_a_model_is_named(tmp_path: Path, caplog: Any) -> None:
    run = make_rated_run(tmp_path / "run")
    opened(run, title=f"Is {MODELS[0].upper()} better?")
    assert f"{MODELS[0]!r}" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "stars"], 'mode = "stars"; expected pairwise, scale or checklist'),
        (["--models", "zebra-model-8"], "Did you mean 'zebra-model-7'?"),
        (["--models", "zebra-model-7", "--mode", "pairwise"], "expected two or more labels"),
        (["--items", "-1"], "items_per_rater = -1"),
        (["--seed", "-1"], "seed = -1"),
        (["--study", "a b"], 'study = "a b"; expected 1 to 64 letters'),
        (["--study", "../x"], 'study = "../x"; expected 1 to 64 letters'),
        (["--raters", "anna,Anna"], "expected each name once"),
        (["--host", "0.0.0.0"], "expected the names of the raters"),
        (["--host", "192.0.2.1", "--raters", "a"], "Cannot listen on 192.0.2.1"),
        (["--port", "70000"], "expected 0 to 65535"),
        (["--url", "rate.example.org"], "expected an address"),
        (["--url", "https://rate.example.org/x"], "expected an address"),
        (["--config", "nowhere.toml"], "cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    run = make_rated_run(tmp_path / "run")
    error = refused(run.path, "--port", "0", *arguments)
    assert message in error
    assert error.startswith("error: ")
    assert not list(run.ratings_path.glob("*")) if run.ratings_path.exists() else True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [", "not valid TOML"),
        ("colour = 'red'", "unknown key 'colour'"),
        ("models = 'a'", 'models is "a"; expected a list'),
        ("models = [1]", "expected a list of labels"),
        ("study = 1", "study = 1"),
        ("prompts = ['00000', 'x']", "'x'"),
        ("repeat_items = 2", "at most a quarter of them, 1"),
        ("exclude = 1", "exclude = 1"),
    ],
)
def test_a_wrong_study_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    run = make_rated_run(tmp_path / "run")
    (tmp_path / "study.toml").write_text(text)
    assert message in refused(run.path, "--config", tmp_path / "study.toml")
    assert not run.study_path("preference").exists()


def test_runs_that_cannot_be_rated(tmp_path: Path) -> None:
    assert "is not a run folder" in refused(tmp_path)
    empty = make_rated_run(tmp_path / "empty", models=())
    assert "has no images" in refused(empty.path)
    with pytest.raises(EvalkitError, match="expected at least one run"):
        evalkit.rate_serve([])
    named = make_rated_run(tmp_path / "named", models=("tie", KNOWN_BAD))
    assert "has the name of an answer" in refused(named.path)
    run = make_rated_run(tmp_path / "run")
    opened(run)
    next(run.image_folder(MODELS[1]).glob("*.png")).unlink()
    assert "1 cannot be read" in refused(run.path, "--port", "0")


def test_ratings_that_cannot_be_kept(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run")
    run.ratings_path.write_text("not a folder")
    assert f"Could not make or open {run.ratings_path}" in refused(run.path)
    run.ratings_path.unlink()
    run.ratings_path.mkdir()
    run.private_path.write_text("{}")
    assert "expected the secret behind the links" in refused(run.path, "--port", "0")


def test_a_second_server_on_the_same_ratings_is_refused(tmp_path: Path) -> None:
    run = make_rated_run(tmp_path / "run")
    with serving(run.path):
        assert "Another process is already serving" in refused(run.path, "--port", "0")
    with serving(run.path):
        pass
