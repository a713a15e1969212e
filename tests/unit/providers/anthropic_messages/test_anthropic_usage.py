"""Claude's counters: whatever a provider says, they are sane, and reading them costs next to nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from claude_wire import CHAT, chat_call, chat_decoder, decode
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.usage import Tokens

NUMBER = st.none() | st.integers(-(10**30), 10**30) | st.floats(-1e300, 1e300) | st.integers(0, 1000)
USAGE = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": NUMBER,
        "cache_read_input_tokens": NUMBER,
        "cache_creation_input_tokens": NUMBER,
        "output_tokens": NUMBER,
        "output_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"thinking_tokens": NUMBER}),
    },
)


def answered(usage: Any) -> Tokens | None:
    body = json.dumps({"type": "message", "content": [], "usage": usage}).encode()
    return CHAT.decode(body, chat_call()).tokens


def stream(*usages: Any) -> bytes:
    first, *later = usages
    documents = [
        {"type": "message_start", "message": {"usage": first}},
        *({"type": "message_delta", "usage": usage} for usage in later),
    ]
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


@given(USAGE)
def test_every_counter_is_within_bounds(usage: dict[str, Any]) -> None:
    decoder = chat_decoder()
    decode(decoder, [stream(usage)])

    for tokens in (answered(usage), decoder.tokens):
        assert tokens is not None
        assert all(0 <= getattr(tokens, name) <= 2**53 for name in Tokens.__struct_fields__)
        assert tokens.output_total <= 2**53


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": -10, "output_tokens": -1}, Tokens()),
        ({"input_tokens": 2.9, "output_tokens": 3.0}, Tokens(input_uncached=2, output_text=3)),
        ({"output_tokens": 5, "output_tokens_details": {"thinking_tokens": -7}}, Tokens(output_text=5)),
        ({"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 9}}, Tokens(output_reasoning=5)),
        ({"input_tokens": 10**30}, Tokens(input_uncached=2**53)),
    ],
)
def test_a_counter_beyond_reason(usage: dict[str, Any], expected: Tokens) -> None:
    assert answered(usage) == expected


def test_later_counters_replace_earlier_ones_and_the_rest_stays() -> None:
    decoder = chat_decoder()
    first = {"input_tokens": 3, "output_tokens": 1, "service_tier": "standard"}
    decode(decoder, [stream(first, {"output_tokens": 4, "cache_read_input_tokens": 2}, {"output_tokens": 9})])

    assert decoder.tokens == Tokens(input_uncached=3, cache_read=2, output_text=9)
    assert json.loads(decoder.raw_usage or b"") == {**first, "output_tokens": 9, "cache_read_input_tokens": 2}


def test_usage_under_ever_new_names_is_not_collected() -> None:
    decoder = chat_decoder()
    usages = [{"output_tokens": 1, f"name_{number}": "x" * 1000} for number in range(2000)]
    decode(decoder, [stream(*usages)])

    assert decoder.tokens == Tokens(output_text=1)
    assert len(decoder.raw_usage or b"") < 4096


def test_an_enormous_usage_is_passed_over() -> None:
    decoder = chat_decoder()
    decode(decoder, [stream({"input_tokens": 3}, {"input_tokens": 4, "more": "x" * 20_000})])

    assert decoder.tokens == Tokens(input_uncached=3)
    assert json.loads(decoder.raw_usage or b"") == {"input_tokens": 3}
    assert answered({"input_tokens": 4, "more": "x" * 20_000}) is None


@pytest.mark.parametrize("more", [b'"\xff":1', b'"more":' + b"[" * 7000 + b"]" * 7000])
def test_what_cannot_be_merged_leaves_the_counters(more: bytes) -> None:
    decoder = chat_decoder()
    odd = b'data: {"type":"message_delta","usage":{"output_tokens":4,%b}}\n\n' % more
    decode(decoder, [stream({"input_tokens": 3}), odd])

    assert json.loads(decoder.raw_usage or b"")["input_tokens"] == 3
