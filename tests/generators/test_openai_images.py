"""The openai generator: its requests, the outcome of every answer, mistakes, and secrecy."""

from __future__ import annotations

import base64
import io
import json
import time
from email.utils import formatdate

import pytest
from fake_service import FakeService, image_for, png
from PIL import Image
from scripted_server import answer, serving

from evalkit import plugins
from evalkit.config import is_path
from evalkit.core import EvalkitError
from evalkit.generators.openai_images import load
from evalkit.generators.services.prices import cost_by_tokens

KEY = "sk-Canary-0123456789ABCdefghij"
GOOD = {"created": 1, "data": [{"b64_json": base64.b64encode(png("x")).decode()}]}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEST_KEY", KEY)


def ask(reply: bytes, **options):
    with serving(lambda seen: reply) as server:
        result = load(
            model="m", base_url=f"{server.url}/v1", api_key_env="TEST_KEY", **options
        ).request("a cat", 7, 0)
    assert len(server.seen) == 1
    return result


def test_what_is_sent():
    with serving(lambda seen: answer(200, GOOD)) as server:
        service = load(
            model="gpt-image-2",
            base_url=f"{server.url}/v1/",
            api_key_env="TEST_KEY",
            size="1024x1024",
            quality="low",
            background="opaque",
            output_format="png",
            moderation="low",
            extra='{"steps": 20, "nested": {"a": [1]}}',
        )
        result = service.request('a "cat"\n{seed} \U0001f408', 2**62, 3)
    assert (result.status, result.image is not None, result.detail, result.note) == (
        "ok",
        True,
        "",
        "",
    )
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/images/generations")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"
    assert seen.json() == {
        "model": "gpt-image-2",
        "prompt": 'a "cat"\n{seed} \U0001f408',
        "n": 1,
        "size": "1024x1024",
        "quality": "low",
        "background": "opaque",
        "output_format": "png",
        "moderation": "low",
        "steps": 20,
        "nested": {"a": [1]},
    }


def test_a_seed_is_sent_only_if_the_service_reads_one():
    for options, expected in (
        ({}, None),
        ({"send_seed": True}, (2**40 + 5) % 2**31),
        ({"send_seed": True, "seed_max": 99}, (2**40 + 5) % 100),
    ):
        with serving(lambda seen: answer(200, GOOD)) as server:
            load(model="m", base_url=server.url, **options).request("x", 2**40 + 5, 0)
        assert server.seen[0].json().get("seed") == expected


def test_azure_by_deployment_and_version():
    with serving(lambda seen: answer(200, GOOD)) as server:
        for base in (
            server.url,
            f"{server.url}/openai",
            f"{server.url}/openai/deployments/my%20deployment",
        ):
            service = load(
                model="my deployment",
                base_url=base,
                api_key_env="TEST_KEY",
                api_version="2025-04-01-preview",
            )
            assert service.request("x", 1, 0).status == "ok"
    for seen in server.seen:
        assert (
            seen.path == "/openai/deployments/my%20deployment/images/generations"
            "?api-version=2025-04-01-preview"
        )
        assert seen.headers["api-key"] == KEY
        assert "authorization" not in seen.headers
        assert "model" not in seen.json()


def test_images_by_base64_and_by_url_have_the_same_pixels():
    with FakeService() as fake:
        for options in ({}, {"response_format": "url"}):
            result = load(model="m", base_url=fake.url, **options).request("a cat", 1, 0)
            assert result.status == "ok"
            assert result.image.tobytes() == image_for("a cat").tobytes()
            assert result.image.mode == "RGB"


@pytest.mark.parametrize(
    ("fault", "status", "words", "wait"),
    [
        ("rate_limited", "rate_limited", "Rate limit reached", 2.5),
        ("server_error", "transient", "The server had an error", None),
        ("overloaded", "transient", "overloaded", 2.5),
        ("dropped_before", "ambiguous", "was lost", None),
        ("dropped_after", "ambiguous", "was lost", None),
        ("malformed", "malformed", "not valid JSON", None),
        ("truncated", "malformed", "truncated", None),
        ("html", "malformed", "text/html", None),
        ("refused_input", "refused_input", "moderation_blocked", None),
        ("refused_output", "refused_output", "safety_violations=[violence]", None),
        ("quota", "quota", "exceeded your current quota", None),
        ("auth", "auth", "Incorrect API key", None),
        ("bad_request", "bad_request", "Invalid size", None),
        ("unknown_model", "bad_request", "The model does not exist", None),
    ],
)
def test_every_fault_has_one_outcome_and_is_sent_once(fault, status, words, wait):
    with FakeService(lambda call: fault, retry_after="2.5") as fake:
        result = load(model="m", base_url=fake.url).request("a cat", 1, 0)
        assert len(fake.received) == 1
    assert (result.status, result.retry_after, result.image) == (status, wait, None)
    assert words in result.detail


