"""Templates: reading, mistakes, and every recipe with a local server that acts as the service."""

from __future__ import annotations

import base64
import json
import re
import time

import pytest
from fake_service import image_for, png
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import answer, serving

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.generators.http_template import load
from evalkit.generators.services import received, template_polling
from evalkit.generators.services.json_paths import lookup, parse_path
from evalkit.generators.services.template_file import parse_template, read_template, recipes
from evalkit.generators.services.template_request import filled

KEY = "Canary-Key-0123456789abcdef"
VARIABLES = {
    "gemini": "GEMINI_API_KEY",
    "replicate": "REPLICATE_API_TOKEN",
    "fal": "FAL_KEY",
    "stability": "STABILITY_API_KEY",
    "bfl": "BFL_API_KEY",
}
TEXT = base64.b64encode(png("a cat")).decode()
SMALL = """
url = "https://api.example.com/v1/{model}"
model = "m"
[headers]
Authorization = { env = "TEST_KEY", prefix = "Bearer " }
[body]
prompt = "{prompt}"
[answer]
image = "image"
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*VARIABLES.values(), "TEST_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setattr(received, "RETRY_PAUSE", 0.01)
    monkeypatch.setattr(
        template_polling, "sleep", lambda seconds: time.sleep(min(seconds, 0.01))
    )  # the recipes poll every second


@pytest.fixture
def template(tmp_path):
    """Write a template and load it against a server."""

    def make(text: str, url: str, **options):
        path = tmp_path / "service.toml"
        path.write_text(text, encoding="utf-8")
        return load(template=str(path), base_url=url, **options)

    return make


# --- paths
def test_values_at_paths():
    value = {"a": [{"b": 1}, {"b": 2}, {"c": None}], "x-y": {"z": "t"}, "n": None}
    cases = {
        "a[0].b": [1],
        "a[*].b": [1, 2],
        "a[-1]": [{"c": None}],
        "a[2].c": [],
        "x-y.z": ["t"],
        "n": [],
        "a[9]": [],
        "a.b": [],
        "q.r": [],
    }
    for path, expected in cases.items():
        assert lookup(parse_path(path), value) == expected, path
    assert lookup(parse_path("[0].a"), [{"a": 3}]) == [3]
    assert lookup(parse_path("output[0]"), {"output": "https://x"}) == []  # an index into a string


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[",
        "a[]",
        "a[x]",
        "a[0",
        "a b",
        "a[0]b",
        "$.a[?(@.b)]",
        "a.[0]",
        "a[1.5]",
    ],
)
def test_malformed_paths(path):
    assert parse_path(path) is None


# --- reading
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url = ", r"not valid TOML: .*line 1"),
        (SMALL + "\nx = [1,\n\n", r"not valid TOML: .*line 1\d"),
        (SMALL.replace("prompt = ", "prompt ="), None),
        (
            SMALL.replace('url = "https', 'uri = "https'),
            r"unknown field uri\. Did you mean 'url'\?",
        ),
        (
            SMALL.replace('image = "image"', 'imgae = "image"'),
            r"unknown field answer\.imgae\. Did you mean 'image'\?",
        ),
        (
            SMALL.replace('image = "image"', 'image = "data[0"'),
            r"answer\.image is 'data\[0'; expected a path",
        ),
        (SMALL.replace('image = "image"', ""), r"answer\.image is missing"),
        (
            SMALL.replace('image = "image"', "image = 3"),
            r"answer\.image is 3; expected a string or a list",
        ),
        (SMALL.replace("{prompt}", "a cat"), r"body does not contain \{prompt\}"),
        (
            SMALL.replace('"{prompt}"', '"{prompt} {sede}"'),
            r"body\.prompt contains \{sede\}; expected \{prompt\}, \{seed\}",
        ),
        (SMALL.replace('"{prompt}"', '["{prompt}", "{x}"]'), r"body\.prompt\[1\] contains \{x\}"),
        (
            SMALL.replace('{ env = "TEST_KEY", prefix = "Bearer " }', '"Bearer abc"'),
            r"headers\.Authorization is a string; expected the key from the environment",
        ),
        (
            SMALL.replace('{ env = "TEST_KEY", prefix = "Bearer " }', '{ prefix = "Bearer " }'),
            r"headers\.Authorization has no env",
        ),
        (SMALL.replace("env =", "enw ="), r"unknown field headers\.Authorization\.enw"),
        ("method = 'DELETE'\n" + SMALL, r"method is 'DELETE'; expected one of POST, GET, PUT"),
        ("method = 'GET'\n" + SMALL, r"body is set, but the method is GET"),
        ("encoding = 'xml'\n" + SMALL, r"encoding is 'xml'; expected one of json, multipart"),
        (
            "encoding = 'multipart'\n" + SMALL.replace('"{prompt}"', '["{prompt}"]'),
            r"body is nested",
        ),
        ("size = '1024'\n" + SMALL, r"size is '1024'; expected WIDTHxHEIGHT"),
        ("price = -1\n" + SMALL, r"price is -1; expected 0 or more"),
        ("timeout = 'long'\n" + SMALL, r"timeout is 'long'; expected a number"),
        ("timeout = true\n" + SMALL, r"timeout is True"),
        ("image_hosts = ['https://a.b']\n" + SMALL, r"image_hosts .* contains 'https://a.b'"),
        ("image_hosts = [1]\n" + SMALL, r"image_hosts is \[1\]"),
        (SMALL + "[poll]\nurl = 'u'\nstate = 's'", r"poll\.done is missing"),
        (
            SMALL + "[poll]\nurl = 'u u'\nstate = 's'\ndone = ['x']",
            r"poll\.url is 'u u'; expected a path",
        ),
        (
            SMALL + "[[rule]]\noutcome = 'refused'\npath = 'a'",
            r"rule 1\.outcome is 'refused'; expected one of refused_input",
        ),
        (SMALL + "[[rule]]\noutcome = 'ok'\npath = 'a'", r"rule 1\.outcome is 'ok'"),
        (SMALL + "[[rule]]\noutcome = 'quota'", r"rule 1 has no condition"),
        (SMALL + "[[rule]]\nstatus = 42\noutcome = 'quota'", r"rule 1\.status is 42"),
        (
            SMALL
            + "[[rule]]\npath = 'a'\noutcome = 'quota'\n"
            + "[[rule]]\npath = 'a'\nmatches = '('\noutcome = 'quota'",
            r"rule 2\.matches is not a regular",
        ),
        (SMALL.replace("https://", "ftp://"), None),
    ],
)
def test_mistakes_in_a_template_name_the_line_or_the_field(text, message):
    if message is None:
        parse_template(text, "x.toml")
        return
    with pytest.raises(EvalkitError) as caught:
        parse_template(text, "x.toml")
    assert re.search(message, str(caught.value)), caught.value
    assert "x.toml" in str(caught.value) or "expected host names" in str(caught.value)


def test_mistakes_before_the_first_request(tmp_path, monkeypatch):
    path = tmp_path / "t.toml"
    path.write_text(SMALL.replace("https://", "ftp://"))
    for options, message in (
        ({"template": str(path)}, "t.toml is not usable"),
        ({"template": "gemni"}, "Did you mean 'gemini'"),
        ({"template": "missing.toml"}, "missing.toml cannot be read: No such file"),
        ({"template": str(tmp_path) + "/"}, "cannot be read"),
        ({"template": "bfl", "size": "big"}, "size is 'big'"),
        ({"template": "bfl", "alpha": "pink"}, "alpha is 'pink'"),
        ({"template": "bfl", "extra": "{"}, "extra is not JSON"),
        ({"template": "bfl", "extra": "3"}, "extra is an int; expected a JSON object"),
        ({"template": "bfl", "price": -1.0}, "price is -1"),
        ({"template": "bfl", "base_url": "http://192.168.1.5"}, "unencrypted"),
        (
            {"template": "bfl", "extra": json.dumps({"a": KEY})},
            "The option extra contains the key itself",
        ),
    ):
        with pytest.raises(EvalkitError) as caught:
            load(**options)
        assert message in str(caught.value)
        assert KEY not in str(caught.value)
    monkeypatch.delenv("BFL_API_KEY")
    with pytest.raises(EvalkitError, match=r"The environment variable BFL_API_KEY"):
        load(template="bfl")


def test_a_spec_names_a_recipe_or_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(SMALL)
    for spec, name in (
        ("http-template:own.toml", "own"),
        ("http-template:bfl", "bfl"),
        (f"http-template:{tmp_path}/own.toml", "own"),
    ):
        (model,) = plugins.models([spec], {})
        assert model.label == spec
        assert plugins.load_generator(model, "cpu", []).fingerprint.startswith(
            f"http-template/1 {name} https://"
        )
    (model,) = plugins.models(
        ["http-template"], {"http-template": {"template": "own.toml", "price": "0.5"}}
    )
    assert plugins.load_generator(model, "cpu", []).price == 0.5


# --- what is sent
NASTY = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60) | st.sampled_from(
    ['{seed} "}', "\\u0022", "{prompt}", "a\r\nX: y", "--x"]
)


@settings(max_examples=60, deadline=None)
@given(prompt=NASTY, seed=st.integers(0, 2**63 - 1))
def test_a_prompt_is_sent_unchanged_and_cannot_change_the_body(prompt, seed):
    """The body has the structure of the template, whatever the prompt contains."""
    text = SMALL.replace(
        'prompt = "{prompt}"',
        'input = [{ text = "An image: {prompt}!", seed = "{seed}", '
        'size = "{width}/{height}", keep = true }]',
    )
    described = parse_template(text + "", "x.toml")
    body = json.loads(
        json.dumps(
            filled(
                described.body,
                {
                    "prompt": prompt,
                    "seed": seed,
                    "width": 64,
                    "height": 32,
                    "size": "64x32",
                    "model": "m",
                },
            )
        )
    )
    assert body == {
        "input": [{"text": f"An image: {prompt}!", "seed": seed, "size": "64/32", "keep": True}]
    }


@pytest.mark.parametrize(
    "prompt",
    [
        'a "cat" {seed}',
        'x\r\n--boundary\r\nContent-Disposition: form-data; name="admin"\r\n\r\n1',
        "\U0001f408 é",
        "\ud800",
    ],
)
def test_a_prompt_in_a_form_stays_one_field(template, prompt):
    text = "encoding = 'multipart'\n" + SMALL.replace(
        'prompt = "{prompt}"', 'prompt = "{prompt}"\nseed = "{seed}"'
    )
    with serving(lambda seen: answer(200, {"image": TEXT})) as server:
        assert template(text, server.url).request(prompt, 5, 0).status == "ok"
    (seen,) = server.seen
    kind, _, boundary = seen.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    parts = seen.body.split(f"--{boundary}".encode())
    assert [parts[0], parts[-1]] == [b"", b"--\r\n"]
    fields = dict(part.split(b"\r\n\r\n", 1) for part in parts[1:-1])
    expected = prompt.encode("utf-8", "replace")
    assert [value.removesuffix(b"\r\n") for value in fields.values()] == [expected, b"5"]


def test_placeholders_in_the_url_are_quoted(template):
    text = (
        'method = "GET"\nurl = "https://h.example.com/p/{prompt}?m={model}&s={seed}"\n'
        'model = "m"\n[answer]\nimage = "."\n'
    )
    with serving(lambda seen: answer(200, png("a cat"), "image/png")) as server:
        service = template(text, server.url, model="../../admin/x?y")
        result = service.request("a/../b?c&d=#é\r\n x", 3, 0)
    assert result.status == "ok"
    assert server.seen[0].path == "/p/a%2F..%2Fb%3Fc%26d%3D%23%C3%A9%0D%0A%20x?m=//admin/x%3Fy&s=3"
    assert service.request("x" * 9000, 3, 0).status == "bad_request"


def test_headers_seeds_and_further_fields(template):
    text = "seed_min = 1\nseed_max = 10\n" + SMALL.replace(
        '"{prompt}"', '"{prompt}"\nseed = "{seed}"\ninner = { a = 1, b = 2 }'
    )
    with serving(lambda seen: answer(200, {"image": TEXT})) as server:
        service = template(
            text, server.url, model="big/model", extra='{"inner": {"b": 3}, "new": [1]}'
        )
        assert [service.request("x", seed, 0).status for seed in (0, 9, 10, 2**62)] == ["ok"] * 4
    assert {seen.path for seen in server.seen} == {"/v1/big/model"}
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert [seen.json()["seed"] for seen in server.seen] == [1, 10, 1, 1 + 2**62 % 10]
    assert server.seen[0].json() == {
        "prompt": "x",
        "seed": 1,
        "inner": {"a": 1, "b": 3},
        "new": [1],
    }


def test_the_fingerprint_holds_the_template(template):
    marks = {
        template(text, "https://h.example.com", **options).fingerprint
        for text, options in (
            (SMALL, {}),
            (SMALL + "\n# changed", {}),
            (SMALL, {"model": "n"}),
            (SMALL, {"size": "8x8"}),
            (SMALL, {"extra": '{"a": 1}'}),
            (SMALL, {"alpha": "black"}),
        )
    }
    assert len(marks) == 6
    assert all(
        KEY not in mark and mark.startswith("http-template/1 service https://h.example.com model=")
        for mark in marks
    )


# --- what comes back
def test_rules_come_before_the_status_and_a_failing_server_is_not_a_refusal(template):
    rules = (
        SMALL
        + """
