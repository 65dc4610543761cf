"""The client of chat completions, with a real server: requests, outcomes, costs, probabilities."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from fake_chat import FakeChat, asked
from fake_service import FakeService
from PIL import Image
from scripted_server import Seen, answer, serving

from evalkit.core import EvalkitError
from evalkit.files import append_lines
from evalkit.remote import retry
from evalkit.remote.chat import Chat, ChatOptions
from evalkit.remote.first_token import Asked, FirstTokens
from evalkit.scorer import NoAnswer

RED = Image.new("RGB", (40, 20), (255, 0, 0))
QUESTION = Asked(RED, "Is it red?")
KEY = "sk-Canary-q8Zr4Wn1Vx7Tb2Lk9Pm5"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def chat(server: FakeService, **more: object) -> Chat:
    return Chat(ChatOptions("m", server.url, **more))  # type: ignore[arg-type]


def test_images_texts_and_parameters_are_sent_and_the_text_comes_back() -> None:
    with FakeChat(lambda asked: "a red field") as server:
        client = chat(server, temperature=0.5, seed=7, max_tokens=9, extra='{"top_p": 0.9}')
        found = client.ask([RED, "What is this?"], system="Be short.")
    assert (found.status, found.text) == ("ok", "a red field")
    assert (found.model, found.system_fingerprint) == ("m-2026-11-01", "fp_1")
    (call,) = server.received
    body = {name: value for name, value in call.body.items() if name != "messages"}
    assert body == {"model": "m", "temperature": 0.5, "seed": 7, "max_tokens": 9, "top_p": 0.9}
    system, texts, images = asked(call.body)
    assert (system, texts) == ("Be short.", ["What is this?"])
    assert [image.tobytes() for image in images] == [RED.tobytes()]


def test_extra_leaves_out_and_replaces_fields() -> None:
    extra = '{"temperature": null, "max_completion_tokens": 50}'
    with FakeChat() as server:
        chat(server, extra=extra).ask(["Hello"])
    (call,) = server.received
    assert set(call.body) == {"model", "messages", "max_completion_tokens"}


def test_large_images_are_scaled_down_and_the_rule_is_in_the_fingerprint() -> None:
    with FakeChat() as server:
        small, large = chat(server, max_side=100), chat(server, max_side=200)
        small.ask([Image.new("RGB", (400, 200))])
        large.ask([Image.new("RGB", (50, 200))])
    assert [asked(call.body).images[0].size for call in server.received] == [(100, 50), (50, 200)]
    assert small.fingerprint != large.fingerprint
    assert "max_side=100" in small.fingerprint


def test_costs_are_tokens_times_prices() -> None:
    with FakeChat() as server:
        free, priced = chat(server), chat(server, input_price=2.0, output_price=10.0)
        assert free.ask(["Hello"]).cost is None
        assert priced.ask(["Hello"]).cost == pytest.approx((1000 * 2 + 10 * 10) / 1e6)
    assert free.estimate(["Hello"], []) is None
    with_image, alone = priced.estimate(["Hello"], [RED.size]), priced.estimate(["Hello"], [])
    assert with_image is not None
    assert alone is not None
    assert with_image - alone == pytest.approx(255 * 2 / 1e6)  # the tokens of one tile
    assert alone > 512 * 10 / 1e6  # max_tokens


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("rate_limited", "rate_limited"),
        ("server_error", "transient"),
        ("overloaded", "transient"),
        ("dropped_after", "ambiguous"),
        ("malformed", "malformed"),
        ("html", "malformed"),
        ("refused_input", "refused_input"),
        ("quota", "quota"),
        ("auth", "auth"),
        ("bad_request", "bad_request"),
    ],
)
def test_each_fault_has_its_outcome(fault: str, status: str) -> None:
    with FakeChat(plan=lambda call: fault, retry_after="3") as server:  # type: ignore[return-value]
        found = chat(server).ask(["Hello"])
    assert (found.status, found.text) == (status, "")
    assert found.detail
    assert len(server.received) == 1  # the client never sends again
    assert found.retry_after == (3.0 if fault in ("rate_limited", "overloaded") else None)


def test_a_slow_answer_is_ambiguous() -> None:
    with FakeChat(latency=5.0) as server:
        found = chat(server, timeout=0.05).ask(["Hello"])
    assert found.status == "ambiguous"


@pytest.mark.parametrize(
    ("choice", "status", "text"),
    [
        ({"message": {"content": "yes"}, "finish_reason": "stop"}, "ok", "yes"),
        ({"message": {"content": [{"type": "text", "text": "yes"}]}}, "ok", "yes"),
        ({"message": {"content": None, "refusal": "no"}}, "refused_output", ""),
        ({"message": {"content": "ye"}, "finish_reason": "content_filter"}, "refused_output", ""),
        ({"message": {"content": None}, "finish_reason": "length"}, "malformed", ""),
        ({"message": "yes"}, "malformed", ""),
        ("yes", "malformed", ""),
    ],
)
def test_answers_in_every_shape(choice: object, status: str, text: str) -> None:
    body = {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    with serving(lambda seen: answer(200, body)) as server:
        client = Chat(ChatOptions("m", server.url, input_price=1.0, output_price=1.0))
        found = client.ask(["Hello"])
    assert (found.status, found.text) == (status, text)
    assert found.cost == pytest.approx(2e-6)  # it was answered, so it was charged


def test_a_key_that_a_service_repeats_is_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)

    def echo(seen: Seen) -> bytes:
        given = seen.headers["authorization"]
        if b"fail" in seen.body:
            return answer(400, {"error": {"message": given, "code": given}})
        message = {"content": "", "refusal": f"you sent {given}"}
        body = {"choices": [{"message": message}], "model": given, "system_fingerprint": given}
        return answer(200, body)

    with serving(echo) as server:
        client = Chat(ChatOptions("m", server.url, "MY_KEY"))
        for found in (client.ask(["fail"]), client.ask(["Hello"])):
            assert found.detail
            assert KEY not in repr(found)
    assert KEY not in repr(client) + client.fingerprint
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("options", "found", "hint"),
    [
        ({"base_url": "http://127.0.0.1:1/v1/chat/completions"}, "is the endpoint", "--base-url"),
        ({"base_url": "ftp://x"}, "not usable", "--base-url"),
        ({"base_url": "https://models.example.com/v1"}, "is not OpenAI", "--api-key-env NAME"),
        ({"base_url": "http://10.0.0.1/v1", "api_key_env": "MY_KEY"}, "unencrypted", "none"),
        ({"api_key_env": KEY}, "environment variable", "Do not give the key itself"),
        ({"temperature": -1.0}, "temperature is -1.0", ""),
        ({"max_tokens": 0}, "max_tokens is 0", ""),
        ({"max_side": 1}, "max_side is 1", ""),
        ({"input_price": -1.0}, "input_price is -1.0", ""),
        ({"extra": "[1]"}, "extra is a list", "--extra"),
        ({"extra": "{"}, "extra is not JSON", "--extra"),
        ({"extra": '{"messages": []}'}, "extra sets 'messages'", ""),
    ],
)
def test_mistakes_are_one_sentence(
    options: dict[str, object], found: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with pytest.raises(EvalkitError) as error:
        Chat(ChatOptions("m", **({"base_url": "http://127.0.0.1:1/v1"} | options)))  # type: ignore[arg-type]
    assert found in error.value.message
    assert hint in error.value.hint
    assert KEY not in str(error.value)


def test_the_first_token_and_its_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "backoff", lambda failures: 0.0)
    shares = {"Yes": 0.75, " yes": 0.05, "No": 0.2}
    with FakeChat(
        lambda asked: "Yes",
        lambda call: (
            "ok"
            if call.attempt > 2
            else ("server_error", "overloaded", "rate_limited")[call.attempt]
        ),
        first=shares,
        retry_after="0.001",
    ) as server:
        (found,) = FirstTokens(chat(server, max_tokens=1)).ask_all([QUESTION])
        assert found == pytest.approx(shares)
    assert len(server.received) == 4
    assert server.received[0].body["top_logprobs"] == 20
    assert len(server.accepted) == 1


def listed(tokens: Mapping[str, object], journal: Path | None = None) -> object:
    """What is read of the listed first tokens and their logarithms."""
    top = [{"token": token, "logprob": value} for token, value in tokens.items()]
    choice = {"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": top}]}}
    with serving(lambda seen: answer(200, {"choices": [choice]})) as server:
        [found] = FirstTokens(Chat(ChatOptions("m", server.url)), journal).ask_all([QUESTION])
    return found


def test_what_is_no_logarithm_is_no_probability() -> None:
    values = [-(10**400), -1e999, math.nan, None, "0", True, -1.0]
    found = listed({f"t{at}": value for at, value in enumerate(values)})
    assert found == {"t0": 0.0, "t1": 0.0, "t6": pytest.approx(math.exp(-1))}


@pytest.mark.parametrize("value", [5e-4, 0.5, 1e6, math.inf])
def test_a_probability_above_1_is_rounded_or_makes_the_answer_unusable(value: float) -> None:
    """The token was left out, and the next one was the answer."""
    found = listed({"Yes": value, "No": -9.0})
    if value < 1e-3:
        assert found == pytest.approx({"Yes": 1.0005, "No": math.exp(-9)}, rel=1e-4)
    else:
        said = "malformed: the token probabilities are no probabilities"
        assert found == NoAnswer(said, again=True)


def test_half_a_character_is_a_token_that_can_be_written(tmp_path: Path) -> None:
    found = listed({"\ud83d": -0.5, "Yes": -1.0}, tmp_path / "journal.jsonl")
    assert found == pytest.approx({"?": math.exp(-0.5), "Yes": math.exp(-1)})


def test_a_model_without_probabilities_is_refused() -> None:
    expected = r"'m' of 127.0.0.1:\d+ sends no token probabilities"
    with FakeChat(lambda asked: "Yes") as server, pytest.raises(EvalkitError, match=expected):
        FirstTokens(chat(server)).ask_all([QUESTION])


@pytest.mark.parametrize(
    ("fault", "again"), [("refused_input", False), ("dropped_after", True), ("bad_request", True)]
)
def test_an_image_without_an_answer_has_no_number(fault: str, again: bool) -> None:
    with FakeChat(plan=lambda call: fault, first={"Yes": 1.0}) as server:  # type: ignore[return-value]
        (found,) = FirstTokens(chat(server)).ask_all([QUESTION])
    assert isinstance(found, NoAnswer)
    assert found.again == again
    assert len(server.received) == 1


def test_a_wrong_key_stops_a_scorer() -> None:
    expected = "HTTP 401"
    with FakeChat(plan=lambda call: "auth") as server, pytest.raises(EvalkitError, match=expected):
        FirstTokens(chat(server)).ask_all([QUESTION])


def test_answers_are_in_the_journal_and_no_key_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    path = tmp_path / "new" / "requests.jsonl"
    with FakeChat(lambda asked: "Yes", first={" Yes": 0.5, KEY: 0.25}) as server:
        client = chat(server, api_key_env="MY_KEY")
        for _ in range(2):
            assert FirstTokens(client, path).ask_all([QUESTION]) == [{" Yes": pytest.approx(0.5)}]
        assert len(server.received) == 1
        other = Asked(RED.rotate(90, expand=True), QUESTION.question)
        FirstTokens(client, path).ask_all([other, other, QUESTION])
    assert len(server.received) == 2
    assert KEY not in path.read_text()


def test_a_request_in_flight_when_a_process_ended_is_asked_again_on_request_only(
    tmp_path: Path,
) -> None:
    path = tmp_path / "requests.jsonl"
    with FakeChat(lambda asked: "Yes", first={"Yes": 1.0}) as server:
        FirstTokens(chat(server), path).ask_all([QUESTION])
        sent = path.read_bytes().splitlines(keepends=True)[0]
        path.write_bytes(sent)  # the process ended before the answer came
        (lost,) = FirstTokens(chat(server), path).ask_all([QUESTION])
        assert isinstance(lost, NoAnswer)
        assert lost.again
        assert "may have been charged" in lost.reason
        assert len(server.received) == 1
        again = FirstTokens(chat(server), path, retry_ambiguous=True)
        assert again.ask_all([QUESTION]) == [{"Yes": 1.0}]


def test_what_cannot_be_asked_of_a_service_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    append_lines(path, [{"key": 1, "attempts": "x"}])
    with FakeChat() as server:
        for found, options in (
            ("needs a price", {"max_cost": 1.0}),
            ("max_cost is -1.0; expected", {"max_cost": -1.0}),
            ("concurrency is 0; expected", {"concurrency": 0}),
            ("is damaged", {"journal": path}),
        ):
            with pytest.raises(EvalkitError, match=found):
                FirstTokens(chat(server), **options)  # type: ignore[arg-type]


def test_a_scorer_is_told_its_own_options() -> None:
    with pytest.raises(EvalkitError) as error:
        Chat(ChatOptions("m", "https://models.example.com/v1"), scorer="vqa_score")
    assert "--set vqa_score.api_key_env=NAME" in error.value.hint
    assert json.dumps("m") in Chat(ChatOptions("m", "http://127.0.0.1:1/v1")).fingerprint
