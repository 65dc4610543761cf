"""VQAScore by a service with log probabilities, with a real server."""

import os
from collections import Counter
from pathlib import Path

import pytest
from fake_chat import FakeChat, asked
from fake_service import CHARGED, Call, Fault, shares
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError, FailedMetricWarning, MetricRow
from evalkit.files import read_lines
from evalkit.remote import retry
from evalkit.run_folder import Run
from evalkit.scorer import NoAnswer
from evalkit.scorers.endpoint import EndpointModel, EndpointOptions
from evalkit.scorers.vqa_score import VqaScore

PRICES = {"input_price": 2.0, "output_price": 10.0}
ONE = (1000 * 2 + 10 * 10) / 1e6  # US dollars for one answer of the server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    backoff = retry.backoff
    monkeypatch.setattr(retry, "backoff", lambda failures: backoff(failures) / 100)


def _score(run: Run, server: FakeChat, **more: object) -> MetricRow:
    """The row of vqa_score, which is measured beside another metric."""
    options = {"vqa_score": {"model": "org/m", "base_url": server.url, **more}}
    evalkit.score(run.path, metrics="vqa_score,vendi", encoders="mini", options=options)  # type: ignore[arg-type]
    (row,) = [row for row in evalkit.load(run.path).metrics() if row.metric == "vqa_score"]
    return row


def test_each_image_is_asked_once_and_a_refusal_is_no_number(tmp_path: Path) -> None:
    run = evalkit.generate("noise", ["a cat", "two dogs", "a tree", "no"], out=tmp_path / "run")

    def plan(call: Call) -> Fault:
        return "refused_input" if '"no"' in asked(call.body).texts[0] else "ok"

    with FakeChat(lambda asked: "Yes", plan, first={"Yes": 0.75, "No": 0.2}) as server:
        options = {"vqa_score": {"model": "org/m", "base_url": server.url}}
        for _ in range(2):
            evalkit.score(run.path, metrics="vqa_score", options=options)
    (row,) = [row for row in evalkit.load(run.path).metrics() if row.metric == "vqa_score"]
    assert (row.value, row.count) == (pytest.approx(0.75), 3)
    assert row.encoder.startswith("vqa-m-service-")
    assert "refused_input" in str(row)
    assert len(server.received) == 4
    body = server.received[0].body
    assert (body["model"], body["max_tokens"], body["top_logprobs"]) == ("org/m", 1, 20)


def test_a_share_of_yes_and_a_service_without_probabilities(tmp_path: Path) -> None:
    run = evalkit.generate("noise", ["a cat"], out=tmp_path / "run")
    with FakeChat(lambda asked: "Yes", first={"Yes": 0.6, "No": 0.2, "It": 0.1}) as server:
        options = {"vqa_score": {"model": "m", "base_url": server.url, "softmax": "yes-no"}}
        evalkit.score(run.path, metrics="vqa_score", options=options)
    (row,) = [row for row in evalkit.load(run.path).metrics() if row.metric == "vqa_score"]
    assert row.value == pytest.approx(0.75)
    with FakeChat(lambda asked: "Yes") as server:
        options = {"vqa_score": {"model": "m", "base_url": server.url}}
        with pytest.warns(FailedMetricWarning, match="sends no token probabilities"):
            evalkit.score(run.path, metrics="vqa_score", options=options)


def test_the_command_says_what_to_do_about_a_scorer_that_fails(tmp_path: Path) -> None:
    run = evalkit.generate("noise", ["a cat"], out=tmp_path / "run")
    with FakeChat(lambda asked: "Yes") as server:
        settings = [f"vqa_score.{one}" for one in ("model=m", f"base_url={server.url}")]
        options = [part for one in settings for part in ("--set", one)]
        command = ["score", str(run.path), "--metrics", "vqa_score", *options]
        found = CliRunner().invoke(app, command)
    assert found.exit_code == 2
    assert "hint: Use a model and a service that send them, such as vLLM." in found.stderr


@pytest.mark.parametrize(
    ("shares", "option", "expected"),
    [
        ({"Yes": 0.9996, " Yes": 0.001}, {"yes": "Yes, Yes"}, 1.0),  # above 1 by rounding
        ({"It": 0.9}, {}, 0.0),
        ({"It": 0.9}, {"softmax": "yes-no"}, NoAnswer("neither yes nor no is among its tokens")),
    ],
)
def test_tokens_whose_share_of_yes_is_at_an_end(
    shares: dict[str, float], option: dict[str, str], expected: object
) -> None:
    with FakeChat(lambda asked: "Yes", first=shares) as server:
        scorer = VqaScore(model="m", base_url=server.url, **option)  # type: ignore[arg-type]
        assert list(scorer([Image.new("RGB", (32, 32))], ["a cat"])) == [expected]


