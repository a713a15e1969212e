"""Which headers of a client a provider of the same dialect sees."""

from __future__ import annotations

import pytest

from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.provider import Dialect
from ownkey.services.client_headers import add_headers, read_headers

SENT = [
    (b"authorization", b"Bearer ok-secret"),
    (b"cookie", b"a=b"),
    (b"anthropic-beta", b"context-1m-2025-08-07"),
    (b"anthropic-version", b"2026-10-21"),
    (b"openai-beta", b"responses=v2"),
    (b"openai-organization", b"org-1"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"anthropic-beta", b"fast-mode-2026-02-01"),
]


def test_each_dialect_has_its_own_few() -> None:
    assert read_headers(SENT, Dialect.OPENAI_CHAT) == ()
    assert read_headers(SENT, Dialect.GEMINI) == ()
    assert read_headers(SENT, Dialect.OPENAI_RESPONSES) == (("openai-beta", "responses=v2"),)
    assert dict(read_headers(SENT, Dialect.ANTHROPIC_MESSAGES)) == {
        "anthropic-beta": "context-1m-2025-08-07,fast-mode-2026-02-01",
        "anthropic-version": "2026-10-21",
    }


@pytest.mark.parametrize(
    "value", [b"", b"2023-06-01\r\nx: y", b"latest", b"2023-6-1", "２０２３-06-01".encode(), b"\xff\xff\xff\xff-01-01"]
)
def test_what_does_not_look_as_it_must_is_left_out(value: bytes) -> None:
    assert read_headers([(b"anthropic-version", value)], Dialect.ANTHROPIC_MESSAGES) == ()


def test_a_clients_header_stands_in_place_of_the_rows() -> None:
    request = UpstreamRequest(
        "POST", "https://x.test", (("accept", "*/*"), ("anthropic-version", "2023-06-01")), b"{}", None
    )
    changed = add_headers(request, (("anthropic-version", "2026-10-21"),))
    assert changed.headers == (("accept", "*/*"), ("anthropic-version", "2026-10-21"))
    assert (changed.body, changed.url) == (request.body, request.url)
