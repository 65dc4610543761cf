"""1,000 requests of the openai generator to an independent mock of the Images API with faults."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_service import png

from evalkit.config import Config
from evalkit.generate.generate import generate
from evalkit.prompts import prompts_from_list

VERSION, COUNT = "1.43.0", 1000
MODEL = "openai:gpt-image-1-mini"


def program() -> Path:
    """The command of aimock, installed once into a temporary folder."""
    folder = Path(tempfile.gettempdir()) / f"evalkit-tests-aimock-{VERSION}-{os.getuid()}"
    command = folder / "node_modules" / ".bin" / "llmock"
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node is not installed")
    if not command.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        install = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            f"@copilotkit/aimock@{VERSION}",
        ]
        try:
            done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not answer in two minutes")
        if done.returncode:
            pytest.skip(f"aimock cannot be installed: {done.stderr.strip()[-200:]}")
    return command


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The URL of aimock, which makes images for all prompts without the word gun."""
    refusal = {
        "message": "Rejected by the safety system.",
        "type": "image_generation_user_error",
        "code": "moderation_blocked",
    }
    fixtures = [
        {
            "match": {"endpoint": "image", "userMessage": "gun"},
            "response": {"error": refusal, "status": 400},
        },
        {
            "match": {"endpoint": "image"},
            "response": {"image": {"b64Json": base64.b64encode(png("any")).decode()}},
        },
    ]
    (tmp_path / "fixtures.json").write_text(json.dumps({"fixtures": fixtures}))
    port = free_port()
    chaos = {
        "drop": 0.08,
        "malformed": 0.04,
        "disconnect": 0.05,
        "ratelimit": 0.008,
    }  # a 429 has Retry-After: 1
    command = [
        str(program()),
        "-p",
        str(port),
        "-f",
        str(tmp_path / "fixtures.json"),
        "--journal-max",
        "0",
        "--log-level",
        "silent",
    ]
    command += [part for name, share in chaos.items() for part in (f"--chaos-{name}", str(share))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.slow
def test_a_thousand_requests_to_aimock(url: str, tmp_path: Path) -> None:
    texts = [f"image {at} of a gun" if at % 50 == 0 else f"image {at}" for at in range(COUNT)]
    options = {MODEL: {"base_url": f"{url}/v1", "price": 0.01}}
    config = Config(
        (MODEL,),
        tuple(prompts_from_list(texts)),
        str(tmp_path / "run"),
        device="cpu",
        options=options,
    )
    made = generate(config)
    with urllib.request.urlopen(f"{url}/__aimock/journal") as answer:
        journal = json.load(answer)

    answers: dict[str, list[tuple[int, str]]] = defaultdict(list)  # status, fault
    for entry in journal:
        response = entry["response"]
        answers[entry["body"]["messages"][0]["content"]].append(
            (response["status"], response.get("chaosAction") or "")
        )
    again = {(500, "drop"), (429, "rateLimit")}
    wanted = {
        (200, ""): "ok",
        (400, ""): "refused_input",
        (0, "disconnect"): "ambiguous",
        (200, "malformed"): "malformed",
    }
    wanted |= {(500, "drop"): "transient", (429, "rateLimit"): "rate_limited"}
    records = made.records(MODEL)
    assert [record.index for record in records] == list(range(COUNT))
    for record in records:
        seen = answers[texts[record.index]]
        assert set(seen[:-1]) <= again, (
            seen
        )  # only requests that were certainly not accepted are sent again
        assert record.status == wanted[seen[-1]], seen
        assert record.attempts == len(seen)
    outcomes = Counter(record.status for record in records)
    assert set(outcomes) >= {"ok", "refused_input", "ambiguous", "malformed"}
    assert outcomes["ok"] > COUNT * 0.8
