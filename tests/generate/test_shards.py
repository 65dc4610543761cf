"""Several processes on one run: which of them may work at a time, and what begins it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import models_for_tests
import pytest
from lock_holder import held
from PIL.Image import Image

import evalkit
from evalkit.core import EvalkitError
from evalkit.run_folder import Run

PROMPTS = ["a cat", "a dog", "a fish", "a bird", "a cow"]


def test_one_process_for_each_shard(tmp_path: Path) -> None:
    out = tmp_path / "run"
    evalkit.generate("noise", PROMPTS[:1], out=out)
    with held(out / ".images.1-of-2.lock"):
        for shard, said in (
            ("1/2", r"making the images of .*run \(shard 1/2\)\."),
            ("0/3", r"\(shard 1/2\); expected none beside shard 0/3\."),
            ("0/1", r"\(shard 1/2\); expected none beside the whole run\."),
        ):
            with pytest.raises(EvalkitError, match=said):
                evalkit.generate("noise", PROMPTS, out=out, shard=shard)
        evalkit.generate("noise", PROMPTS, out=out, shard="0/2")
    assert len(Run(out).records("noise")) == 3
    (out / ".images.5-of-7.lock").touch()  # of a process that was killed
    evalkit.generate("noise", PROMPTS, out=out, shard="2/3")
    evalkit.generate("noise", PROMPTS, out=out)
    assert [record.status for record in Run(out).records("noise")] == ["ok"] * 5


class Begins:
    """A model that is loaded while another process begins the same run in another way."""

    def __init__(self, size: int = 0) -> None:
        if size:
            Begins.other()

    @staticmethod
    def other() -> None: ...

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        return models_for_tests.plain(prompts, seeds)


def load(*, size: int = 1) -> Begins:
    return Begins(size)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 7}, r"was made with another configuration: seed 7 -> 0"),
        ({"prompts": [*PROMPTS, "a hen"]}, "lacks 1 of the 6 prompts"),
        ({"prompts": PROMPTS[:3]}, ""),  # fewer ones: the run grows
        ({}, ""),
    ],
)
def test_processes_that_begin_at_once_agree(
    other: dict, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def begin() -> None:
        monkeypatch.setattr(Begins, "other", lambda: None)
        evalkit.generate(
            **{"models": "noise", "prompts": PROMPTS, "out": out, "shard": "1/2"} | other
        )

    monkeypatch.setattr(Begins, "other", begin)
    module = f"{__name__}:load"
    if not said:
        evalkit.generate(module, PROMPTS, out=out, shard="0/2")
        assert len(Run(out).records(module)) == 3
        assert len(Run(out).records("noise")) == (2 if other == {} else 1)
        assert len(Run(out).prompts()) == 5
        assert Run(out).models() == ["noise", module]
        return
    with pytest.raises(EvalkitError, match=said):
        evalkit.generate(module, PROMPTS, out=out, shard="0/2")
    assert Run(out).models() == ["noise"]