[[rule]]
path = "reason"
values = ["UNSAFE", 7, true]
outcome = "refused_output"
[[rule]]
status = [418, 503]
outcome = "quota"
retry_after = "wait"
[[rule]]
path = "message"
matches = "(?i)slow"
outcome = "rate_limited"
retry_after = "wait"
"""
    )
    cases = [
        (answer(200, {"reason": "UNSAFE", "image": TEXT}), "refused_output", None),
        (answer(400, {"reason": 7}), "refused_output", None),
        (answer(400, {"reason": True}), "refused_output", None),
        (answer(400, {"reason": "7 "}), "bad_request", None),
        (answer(500, {"reason": "UNSAFE"}), "transient", None),
        (answer(503, {}), "quota", None),
        (answer(418, {"wait": "34s"}), "quota", 34.0),
        (answer(400, {"message": "SLOW down", "wait": 2.5}), "rate_limited", 2.5),
        (answer(400, {"message": "SLOW down"}, Retry_After="4"), "rate_limited", 4.0),
        (answer(200, {"reason": "FINE", "image": TEXT}), "ok", None),
        (answer(200, {"reason": None, "image": TEXT}), "ok", None),
        (answer(401, {}), "auth", None),
        (answer(429, {}, Retry_After="3"), "rate_limited", 3.0),
        (answer(504, {}), "ambiguous", None),
        (answer(200, {}), "malformed", None),
        (answer(200, b"<html>", "text/html"), "malformed", None),
        (answer(200, {"image": "https://evil.org/x.png"}), "malformed", None),
        (answer(200, {"image": "nonsense!"}), "malformed", None),
    ]
    for reply, status, wait in cases:
        with serving(lambda seen, reply=reply: reply) as server:
            result = template(rules, server.url).request("x", 1, 0)
        assert (result.status, result.retry_after) == (status, wait), (reply, result)
        assert len(server.seen) == 1


def test_notes_and_costs_come_from_the_answer(template):
    text = "price = 0.5\n" + SMALL + 'note = "revised"\ncost = ["usage.cost", "cost"]\n'
    for body, cost in (
        ({"usage": {"cost": 0.03}}, 0.03),
        ({"cost": "0.02"}, 0.02),
        ({"cost": "nan"}, 0.5),
        ({"cost": -1}, 0.5),
        ({}, 0.5),
    ):
        with serving(
            lambda seen, body=body: answer(200, {"image": TEXT, "revised": "a fat cat", **body})
        ) as server:
            result = template(text, server.url).request("x", 1, 0)
        assert (result.status, result.cost, result.note) == ("ok", cost, "a fat cat")


def test_a_key_that_the_service_repeats_is_removed(template):
    text = (
        SMALL
        + 'note = "note"\n[[rule]]\npath = "reason"\nvalues = ["BAD"]\noutcome = "refused_input"\n'
    )
    for reply in (
        answer(401, {"detail": KEY}),
        answer(400, {"reason": "BAD", "message": f"Bearer {KEY}"}),
        answer(200, {"image": TEXT, "note": KEY}),
        answer(500, KEY.encode(), "text/plain"),
    ):
        with serving(lambda seen, reply=reply: reply) as server:
            service = template(text, server.url)
            result = service.request("x", 1, 0)
        assert KEY[:12].lower() not in f"{result!r} {service!r} {vars(service)}".lower()


# --- polling
POLLED = (
    SMALL
    + """