@pytest.mark.parametrize("snapshots", ["one", "any"])
def test_answers_of_two_snapshots_are_not_one_model(tmp_path: Path, snapshots: str) -> None:
    images = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in range(6)]
    first = {"Yes": 0.75, "No": 0.2}

    def fingerprint(earlier: int) -> str:
        return "fp_1" if earlier < 3 else "fp_2"

    with FakeChat(lambda asked: "Yes", first=first, fingerprint=fingerprint) as server:
        options = EndpointOptions(server.url, concurrency=1, snapshots=snapshots)
        model = EndpointModel("m", options, "vqa_score", tmp_path)
        assert len(model.listed(images[:3], ["Is it?"] * 3)) == 3
        if snapshots == "any":
            assert len(model.listed(images, ["Is it?"] * 6)) == 6
            assert model.name == "m-service-any"
            return
        with pytest.raises(EvalkitError, match="answers as 'm-2026-11-01 fp_2' now") as error:
            model.listed(images, ["Is it?"] * 6)
        assert error.value.exit_code == 3
        assert "`--set vqa_score.snapshots=any`" in error.value.hint
        sent = len(server.received)
        assert sent < 6  # no further question is paid for
        again = EndpointModel("m", options, "vqa_score", tmp_path)
        with pytest.raises(EvalkitError, match="another model"):
            again.listed(images[3:4], ["Is it?"])
        assert len(server.received) == sent


def test_the_option_snapshots_is_checked(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="snapshots is 'all'; expected one or any"):
        EndpointModel(
            "m", EndpointOptions("http://127.0.0.1:1/v1", snapshots="all"), "vqa_score", tmp_path
        )


@pytest.mark.parametrize("blank", ["▁", "Ġ"])
def test_the_blank_of_a_tokenizer_is_a_blank(tmp_path: Path, blank: str) -> None:
    shares = {f"{blank}Yes": 0.5, " Yes": 0.1, f"{blank}No": 0.2, blank: 0.1}
    with FakeChat(lambda asked: "Yes", first=shares) as server:
        model = EndpointModel("m", EndpointOptions(server.url), "vqa_score", tmp_path)
        [listed] = model.listed([Image.new("RGB", (32, 32))], ["Is it?"])
        [found] = model.first_tokens([Image.new("RGB", (32, 32))], ["Is it?"])
    assert listed == pytest.approx({" Yes": 0.6, " No": 0.2, " ": 0.1})
    assert isinstance(found, Tensor)
    assert float(found[model.whole_ids([" Yes"])].sum()) == pytest.approx(0.6)


def test_two_hundred_questions_have_one_outcome_each_and_none_is_paid_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no process is killed here
    run = evalkit.generate("noise", [f"text {at}" for at in range(200)], out=tmp_path / "run")
    faults: dict[Fault, float] = {
        **{"rate_limited": 0.08, "server_error": 0.08, "overloaded": 0.03, "dropped_before": 0.02},
        **{"dropped_after": 0.05, "malformed": 0.03, "html": 0.01, "refused_input": 0.04},
    }
    first = {"Yes": 0.75, "No": 0.2}
    with FakeChat(lambda asked: "Yes", shares(faults), first=first, retry_after="0.001") as server:
        row = _score(run, server, concurrency=32)
        assert server.most_working > 1
        assert server.most_working <= 32
        received = len(server.received)
        again = _score(run, server, concurrency=32)
        assert max(server.counts().values()) == 1
        settled = Counter(call.prompt for call, fault in server.outcomes[:received]
                          if fault in CHARGED or fault.startswith("refused"))  # fmt: skip
        later = {call.prompt for call, _ in server.outcomes[received:]}
        assert not later & set(settled)
        more = _score(run, server, concurrency=32, retry_ambiguous=True)
        assert more.count > again.count >= row.count > 150
    assert row.value == pytest.approx(0.75)
    assert "ambiguous" in row.caution
    (path,) = (run.path / "features").glob("*.requests.jsonl")
    last = [line for line in read_lines(path) if "attempts" in line]
    assert len({line["key"] for line in last}) == 200


def test_a_limit_of_cost_is_obeyed_and_a_larger_one_continues(tmp_path: Path) -> None:
    run = evalkit.generate("noise", [f"text {at}" for at in range(40)], out=tmp_path / "run")
    with FakeChat(lambda asked: "Yes", first={"Yes": 0.75}) as server:
        more = {**PRICES, "concurrency": 1}
        with pytest.warns(FailedMetricWarning, match=r"of max_cost \$0\.02"):
            row = _score(run, server, max_cost=0.02, **more)
        assert row.value is None
        assert len(server.received) == int(0.02 / ONE)
        row = _score(run, server, max_cost=1.0, **more)
        assert (row.value, row.count) == (pytest.approx(0.75), 40)
        assert len(server.received) == 40
        row = _score(run, server, max_cost=0.01, **more)  # everything is known
        assert row.count == 40


def test_a_limit_of_cost_needs_prices() -> None:
    with FakeChat(lambda asked: "Yes", first={"Yes": 0.75}) as server:
        with pytest.raises(EvalkitError, match="needs a price") as found:
            VqaScore(model="m", base_url=server.url, max_cost=1.0)
        assert "--set vqa_score.input_price" in found.value.hint
        assert not server.received
