"""A service that repeats the key in every text leaves no trace of it in files or output."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
from fake_service import png
from forked import Command
from scripted_server import Seen, answer, serving

KEY = "sk-Canary-q8Zr4Wn1Vx7Tb2Lk9Pm5"
TEMPLATE = """
url = "https://api.example.com/v1/images"
[headers]
X-Api-Key = { env = "CANARY_KEY", prefix = "Key " }
[body]
prompt = "{prompt}"
[answer]
image = "data[0].b64_json"
note = "data[0].revised_prompt"
"""


def echoing(seen: Seen) -> bytes:
    """Each prompt is the name of a fault; every answer contains the key."""
    given = seen.headers.get("authorization") or seen.headers.get("x-api-key") or "no key"
    echo = f"you sent {given} to {seen.path}"
    item = {"b64_json": base64.b64encode(png("x")).decode(), "revised_prompt": echo}
    what = seen.json()["prompt"]
    return {
        "ok": answer(200, {"data": [item]}),
        "auth": answer(401, {"error": {"message": echo, "code": given}}, X_Echo=given),
        "bad": answer(400, {"error": {"message": echo}}),
        "refused": answer(400, {"error": {"message": echo, "code": "content_policy_violation"}}),
        "malformed": answer(200, echo.encode(), "application/json"),
        "page": answer(200, echo.encode(), f"text/html; x={given.split()[-1]}"),
        "url": answer(
            200,
            {
                "data": [
                    {
                        "url": f"https://{given.split()[-1]}.example.com/{given.split()[-1]}",
                        "b64_json": given,
                    }
                ]
            },
        ),
    }[what]


def evalkit(folder: Path, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CANARY_KEY": key, "COLUMNS": "200"}
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        environment.pop(name, None)
    return Command(arguments, folder, environment).done()


def traces(folder: Path, *outputs: str) -> list[str]:
    """The files that contain the key or a fragment of it."""
    pieces = [KEY[at : at + 12].lower() for at in range(len(KEY) - 11)]
    encoded = base64.b64encode(KEY.encode()).decode().rstrip("=")[:-2].lower()
    texts = {f"output {at}": output for at, output in enumerate(outputs)}
    texts |= {
        str(path): path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file()
    }
    return [
        place
        for place, text in texts.items()
        if encoded in text.lower() or any(piece in text.lower() for piece in pieces)
    ]


@pytest.mark.parametrize("kind", ["openai", "http-template"])
def test_a_key_that_the_service_repeats_is_not_written_anywhere(tmp_path, kind):
    (tmp_path / "service.toml").write_text(TEMPLATE)
    (tmp_path / "prompts.txt").write_text("ok\nbad\nrefused\nmalformed\npage\nurl\n")
    (tmp_path / "auth.txt").write_text("auth\n")
    with serving(echoing) as server:
        if kind == "openai":
            label, options = "openai:m", [f"base_url={server.url}/v1", "api_key_env=CANARY_KEY"]
        else:
            label, options = "http-template:service.toml", [f"base_url={server.url}"]
        settings = [part for option in options for part in ("--set", f"{label}.{option}")]
        command = (
            ["run", "--encoders", "pixels"] if kind == "openai" else ["generate"]
        )  # with a report, and without one
        done = evalkit(
            tmp_path,
            "--debug",
            *command,
            "--models",
            label,
            "--prompts",
            "prompts.txt",
            "--out",
            "run",
            *settings,
        )
        stopped = evalkit(
            tmp_path,
            "--debug",
            "generate",
            "--models",
            label,
            "--prompts",
            "auth.txt",
            "--out",
            "stopped",
            *settings,
        )
        assert {
            seen.headers.get("authorization", seen.headers.get("x-api-key", ""))[-len(KEY) :]
            for seen in server.seen
        } == {KEY}
    assert done.returncode == 0, done.stderr
    manifest = "".join(path.read_text() for path in tmp_path.glob("run/images/*/manifest.*.jsonl"))
    assert manifest.count("[key]") >= 3  # the text of the service is recorded without the key
    for status in ('"ok"', '"bad_request"', '"malformed"'):
        assert status in manifest
    assert stopped.returncode != 0
    assert "Traceback" in stopped.stderr
    assert "[key]" in stopped.stderr
    assert traces(tmp_path, done.stdout, done.stderr, stopped.stdout, stopped.stderr) == []


@pytest.mark.parametrize("key", ["", f"{KEY}\nX-Evil: 1", f"{KEY} {KEY}", f"{KEY}é"])
def test_an_unusable_key_is_reported_by_its_variable_before_anything_is_sent(tmp_path, key):
    (tmp_path / "prompts.txt").write_text("ok\n")
    with serving(echoing) as server:
        settings = (
            "--set",
            f"openai:m.base_url={server.url}",
            "--set",
            "openai:m.api_key_env=CANARY_KEY",
        )
        result = evalkit(
            tmp_path,
            "--debug",
            "generate",
            "--models",
            "openai:m",
            "--prompts",
            "prompts.txt",
            "--out",
            "run",
            *settings,
            key=key,
        )
    assert result.returncode != 0
    assert "CANARY_KEY" in result.stderr
    assert server.seen == []
    assert not (tmp_path / "run").exists()
    assert traces(tmp_path, result.stdout, result.stderr) == []
