"""Times as other tools write them, as ISO 8601 in UTC and as milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime

_FORMATS = ("%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S UTC")


def iso(text: str) -> str:
    """A time in UTC as ISO 8601; "" for none and for what is not certain. No zone means UTC."""
    found = _parsed(text)
    return found.isoformat(timespec="milliseconds") if found else ""


def duration_ms(start: str, end: str) -> int:
    """The milliseconds between two times; 0 where one is missing."""
    first, last = _parsed(start), _parsed(end)
    return max(0, round((last - first).total_seconds() * 1000)) if first and last else 0


def milliseconds(seconds: str) -> int:
    """Seconds as milliseconds; 0 for what is not a number."""
    try:
        value = float(seconds.replace(",", "."))
    except ValueError:
        return 0
    return round(value * 1000) if 0 < value < 1e9 else 0


def _parsed(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, *(_reader(form) for form in _FORMATS)):
        try:
            found = parse(text.strip())
        except ValueError:
            continue
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    return None


def _reader(form: str):
    return lambda text: datetime.strptime(text, form)
