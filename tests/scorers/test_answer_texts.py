"""Question answering by a service: which listed tokens count, and with a real server."""

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_vlm
from fake_chat import Asked, FakeChat, asked
from fake_service import CHARGED, Call, Fault, shares
from PIL import Image

import evalkit
from evalkit import Answer, EvalkitError, NoAnswer
from evalkit.core import FailedMetricWarning, MetricRow
from evalkit.files import read_lines
from evalkit.remote import retry
from evalkit.run_folder import Run
from evalkit.scorers.answer_texts import read
from evalkit.scorers.question import Question
from evalkit.scorers.question_answering import QuestionAnswering
from evalkit.scorers.vlm import VisionLanguageModel

PRICES = {"input_price": 2.0, "output_price": 10.0}
ONE = (1000 * 2 + 10 * 10) / 1e6  # US dollars for one answer of the server
YES = {" Yes": 0.6, "yes": 0.1, "No": 0.2, "It": 0.05}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    backoff = retry.backoff
    monkeypatch.setattr(retry, "backoff", lambda failures: backoff(failures) / 100)


def _question(answer: str, *choices: str) -> Question:
    return Question("What is it?", (answer,), choices=choices)


@pytest.mark.parametrize(
    ("question", "token", "counts"),
    [
        (_question("yes"), " YES", True),
        (_question("yes"), "yes.", True),
        (_question("yes"), "y", False),
        (_question("yes"), "yesterday", False),
        (_question("yes"), "", False),
        (_question("yes"), " .", False),
        (_question("two"), " 2", True),
        (_question("2"), "Two", True),
        (_question("two"), "t", False),  # three, ten
        (_question("two"), "tw", False),
        (_question("two"), "20", False),
        (_question("10"), "1", False),
        (_question("10", "10", "20"), "1", False),
        # no choices: whole answers only
        (_question("giraffe"), " Giraffe", True),
        (_question("giraffe"), " gir", False),
        (_question("living room"), "living", False),
        (_question("carrot"), "car", False),
        # choices: what begins one of them only
        (_question("giraffe", "giraffe", "cat"), " gir", True),
        (_question("giraffe", "giraffe", "cat"), "gi", False),
        (_question("giraffe", "giraffe", "girl"), " gir", False),
        (_question("giraffe", "giraffe", "cat"), "giraffes", False),
        (_question("carrot", "carrot", "car"), "car", False),
        (_question("car", "carrot", "car"), "car", True),
        (_question("living room", "living room", "kitchen"), "Living", True),
        (_question("living room", "living room", "living things"), "living", False),
        (_question("on the table", "on the table", "under it"), " On", True),
        (_question("apple", "apple", "cat"), "a", False),
        (_question("a dog", "a dog", "two cats"), "A", False),
        (_question("theatre", "theatre", "cinema"), "The", False),
        (_question("two", "two", "three"), "three", False),
        (_question("cat", "giraffe", "cat"), "gir", False),
        (_question("红色", "红色", "蓝色"), "红", True),
        (_question("红色", "红色", "红黄色"), "红", False),
    ],
    ids=str,
)
def test_which_tokens_count(question: Question, token: str, counts: bool) -> None:
    reading = read(question, {token: 0.5, "Nothing": 0.125})
    assert (reading.p, reading.right, reading.said) == (0.5 * counts, counts, token.strip())
    assert reading.more["unlisted"] == pytest.approx(0.375)


def test_every_listed_token_is_counted_once_begun_or_another_answer() -> None:
    question = _question("giraffe", "giraffe", "girl", "cat")
    listed = {"giraffe": 0.1, "Giraffe": 0.2, " gir": 0.3, "G": 0.05, "cat": 0.15, "\n": 0.1}
    reading = read(question, listed)
    assert reading.p == pytest.approx(0.3)
    assert reading.more == pytest.approx({"begun": 0.35, "unlisted": 0.1})
    assert not reading.right  # " gir" is the most probable one, and may be a girl
    whole = read(_question("yes"), {"Yes": 0.7, "yes": 0.3004})  # rounded logarithms
    assert (whole.p, whole.more["unlisted"]) == (1.0, 0.0)


def _file(folder: Path, prompts: Mapping[str, list[Any]]) -> str:
    path = folder / "questions.jsonl"
    lines = [json.dumps({"prompt": text, "questions": some}) for text, some in prompts.items()]
    path.write_text("\n".join(lines))
    return str(path)


