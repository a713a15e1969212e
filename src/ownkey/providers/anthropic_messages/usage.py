"""Claude's usage: `input_tokens` excludes both kinds of cached input; thinking is inside `output_tokens`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.usage import Tokens
from ownkey.providers.counters import USAGE_LIMIT_BYTES, Count, read_count
from ownkey.providers.unreadable import UNREADABLE


class _Details(Struct, omit_defaults=True):
    thinking_tokens: Count = None


class Usage(Struct, omit_defaults=True):
    """The counters of one usage object, as they were given."""

    input_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    output_tokens: Count = None
    output_tokens_details: _Details | None = None

    @property
    def tokens(self) -> Tokens:
        """The five counters."""
        output = read_count(self.output_tokens)
        details = self.output_tokens_details
        reasoning = min(read_count(details.thinking_tokens), output) if details is not None else 0
        return Tokens(
            input_uncached=read_count(self.input_tokens),
            cache_read=read_count(self.cache_read_input_tokens),
            cache_write=read_count(self.cache_creation_input_tokens),
            output_text=output - reasoning,
            output_reasoning=reasoning,
        )


_USAGE: Final = msgspec.json.Decoder(Usage)
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_encode: Final = msgspec.json.Encoder().encode


def decode_usage(raw: bytes) -> Usage | None:
    """A raw `usage` object, or None where it is not one."""
    if len(raw) > USAGE_LIMIT_BYTES:
        return None
    try:
        return _USAGE.decode(raw)
    except UNREADABLE:
        return None


def write_usage(tokens: Tokens | None) -> dict[str, Any]:
    """The counters in Anthropic's form; a client always gets some, so those that nobody reported are 0."""
    counters = tokens or Tokens()
    usage: dict[str, Any] = {
        "input_tokens": counters.input_uncached,
        "cache_creation_input_tokens": counters.cache_write,
        "cache_read_input_tokens": counters.cache_read,
        "output_tokens": counters.output_total,
    }
    if counters.output_reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": counters.output_reasoning}
    return usage


class StreamUsage:
    """The usage of a stream. Its counters are cumulative: a later one replaces an earlier one.

    Of the objects themselves only the first and the last are kept: a stream may have any number of them.
    """

    def __init__(self) -> None:
        self._counters: Usage | None = None
        self._first = b""
        self._last = b""

    def add(self, raw: bytes) -> None:
        """Take the `usage` of one event; what is no usage changes nothing."""
        given = None if raw == b"null" else decode_usage(raw)
        if given is None:
            return
        counters = self._counters
        if counters is None:
            self._counters, self._first = given, raw
            return
        self._last = raw
        for name in Usage.__struct_fields__:
            value = getattr(given, name)
            if value is not None:
                setattr(counters, name, value)

    @property
    def tokens(self) -> Tokens | None:
        """What was reported so far, or None."""
        return None if self._counters is None else self._counters.tokens

    @property
    def raw(self) -> bytes | None:
        """That usage as one object in the provider's words."""
        if self._counters is None or not self._last:
            return self._first or None
        counters = _encode(self._counters)
        merged = _FIELDS.decode(counters)
        try:
            for part in (self._first, self._last):
                fields = _FIELDS.decode(part)
                merged.update((name, value) for name, value in fields.items() if bytes(value) != b"null")
        except UNREADABLE:
            # What stands beside the counters is read here for the first time.
            return counters
        return _encode(merged)
