"""Whatever a client sends, a dialect carries it or refuses it by name: nothing a client writes is our own fault."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect, Quirk
from ownkey.errors import RequestError
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call
from ownkey.providers.openai_chat.read_request import _DEFAULTS, _READERS

CATALOG = load_catalog()
DEEP = b"[" * 100_000 + b"]" * 100_000
HELLO = b'[{"role":"user","content":"Hello"}]'


def encode(provider: str, body: bytes, model: str = "claude-sonnet-5-5", *, stream: bool = True) -> bytes:
    row = CATALOG[provider]
    call = Call(operation="chat", body=body, model=model, stream=stream)
    return get_adapter(Dialect.OPENAI_CHAT, row.dialect).encode(row, row.base_url, call).body


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-haiku-4-5", "gpt-9"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reasoning_effort", b"[]"),
        ("reasoning_effort", b"{}"),
        ("user", b'"\xff"'),
        ("seed", b"1e999"),
        ("seed", b'"\xff"'),
        ("max_tokens", b"9" * 6_000),
        ("max_tokens", b"9" * 30),
        ("max_completion_tokens", b"9" * 4_000),
        ("stop", DEEP),
        ("tools", DEEP),
        ("thinking", DEEP),
        ("thinking", b'{"a":"\xff"}'),
        ("stream", b"[" * 1_100),
        ("logit_bias", b"-"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_its_name(model: str, field: str, value: bytes) -> None:
    body = b'{"messages":%b,"%b":%b}' % (HELLO, field.encode(), value)

    with pytest.raises(RequestError) as caught:
        encode("anthropic", body, model)

    # Bytes that are not UTF-8 are found before any field is read; the two limits of tokens are one.
    named = (caught.value.param or field).replace("max_completion_tokens", "max_tokens").partition(".")[0]
    assert named == field.replace("max_completion_tokens", "max_tokens") or value in (b"-", b"[" * 1_100, DEEP)


@pytest.mark.parametrize(
    "messages",
    [
        b'[{"role":"user","content":"\xff"}]',
        b'[{"role":"user","content":%b}]' % DEEP,
        b'[{"role":"user","content":[{"type":"text","text":%b}]}]' % DEEP,
        b'[{"role":"assistant","tool_calls":[{"id":"t","function":{"name":"f","arguments":"{\\"a\\":%b}"}}]}]' % DEEP,
        b'[{"role":"user","content":1e999}]',
    ],
)
def test_messages_that_cannot_be_read_are_refused(messages: bytes) -> None:
    with pytest.raises(RequestError):
        encode("anthropic", b'{"messages":%b}' % messages)


@pytest.mark.parametrize("options", [b'"\xff"', b'{"\xff":1}', DEEP, b'{"a":%b}' % DEEP, b"[]", b"1e999"])
def test_stream_options_that_cannot_be_read_are_refused(options: bytes) -> None:
    with pytest.raises(RequestError):
        encode("openai", b'{"messages":%b,"stream_options":%b}' % (HELLO, options))


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    words = st.sampled_from(["type", "text", "function", "name", "parameters", "json_schema", "schema", "url", "id"])
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=4),
        max_leaves=8,
    )


LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["auto", "none", "high", "function", "text", "image_url", "file", "data:a/b;base64,"])
)
VALUE = nested(LEAF)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "refusal", "input_audio"]) | LEAF},
    optional=dict.fromkeys(("text", "image_url", "file", "refusal", "cache_control"), VALUE),
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", "developer"]) | st.text(max_size=4)},
    optional={
        "content": st.text(max_size=8) | st.lists(PART, max_size=3) | VALUE,
        "tool_calls": st.lists(st.fixed_dictionaries({"id": LEAF, "function": VALUE}), max_size=2) | VALUE,
        "tool_call_id": LEAF,
        "name": LEAF,
    },
)
FIELD = st.sampled_from([*_READERS, *_DEFAULTS, "stream_options", "max_completion_tokens"]) | st.text(max_size=5)
BODY = st.dictionaries(FIELD, VALUE, max_size=4).flatmap(
    lambda fields: st.lists(MESSAGE, max_size=3).map(lambda messages: {**fields, "messages": messages})
)
PROVIDERS = ["openai", "anthropic", next(row.id for row in CATALOG.values() if Quirk.MAX_TOKENS_ONLY in row.quirks)]
MODELS = st.sampled_from(["claude-sonnet-5-5", "claude-haiku-4-5", "claude-3-haiku", "gpt-9"])


@pytest.mark.parametrize("provider", PROVIDERS)
@given(body=BODY, model=MODELS, stream=st.booleans())
def test_any_json_is_carried_or_refused(provider: str, body: Any, model: str, stream: bool) -> None:
    with suppress(RequestError):
        json.loads(encode(provider, json.dumps(body).encode(), model, stream=stream))


@pytest.mark.parametrize("provider", PROVIDERS)
@given(body=BODY, place=st.integers(0, 10_000), junk=st.binary(min_size=1, max_size=3))
def test_any_damaged_bytes_are_carried_or_refused(provider: str, body: Any, place: int, junk: bytes) -> None:
    text = json.dumps(body).encode()
    place %= len(text)

    with suppress(RequestError):
        encode(provider, text[:place] + junk + text[place + len(junk) :])