def test_a_service_that_lists_every_token_gives_the_values_of_the_local_model(
    tmp_path: Path,
) -> None:
    """The tokens of the tiny model are words, so the rules for tokens and for texts agree."""
    folder = tiny_vlm.save(tmp_path / "tiny")
    model = VisionLanguageModel(str(folder), "cpu")
    questions = [
        {"question": "How many dogs are in the image?", "answers": ["two"]},
        "Are the dogs red?",
        {"question": "Is there grass?", "answers": ["no"], "depends_on": [2]},
        {"question": "Is this a cat or a dog?", "answers": ["dog"], "choices": ["dog", "cat"]},
    ]
    file = _file(tmp_path, {"two red dogs": questions})
    words = [model.text(token) for token in range(len(tiny_vlm.tokenizer()))]

    def first(one: Asked) -> dict[str, float]:
        [(image,), (text,)] = one.images, one.texts
        [found] = model.first_tokens([image], [text])
        return {word: float(p) for word, p in zip(words, found, strict=True) if p > 0}

    images: list[Image.Image] = [
        Image.effect_noise((32, 24), 90).convert("RGB"),
        Image.new("RGB", (24, 24), "red"),
    ]
    prompts = ["two red dogs"] * 2
    with FakeChat(lambda one: "Yes", first=first) as server:
        service = QuestionAnswering(model="m", base_url=server.url, questions=file)
        heard = list(service(images, prompts))
    local = QuestionAnswering(model=str(folder), questions=file, device="cpu")
    for one, other in zip(heard, local(images, prompts), strict=True):
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        assert one.values == pytest.approx(other.values, abs=1e-5)
        for said, expected in zip(one.details["questions"], other.details["questions"],
                                  strict=True):  # fmt: skip
            assert said["p"] == pytest.approx(expected["p"], abs=1e-5)
            assert said["said"] == expected["said"]
            assert said["unlisted"] < 1e-5
    assert {one.values["mean"] for one in heard if isinstance(one, Answer)} != {0.0}
    assert service.name.startswith("qa-m-service-one-word-")
    assert (local.name, local.fingerprint) != (service.name, service.fingerprint)


def _score(run: Run, server: FakeChat, metrics: str = "soft_tifa", **more: Any) -> list[MetricRow]:
    """The rows of scorers that ask a service, which are measured beside another metric."""
    options = {"model": "org/m", "base_url": server.url, **more}
    names = metrics.split(",")
    by_name = {name: options for name in names if name != "vqa_score"}
    by_name |= {"vqa_score": {k: v for k, v in options.items() if k != "questions"}}
    evalkit.score(
        run.path, metrics=f"{metrics},vendi", encoders="mini",
        options={name: by_name[name] for name in names},
    )  # fmt: skip
    rows = {row.metric: row for row in evalkit.load(run.path).metrics()}
    return [rows[name] for name in names]


def test_all_numbers_cost_one_request_per_question(tmp_path: Path) -> None:
    names = "soft_tifa,soft_tifa_gm,tifa,dsg,dpg,dpg_corrected"
    questions = ["Is there a dog?", {"question": "Is it red?", "depends_on": [1]}]
    file = _file(tmp_path, {"a red dog": questions, "two dogs": ["Are there two dogs?"]})
    run = evalkit.generate("noise", ["a red dog", "two dogs", "a cat"], out=tmp_path / "run")

    def first(one: Asked) -> dict[str, float]:
        return {"No": 0.6, "Yes": 0.3} if "red?" in one.texts[0] else YES

    with FakeChat(lambda one: "Yes", first=first) as server:
        _score(run, server, names, questions=file)
        rows = _score(run, server, names, questions=file)
        assert len(server.received) == 3
    values = {row.metric: row.value for row in rows}
    assert values["soft_tifa"] == pytest.approx(((0.7 + 0.3) / 2 + 0.7) / 2)
    assert values["soft_tifa_gm"] == pytest.approx(((0.7 * 0.3) ** 0.5 + 0.7) / 2)
    assert values["tifa"] == values["dsg"] == values["dpg_corrected"] == 0.75
    assert all("no questions" in row.caution for row in rows)
    (path,) = (run.path / "features" / "noise").glob("qa-m-service-*.jsonl")
    kept = [one for row in read_lines(path) for one in row.get("details", {}).get("questions", [])]
    assert [one["unlisted"] for one in kept] == pytest.approx([0.05, 0.1, 0.05])


