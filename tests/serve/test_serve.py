"""A local model behind the OpenAI Images API, with the official client and with plain requests."""

import base64
import contextlib
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn
from models_for_tests import make_image
from PIL.Image import Image
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError, Generator, Refusal
from evalkit.images import encode_png
from evalkit.local_address import listen
from evalkit.serve import images_api
from evalkit.serve.image_request import BODY_LIMIT
from evalkit.serve.images_api import ServedModel

HOSTS = ("127.0.0.1", "localhost", "[::1]")
TOKEN = "a long and random key".replace(" ", "-")


def draws(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
    """Images of 8 x 8 pixels; some prompts fail on purpose."""
    results: list[Image | Refusal] = []
    for text, seed in zip(prompts, seeds, strict=True):
        if text == "fails":
            raise RuntimeError("a secret of the machine")
        refusals = {
            "gun": Refusal("refused_input", "policy"),
            "nude": Refusal("refused_output"),
            "quota": Refusal("quota"),
            "nan": Refusal("malformed"),
        }
        image = make_image(seed, text)
        if text == "long":
            image.info["note"] = "only the first 2 words were read"
        results.append(refusals.get(text, image))
    return results


@contextlib.contextmanager
def serving(generator: Generator = draws, **options: Any) -> Iterator[int]:
    """The port of a server in a thread of this process."""
    served = ServedModel("toy", generator, (8, 8), **{"hosts": HOSTS} | options)
    server = uvicorn.Server(
        uvicorn.Config(served.app(), log_config=None, access_log=False, lifespan="off", ws="none")
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture(scope="module")
def client(port: int) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0
    ) as client:
        yield client


def ask(
    port: int, body: object = None, path: str = "/v1/images/generations", **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, JSON and headers of a request without any client library."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        content = (
            body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        )
        given = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection.request("GET" if body is None else "POST", path, content, given)
        answer = connection.getresponse()
        return (
            answer.status,
            json.loads(answer.read()),
            {name.lower(): value for name, value in answer.getheaders()},
        )


def test_the_official_client_gets_the_bytes_of_the_local_model(client: openai.OpenAI) -> None:
    for size in ("auto", "8x8"):
        made = client.images.generate(
            model="toy",
            prompt="a cat",
            n=3,
            size=size,
            response_format="b64_json",
            extra_body={"seed": 7},
        )
        data = made.model_dump()["data"]
        assert [base64.b64decode(item["b64_json"]) for item in data] == [
            encode_png(make_image(7 + at, "a cat")) for at in range(3)
        ]
        assert [item["seed"] for item in data] == [7, 8, 9]
        assert made.output_format == "png"
        assert made.size == "8x8"


def test_a_request_without_a_seed_gets_random_seeds_in_the_answer(client: openai.OpenAI) -> None:
    first, second = (
        client.images.generate(model="toy", prompt="a cat").model_dump()["data"][0]
        for _ in range(2)
    )
    assert first["seed"] != second["seed"]
    assert base64.b64decode(first["b64_json"]) == encode_png(make_image(first["seed"], "a cat"))


def test_the_largest_seed_and_unusual_prompts_work(port: int) -> None:
    status, answer, _ = ask(port, {"prompt": "日本\n\0🎉", "seed": 2**63 - 1, "n": 2})
    assert status == 200
    assert [item["seed"] for item in answer["data"]] == [2**63 - 1, 0]


def test_models_and_health(client: openai.OpenAI, port: int) -> None:
    assert [item.id for item in client.models.list()] == ["toy"]
    assert client.models.retrieve("toy").owned_by == "evalkit"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("toi")
    assert ask(port, path="/health")[:2] == (200, {"status": "ok"})


def test_parameters_without_an_effect_are_accepted(port: int) -> None:
    more = {
        "background": "opaque",
        "quality": "auto",
        "moderation": "low",
        "output_format": "png",
        "user": "me",
        "stream": False,
        "size": None,
    }
    assert ask(port, {"prompt": "a", "seed": 1, **more})[0] == 200


def test_a_note_on_the_image_is_in_the_answer(port: int) -> None:
    assert ask(port, {"prompt": "long"})[1]["data"][0]["note"] == "only the first 2 words were read"


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"prompt": ""}, "prompt", "missing_required_parameter"),
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": 3}, "prompt", "missing_required_parameter"),
        ({"prompt": "x" * 32_001}, "prompt", "too_long"),
        ({"prompt": "\ud800"}, "prompt", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 11}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_value"),
        ({"n": "2"}, "n", "invalid_value"),
        ({"size": "9x8"}, "size", "invalid_value"),
        ({"size": 8}, "size", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"seed": 1.0}, "seed", "invalid_value"),
        ({"response_format": "url"}, "response_format", "invalid_value"),
        ({"output_format": "svg"}, "output_format", "invalid_value"),
        ({"background": "transparent"}, "background", "invalid_value"),
        ({"stream": True}, "stream", "invalid_value"),
        ({"stream": 0}, "stream", "invalid_value"),
        ({"quality": ["auto"]}, "quality", "invalid_value"),
        ({"steps": 3}, "steps", "unknown_parameter"),
    ],
)
def test_bad_requests(port: int, change: dict[str, object], param: str, code: str) -> None:
    status, answer, _ = ask(port, {"prompt": "a cat"} | change)
    assert status == 400
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert (answer["error"]["type"], answer["error"]["param"], answer["error"]["code"]) == (
        "invalid_request_error",
        param,
        code,
    )
    assert len(answer["error"]["message"]) < 200


