"""When to try again, in every form in which providers say it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.retry_after import MAX_SECONDS, parse_retry_after

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def retry_info(delay: object) -> dict[str, object]:
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "999999"}, MAX_SECONDS),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Monday, 23-Nov-26 12:00:30 GMT"}, 30),
        ({"retry-after": "Mon Nov 23 12:00:30 2026"}, 30),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 23 Nov 2099 11:00:00 GMT"}, MAX_SECONDS),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "1250.5", "retry-after": "2"}, 1.2505),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "2m59.56s"}, 179.56),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "1h2m3s"}, 3723),
        ({"x-ratelimit-reset-tokens": "1d"}, MAX_SECONDS),
        ({"x-ratelimit-reset-tokens": "7.66s"}, 7.66),
        ({"x-ratelimit-reset-tokens": "500µs"}, 0.0005),
        ({"x-ratelimit-reset": "12"}, 12),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 42)}, 42),
        ({"x-ratelimit-reset": str((int(NOW.timestamp()) + 42) * 1000)}, 42),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) - 42)}, 0),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-23T12:01:00Z"}, 60),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-23T13:01:00+01:00"}, 60),
        ({"retry-after": "5", "anthropic-ratelimit-tokens-reset": "2026-11-23T12:01:00Z"}, 5),
    ],
)
def test_reads_every_form(headers, seconds):
    assert parse_retry_after(headers, NOW) == pytest.approx(seconds)


def test_only_a_limit_that_is_used_up_counts():
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "90s",
        "x-ratelimit-remaining-tokens": "5999",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert parse_retry_after(headers, NOW) == 90
    assert parse_retry_after(headers | {"x-ratelimit-remaining-requests": "3"}, NOW) is None
    assert parse_retry_after(headers | {"x-ratelimit-remaining-tokens": "0"}, NOW) == 360


def test_the_same_holds_for_anthropic():
    headers = {
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-23T12:00:10Z",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-23T12:30:00Z",
    }
    assert parse_retry_after(headers, NOW) == 10


@pytest.mark.parametrize(("delay", "seconds"), [("34.074824224s", 34.074824224), ("0s", 0), ("3600s", 3600)])
def test_reads_the_retry_info_of_google(delay, seconds):
    assert parse_retry_after({}, NOW, body=retry_info(delay)) == pytest.approx(seconds)
    assert parse_retry_after({}, NOW, body=[retry_info(delay)]) == pytest.approx(seconds)


@pytest.mark.parametrize("body", [None, [], {}, "text", 3, {"error": "text"}, {"error": {"details": "text"}}])
def test_other_bodies_say_nothing(body):
    assert parse_retry_after({}, NOW, body=body) is None


@pytest.mark.parametrize("delay", [None, 34, "34", "s", "-3s", "1e9s", {"seconds": 3}])
def test_odd_delays_say_nothing(delay):
    assert parse_retry_after({}, NOW, body=retry_info(delay)) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "soon",
            "-5",
            "+5",
            "1e3",
            "nan",
            "inf",
            "1_000",
            "٣",
            "0x10",
            "5,",
            "5 seconds",
            "1.2.3",
            "9" * 400,
        ),
        *("6m0", "m", "1y", "2026-99-99T00:00:00Z"),
        *("Mon, 99 Nov 2026 12:00:30 GMT", "Mon, 23 Nov 99999999999 12:00:30 GMT"),
    ],
)
@pytest.mark.parametrize(
    "name", ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"]
)
def test_garbage_says_nothing(name, text):
    assert parse_retry_after({name: text}, NOW) is None


names = st.sampled_from(
    [
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-reset",
        "x-ratelimit-reset-tokens",
        "x-ratelimit-remaining-tokens",
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-tokens-remaining",
    ]
)
values = st.one_of(
    st.text(max_size=40),
    st.text("0123456789.:-+TZhmsdµ eE", max_size=30),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: format_datetime(at, usegmt=True)),
)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["error", "details", "@type", "retryDelay", "x"]), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(st.dictionaries(names, values, max_size=4), documents)
def test_whatever_comes_the_answer_is_bounded_or_none(headers, body):
    seconds = parse_retry_after(headers, NOW, body=body)
    assert seconds is None or 0 <= seconds <= MAX_SECONDS


@given(st.integers(0, 86_400))
def test_a_date_says_the_same_as_its_distance(seconds):
    at = NOW + timedelta(seconds=seconds)
    for headers in (
        {"retry-after": str(seconds)},
        {"retry-after": format_datetime(at, usegmt=True)},
        {"retry-after-ms": str(seconds * 1000)},
        {"x-ratelimit-reset-tokens": f"{seconds // 60}m{seconds % 60}s"},
        {"anthropic-ratelimit-tokens-reset": at.isoformat()},
    ):
        assert parse_retry_after(headers, NOW) == pytest.approx(seconds)