def test_a_hundred_questions_have_one_outcome_each_and_none_is_paid_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no process is killed here
    texts = [f"text {at}" for at in range(50)]
    file = _file(tmp_path, {text: [f"Is there {text}?", f"Is {text} red?"] for text in texts})
    run = evalkit.generate("noise", texts, out=tmp_path / "run")
    faults: dict[Fault, float] = {
        **{"rate_limited": 0.08, "server_error": 0.08, "overloaded": 0.03, "dropped_before": 0.02},
        **{"dropped_after": 0.05, "malformed": 0.03, "html": 0.01, "refused_input": 0.04},
    }
    with FakeChat(lambda one: "Yes", shares(faults), first=YES, retry_after="0.001") as server:
        [row] = _score(run, server, questions=file, concurrency=16)
        received = len(server.received)
        [again] = _score(run, server, questions=file, concurrency=16)
        assert max(server.counts().values()) == 1
        settled = Counter(call.prompt for call, fault in server.outcomes[:received]
                          if fault in CHARGED or fault.startswith("refused"))  # fmt: skip
        assert not {call.prompt for call, _ in server.outcomes[received:]} & set(settled)
        [more] = _score(run, server, questions=file, concurrency=16, retry_ambiguous=True)
    assert more.count > again.count >= row.count > 25
    assert more.count < 50  # the refused ones
    assert row.value == pytest.approx(0.7)
    assert "ambiguous" in row.caution
    (path,) = (run.path / "features").glob("*.requests.jsonl")
    last = [line for line in read_lines(path) if "attempts" in line]
    assert len({line["key"] for line in last}) == 100


def test_the_limit_of_cost_holds_for_all_scorers_of_a_model(tmp_path: Path) -> None:
    texts = [f"text {at}" for at in range(10)]
    file = _file(tmp_path, {text: [f"Is there {text}?"] for text in texts})
    run = evalkit.generate("noise", texts, out=tmp_path / "run")
    with FakeChat(lambda one: "Yes", first=YES) as server:
        more = {**PRICES, "concurrency": 1, "questions": file}
        with pytest.warns(FailedMetricWarning, match=r"of max_cost \$0\.025"):
            _score(run, server, "vqa_score,soft_tifa", max_cost=0.025, **more)
        assert len(server.received) == int(0.025 / ONE) < 20
        rows = _score(run, server, "vqa_score,soft_tifa", max_cost=1.0, **more)
        assert [row.count for row in rows] == [10, 10]
        assert len(server.received) == 20


def test_an_image_with_a_refused_question_has_no_number(tmp_path: Path) -> None:
    file = _file(tmp_path, {"a dog": ["Is there a dog?", "Is it dead?"], "a cat": ["A cat?"]})

    def plan(call: Call) -> Fault:
        return "refused_input" if "dead" in asked(call.body).texts[0] else "ok"

    images: list[Image.Image] = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    with FakeChat(lambda one: "Yes", plan, first=YES) as server:
        scorer = QuestionAnswering(model="m", base_url=server.url, questions=file)
        found = list(scorer(images, ["a dog", "a cat"]))
    assert isinstance(found[0], NoAnswer)
    assert "refused_input" in found[0].reason
    assert not found[0].again
    assert isinstance(found[1], Answer)
    assert found[1].values["mean"] == pytest.approx(0.7)


def test_a_service_without_probabilities_is_one_sentence(tmp_path: Path) -> None:
    file = _file(tmp_path, {"a dog": ["Is there a dog?"]})
    run = evalkit.generate("noise", ["a dog"], out=tmp_path / "run")
    with (
        FakeChat(lambda one: "Yes") as server,
        pytest.warns(FailedMetricWarning, match="sends no token probabilities"),
    ):
        [row] = _score(run, server, questions=file)
    assert row.value is None


def test_what_a_service_cannot_do_is_said_before_it_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    colour = {"question": "What colour is it?", "answers": ["red"]}
    file = _file(tmp_path, {"a dog": ["Is there a dog?", colour, colour | {"choices": ["red"]}]})
    with FakeChat(first=YES) as server:
        with pytest.raises(EvalkitError, match="duplicates is 'geneval2' and base_url"):
            QuestionAnswering(model="m", base_url=server.url, duplicates="geneval2")
        with pytest.raises(EvalkitError, match="needs a price"):
            QuestionAnswering(model="m", base_url=server.url, max_cost=1.0)
        with caplog.at_level(logging.WARNING, "evalkit"):
            QuestionAnswering(model="open-questions", base_url=server.url, questions=file)
        assert "1 of 3 questions have neither choices nor" in caplog.text
        assert not server.received