def test_the_official_client_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.images.generate(model="toy", prompt="a cat", response_format="url")
    assert error.value.param == "response_format"
    with pytest.raises(openai.NotFoundError) as error:
        client.images.generate(model="gpt-image-2", prompt="a cat")
    assert error.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"prompt": "' + b"x" * BODY_LIMIT + b'"}', 413, "request_too_large"),
    ],
)
def test_bad_bodies(port: int, body: bytes, status: int, code: str) -> None:
    found, answer, _ = ask(port, body)
    assert (found, answer["error"]["code"]) == (status, code)


def test_web_pages_in_a_browser_are_refused(port: int) -> None:
    """A form sends no JSON type without asking first, and a name that points here is not ours."""
    status, answer, _ = ask(port, {"prompt": "a"}, Content_Type="text/plain")
    assert (status, answer["error"]["code"]) == (415, "unsupported_media_type")
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
        for path in ("/v1/images/generations", "/health"):
            status, answer, headers = ask(
                port, {"prompt": "a"} if "images" in path else None, path, Host=host
            )
            assert (status, answer["error"]["code"]) == (403, "host_not_allowed")
            assert "access-control-allow-origin" not in headers
    for host in ("localhost", f"LOCALHOST:{port}", "[::1]:80"):
        assert ask(port, {"prompt": "a"}, Host=host)[0] == 200


def test_unknown_urls_get_an_error_of_the_same_shape(port: int) -> None:
    for path in ("/", "/v1/images/edits", "/v1/../health/x", "/docs"):
        status, answer, _ = ask(port, path=path)
        assert (status, answer["error"]["code"]) == (404, "unknown_url")
    assert ask(port, path="/v1/images/generations")[0] == 405


