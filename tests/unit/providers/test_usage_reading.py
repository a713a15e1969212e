"""Five disjoint counters from every provider's way of counting."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.usage import Tokens
from ownkey.providers.openai_chat.usage import read_usage


@pytest.mark.parametrize(
    ("name", "usage", "expected"),
    [
        ("plain", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, (10, 0, 0, 5, 0)),
        (
            "openai: cached and reasoning are inside",
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 30, "accepted_prediction_tokens": 0},
            },
            (36, 64, 0, 20, 30),
        ),
        (
            "openrouter: written to the cache",
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "total_tokens": 105,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 70},
                "cost": 0.01,
            },
            (20, 10, 70, 5, 0),
        ),
        (
            "deepseek",
            {
                "prompt_tokens": 20,
                "completion_tokens": 9,
                "total_tokens": 29,
                "prompt_cache_hit_tokens": 16,
                "prompt_cache_miss_tokens": 4,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            (4, 16, 0, 5, 4),
        ),
        (
            "xai: reasoning is beside the completion",
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            (10, 0, 0, 5, 100),
        ),
        (
            "gemini: thinking shows in the total only",
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40},
            (10, 0, 0, 5, 25),
        ),
        (
            "perplexity",
            {
                "prompt_tokens": 33,
                "completion_tokens": 7163,
                "total_tokens": 7196,
                "citation_tokens": 19028,
                "num_search_queries": 18,
                "reasoning_tokens": 73997,
            },
            (33, 0, 0, 26191, 73997),
        ),
        (
            "moonshot",
            {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11, "cached_tokens": 8},
            (2, 8, 0, 1, 0),
        ),
        ("embeddings", {"prompt_tokens": 8, "total_tokens": 8}, (8, 0, 0, 0, 0)),
        ("nulls", {"prompt_tokens": 8, "completion_tokens": 0, "prompt_tokens_details": None}, (8, 0, 0, 0, 0)),
        ("floats", {"prompt_tokens": 8.0, "completion_tokens": 2.0, "total_tokens": 10.0}, (8, 0, 0, 2, 0)),
        (
            "more cached than there is",
            {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}},
            (0, 5, 0, 1, 0),
        ),
        (
            "more reasoning than there is",
            {"prompt_tokens": 5, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 9}},
            (5, 0, 0, 0, 1),
        ),
    ],
)
def test_a_providers_usage(name: str, usage: dict[str, Any], expected: tuple[int, ...]) -> None:
    tokens = read_usage(json.dumps(usage).encode())

    assert tokens == Tokens(
        input_uncached=expected[0],
        cache_read=expected[1],
        cache_write=expected[2],
        output_text=expected[3],
        output_reasoning=expected[4],
    ), name


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"x"', b"{}", b"3", b'{"prompt_tokens":"many"}', b"{"])
def test_what_is_no_usage(raw: bytes) -> None:
    assert read_usage(raw) is None


COUNT = st.none() | st.integers(-5, 1000)


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT},
        optional={
            "total_tokens": COUNT,
            "cached_tokens": COUNT,
            "prompt_cache_hit_tokens": COUNT,
            "reasoning_tokens": COUNT,
            "citation_tokens": COUNT,
            "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": COUNT, "cache_write_tokens": COUNT}),
            "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": COUNT}),
        },
    )
)
def test_no_counter_is_ever_negative_and_the_input_adds_up(usage: dict[str, Any]) -> None:
    tokens = read_usage(json.dumps(usage).encode())
    if tokens is None:
        assert usage["prompt_tokens"] is None
        assert usage["completion_tokens"] is None
        return
    counters = (
        tokens.input_uncached,
        tokens.cache_read,
        tokens.cache_write,
        tokens.output_text,
        tokens.output_reasoning,
    )
    assert min(counters) >= 0
    assert tokens.input_total == max(usage["prompt_tokens"] or 0, 0)
    assert tokens.output_total >= max(usage["completion_tokens"] or 0, 0)


def test_a_counter_beyond_reason_is_cut_and_an_enormous_usage_is_none() -> None:
    assert read_usage(b'{"prompt_tokens":1e300,"completion_tokens":' + b"9" * 30 + b"}") == Tokens(
        input_uncached=2**53, output_text=2**53
    )
    assert read_usage(b'{"prompt_tokens":1,"more":"' + b"x" * 20_000 + b'"}') is None
