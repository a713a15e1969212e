"""When a provider says that another try is worth it, in every form in which providers say it.

- `retry-after-ms` (OpenAI), `retry-after` in seconds or as an HTTP date (RFC 9110, section 10.2.3);
- `RetryInfo` in a Google error body;
- `x-ratelimit-reset-*` as a duration, `6m0s` (OpenAI, Groq), or a point in time;
- `anthropic-ratelimit-*-reset` as an RFC 3339 time.

The first one that can be read wins. Rate headers come with good answers as well, so a reset counts only where
the matching `remaining` is nought or absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

MAX_SECONDS: Final = 86_400.0

_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_DURATION: Final = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:d|h|ms|m|s|us|µs|ns)){1,6}", re.ASCII)
_DURATION_PART: Final = re.compile(r"([0-9.]+)(d|h|ms|m|s|us|µs|ns)", re.ASCII)
_UNIT_SECONDS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
# A number as large as this is a point in time: seconds since 1970, or milliseconds.
_EPOCH_SECONDS: Final = 1e9
_EPOCH_MILLISECONDS: Final = 1e12
_LONGEST_TEXT: Final = 64


def parse_retry_after(headers: Mapping[str, str], now: datetime, *, body: object = None) -> float | None:
    """Seconds to wait, from 0 to one day; None where nothing readable is said.

    Header names are lower-case. `body` is the decoded JSON of the error, if it was JSON. `now` has a time zone.
    """
    milliseconds = _parse_number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _bound(milliseconds / 1000)
    for candidate in (
        _parse_header(headers.get("retry-after", ""), now),
        _parse_retry_info(body),
        _parse_resets(headers, now),
    ):
        if candidate is not None:
            return _bound(candidate)
    return None


def _bound(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_SECONDS)


def _parse_number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _parse_header(text: str, now: datetime) -> float | None:
    seconds = _parse_number(text)
    return seconds if seconds is not None else _parse_http_date(text, now)


def _parse_http_date(text: str, now: datetime) -> float | None:
    if not text or len(text) > _LONGEST_TEXT:
        return None
    try:
        at = parsedate_to_datetime(text)
        return _seconds_until(at, now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _parse_rfc3339(text: str, now: datetime) -> float | None:
    if not text or len(text) > _LONGEST_TEXT:
        return None
    try:
        return _seconds_until(datetime.fromisoformat(text), now)
    except (ValueError, OverflowError):
        return None


def _seconds_until(at: datetime, now: datetime) -> float:
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()


def _parse_duration(text: str) -> float | None:
    text = text.strip()
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def _parse_reset(text: str, now: datetime) -> float | None:
    """A duration, a number of seconds, a Unix time or an RFC 3339 time."""
    number = _parse_number(text)
    if number is None:
        duration = _parse_duration(text)
        return duration if duration is not None else _parse_rfc3339(text, now)
    if number >= _EPOCH_MILLISECONDS:
        return number / 1000 - now.timestamp()
    return number - now.timestamp() if number >= _EPOCH_SECONDS else number


def _parse_resets(headers: Mapping[str, str], now: datetime) -> float | None:
    """The longest wait among the limits that are used up."""
    waits = [
        wait
        for reset, remaining in _reset_headers(headers)
        if _parse_number(remaining) in (None, 0.0) and (wait := _parse_reset(reset, now)) is not None
    ]
    return max(waits, default=None)


def _reset_headers(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if name.startswith("x-ratelimit-reset"):
            yield value, headers.get(name.replace("reset", "remaining", 1), "")
        elif name.startswith("anthropic-ratelimit-") and name.endswith("-reset"):
            yield value, headers.get(name.removesuffix("reset") + "remaining", "")


def _parse_retry_info(body: object) -> float | None:
    """`retryDelay` of a google.rpc.RetryInfo; the compatible endpoint wraps the error in an array."""
    if isinstance(body, list):
        body = body[0] if body else None
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            delay = detail.get("retryDelay")
            return _parse_duration(delay) if isinstance(delay, str) else None
    return None