def error(status: int, message: str = "", code: object = None, **more: object) -> bytes:
    return answer(status, {"error": {"message": message, "code": code, **more}})


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        # refusals as several services write them
        (error(400, "Your request was rejected.", "content_policy_violation"), "refused_input"),
        (
            error(
                400,
                "blocked",
                "contentFilter",
                inner_error={"code": "ResponsibleAIPolicyViolation"},
            ),
            "refused_input",
        ),
        (
            error(400, "Generated image was filtered as a result of our safety system.", None),
            "refused_output",
        ),
        (
            error(400, "litellm.BadRequestError: litellm.ContentPolicyViolationError: no", "400"),
            "refused_input",
        ),
        (
            error(403, "flagged", 403, metadata={"reasons": ["violence"], "flagged_input": "…"}),
            "refused_input",
        ),
        (error(422, "NSFW content detected in the image"), "refused_input"),
        (error(451, "unavailable"), "refused_input"),
        (
            error(
                400, "x", "moderation_blocked", moderation_details={"moderation_stage": "output"}
            ),
            "refused_output",
        ),
        (
            error(400, "x", "moderation_blocked", moderation_details={"moderation_stage": "input"}),
            "refused_input",
        ),
        # a failing server is not a refusal, whatever its text
        (
            error(
                500,
                "content_policy_violation: our safety system had an error",
                "moderation_blocked",
            ),
            "transient",
        ),
        (error(503, "safety system unavailable"), "transient"),
        (error(429, "content policy service is rate limited"), "rate_limited"),
        # money
        (error(429, "You exceeded your current quota, please check your plan"), "quota"),
        (error(429, "slow down", "insufficient_quota"), "quota"),
        (error(400, "Billing hard limit has been reached", "billing_hard_limit_reached"), "quota"),
        (error(402, "Insufficient credits"), "quota"),
        (error(500, "You exceeded your current quota"), "transient"),
        # keys
        (error(401, "no"), "auth"),
        (error(403, "Your organization must be verified"), "auth"),
        # mistakes in the request, redirects
        (error(404, "The model `m` does not exist", "model_not_found"), "bad_request"),
        (error(400, "Unknown parameter: 'policy'"), "bad_request"),
        (error(413), "bad_request"),
        (error(422, "size: wrong"), "bad_request"),
        (answer(301, b"", Location="https://elsewhere.example.com/"), "bad_request"),
        (answer(307, b"", Location="https://elsewhere.example.com/"), "bad_request"),
        # failures of the service and of gateways
        (error(500), "transient"),
        (answer(500, b"<html>", "text/html"), "transient"),
        (answer(502, b"<html>", "text/html"), "ambiguous"),
        (answer(504, b"", "text/plain"), "ambiguous"),
        (answer(520, b""), "ambiguous"),
        (answer(521, b""), "transient"),
        (answer(522, b""), "ambiguous"),
        (answer(523, b""), "transient"),
        (answer(524, b""), "ambiguous"),
        (answer(529, b""), "transient"),
        (answer(599, b""), "ambiguous"),
        (error(408), "transient"),
        (error(409), "transient"),
        # an error inside HTTP 200, from some routers
        (error(200, "slow down", 429), "rate_limited"),
        (error(200, "no", "content_policy_violation"), "refused_input"),
        (error(200, "provider returned error"), "ambiguous"),
        # 2xx without an image
        (answer(200, {}), "malformed"),
        (answer(200, {"data": []}), "malformed"),
        (answer(200, {"data": [{}]}), "malformed"),
        (answer(200, {"data": "x"}), "malformed"),
        (answer(200, {"data": [{"b64_json": 3}]}), "malformed"),
        (answer(200, {"data": [{"b64_json": "%%%"}]}), "malformed"),
        (answer(200, [1, 2]), "malformed"),
        (answer(200, b"null"), "malformed"),
        (answer(200, b'{"data": [', "application/json"), "malformed"),
        (answer(200, b"\xff\xfe", "application/json"), "malformed"),
        (answer(200, b"[" * 100_000, "application/json"), "malformed"),
        (answer(200, json.dumps(GOOD).encode(), "text/html"), "malformed"),
        (answer(200, {"data": [{"url": "https://evil.org/1.png"}]}), "malformed"),
        (answer(200, {"data": [{"url": "http://169.254.169.254/latest"}]}), "malformed"),
        (answer(204, b""), "malformed"),
    ],
)
def test_what_an_answer_means(reply, status):
    result = ask(reply)
    assert result.status == status, result
    assert result.image is None
    assert result.detail
    assert len(result.detail) <= 300


