"""The few headers of a client that a provider of the same dialect has to see. All others stay here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.provider import Dialect

Headers = tuple[tuple[str, str], ...]

# What switches a feature on for one request, or says which version of the dialect a body is written in.
_ALLOWED: Final[dict[Dialect, dict[bytes, re.Pattern[str]]]] = {
    Dialect.OPENAI_CHAT: {},
    Dialect.OPENAI_RESPONSES: {b"openai-beta": re.compile(r"[\w=.,; -]{1,500}", re.ASCII)},
    Dialect.ANTHROPIC_MESSAGES: {
        b"anthropic-version": re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII),
        b"anthropic-beta": re.compile(r"[\w.,; -]{1,2000}", re.ASCII),
    },
    Dialect.GEMINI: {},
}


def read_headers(headers: Iterable[tuple[bytes, bytes]], dialect: Dialect) -> Headers:
    """The allowed ones, several of one name joined. One that is not as it must be is left out."""
    allowed = _ALLOWED[dialect]
    if not allowed:
        return ()
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in allowed:
            text = value.decode("latin-1").strip()
            found[name] = f"{found[name]},{text}" if name in found else text
    return tuple((name.decode(), text) for name, text in found.items() if allowed[name].fullmatch(text))


def add_headers(request: UpstreamRequest, headers: Headers) -> UpstreamRequest:
    """The request with the client's headers in place of the row's own of the same names."""
    names = {name for name, _ in headers}
    return replace(request, headers=(*(one for one in request.headers if one[0] not in names), *headers))
