"""Several numbers of one network: two scorers of one fingerprint cost one pass."""

from pathlib import Path

import pytest

import evalkit

MODULE = """
from evalkit import Answer, NoAnswer, Scorer

calls = []


class Both:
    name, fingerprint = "both", "both-1"

    def __call__(self, images, prompts):
        for prompt in prompts:
            calls.append(prompt)
            lost = NoAnswer("the service was not reached", again=True)
            yield lost if prompt == "again" else Answer({"low": 0.25, "high": 0.75})


LOW = Scorer("low", "higher", load=Both, output="low")
HIGH = Scorer("high", "higher", load=Both, output="high")
"""


def test_scorers_of_one_fingerprint_ask_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two_numbers_of_one.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    metrics = ["two_numbers_of_one:LOW", "two_numbers_of_one:HIGH"]
    evalkit.generate(models="noise", prompts=["a dog", "a cat", "again"], out="run")
    rows = {row.metric: row.value for row in evalkit.score("run", metrics=metrics, only=True)}
    assert (rows["low"], rows["high"]) == (0.25, 0.75)
    import two_numbers_of_one  # pyright: ignore[reportMissingImports]

    assert sorted(two_numbers_of_one.calls) == ["a cat", "a dog", "again"]