def test_retry_after_as_seconds_as_a_date_and_in_milliseconds():
    def wait(**headers: str) -> float | None:
        return ask(answer(429, {"error": {"message": "slow"}}, **headers)).retry_after

    assert wait(Retry_After="3") == 3.0
    assert wait(Retry_After="1.5", retry_after_ms="200") == 0.2
    now = time.time()
    assert wait(Retry_After=formatdate(now + 100, usegmt=True)) == pytest.approx(100, abs=3)
    # the service's clock is an hour slow: its own date counts
    assert (
        wait(
            Retry_After=formatdate(now - 3600 + 20, usegmt=True),
            Date=formatdate(now - 3600, usegmt=True),
        )
        == 20
    )
    assert wait(Retry_After=formatdate(now - 50, usegmt=True)) == 0.0
    for junk in ("soon", "-3", "nan", "inf", "", "1e400", "Mon, 99 Foo 2026"):
        assert wait(Retry_After=junk) is None


def test_notes_on_revised_prompts_and_transparency():
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(buffer, "PNG")
    item = {
        "b64_json": base64.b64encode(buffer.getvalue()).decode(),
        "revised_prompt": "a fat\ncat",
    }
    result = ask(answer(200, {"data": [item]}))
    assert result.note == "transparency composited on white; prompt revised: a fat cat"
    assert result.image.getpixel((0, 0)) == (255, 255, 255)
    assert ask(answer(200, {"data": [item]}), alpha="black").image.getpixel((0, 0)) == (0, 0, 0)
    assert ask(answer(200, {"data": [item]}), alpha="refuse").status == "malformed"


