"""What a wire format must be able to do. One module per dialect implements `Adapter`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.usage import Tokens
from ownkey.errors import RequestError


class Call(Struct, frozen=True, kw_only=True):
    """A client's request. `body` is what the client sent, untouched, in its own `dialect`.

    `operation` is one of `domain.routing.Operation`. `model` is what goes upstream in place of the client's name for
    it. `wants_usage`: the client itself asked for `stream_options.include_usage`. `content_type` is the body's, for the
    operations that take forms. `fields` is the body one level deep, where it was read already; it is not to be changed.
    """

    operation: str
    body: bytes
    model: str
    dialect: Dialect = Dialect.OPENAI_CHAT
    content_type: str = "application/json"
    stream: bool = False
    wants_usage: bool = False
    fields: Mapping[str, Raw] | None = None


class Decoded(Struct, frozen=True, kw_only=True):
    """A whole answer in the client's form, and what was read from it."""

    body: bytes
    tokens: Tokens | None = None
    raw_usage: bytes | None = None
    finish_reason: str | None = None


class AnswerFailed(ValueError):
    """An answer with a status of success whose body is an error. `failure` says which.

    `tokens` and `raw_usage` are what the provider counts all the same: a model that lost its way has thought before.
    """

    def __init__(self, failure: Failure, tokens: Tokens | None = None, raw_usage: bytes | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.tokens, self.raw_usage = tokens, raw_usage


class StreamDecoder(Protocol):
    """Turns a provider's stream into the client's, chunk by chunk.

    `committed` turns true at the first content (text, reasoning or a tool call). Until then `feed` keeps
    everything back, so nothing has reached the client and another provider may still take over. `complete`
    turns true when the provider ended its stream as its dialect demands. `failure` is an error that came
    inside the stream: the provider's own error event is not passed on, and nothing after it is.
    """

    @property
    def committed(self) -> bool:
        """Whether there was content."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the stream came to its proper end."""
        ...

    @property
    def failure(self) -> Failure | None:
        """The error inside the stream."""
        ...

    @property
    def tokens(self) -> Tokens | None:
        """The usage that was reported so far, of a broken stream too."""
        ...

    @property
    def raw_usage(self) -> bytes | None:
        """That usage in the provider's words."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended, in OpenAI's words."""
        ...

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for these provider bytes: whole events only, possibly none."""
        ...

    def finish(self) -> bytes:
        """What remains at the end of the provider's stream, the terminator included if it was complete."""
        ...

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error, in the client's dialect, with which a broken stream ends."""
        ...


def request_url(provider: Provider, base_url: str, path: str) -> str:
    """Where a request goes. Raises RequestError for a base URL whose fields nobody has filled in."""
    if "{" in base_url:
        names = ", ".join(field.label for field in provider.fields) or "part of its address"
        raise RequestError(
            f"{provider.label} needs its {names}. Users give it with their key; for the operator's key, set `base_url` "
            f"and `fields = []` under [{provider.id}] in the file named by OWNKEY_CATALOG.",
            param="model",
        )
    return base_url.rstrip("/") + path


def auth_header(provider: Provider) -> tuple[str, str] | None:
    """The header that will carry the secret, and what stands before the secret in it."""
    if provider.auth == "bearer":
        return ("authorization", "Bearer ")
    if provider.auth.startswith("header:"):
        return (provider.auth.removeprefix("header:"), "")
    return None


class Adapter(Protocol):
    """One dialect."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """The provider's request. Raises RequestError for what the dialect cannot carry."""
        ...

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The client's answer from a 2xx answer.

        Raises AnswerFailed when the body is an error after all, ValueError when it is not of this dialect.
        """
        ...

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A fresh decoder for one stream."""
        ...

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means, by the provider's codes rather than its words."""
        ...
