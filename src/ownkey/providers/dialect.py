"""What a wire format must be able to do. One module per dialect implements `Adapter`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.domain.usage import Tokens


class Call(Struct, frozen=True, kw_only=True):
    """A client's request in the OpenAI form. `body` is what the client sent, untouched.

    `operation` is "chat" or "embeddings". `model` is what goes upstream in place of the client's name for it.
    `wants_usage`: the client itself asked for `stream_options.include_usage`.
    """

    operation: str
    body: bytes
    model: str
    stream: bool = False
    wants_usage: bool = False


class Decoded(Struct, frozen=True, kw_only=True):
    """A whole answer in the client's form, and what was read from it."""

    body: bytes
    tokens: Tokens | None = None
    raw_usage: bytes | None = None
    finish_reason: str | None = None


class StreamDecoder(Protocol):
    """Turns a provider's stream into the client's, chunk by chunk.

    `committed` turns true at the first content (text, reasoning or a tool call): until then nothing need
    have reached the client and another provider may still take over. `complete` turns true when the
    provider ended its stream as its dialect demands. `failure` is an error that came inside the stream.
    """

    committed: bool
    complete: bool
    failure: Failure | None
    tokens: Tokens | None
    raw_usage: bytes | None
    finish_reason: str | None

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for these provider bytes: whole events only, possibly none."""
        ...

    def finish(self) -> bytes:
        """What remains at the end of the provider's stream, the terminator included if it was complete."""
        ...


class Adapter(Protocol):
    """One dialect."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """The provider's request. Raises RequestError for what the dialect cannot carry."""
        ...

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The client's answer from a 2xx answer. Raises ValueError when the body is not of this dialect."""
        ...

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A fresh decoder for one stream."""
        ...

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means, by the provider's codes rather than its words."""
        ...