def test_the_price_and_the_cost_of_an_image(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert load(model="gpt-image-1-mini", quality="low", size="1024x1024").price == 0.005
    assert load(model="gpt-image-1-mini", quality="low", size="1024x1024", price=0.1).price == 0.1
    assert load(model="who-knows").price is None
    usage = {
        "input_tokens": 50,
        "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
        "output_tokens": 1000,
    }
    # 40 text tokens at 2 dollars a million, 10 image tokens at 2.5, 1,000 output tokens at 8
    assert cost_by_tokens("openai", "gpt-image-1-mini", usage) == pytest.approx(
        (40 * 2 + 10 * 2.5 + 1000 * 8) / 1e6
    )
    assert cost_by_tokens("openai", "gpt-image-1-mini-2026-01-31", usage) == cost_by_tokens(
        "openai", "gpt-image-1-mini", usage
    )
    for unknown in (
        ("openai", "who-knows", usage),
        ("other", "gpt-image-1-mini", usage),
        ("openai", "gpt-image-1-mini", None),
    ):
        assert cost_by_tokens(*unknown) is None
    for broken in (
        {},
        {"input_tokens": "5", "output_tokens": 1},
        {"input_tokens": 5, "output_tokens": -1},
        {"input_tokens": True, "output_tokens": 1},
    ):
        assert cost_by_tokens("openai", "gpt-image-1-mini", broken) is None
    # other services have their own prices: only the user's price counts
    assert ask(answer(200, {**GOOD, "usage": usage})).cost is None
    assert ask(answer(200, {**GOOD, "usage": usage}), price=0.02).cost == 0.02
    assert (
        ask(answer(200, {"data": [{"b64_json": "%"}]}), price=0.02).cost == 0.02
    )  # accepted, so most likely charged
    assert ask(answer(429, {}), price=0.02).cost is None
    # some routers report the cost
    assert ask(answer(200, {**GOOD, "usage": {"cost": 0.031}}), price=0.02).cost == 0.031
    assert ask(answer(200, GOOD, x_litellm_response_cost="0.042"), price=0.02).cost == 0.042
    for junk in ("nan", "-1", "much", ""):
        assert ask(answer(200, GOOD, x_litellm_response_cost=junk), price=0.02).cost == 0.02


def test_the_fingerprint_is_readable_and_complete(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    base = {"model": "gpt-image-2", "size": "1024x1024"}
    plain = load(**base).fingerprint
    assert (
        plain
        == "openai-images/1 https://api.openai.com/v1 model=gpt-image-2 size=1024x1024 alpha=white"
    )
    changes = [
        {"model": "gpt-image-1.5"},
        {"size": "512x512"},
        {"quality": "low"},
        {"background": "opaque"},
        {"output_format": "png"},
        {"moderation": "low"},
        {"send_seed": True},
        {"extra": '{"a": 1}'},
        {"alpha": "black"},
        {"api_version": "1"},
        {"base_url": "https://eu.api.openai.com/v1"},
        {"response_format": "url"},
        {"send_seed": True, "seed_max": 9},
    ]
    found = [load(**{**base, **change}).fingerprint for change in changes]
    assert len({plain, *found}) == len(changes) + 1
    assert load(**base, timeout=5.0, price=1.0).fingerprint == plain  # neither changes an image
    assert (
        load(**base, extra='{"a": 1, "b": 2}').fingerprint
        == load(**base, extra='{"b": 2, "a": 1}').fingerprint
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "The environment variable OPENAI_API_KEY"),
        ({"api_key_env": "NOT_SET"}, "The environment variable NOT_SET"),
        (
            {"base_url": "https://api.example.com/v1"},
            "is not OpenAI; expected the option api_key_env",
        ),
        ({"base_url": "api.example.com/v1"}, "base_url is not usable"),
        ({"base_url": "ftp://api.example.com"}, "base_url is not usable"),
        ({"base_url": "https://user:pw@api.example.com"}, "base_url is not usable"),
        ({"base_url": "https://api.example.com/v1?a=b", "api_key_env": "TEST_KEY"}, "has a query"),
        (
            {
                "base_url": "https://api.example.com/v1/images/generations",
                "api_key_env": "TEST_KEY",
            },
            "is the endpoint; expected the part before",
        ),
        ({"base_url": "http://api.example.com/v1", "api_key_env": "TEST_KEY"}, "unencrypted"),
        ({"api_key_env": "TEST_KEY", "extra": "{"}, "extra is not JSON"),
        ({"api_key_env": "TEST_KEY", "extra": "[]"}, "extra is a list"),
        ({"api_key_env": "TEST_KEY", "extra": '{"prompt": "x"}'}, "extra sets 'prompt'"),
        ({"api_key_env": "TEST_KEY", "extra": '{"size": "x"}', "size": "1x1"}, "extra sets 'size'"),
        ({"api_key_env": "TEST_KEY", "alpha": "pink"}, "alpha is 'pink'"),
        ({"api_key_env": "TEST_KEY", "timeout": 0.0}, "timeout is 0"),
        ({"api_key_env": "TEST_KEY", "price": -1.0}, "price is -1"),
        ({"api_key_env": "TEST_KEY", "image_hosts": "https://a.b"}, "image_hosts contains"),
    ],
)
def test_mistakes_are_found_before_the_first_request(options, message):
    with pytest.raises(EvalkitError) as caught:
        load(model="m", **options)
    assert message in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_key_in_place_of_its_name_is_not_repeated(monkeypatch):
    with pytest.raises(EvalkitError) as caught:
        load(model="m", api_key_env=KEY)
    assert KEY not in str(caught.value)
    with pytest.raises(EvalkitError) as caught:
        load(model="m", api_key_env="TEST_KEY", extra=json.dumps({"key": KEY}))
    assert KEY not in str(caught.value)
    monkeypatch.setenv("TEST_KEY", f"{KEY}\nX-Evil: 1")
    with pytest.raises(EvalkitError) as caught:
        load(model="m", api_key_env="TEST_KEY")
    assert "TEST_KEY" in str(caught.value)
    assert KEY not in str(caught.value)


