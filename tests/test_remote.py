"""The stage that asks services for images: outcomes, retries, stops, and what is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import services_for_tests
from fake_service import FakeService, Fault, picture, shares
from PIL import Image
from services_for_tests import Memory, Script

from evalkit.config import Config
from evalkit.core import Answer, Record
from evalkit.prompts import prompts_from_list
from evalkit.run_folder import Run
from evalkit.stages import concurrency, generate, remote, retry

HTTP, MEMORY = "services_for_tests:http_service", "services_for_tests:load"
OK = Answer("ok", picture("x"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is tested by its numbers; here it is made a hundred times shorter."""
    whole = retry.backoff
    for module in (concurrency, remote):
        monkeypatch.setattr(module, "backoff", lambda failures: whole(failures) / 100)


def run(path: Path, texts: int | list[str], spec: str = MEMORY, retry_ambiguous: bool = False, **changes: object) -> Run:
    prompts = tuple(prompts_from_list([f"prompt {at}" for at in range(texts)] if isinstance(texts, int) else texts))
    config = Config(**({"models": (spec,), "prompts": prompts, "out": str(path), "device": "cpu"} | changes))  # type: ignore[arg-type]
    return generate.generate(config, retry_ambiguous)


def service(script: Script | None = None, price: float | None = None, seconds: float = 0.0) -> Memory:
    services_for_tests.memory[0] = Memory(script, price, seconds)
    return services_for_tests.memory[0]


def outcomes(records: list[Record]) -> Counter[str]:
    return Counter(record.status for record in records)


def test_a_thousand_requests_against_a_server_that_goes_wrong(tmp_path: Path) -> None:
    """Every prompt ends in exactly one outcome, and none is sent again after it was accepted once."""
    faults: dict[Fault, float] = {
        "rate_limited": 0.1,
        "server_error": 0.1,
        "overloaded": 0.03,
        "dropped_before": 0.02,
        "dropped_after": 0.05,
    }
    faults |= {"malformed": 0.03, "truncated": 0.03, "html": 0.01, "refused_input": 0.05, "refused_output": 0.03, "bad_request": 0.02}
    wanted: dict[Fault, str] = {"ok": "ok", "dropped_before": "ambiguous", "dropped_after": "ambiguous", "truncated": "malformed"}
    wanted |= {"html": "malformed", "server_error": "transient", "overloaded": "transient"}
    with FakeService(shares(faults), latency=lambda call: 0.0, retry_after="0.001") as server:
        made = run(tmp_path / "run", 1000, HTTP, options={HTTP: {"url": server.url, "price": 0.01}})
    records = made.records(HTTP)
    assert [record.index for record in records] == list(range(1000))
    last = {call.prompt: fault for call, fault in server.outcomes}
    assert {f"prompt {record.index}": record.status for record in records} == {
        text: wanted.get(fault, fault) for text, fault in last.items()
    }
    assert max(server.counts().values()) == 1
    sent = Counter(call.prompt for call in server.received)
    assert all(record.attempts == sent[f"prompt {record.index}"] for record in records)
    for text, fault in last.items():  # only what may be sent again was
        before = [what for call, what in server.outcomes if call.prompt == text][:-1]
        assert set(before) <= {"rate_limited", "server_error", "overloaded"}, (text, fault)
    manifest = (made.image_folder(HTTP) / "manifest.0.jsonl").read_text().splitlines()
    assert len(manifest) == 1000
    for record in records:
        assert (record.cost == 0.01) == (record.status == "ok")
        assert record.possible_charges == (record.status in ("ambiguous", "malformed"))
        assert record.possible_cost == (0.01 if record.possible_charges else 0.0)
        if record.status == "ok":
            assert Image.open(made.image_path(HTTP, record)).tobytes() == picture(f"prompt {record.index}").tobytes()
