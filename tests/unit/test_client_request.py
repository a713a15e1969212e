"""What is read of a client's body, and how a wrong one is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.routing import Needs
from ownkey.errors import OwnkeyError, RequestError
from ownkey.services.client_request import Asked, read_request


def chat(**fields: object) -> bytes:
    return msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": "hi"}], **fields})


def test_the_body_stays_untouched() -> None:
    body = b'{ "messages" : [], "model":"gpt-4o-mini",\n "zz_future_field": 1e5 }'
    assert read_request(body, "chat").body is body


def test_streaming_and_its_usage_are_read() -> None:
    asked = read_request(chat(stream=True, stream_options={"include_usage": True}), "chat")
    assert (asked.stream, asked.wants_usage) == (True, True)
    quiet = read_request(chat(stream=True), "chat")
    assert (quiet.stream, quiet.wants_usage) == (True, False)
    assert read_request(chat(stream=None), "chat").stream is False


def test_needs_are_seen() -> None:
    assert read_request(chat(tools=[{"type": "function"}]), "chat").route.needs.tools
    assert not read_request(chat(tools=[]), "chat").route.needs.tools
    assert not read_request(chat(tools=None), "chat").route.needs.tools
    assert read_request(chat(response_format={"type": "json_schema"}), "chat").route.needs.json_schema
    assert not read_request(chat(response_format={"type": "text"}), "chat").route.needs.json_schema
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    assert read_request(chat(messages=picture), "chat").route.needs.images
    talk_about_pictures = [{"role": "user", "content": 'use "image_url", or {"type":"image_url"}'}]
    assert not read_request(chat(messages=talk_about_pictures), "chat").route.needs.images
    quoted = [{"role": "user", "content": "image_url"}]
    assert not read_request(chat(messages=quoted), "chat").route.needs.images


def test_task_and_fallback_come_from_headers() -> None:
    found = read_request(chat(), "chat", Asked(task=" Coding ", fallback="off")).route
    assert (found.task, found.allow_fallback) == ("coding", False)
    assert read_request(chat(model="task:Research"), "chat").route.model == "task:research"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b'{"messages":[],"user":"\xff"}', None),
        (b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        (b'{"messages":[],"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        (b"[]", None),
        (b'{"model":"x"}', "messages"),
        (b'{"messages":[],"model":7}', "model"),
        (b'{"messages":[],"model":"a/../b"}', "model"),
        (b'{"messages":[],"model":"a\\nb"}', "model"),
        (b'{"messages":[],"stream":"yes"}', "stream"),
        (b'{"messages":[],"stream_options":3}', "stream_options"),
        (b'{"messages":"image_url"}', "messages"),
        (b'{"messages":null}', "messages"),
        (b'{"messages":["image_url"]}', "messages[0]"),
        (b'{"messages":[],"model":"task:"}', "task"),
    ],
)
def test_a_wrong_body_names_its_field(body: bytes, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(body, "chat")
    assert caught.value.param == param
    assert caught.value.status == 400


def test_an_unknown_fallback_value_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        read_request(chat(), "chat", Asked(fallback="maybe"))
    assert caught.value.param == "X-Ownkey-Fallback"


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    for operation in ("chat", "embeddings"):
        try:
            read_request(body, operation)  # type: ignore[arg-type]
        except OwnkeyError as error:
            assert error.status == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("model", "messages", "stream", "tools"), json_values)))
def test_no_json_breaks_the_reader(content: dict[str, object]) -> None:
    try:
        read_request(msgspec.json.encode(content), "chat", Asked(task="coding"))
    except OwnkeyError as error:
        assert error.status == 400


def test_documents_and_audio_are_seen() -> None:
    def needs(*parts: dict[str, object]) -> Needs:
        return read_request(chat(messages=[{"role": "user", "content": parts}]), "chat").route.needs

    assert needs({"type": "file", "file": {"file_data": "data:application/pdf;base64,"}}).documents
    assert needs({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}).audio
    assert needs({"type": "text", "text": '"file"'}) == Needs()
