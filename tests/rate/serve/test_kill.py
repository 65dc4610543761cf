"""No acknowledged vote is lost when the server is killed; `benchmarks/ratings.py` kills it more."""

from pathlib import Path

from killed_server import rate_and_kill


def test_kills_lose_no_acknowledged_vote_and_store_none_twice(tmp_path: Path) -> None:
    outcome = rate_and_kill(tmp_path / "run", votes=150, raters=4, kills=3)
    assert outcome.kills == 3
    assert len(outcome.acknowledged) >= 150
    assert (outcome.lost, outcome.duplicates) == (0, 0)
