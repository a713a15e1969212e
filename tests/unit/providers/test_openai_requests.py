"""The OpenAI dialect changes what it must in a body, and not a byte more."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect, Provider, Quirk
from ownkey.errors import RequestError
from ownkey.providers.dialect import AnswerFailed, Call
from ownkey.providers.openai_chat.passthrough import OpenAIChat

ADAPTER = OpenAIChat()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def provider(*quirks: Quirk, auth: str = "bearer", headers: dict[str, str] | None = None) -> Provider:
    return Provider(
        id="some",
        label="Some",
        dialect=Dialect.OPENAI_CHAT,
        base_url="https://some.test/v1",
        auth=auth,
        headers=headers or {},
        quirks=frozenset(quirks),
    )


def call(body: bytes, *, stream: bool = False, operation: str = "chat", wants_usage: bool = False) -> Call:
    return Call(operation=operation, body=body, model="the-model", stream=stream, wants_usage=wants_usage)


def encode(body: bytes, *quirks: Quirk, stream: bool = False) -> bytes:
    return ADAPTER.encode(provider(*quirks), "https://some.test/v1", call(body, stream=stream)).body


def test_only_the_model_changes() -> None:
    body = b'{"messages":[ {"role" : "user","content":"\\u00e9\\n"} ],"model":"x","temperature":1.00,"big":1e400}'

    assert encode(body) == body.replace(b'"x"', b'"the-model"')


def test_a_missing_model_is_added() -> None:
    assert encode(b'{"messages":[]}') == b'{"messages":[],"model":"the-model"}'


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=6), st.booleans())
def test_every_other_field_survives(fields: dict[str, object], pretty: bool) -> None:
    body = json.dumps(fields, indent=2 if pretty else None, ensure_ascii=pretty).encode()

    assert json.loads(encode(body)) == {**fields, "model": "the-model"}


@pytest.mark.parametrize("body", [b"", b"[]", b"nope", b'{"a":', b"\xff", b"3", b"null"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        encode(body)


def test_usage_is_asked_for_in_streams_only() -> None:
    assert b"stream_options" not in encode(b'{"messages":[]}')
    assert json.loads(encode(b'{"messages":[]}', stream=True))["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("given_options", ["null", "{}", '{"include_usage":false}', '{"include_usage":true}'])
def test_the_clients_stream_options_are_completed(given_options: str) -> None:
    body = f'{{"stream_options":{given_options}}}'.encode()

    assert json.loads(encode(body, stream=True))["stream_options"] == {"include_usage": True}


def test_other_stream_options_are_kept() -> None:
    body = b'{"stream_options":{"include_obfuscation":false}}'

    options = json.loads(encode(body, stream=True))["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True}


def test_stream_options_of_another_type_are_refused() -> None:
    with pytest.raises(RequestError) as caught:
        encode(b'{"stream_options":[1]}', stream=True)
    assert caught.value.param == "stream_options"


def test_a_provider_without_stream_options_gets_none() -> None:
    body = b'{"stream":true,"stream_options":{"include_usage":true}}'

    assert json.loads(encode(body, Quirk.NO_STREAM_OPTIONS, stream=True)) == {"stream": True, "model": "the-model"}


def test_max_completion_tokens_is_renamed_where_it_is_unknown() -> None:
    body = b'{"max_completion_tokens":7}'

    assert json.loads(encode(body, Quirk.MAX_TOKENS_ONLY)) == {"model": "the-model", "max_tokens": 7}
    assert json.loads(encode(body)) == {"max_completion_tokens": 7, "model": "the-model"}
    assert json.loads(encode(b'{"max_tokens":7,"max_completion_tokens":7}', Quirk.MAX_TOKENS_ONLY))["max_tokens"] == 7
    with pytest.raises(RequestError) as caught:
        encode(b'{"max_tokens":8,"max_completion_tokens":7}', Quirk.MAX_TOKENS_ONLY)
    assert caught.value.param == "max_tokens"


def test_embeddings_go_to_their_own_path_untouched() -> None:
    request = ADAPTER.encode(
        provider(Quirk.MAX_TOKENS_ONLY), "https://b.test/v1", call(b'{"input":["a"]}', operation="embeddings")
    )

    assert request.url == "https://b.test/v1/embeddings"
    assert request.body == b'{"input":["a"],"model":"the-model"}'
    with pytest.raises(RequestError):
        ADAPTER.encode(provider(Quirk.NO_EMBEDDINGS), "https://b.test/v1", call(b"{}", operation="embeddings"))


def test_the_secret_has_a_place_but_is_not_there() -> None:
    def made(auth: str) -> tuple[str, str] | None:
        return ADAPTER.encode(provider(auth=auth), "https://b.test", call(b"{}")).auth_header

    assert made("bearer") == ("authorization", "Bearer ")
    assert made("header:api-key") == ("api-key", "")
    assert made("none") is None


def test_the_rows_headers_are_sent() -> None:
    request = ADAPTER.encode(provider(headers={"x-title": "Ownkey"}), "https://b.test", call(b"{}", stream=True))

    assert request.headers == (
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("x-title", "Ownkey"),
    )


def test_an_answer_keeps_its_bytes() -> None:
    body = (
        b'{ "id":"c1","choices":[{"index":0,"message":{"content":"\\u00e9"},"finish_reason":"length"}],'
        b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
    )

    decoded = ADAPTER.decode(body, call(b"{}"))

    assert decoded.body is body
    assert decoded.finish_reason == "length"
    assert decoded.raw_usage == b'{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}'
    assert decoded.tokens is not None
    assert (decoded.tokens.input_uncached, decoded.tokens.output_text) == (5, 2)


def test_an_answer_without_usage_is_an_answer() -> None:
    decoded = ADAPTER.decode(b'{"choices":[{"finish_reason":"stop"}],"usage":null}', call(b"{}"))

    assert (decoded.tokens, decoded.raw_usage) == (None, None)


def test_embeddings_have_usage_too() -> None:
    body = b'{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":8,"total_tokens":8}}'

    decoded = ADAPTER.decode(body, call(b"{}", operation="embeddings"))

    assert decoded.tokens is not None
    assert decoded.tokens.input_uncached == 8


@pytest.mark.parametrize("operation", ["chat", "embeddings"])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"choices":3,"data":3}', b"\xff"])
def test_another_kind_of_body_is_not_an_answer(operation: str, body: bytes) -> None:
    with pytest.raises(ValueError):
        ADAPTER.decode(body, call(b"{}", operation=operation))


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"code":429,"message":"Rate limited upstream"}}',
        b'{"choices":[{"error":{"code":429,"message":"Rate limited upstream"},"finish_reason":"error"}]}',
    ],
)
def test_an_error_that_came_as_a_success_is_an_error(body: bytes) -> None:
    with pytest.raises(AnswerFailed) as caught:
        ADAPTER.decode(body, call(b"{}"))
    assert caught.value.failure.outcome == "rate_limited"
    assert caught.value.failure.message == "Rate limited upstream"


@pytest.mark.parametrize("reason", ["two words", "a\n", "x" * 41, ""])
def test_a_reason_that_is_no_word_is_not_noted(reason: str) -> None:
    body = json.dumps({"choices": [{"finish_reason": reason}]}).encode()
    decoded = ADAPTER.decode(body, call(b"{}"))

    assert (decoded.body, decoded.finish_reason) == (body, None)
