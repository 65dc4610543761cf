"""VQAScore by a service with log probabilities, with a real server."""

from pathlib import Path

import pytest
from fake_chat import FakeChat, asked
from fake_service import Call, Fault

import evalkit
from evalkit.core import FailedMetricWarning


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
