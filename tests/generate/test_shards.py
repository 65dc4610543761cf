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
            ("0/3", r"\(shard 1/2\), which excludes shard 0/3\."),
            ("0/1", r"\(shard 1/2\), which excludes the whole run\."),
        ):
            with pytest.raises(EvalkitError, match=said):
                evalkit.generate("noise", PROMPTS, out=out, shard=shard)
        evalkit.generate("noise", PROMPTS, out=out, shard="0/2")
    assert len(Run(out).records("noise")) == 3
    (out / ".images.5-of-7.lock").touch()  # of a process that was killed
    evalkit.generate("noise", PROMPTS, out=out, shard="2/3")
    evalkit.generate("noise", PROMPTS, out=out)
    assert [record.status for record in Run(out).records("noise")] == ["ok"] * 5


class Weights:
    """A model whose weights change while it is loaded."""

    now = "first"

    def __init__(self) -> None:
        self.fingerprint, Weights.now = Weights.now, "second"
        if self.fingerprint == "first":
            Begins.other()

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        return models_for_tests.plain(prompts, seeds)


def test_processes_that_begin_at_once_have_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, out = f"{__name__}:Weights", tmp_path / "run"
    monkeypatch.setattr(Weights, "now", "first")
    monkeypatch.setattr(
        Begins, "other", lambda: evalkit.generate(spec, PROMPTS, out=out, shard="1/2")
    )
    with pytest.raises(EvalkitError, match="has other weights or images than when"):
        evalkit.generate(spec, PROMPTS, out=out, shard="0/2")
    assert len(Run(out).records(spec)) == 2


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


def test_an_image_that_another_shard_makes_again_has_the_new_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service, or an accelerator, need not make the same image twice."""
    calls: list[int] = []

    def changing(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        calls.extend(seeds)
        return [models_for_tests.make_image(len(calls), text) for text in prompts]

    monkeypatch.setattr(models_for_tests, "plain", changing)
    spec, out = "models_for_tests:plain", tmp_path / "run"
    for shard in ("0/2", "1/2"):
        run = evalkit.generate(spec, PROMPTS, out=out, shard=shard)
    (run.image_folder(spec) / "00001-0.png").unlink()
    evalkit.generate(out=out)
    assert len(calls) == 6
    evalkit.generate(out=out)
    assert len(calls) == 6
    evalkit.score(out, metrics="vendi", encoders="pixels")  # which refuses changed images
