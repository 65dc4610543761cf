"""Arguments of the wrong type in Python: one sentence, never a TypeError from within."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest

import evalkit
from evalkit.core import EvalkitError

CALLS: dict[str, Callable[[Any], object]] = {
    "score": evalkit.score,
    "report": evalkit.report,
    "load": evalkit.load,
    "tables": evalkit.tables,
    "figures": evalkit.figures,
    "gate": lambda value: evalkit.gate(value, baseline="run"),
    "compare": lambda value: evalkit.compare(value, out="out"),
    "init": evalkit.init,
    "rate_import": lambda value: evalkit.rate_import(value, run="run"),
    "rate_summary": evalkit.rate_summary,
    "run, models": lambda value: evalkit.run(value, ["a cat"], out="out"),
    "run, prompts": lambda value: evalkit.run("noise", value, out="out"),
    "run, out": lambda value: evalkit.run("noise", ["a cat"], out=value),
    "score, metrics": lambda value: evalkit.score("images", metrics=value),
    "score, reference": lambda value: evalkit.score("images", metrics="fid", reference=value),
    "generate, shard": lambda value: evalkit.generate("noise", ["a"], out="out", shard=value),
}


@pytest.mark.parametrize("value", [3, 1.5, b"x", [1]], ids=repr)
@pytest.mark.parametrize("call", CALLS)
def test_an_argument_of_another_type_is_one_sentence(
    call: str, value: object, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(EvalkitError) as error:
        CALLS[call](value)
    assert error.value.exit_code == 2
    assert not (tmp_path / "out").exists()