@pytest.mark.parametrize(
    ("prompt", "error", "code"),
    [
        ("gun", openai.BadRequestError, "moderation_blocked"),
        ("nude", openai.BadRequestError, "moderation_blocked"),
        ("quota", openai.RateLimitError, "insufficient_quota"),
        ("nan", openai.InternalServerError, "model_malformed"),
        ("fails", openai.InternalServerError, "model_failed"),
    ],
)
def test_refusals_and_failures_of_the_model(
    client: openai.OpenAI,
    prompt: str,
    error: type[openai.APIStatusError],
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(error) as found:
        client.images.generate(model="toy", prompt=prompt)
    assert found.value.code == code
    assert found.value.response.headers["x-should-retry"] == "false"
    assert "secret" not in found.value.response.text
    assert ("a secret of the machine" in caplog.text) == (prompt == "fails")
    if code == "moderation_blocked":
        assert found.value.type == "image_generation_user_error"
        assert found.value.body["moderation_details"] == {
            "moderation_stage": "input" if prompt == "gun" else "output"
        }  # type: ignore[index]


def test_the_key_is_required() -> None:
    with serving(token=TOKEN, hosts=()) as port:
        for key in (
            "",
            "Bearer",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            f"Basic {TOKEN}",
            "Bearer \xe9",
        ):
            for body, path in (
                ({"prompt": "a"}, "/v1/images/generations"),
                (None, "/v1/models"),
                (None, "/v1/models/toy"),
            ):
                status, answer, headers = ask(port, body, path, Authorization=key)
                assert (status, answer["error"]["code"], headers["www-authenticate"]) == (
                    401,
                    "invalid_api_key",
                    "Bearer",
                )
                assert TOKEN not in json.dumps(answer)
        assert ask(port, {"prompt": "a"}, Authorization=f"Bearer {TOKEN}")[0] == 200
        assert (
            ask(port, {"prompt": "a"}, Authorization=f"Bearer {TOKEN}", Host="my-machine.example")[
                0
            ]
            == 200
        )
        assert ask(port, path="/health")[0] == 200


def test_the_model_gets_one_request_at_a_time_and_too_many_get_a_429(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images_api, "WAITING_LIMIT", 4)
    inside, most, go = [0], [0], threading.Event()

    def slow(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        go.wait(10)
        time.sleep(0.01)
        inside[0] -= 1
        return draws(prompts, seeds)

    with serving(slow) as port, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask, port, {"prompt": "a", "seed": seed}) for seed in range(4)]
        deadline = time.monotonic() + 10
        status, answer, headers = 0, {}, {}
        while (
            status != 429 and time.monotonic() < deadline
        ):  # all four must be waiting before a fifth is refused
            late = pool.submit(ask, port, {"prompt": "a"})
            with contextlib.suppress(TimeoutError):
                status, answer, headers = late.result(0.5)
        assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
        assert headers["retry-after"] == "1"
        assert ask(port, path="/health")[0] == 200  # while the model is busy
        go.set()
        answers = [future.result(10) for future in waiting]
    assert [status for status, _, _ in answers].count(200) >= 3  # a late one may have been accepted
    assert most[0] == 1


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["serve", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@contextlib.contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`evalkit serve` in a process of its own, and the base URL that it printed."""
    code = "from evalkit.cli.app import main; main()"
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    with subprocess.Popen(
        [sys.executable, "-c", code, "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=place,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_the_command_serves_with_options_and_ends_after_the_last_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    with command(
        "models_for_tests:lingers", "--port", "0", "--set", "models_for_tests:lingers.size=6"
    ) as (process, base):
        host, _, port = base.removeprefix("http://").removesuffix("/v1").partition(":")
        assert host == "127.0.0.1"
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, int(port), {"prompt": "a cat", "seed": 5})
            deadline = time.monotonic() + 20
            while not (tmp_path / "calls").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)  # while an image is made
            status, answer, _ = waiting.result(20)
        assert status == 200
        assert base64.b64decode(answer["data"][0]["b64_json"]) == encode_png(
            make_image(5, "a cat", 6)
        )
        output, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert output == ""  # the address was the last line
        assert "Traceback" not in errors


def test_addresses_that_are_not_available() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output, errors = call("noise", "--port", str(port))
        assert (status, output) == (2, "")
        assert f"Cannot listen on 127.0.0.1 port {port}" in errors
        assert "--port 0" in errors
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(EvalkitError, match="Cannot listen"):
            listen(host, 0)
    with pytest.raises(EvalkitError, match="expected 0 to 65535"):
        evalkit.serve("noise", port=70_000)


def test_another_host_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "192.168.0.7", "::", "my-machine"):
        status, output, errors = call("noise", "--host", host, "--port", "0")
        assert (status, output) == (2, "")
        assert f"error: Other machines can reach the host {host}" in errors
        assert "--token-env" in errors
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert (
        "NO_SUCH_KEY is not set"
        in call("noise", "--host", "0.0.0.0", "--token-env", "NO_SUCH_KEY")[2]
    )
    monkeypatch.setenv("WEAK_KEY", "weak-canary")
    errors = call("noise", "--token-env", "WEAK_KEY")[2]
    assert "too weak" in errors
    assert "canary" not in errors


def test_models_that_cannot_be_served(tmp_path: Path) -> None:
    for spec, message in (
        ("noisy", "no generator 'noisy'"),
        (str(tmp_path), "a folder or a service"),
        ("models_for_tests:broken", "could not be loaded"),
        ("models_for_tests:few", "returned 0 results on a first image"),
        ("models_for_tests:says", "My own sentence."),
    ):
        with pytest.raises(EvalkitError, match=message):
            evalkit.serve(spec, port=0)
    assert "no option 'sise'" in call("noise", "--port", "0", "--set", "noise.sise=3")[2]
    assert "not among the models" in call("noise", "--port", "0", "--set", "gan.truncation=1")[2]


def test_the_prompt_is_not_logged(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ask(port, {"prompt": "a private canary"})
    assert "toy: 1 image in" in caplog.text
    assert "canary" not in caplog.text


def test_the_openai_generator_gets_the_images_of_a_local_run(port: int, tmp_path: Path) -> None:
    prompts = ["a cat", "a gun", "gun", "日本 β"]
    options = {"base_url": f"http://127.0.0.1:{port}/v1", "send_seed": True, "seed_max": 2**63 - 1}
    near = evalkit.generate(
        ["models_for_tests:plain"], prompts, per_prompt=2, out=str(tmp_path / "near")
    )
    far = evalkit.generate(
        ["openai:toy"],
        prompts,
        per_prompt=2,
        out=str(tmp_path / "far"),
        options={"openai:toy": options},
    )
    here, there = near.records("models_for_tests:plain"), far.records("openai:toy")
    assert [record.status for record in there] == ["ok"] * 4 + ["refused_input"] * 2 + ["ok"] * 2
    for local, remote in zip(here, there, strict=True):
        if remote.status == "ok":
            image = far.image_path("openai:toy", remote)
            assert (
                image.read_bytes() == near.image_path("models_for_tests:plain", local).read_bytes()
            )
            assert remote.sha256 == local.sha256