def test_which_key_is_sent_to_which_service(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-key-000000")
    with serving(lambda seen: answer(200, GOOD)) as server:
        load(model="m", base_url=server.url).request(
            "x", 1, 0
        )  # a local server gets a key only on request
        load(model="m", base_url=server.url, api_key_env="OPENAI_API_KEY").request("x", 1, 0)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        load(model="m").request("x", 1, 0)
    assert [seen.headers.get("authorization") for seen in server.seen] == [
        None,
        "Bearer sk-openai-key-000000",
        None,
    ]
    assert server.seen[2].path == "/v1/images/generations"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example.com/v1")
    assert "Bearer" not in repr(
        load(model="m")
    )  # OPENAI_BASE_URL and OPENAI_API_KEY belong together
    load(model="m", base_url="http://192.168.1.9:8000/v1", api_key_env="none")


def test_a_key_that_the_service_repeats_is_removed():
    """From errors, notes, fragments and the repr of objects."""
    partly = KEY[:-3]
    echoes = [
        error(401, f"Incorrect API key provided: {KEY}"),
        error(500, f"Authorization: Bearer {KEY}"),
        error(400, f"header {partly}… was wrong", code=KEY),
        answer(400, {"detail": [{"msg": KEY}]}),
        answer(502, f"upstream: {KEY}".encode(), "text/plain"),
        answer(200, {"data": [], "error": {"message": KEY, "code": KEY}}),
        answer(200, b"<html>" + KEY.encode(), f"text/{KEY}"),
        answer(200, {"data": [{"url": f"https://{KEY.lower()}.example.com/{KEY}"}]}),
        answer(200, {"data": [{**GOOD["data"][0], "revised_prompt": f"a cat {KEY}"}]}),
        answer(400, {"error": {"message": "x" * 290 + KEY}}),
    ]
    for reply in echoes:
        result = ask(reply)
        assert KEY[:12].lower() not in repr(result).lower(), result
        assert KEY[12:24].lower() not in repr(result).lower(), result
    service = load(model="m", base_url="http://127.0.0.1:1/v1", api_key_env="TEST_KEY")
    shown = f"{service!r} {service} {vars(service)} {service.fingerprint}"
    shown += repr(service.request("x", 1, 0))
    assert KEY not in shown


def test_a_model_is_found_by_its_name(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (model,) = plugins.models(
        ["openai:gpt-image-1.5"], {"openai:gpt-image-1.5": {"size": "1024x1024"}}
    )
    assert (model.label, model.spec) == ("openai:gpt-image-1.5", "openai:gpt-image-1.5")
    assert model.options["model"] == "gpt-image-1.5"
    service = plugins.load_generator(model, "cpu", [])
    assert hasattr(service, "request")
    assert "model=gpt-image-1.5 size=1024x1024" in service.fingerprint
    (again,) = plugins.models(["openai-images:a/b:c"], {})
    assert (again.label, again.options["model"]) == ("openai-images:a/b:c", "a/b:c")
    assert not any(
        map(
            is_path,
            (
                "openai:gpt-image-2",
                "openai:owner/model",
                "diffusers:owner/model",
                "http-template:a/b.toml",
            ),
        )
    )
    assert all(
        map(
            is_path, ("./openai:owner/model", "a/openai:m", "C:/pictures", "../x", "https://host/x")
        )
    )
    with pytest.raises(EvalkitError, match="needs the option 'model'"):
        plugins.models(["openai"], {})
    with pytest.raises(EvalkitError, match="is also given model='other'"):
        plugins.models(["openai:m"], {"openai:m": {"model": "other"}})
    with pytest.raises(EvalkitError, match="takes no argument"):
        plugins.models(["noise:5"], {})
    with pytest.raises(EvalkitError, match="Did you mean 'openai'"):
        plugins.models(["opnai:gpt-image-2"], {})


def test_the_official_client_gets_the_same_image():
    """An independent client reads the same answers of the same server."""
    import openai

    with FakeService() as fake:
        client = openai.OpenAI(base_url=fake.url, api_key="none", max_retries=0)
        theirs = (
            client.images.generate(model="m", prompt="a cat", size="1024x1024", n=1)
            .data[0]
            .b64_json
        )
        ours = load(model="m", base_url=fake.url, size="1024x1024").request("a cat", 1, 0)
        client.close()
    assert base64.b64decode(theirs) == png("a cat")
    assert ours.image.tobytes() == image_for("a cat").tobytes()
    official, own = (call.body for call in fake.received)
    assert dict(official) == dict(own)
    assert fake.received[0].path == fake.received[1].path
    with FakeService(lambda call: call.prompt) as fake:
        client = openai.OpenAI(base_url=fake.url, api_key="none", max_retries=0)
        service = load(model="m", base_url=fake.url)
        pairs = {
            "rate_limited": openai.RateLimitError,
            "quota": openai.RateLimitError,
            "auth": openai.AuthenticationError,
            "bad_request": openai.BadRequestError,
            "unknown_model": openai.NotFoundError,
            "server_error": openai.InternalServerError,
            "dropped_after": openai.APIConnectionError,
        }
        for fault, kind in pairs.items():
            with pytest.raises(kind):
                client.images.generate(model="m", prompt=fault)
            assert service.request(fault, 1, 0).status != "ok"
        client.close()
