"""Progress where no terminal shows a bar, and amounts of money."""

import logging
import time

import pytest

from evalkit import terminal


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "LOG_AFTER", 0.05)
    monkeypatch.setattr(terminal, "LOG_EVERY", 0.05)


def work(seconds: float = 0.3) -> None:
    with terminal.progress("dalle", 2000) as advance:
        advance(1500)
        time.sleep(seconds)  # one long step
        advance(500)


@pytest.mark.usefixtures("often")
def test_long_work_is_logged_with_its_count(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "evalkit"):
        work()
        number = len(caplog.messages)
        time.sleep(0.1)
    assert number >= 2
    assert caplog.messages[0] == "dalle: 1,500 of 2,000 images after 0 s"
    assert len(caplog.messages) == number  # nothing follows the end


@pytest.mark.usefixtures("often")
def test_quiet_logs_no_progress(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "evalkit"):
        work()
    assert not caplog.messages


def test_quiet_hides_the_bars_of_downloads_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    hub = pytest.importorskip("huggingface_hub.utils")
    for level, hidden in ((logging.INFO, False), (logging.ERROR, True)):
        with caplog.at_level(level, "evalkit"), terminal.hub_bars():
            assert hub.are_progress_bars_disabled() == hidden
        assert not hub.are_progress_bars_disabled()


def test_short_work_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "evalkit"):
        work(0.01)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (0.6, "$0.60"),
        (0.125, "$0.125"),
        (0.0034, "$0.0034"),
        (1.5, "$1.50"),
        (1234.5, "$1,234.50"),
    ],
)
def test_amounts_have_two_digits_at_least(amount: float | None, shown: str) -> None:
    assert terminal.dollars(amount) == shown