[poll]
url = "next"
state = "state"
done = ["DONE"]
failed = ["FAILED"]
interval = 0.01
timeout = 0.5
[[rule]]
path = "reason"
values = ["UNSAFE"]
outcome = "refused_output"
"""
)


def polled(template, polls: list[bytes], first: dict | None = None, text: str = POLLED):
    """Run one request with polling; the last answer is repeated."""

    def script(seen):
        if seen.method == "POST":
            return answer(
                201, {"next": f"{server.url}/state", "state": "NEW"} if first is None else first
            )
        assert seen.headers["authorization"] == f"Bearer {KEY}"
        return polls[min(sum(item.method == "GET" for item in server.seen), len(polls)) - 1]

    with serving(script) as server:
        result = template(text, server.url, price=0.1).request("x", 1, 0)
    assert sum(item.method == "POST" for item in server.seen) == 1
    return result, sum(item.method == "GET" for item in server.seen)


BUSY, DONE = answer(200, {"state": "BUSY"}), answer(200, {"state": "DONE", "image": TEXT})


def test_a_request_in_the_background_is_polled_until_done(template):
    result, polls = polled(template, [BUSY, BUSY, DONE])
    assert (result.status, polls, result.cost) == ("ok", 3, 0.1)
    assert result.image.tobytes() == image_for("a cat").tobytes()
    result, polls = polled(
        template, [BUSY], first={"state": "DONE", "image": TEXT}
    )  # ready at once
    assert (result.status, polls) == (
        "ambiguous",
        0,
    )  # the first answer has no URL for its state


def test_temporary_errors_while_polling_are_ignored(template):
    trouble = [
        answer(500, b""),
        answer(503, b""),
        answer(429, {"reason": "UNSAFE"}, Retry_After="0.01"),
        b"",
        b"HTTP/1.1 2",
        answer(200, b"junk", "text/html"),
    ]
    result, polls = polled(template, [*trouble, DONE])
    assert (result.status, polls) == ("ok", len(trouble) + 1)


@pytest.mark.parametrize(
    ("reply_to_poll", "status", "words"),
    [
        (answer(200, {"state": "BUSY", "reason": "UNSAFE"}), "refused_output", "UNSAFE"),
        (answer(200, {"state": "FAILED", "reason": "UNSAFE"}), "refused_output", "UNSAFE"),
        (answer(200, {"state": "FAILED", "error": "out of memory"}), "transient", "out of memory"),
        (answer(200, {"state": "DONE"}), "malformed", "no image"),
        # accepted, and the outcome is unknown: neither transient nor rate limited
        (answer(404, {"detail": "no such task"}), "ambiguous", "no such task"),
        (answer(401, {}), "ambiguous", "HTTP 401"),
        (BUSY, "ambiguous", "not finished within 0.5 s (its state is BUSY)"),
        (answer(503, b""), "ambiguous", "HTTP 503"),
        (answer(429, b"", Retry_After="60"), "ambiguous", "HTTP 429"),
        (b"", "ambiguous", "was lost"),
    ],
)
def test_every_end_of_polling(template, reply_to_poll, status, words):
    begun = time.monotonic()
    result, _ = polled(template, [reply_to_poll])
    assert result.status == status, result
    assert words in result.detail
    assert time.monotonic() - begun < 3
    assert result.cost == (0.1 if status == "malformed" else None)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.org/state",
        "http://169.254.169.254/",
        "http://127.0.0.1:1/x",
        "http://localhost:80/",
        "",
        None,
        7,
    ],
)
def test_the_key_is_not_sent_to_a_url_that_the_answer_invents(template, url, monkeypatch):
    result, polls = polled(template, [DONE], first={"next": url, "state": "NEW"})
    assert (result.status, polls) == ("ambiguous", 0)
    assert "its state is not polled" in result.detail or "has no URL for its state" in result.detail


def test_the_key_is_not_sent_to_another_server_on_the_same_machine(template):
    with serving(lambda seen: DONE) as other:
        result, polls = polled(
            template, [DONE], first={"next": f"{other.url}/state", "state": "NEW"}
        )
    assert (result.status, polls, other.seen) == ("ambiguous", 0, [])


def test_a_poll_url_may_be_built_from_the_answer(template):
    with serving(
        lambda seen: answer(200, {"id": "a/b?c", "state": "NEW"}) if seen.method == "POST" else DONE
    ) as server:
        text = POLLED.replace('url = "next"', f'url = "{server.url}/result?id={{id}}"')
        assert template(text, server.url).request("x", 1, 0).status == "ok"
    assert server.seen[1].path == "/result?id=a%2Fb%3Fc"


# --- recipes
def test_every_recipe_is_tested_here():
    assert set(recipes()) == set(VARIABLES)
    for name in recipes():
        described = read_template(name)
        assert [header.env for header in described.headers if header.env] == [VARIABLES[name]]
        assert described.url.startswith("https://")


def run_recipe(name: str, script, **options):
    """One request of a recipe, with a local server in place of the service."""
    with serving(lambda seen: script(seen, server.url)) as server:
        result = load(template=name, base_url=server.url, **options).request(
            'a "cat"', 2**40 + 3, 0
        )
    return result, server.seen


def candidate(parts: list, reason: str = "STOP", **more) -> dict:
    return {
        "candidates": [
            {"content": {"parts": parts, "role": "model"}, "finishReason": reason, "index": 0}
        ],
        "modelVersion": "x",
        **more,
    }


def test_gemini():
    inline = {"inlineData": {"mimeType": "image/png", "data": TEXT}}
    result, (seen,) = run_recipe(
        "gemini", lambda seen, url: answer(200, candidate([{"text": "Here you are"}, inline]))
    )
    assert result.status == "ok"
    assert result.image.tobytes() == image_for("a cat").tobytes()
    assert seen.path == "/v1beta/models/gemini-3.1-flash-image-preview:generateContent"
    assert seen.headers["x-goog-api-key"] == KEY
    assert seen.json() == {
        "contents": [{"role": "user", "parts": [{"text": 'a "cat"'}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }
    quota = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPer{}PerProjectPerModel"}],
    }
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}

    def exhausted(period: str) -> dict:
        details = [json.loads(json.dumps(quota).replace("{}", period)), retry]
        return {
            "error": {
                "code": 429,
                "message": "You exceeded your current quota",
                "status": "RESOURCE_EXHAUSTED",
                "details": details,
            }
        }

    cases = [
        (answer(200, candidate([], "IMAGE_SAFETY")), "refused_output", "IMAGE_SAFETY", None),
        (
            answer(200, candidate([{"text": "I cannot"}], "IMAGE_PROHIBITED_CONTENT")),
            "refused_output",
            "IMAGE_PROHIBITED_CONTENT",
            None,
        ),
        (answer(200, candidate([], "NO_IMAGE")), "refused_output", "NO_IMAGE", None),
        (
            answer(200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
            "refused_input",
            "PROHIBITED_CONTENT",
            None,
        ),
        (answer(200, candidate([{"text": "a poem"}])), "malformed", "no image", None),
        (answer(429, exhausted("Minute")), "rate_limited", "current quota", 34.0),
        (answer(429, exhausted("Day")), "quota", "PerDay", None),
        (
            answer(
                400,
                {
                    "error": {
                        "message": "API key not valid",
                        "details": [{"reason": "API_KEY_INVALID"}],
                    }
                },
            ),
            "auth",
            "API key not valid",
            None,
        ),
        (
            answer(400, {"error": {"message": "Invalid JSON payload"}}),
            "bad_request",
            "Invalid JSON",
            None,
        ),
        (
            answer(404, {"error": {"message": "models/x is not found"}}),
            "bad_request",
            "not found",
            None,
        ),
        (
            answer(503, {"error": {"message": "The model is overloaded"}}),
            "transient",
            "overloaded",
            None,
        ),
    ]
    for reply, status, words, wait in cases:
        result, _ = run_recipe("gemini", lambda seen, url, reply=reply: reply)
        assert (result.status, result.retry_after) == (status, wait), result
        assert words in result.detail


def prediction(state: str, url: str, output: object = None, error: str | None = None) -> dict:
    return {
        "id": "p1",
        "status": state,
        "output": output,
        "error": error,
        "urls": {"get": f"{url}/v1/predictions/p1", "cancel": f"{url}/x"},
    }


@pytest.mark.parametrize("single", [True, False])
def test_replicate(single):
    def script(seen, url):
        if seen.path.startswith("/files"):
            assert "authorization" not in seen.headers
            return answer(200, png("a cat"), "image/png")
        if seen.method == "POST":
            return answer(201, prediction("starting", url))
        files = f"{url}/files/out-0.png"
        return answer(200, prediction("succeeded", url, files if single else [files]))

    result, seen = run_recipe("replicate", script, model="owner/name")
    assert result.status == "ok", result
    assert result.image.tobytes() == image_for("a cat").tobytes()
    assert [(item.method, item.path) for item in seen] == [
        ("POST", "/v1/models/owner/name/predictions"),
        ("GET", "/v1/predictions/p1"),
        ("GET", "/files/out-0.png"),
    ]
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert seen[0].json()["input"] == {
        "prompt": 'a "cat"',
        "seed": (2**40 + 3) % 2**31,
        "num_outputs": 1,
        "output_format": "png",
    }


def test_replicate_refuses_and_fails():
    for reply, status in (
        (
            lambda url: prediction(
                "failed", url, error="NSFW content detected. Try running it again."
            ),
            "refused_output",
        ),
        (
            lambda url: prediction(
                "failed", url, error="The input or output was flagged as sensitive. (E005)"
            ),
            "refused_output",
        ),
        (lambda url: prediction("failed", url, error="CUDA out of memory"), "transient"),
        (lambda url: prediction("canceled", url), "transient"),
        (lambda url: prediction("succeeded", url, []), "malformed"),
        (lambda url: prediction("succeeded", url, ["https://evil.org/x.png"]), "malformed"),
    ):
        result, seen = run_recipe(
            "replicate", lambda seen, url, reply=reply: answer(201, reply(url))
        )
        assert result.status == status, result
        assert len(seen) == 1
    for reply, status in (
        (answer(402, {"detail": "Insufficient credit"}), "quota"),
        (answer(401, {"detail": "no"}), "auth"),
        (answer(422, {}), "bad_request"),
    ):
        assert run_recipe("replicate", lambda seen, url, reply=reply: reply)[0].status == status


def queue(result_reply):
    def script(seen, url):
        if seen.path == "/files/0.png":
            return answer(200, png("a cat"), "image/png")
        base = f"{url}/fal-ai/flux/requests/r1"
        urls = {
            "request_id": "r1",
            "status_url": f"{base}/status",
            "response_url": base,
            "cancel_url": f"{base}/cancel",
        }
        if seen.method == "POST":
            return answer(200, {"status": "IN_QUEUE", **urls})
        if seen.path.endswith("/status"):
            return answer(200, {"status": "COMPLETED", **urls})
        return result_reply(url)

    return script


def test_fal():
    def images(url, nsfw=False):
        return answer(
            200,
            {
                "images": [{"url": f"{url}/files/0.png", "content_type": "image/png"}],
                "seed": 1,
                "has_nsfw_concepts": [nsfw],
            },
        )

    result, seen = run_recipe("fal", queue(images), size="512x768")
    assert result.status == "ok", result
    assert seen[0].path == "/fal-ai/flux/schnell"
    assert seen[0].headers["authorization"] == f"Key {KEY}"
    assert seen[0].json()["image_size"] == {"width": 512, "height": 768}
    assert [item.path.rpartition("/")[2] for item in seen] == ["schnell", "status", "r1", "0.png"]
    assert run_recipe("fal", queue(lambda url: images(url, True)))[0].status == "refused_output"
    blocked = {
        "detail": [
            {
                "loc": ["body", "prompt"],
                "msg": "The content could not be processed",
                "type": "content_policy_violation",
            }
        ]
    }
    result, _ = run_recipe("fal", queue(lambda url: answer(422, blocked)))
    assert (result.status, "could not be processed" in result.detail) == ("refused_input", True)
    wrong = {"detail": [{"loc": ["body", "seed"], "msg": "too large", "type": "less_than_equal"}]}
    assert run_recipe("fal", queue(lambda url: answer(422, wrong)))[0].status == "bad_request"
    assert (
        run_recipe("fal", queue(lambda url: answer(500, {"detail": "failed"})))[0].status
        == "transient"
    )
    assert (
        run_recipe("fal", queue(lambda url: answer(504, {"detail": "timeout"})))[0].status
        == "ambiguous"
    )
    assert (
        run_recipe("fal", queue(lambda url: answer(429, {"detail": "slow"})))[0].status
        == "ambiguous"
    )  # the image was made: do not send again
    result, _ = run_recipe(
        "fal",
        lambda seen, url: answer(403, {"detail": "User is locked. Reason: Exhausted balance."}),
    )
    assert result.status == "quota"
    assert run_recipe("fal", lambda seen, url: answer(401, {"detail": "no"}))[0].status == "auth"


def test_stability():
    good = {"image": TEXT, "finish_reason": "SUCCESS", "seed": 4}
    result, (seen,) = run_recipe(
        "stability", lambda seen, url: answer(200, good, "application/json; type=image/png")
    )
    assert result.status == "ok", result
    assert seen.path == "/v2beta/stable-image/generate/core"
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    fields = re.findall(rb'name="(\w+)"\r\n\r\n(.*?)\r\n--', seen.body, re.DOTALL)
    assert dict(fields) == {
        b"prompt": b'a "cat"',
        b"seed": str(1 + (2**40 + 3) % 4294967294).encode(),
        b"output_format": b"png",
    }
    for reply, status in (
        (answer(200, {**good, "finish_reason": "CONTENT_FILTERED"}), "refused_output"),
        (
            answer(
                403,
                {"id": "1", "name": "content_moderation", "errors": ["Your request was flagged"]},
            ),
            "refused_input",
        ),
        (answer(403, {"id": "1", "name": "forbidden", "errors": ["no"]}), "auth"),
        (answer(402, {"id": "1", "name": "payment_required", "errors": ["no credits"]}), "quota"),
        (answer(400, {"id": "1", "name": "bad_request", "errors": ["seed: wrong"]}), "bad_request"),
        (
            answer(
                429, {"id": "1", "name": "rate_limit", "errors": ["150 requests in 10 seconds"]}
            ),
            "rate_limited",
        ),
    ):
        assert run_recipe("stability", lambda seen, url, reply=reply: reply)[0].status == status


def test_black_forest_labs():
    polls = iter(["Pending", "Pending", "Ready"])

    def script(seen, url):
        if seen.path == "/files/sample.png":
            assert "x-key" not in seen.headers
            return answer(200, png("a cat"), "image/png")
        assert seen.headers["x-key"] == KEY
        if seen.method == "POST":
            return answer(200, {"id": "t1", "polling_url": f"{url}/v1/get_result?id=t1"})
        state = next(polls)
        return answer(
            200,
            {
                "id": "t1",
                "status": state,
                "result": {"sample": f"{url}/files/sample.png"} if state == "Ready" else None,
            },
        )

    result, seen = run_recipe("bfl", script)
    assert result.status == "ok", result
    assert seen[0].path == "/v1/flux-2-pro"
    assert seen[0].json() == {
        "prompt": 'a "cat"',
        "seed": (2**40 + 3) % 2**31,
        "width": 1024,
        "height": 1024,
        "output_format": "png",
    }
    assert seen[1].path == "/v1/get_result?id=t1"
    assert result.cost == load(template="bfl").price == 0.03
    for state, status in (
        ("Request Moderated", "refused_input"),
        ("Content Moderated", "refused_output"),
        ("Error", "transient"),
        ("Task not found", "transient"),
    ):

        def stopped(seen, url, state=state):
            first = {"id": "t1", "polling_url": f"{url}/v1/get_result?id=t1"}
            return answer(
                200,
                first if seen.method == "POST" else {"id": "t1", "status": state, "result": None},
            )

        assert run_recipe("bfl", stopped)[0].status == status
    assert (
        run_recipe("bfl", lambda seen, url: answer(402, {"detail": "Insufficient credits"}))[
            0
        ].status
        == "quota"
    )
