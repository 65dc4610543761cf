"""The sentences that sum up a run."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from pathlib import Path

import pytest
from report_runs import add_groups, comparison, make_comparisons, make_run, write_comparisons

import evalkit
from evalkit.report import sentences
from evalkit.report.facts import read_facts
from evalkit.report.markdown import result


def test_what_was_generated_and_measured(run):
    facts = read_facts(run.path)
    assert sentences.headline(facts) == "dalle and gan on 40 prompts"
    assert sentences.lede(facts) == (
        "2 models, 40 prompts in 6 groups, 1 image per prompt: 78 of 80 images were generated (1"
        " refused, 1 failed). Measured with mini-inception and mini-clip against the reference"
        " scenes (10,000 images)."
    )


def test_one_group_is_no_grouping(run):
    facts = read_facts(run.path)
    prompts = [dataclasses.replace(prompt, group="all") for prompt in facts.prompts]
    assert "40 prompts, 1 image" in sentences.lede(dataclasses.replace(facts, prompts=prompts))


def test_without_comparisons_no_model_is_better(run):
    facts = read_facts(run.path)
    assert sentences.conclusion(facts) == "No difference between the models was tested."
    for name in ("index.html", "report.md"):
        text = (run.report_path / name).read_text(encoding="utf-8")
        text = text.replace("lower is better", "").replace("higher is better", "")
        assert " better than" not in text
        assert "is better" not in text


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (
            ["no significant difference", "no significant difference", "not tested"],
            "No significant difference between the models on any of 2 metrics (Holm, 5%)."
            " Not tested: 3 more metrics.",
        ),
        (
            ["no significant difference"],
            "No significant difference between the models on 1 metric (Holm, 5%)."
            " Not tested: 4 more metrics.",
        ),
        (
            ["a better", "a better", "b better"],
            "dalle is significantly better on 2 of 3 metrics and gan is significantly better on 1"
            " of 3 metrics (Holm, 5%). Not tested: 2 more metrics.",
        ),
        (
            ["b better", "no significant difference"],
            "gan is significantly better on 1 of 2 metrics; no significant difference on 1"
            " (Holm, 5%). Not tested: 3 more metrics.",
        ),
    ],
)
def test_conclusion(tmp_path, verdicts, expected):
    run = make_run(tmp_path / "run", 10, hostile=False)
    names = ("fid", "kid", "clip_score")
    pairs = zip(names, verdicts, strict=False)
    write_comparisons(run, [comparison(m, "dalle", "gan", verdict) for m, verdict in pairs])
    assert sentences.conclusion(read_facts(run.path)) == expected


def test_three_models_are_compared_by_pairs(tmp_path):
    models = ("dalle", "gan", "third")
    run = make_run(tmp_path / "run", 10, models, hostile=False)
    make_comparisons(run, models)
    facts = read_facts(run.path)
    assert sentences.conclusion(facts) == (
        "dalle is significantly better than gan and third on 1 of 2 metrics; no significant"
        " difference between gan and third (Holm, 5%). Not tested: 3 more metrics."
    )
    assert (
        sentences.differences(facts)
        == "2 of 9 differences are statistically significant (Holm, 5%)."
    )


def test_models_that_beat_the_same_one_are_named_together(tmp_path):
    """Not only the model with the best value of a metric is significantly better."""
    models = ("dalle", "gan", "noise")
    run = make_run(tmp_path / "run", 10, models, hostile=False)
    tie = "no significant difference"
    verdicts = {("dalle", "gan"): tie, ("dalle", "noise"): "a better", ("gan", "noise"): "a better"}
    metrics = ("fid", "kid", "clip_score")
    rows = [comparison(m, *pair, verdict) for m in metrics for pair, verdict in verdicts.items()]
    write_comparisons(run, rows)
    facts = read_facts(run.path)
    assert sentences.conclusion(facts).startswith(
        "dalle and gan are each significantly better than noise on all 3 metrics; no significant"
        " difference between dalle and gan (Holm, 5%)."
    )
    found = {finding.measure.name: finding for finding in facts.findings}
    assert result(facts, found["fid"]) == "dalle and gan are each better than noise"


VERDICTS = ("a better", "b better", "no significant difference", "not tested")
CLAUSE = re.compile(
    r"(?P<who>[a-f, ]+?(?: and [a-f])?) (?:is|are each) significantly better than (?P<than>.+?)"
    r" on (?:all )?(?P<count>\d+)(?: of (?P<of>\d+))? (?:tested )?metrics?"
)


def named(text: str) -> list[str]:
    return re.split(r", | and ", text.strip())


@pytest.mark.parametrize("count", [3, 4, 6])
def test_every_statement_is_a_row_of_the_comparisons(tmp_path, count):
    """Random verdicts: each "better than", tie and number in the sentence is counted again."""
    models = tuple("abcdef"[:count])
    run = make_run(tmp_path / "run", 10, models, hostile=False)
    draw, seen = random.Random(count), set()
    for trial in range(40):
        weights = [draw.random() ** 3 for _ in VERDICTS]
        rows = [
            comparison(metric, a, b, draw.choices(VERDICTS, weights)[0])
            for metric in ("fid", "kid", "clip_score", "precision")[: 1 + trial % 4]
            for a, b in itertools.combinations(models, 2)
        ]
        write_comparisons(run, rows)
        facts = read_facts(run.path)
        said = sentences.conclusion(facts)
        for clause in CLAUSE.finditer(said):
            seen.add("better")
            for pair in itertools.product(named(clause["who"]), named(clause["than"])):
                own = [row for row in rows if {row.model_a, row.model_b} == {*pair}]
                assert sum(row.winner == pair[0] for row in own) == int(clause["count"]), said
                tested = sum(row.verdict != "not tested" for row in own)
                assert tested == int(clause["of"] or clause["count"]), said
        for group in re.findall(r"difference between ((?:[a-f], )*[a-f] and [a-f])\b", said):
            seen.add("tie")
            for pair in itertools.combinations(named(group), 2):
                own = [row.verdict for row in rows if {row.model_a, row.model_b} == {*pair}]
                assert {*own} - {"not tested"} == {"no significant difference"}, said
        for model, won, lost, of in re.findall(
            r"([a-f]) is better in (\d+) and worse in (\d+) of (\d+)", said
        ):
            seen.add("model")
            own = [row for row in rows if model in (row.model_a, row.model_b)]
            assert sum(row.winner == model for row in own) == int(won)
            assert sum(row.loser == model for row in own) == int(lost)
            assert sum(row.verdict != "not tested" for row in own) == int(of)
        wins = any(row.winner for row in rows)
        assert ("better" in said) == wins, said
        for finding in facts.findings:
            for clause in re.finditer(
                r"([a-f, ]+?(?: and [a-f])?) (?:is|are each) better than ([^;]+)",
                result(facts, finding),
            ):
                pairs = set(itertools.product(*map(named, clause.groups())))
                own = {(r.winner, r.loser) for r in rows if r.metric == finding.measure.name}
                assert pairs <= own
    assert seen >= ({"better", "tie"} if count < 5 else {"model"})


@pytest.mark.parametrize(
    ("equal", "expected"),
    [
        ((), "gan has the higher score on 2 of 3 prompts, dalle on 1."),
        ((9.0,), "gan has the higher score on 2 of 4 prompts, dalle on 1; equal on 1."),
    ],
)
def test_head_to_head_counts_prompts(tmp_path, equal, expected):
    run = make_run(tmp_path / "run", 10, hostile=False)
    values = {"dalle": [1.0, 2.0, 3.0, 9.0], "gan": [0.0, 3.0, 4.0, *equal]}
    rows = [
        (model, index, 0, "clip_score", "mini-clip", value)
        for model, own in values.items()
        for index, value in enumerate(own)
    ]
    run.write_scores(rows)
    assert sentences.head_to_head(read_facts(run.path)) == expected


def test_banner_is_for_bundled_encoders_only(run, tmp_path):
    assert "mini-inception and mini-clip were trained" in sentences.banner(read_facts(run.path))
    other = make_run(tmp_path / "run", 10, hostile=False)
    text = other.metrics_path.read_text().replace("mini-", "")
    other.metrics_path.write_text(text)
    assert sentences.banner(read_facts(other.path)) == ""


def test_values_in_features_of_another_network_are_not_those_of_papers(tmp_path: Path) -> None:
    """Two networks, one title: the FID of a paper is in the features of Inception."""
    other = make_run(tmp_path / "run", 10, hostile=False)
    for path in (other.metrics_path, other.protocol_path):
        path.write_text(path.read_text().replace("mini-inception", "efficientnet-lite0"))
    for path in (other.metrics_path, other.protocol_path):
        path.write_text(path.read_text().replace("mini-clip", "clip-b32"))
    facts = read_facts(other.path)
    banner = sentences.banner(facts)
    assert re.fullmatch(
        r"FID, .* are measured in the features of efficientnet-lite0\. Published values are in the"
        r" features of Inception v3, and the two cannot be compared\.",
        banner,
    )
    assert "CLIP" not in banner
    assert sentences.banner_title(facts) == "Not comparable with published values."


def test_differences_by_group_are_counted_beside_the_conclusion(tmp_path):
    run = make_run(tmp_path / "run", 10, hostile=False)
    add_groups(run)
    groups = list(dict.fromkeys(prompt.group for prompt in run.prompts()))[:2]
    tie, better = "no significant difference", "b better"
    rows = [comparison("clip_score", "dalle", "gan", tie)]
    rows += [
        dataclasses.replace(comparison("clip_score", "dalle", "gan", verdict), group=group)
        for group, verdict in zip(groups, (tie, better), strict=True)
    ]
    write_comparisons(run, rows)
    assert sentences.conclusion(read_facts(run.path)) == (
        "On all prompts, no significant difference between the models on 1 metric (Holm, 5%)."
        " Not tested: 4 more metrics. By group of prompts, 1 of 2 differences is significant"
        " (Holm, 5%)."
    )
    write_comparisons(run, rows[:2])
    assert "By group" not in sentences.conclusion(read_facts(run.path))


def test_pixels_is_not_called_a_trained_encoder(tmp_path):
    run = evalkit.run("noise", ["x", "y"], out=tmp_path / "run", encoders="pixels", metrics="vendi")
    banner = sentences.banner(read_facts(run.path))
    assert banner.startswith("pixels has no network: it compares mean colours. The values compare")
