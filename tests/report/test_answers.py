"""The result in one sentence per question."""

from __future__ import annotations

import dataclasses

from report_runs import MEASURES, comparison, make_comparisons, make_run, stated, write_comparisons

from evalkit.core import MetricRow
from evalkit.report.answers import answers
from evalkit.report.facts import read_facts
from evalkit.run_folder import Run

ASPECTS = {
    "fid": "fidelity", "kid": "fidelity", "inception_score": "fidelity", "precision": "fidelity",
    "clip_score": "agreement", "recall": "diversity",
}  # fmt: skip


def with_aspects(run: Run) -> Run:
    entries = {name: {**entry, "aspect": ASPECTS.get(name, "")} for name, entry in MEASURES.items()}
    run.write_protocol(run.protocol() | {"measures": entries})
    return run


def told(run: Run) -> dict[str, str]:
    return {one.title: f"{one.text} {one.values}".strip() for one in answers(read_facts(run.path))}


def test_each_question_has_one_answer(tmp_path):
    run = with_aspects(make_run(tmp_path / "run", 12, hostile=False))
    make_comparisons(run, ("dalle", "gan"))
    assert told(run) == {
        "Fidelity": "dalle is significantly better than gan on FID; the difference was not tested"
        " on KID, Inception score and Precision (Holm, 5%). FID: dalle 38.1 (35.2 to 41.4), gan"
        " 47.1 (44.2 to 50.4).",
        "Prompt agreement": "No significant difference on CLIP score (Holm, 5%). CLIP score: dalle"
        " 27.02 (26.12 to 27.92), gan 24.42 (23.52 to 25.32).",
        "Diversity": "Not measured: needs at least 50 images.",
        "Speed and cost": "Refusal rate: dalle 0.025 (0.000 to 0.125), gan 0.000; Images per"
        " second: dalle 2.6, gan 26.0; Median latency (ms): dalle 380, gan 38.0.",
    }


def test_of_many_models_the_best_and_the_ends_are_named(tmp_path):
    models = tuple(f"m{place}" for place in range(5))
    run = with_aspects(make_run(tmp_path / "run", 12, models, hostile=False))
    rows = [
        comparison("fid", "m0", other, "a better" if other != "m4" else "no significant difference")
        for other in models[1:]
    ]
    write_comparisons(run, rows)
    said = told(run)["Fidelity"]
    assert said.startswith("m0 is significantly better than 3 of 4 others on FID; the difference")
    assert said.endswith("FID from 38.1 (m0) to 74.1 (m4).")
    write_comparisons(run, [comparison("fid", "m0", other, "a better") for other in models[1:]])
    assert told(run)["Fidelity"].startswith("m0 is significantly better than all 4 others on FID")


def test_two_models_may_lead_on_different_metrics(tmp_path):
    run = with_aspects(make_run(tmp_path / "run", 12, hostile=False))
    rows = run.metrics()
    rows[1] = dataclasses.replace(rows[1], value=0.5, low=0.4, high=0.6)  # KID of dalle
    run.write_metrics(rows)
    fid, kid = comparison("fid", "dalle", "gan", "a better"), "b better"
    write_comparisons(run, [fid, comparison("kid", "dalle", "gan", kid)])
    assert told(run)["Fidelity"].startswith(
        "dalle is significantly better than gan on FID; gan is significantly better than dalle on"
        " KID; the difference was not tested"
    )


def test_a_few_models_are_answered_by_pairs(tmp_path):
    run = with_aspects(make_run(tmp_path / "run", 12, ("a", "b", "c"), hostile=False))
    tie, won = "no significant difference", "a better"
    pairs = [("a", "b", tie), ("a", "c", won), ("b", "c", won)]
    rows = [comparison(metric, *pair) for metric in ("fid", "kid") for pair in pairs]
    write_comparisons(run, rows)
    assert told(run)["Fidelity"].startswith(
        "a and b are each significantly better than c on FID and KID; no significant difference"
        " between a and b; the difference was not tested on Inception score and"
        " Precision (Holm, 5%)."
    )


def test_the_best_of_many_models_are_named_together(tmp_path):
    models = tuple("abcde")
    run = with_aspects(make_run(tmp_path / "run", 12, models, hostile=False))
    rows = [comparison("fid", best, other, "a better") for best in "ab" for other in "cde"]
    write_comparisons(run, [*rows, comparison("fid", "a", "b", "no significant difference")])
    said = told(run)["Fidelity"]
    assert said.startswith("a and b are each significantly better than 3 of 4 others on FID;")


def test_one_model_has_values_and_no_verdict(tmp_path):
    run = with_aspects(make_run(tmp_path / "run", 12, ("dalle",), hostile=False))
    [fidelity, *_] = answers(read_facts(run.path))
    assert (fidelity.text, fidelity.kind) == ("", "single")
    assert fidelity.values.startswith("FID: dalle 38.1 (35.2 to 41.4); KID: dalle 0.0123")


def test_nothing_is_concluded_from_encoders_that_do_not_know_the_images(tmp_path):
    run = with_aspects(make_run(tmp_path / "run", 12, hostile=False))
    run.write_protocol(run.protocol() | {"blind_encoders": ["mini-inception"]})
    said = told(run)
    assert said["Fidelity"] == (
        "Nothing may be concluded: mini-inception was not trained on such images."
    )
    assert "CLIP score" in said["Prompt agreement"]


def test_an_aspect_of_a_plug_in_is_a_question_of_its_own(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    entry = stated("beauty", "higher", "Beauty", aspect="aesthetics <b>")
    run.write_protocol(run.protocol() | {"measures": {"beauty": entry}})
    rows = [
        MetricRow(model, "beauty", "own", "", value, None, None, 12, 12, "higher")
        for model, value in (("dalle", 0.25), ("gan", 0.5))
    ]
    run.write_metrics(rows)
    assert told(run) == {
        "Aesthetics <b>": "The difference was not tested on Beauty. Beauty: dalle 0.25, gan 0.50."
    }
