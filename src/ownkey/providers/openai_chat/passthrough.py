"""The OpenAI dialect: the client speaks it too, so bytes pass through.

A request is read one level deep and written back with another `model`; every other value keeps its bytes, except that
reasoning which another dialect's answer left in the messages is taken out. An answer is not touched at all, only its
usage is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider, Quirk
from ownkey.domain.usage import Tokens
from ownkey.errors import RequestError
from ownkey.providers.dialect import AnswerFailed, Call, Decoded, StreamDecoder, auth_header, request_url
from ownkey.providers.failures import read_failure, read_failure_in_answer
from ownkey.providers.lookalikes import refuse_lookalikes
from ownkey.providers.openai_chat.finish_word import finish_word
from ownkey.providers.openai_chat.passing_stream import OpenAIStreamDecoder
from ownkey.providers.openai_chat.reasoning_details import holds_foreign, take_out_foreign
from ownkey.providers.openai_chat.usage import read_usage
from ownkey.providers.unreadable import UNREADABLE

_PATHS: Final = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_INCLUDE_USAGE: Final = Raw(b'{"include_usage":true}')
_ABSENT: Final = Raw(b"null")


class _Choice(Struct):
    finish_reason: str | None = None
    error: Raw = _ABSENT


class _GroqExtra(Struct):
    usage: Raw = _ABSENT


class _Completion(Struct):
    choices: list[_Choice] | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT
    x_groq: _GroqExtra | None = None


class _Embeddings(Struct):
    data: list[Raw] | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_COMPLETION: Final = msgspec.json.Decoder(_Completion)
_EMBEDDINGS: Final = msgspec.json.Decoder(_Embeddings)
_encode: Final = msgspec.json.Encoder().encode


class OpenAIChat:
    """Adapter for every provider that speaks `/chat/completions` and `/embeddings` in OpenAI's form."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """The client's body with the upstream's model name. Raises RequestError for what the provider lacks."""
        if call.operation == "embeddings" and Quirk.NO_EMBEDDINGS in provider.quirks:
            raise RequestError(f"{provider.label} has no embeddings.", param="model")
        try:
            body = dict(call.fields) if call.fields is not None else _BODY.decode(call.body)
        except UNREADABLE:
            raise RequestError("The body is not a JSON object.") from None
        refuse_lookalikes(body)
        body["model"] = Raw(_encode(call.model))
        if call.operation == "chat":
            if call.stream:
                _ask_for_usage(body, provider)
            if Quirk.MAX_TOKENS_ONLY in provider.quirks:
                _rename_max_tokens(body)
            if holds_foreign(call.body) and "messages" in body:
                body["messages"] = take_out_foreign(body["messages"])
        accept = "text/event-stream" if call.stream else "application/json"
        headers = (("content-type", "application/json"), ("accept", accept), *provider.headers.items())
        url = request_url(provider, base_url, _PATHS[call.operation])
        return UpstreamRequest("POST", url, headers, _encode(body), auth_header(provider))

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The answer as it came. Raises AnswerFailed for an error that came with status 200, else ValueError."""
        try:
            if call.operation == "embeddings":
                return _decode_embeddings(body)
            answer = _COMPLETION.decode(body)
        except UNREADABLE:
            raise ValueError("not an answer in the OpenAI form") from None
        raw_usage = _present(answer.usage) or (_present(answer.x_groq.usage) if answer.x_groq else None)
        tokens = read_usage(raw_usage) if raw_usage else None
        choices = answer.choices
        _refuse_error(answer.error, tokens, raw_usage)
        if choices is None:
            raise ValueError("a chat completion without choices")
        for choice in choices:
            _refuse_error(choice.error, tokens, raw_usage)
        return Decoded(
            body=body,
            tokens=tokens,
            raw_usage=raw_usage,
            finish_reason=finish_word(choices[0].finish_reason) if choices else None,
        )

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A decoder that passes events on unchanged."""
        return OpenAIStreamDecoder(call)

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)


def _decode_embeddings(body: bytes) -> Decoded:
    answer = _EMBEDDINGS.decode(body)
    _refuse_error(answer.error)
    if answer.data is None:
        raise ValueError("an embeddings answer without data")
    raw_usage = _present(answer.usage)
    return Decoded(body=body, tokens=read_usage(raw_usage) if raw_usage else None, raw_usage=raw_usage)


def _present(raw: Raw) -> bytes | None:
    """The bytes of an optional value, None for null."""
    if raw is _ABSENT:
        return None
    value = bytes(raw)
    return None if value == b"null" else value


def _refuse_error(raw: Raw, tokens: Tokens | None = None, raw_usage: bytes | None = None) -> None:
    error = _present(raw)
    if error is not None:
        raise AnswerFailed(read_failure_in_answer(error), tokens, raw_usage)


def _ask_for_usage(body: dict[str, Raw], provider: Provider) -> None:
    """Usage is needed for every stream; the decoder takes it out again where the client did not ask."""
    if Quirk.NO_STREAM_OPTIONS in provider.quirks:
        # Such a provider reports usage unasked, so nothing that the client wanted is lost.
        body.pop("stream_options", None)
        return
    given = body.get("stream_options")
    if given is None or bytes(given) == b"null":
        body["stream_options"] = _INCLUDE_USAGE
        return
    try:
        options = _BODY.decode(given)
    except UNREADABLE:
        raise RequestError("`stream_options` must be an object.", param="stream_options") from None
    options["include_usage"] = Raw(b"true")
    body["stream_options"] = Raw(_encode(options))


def _rename_max_tokens(body: dict[str, Raw]) -> None:
    limit = body.pop("max_completion_tokens", None)
    if limit is None:
        return
    old = body.setdefault("max_tokens", limit)
    if bytes(old) != bytes(limit):
        raise RequestError("Give either `max_completion_tokens` or `max_tokens`, not both.", param="max_tokens")
