"""No file of a run is believed when it is damaged, foreign or stale.

Every file of a small scored, gated and rated run is damaged in every way (about 2,800 damages), and
every command that reads runs is tried on a random part of them: all would take hours. A command
gives the same result as before (the file is not needed, or is made again), or says in one sentence
which file is wrong.
"""

from __future__ import annotations

import random

import pytest
from damaged_files import damages
from damaged_runs import COMMANDS, SLOW, Runs, attempt, make, wrong

QUICK = 60  # of the damages and commands, in the ordinary test suite
PART, SLOW_PART = 150, 15  # of the damages, for each command in the campaign


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return make(tmp_path_factory.mktemp("damaged"))


def test_a_sample_of_damages_is_noticed(runs: Runs) -> None:
    quick = [name for name in COMMANDS if name not in SLOW]
    every = [(one, name) for one in damages(runs.whole, runs.other) for name in quick]
    chosen = random.Random(0).sample(every, QUICK)
    assert not _found(runs, chosen)


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_damages_are_noticed_by_every_command(runs: Runs, command: str) -> None:
    part = SLOW_PART if command in SLOW else PART
    chosen = random.Random(command).sample(list(damages(runs.whole, runs.other)), part)
    found = _found(runs, [(one, command) for one in chosen])
    print(f"{command}: {len(chosen)} damages, {len(found)} wrong")
    assert not found


def _found(runs: Runs, chosen: list) -> list[str]:
    """What is wrong, one line each."""
    expected, lines = {}, []
    for damage, command in chosen:
        if command not in expected:
            expected[command] = attempt(runs, command)
            assert expected[command].error is None
        said = wrong(damage, expected[command].result, attempt(runs, command, damage))
        if said:
            lines.append(f"{command}: {damage}: {said}")
    return lines
