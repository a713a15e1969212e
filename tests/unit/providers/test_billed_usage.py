"""What usage objects say beyond the counters: the provider's own cost, and parts that have other prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.provider import CostField
from ownkey.providers.billed_usage import BilledUsage, read_billed_usage, read_reported_cost


@pytest.mark.parametrize(
    ("usage", "microdollars"),
    [
        # OpenRouter: credits are dollars.
        (b'{"prompt_tokens":194,"completion_tokens":2,"cost":0.95}', "950000.00"),
        (b'{"cost":0.0000004}', "0.4"),
        (b'{"cost":1e-7,"is_byok":false,"cost_details":{"upstream_inference_cost":1e-7}}', "0.1"),
        # With a key of one's own there, the provider behind charges besides.
        (b'{"cost":0.05,"is_byok":true,"cost_details":{"upstream_inference_cost":1}}', "1050000.00"),
        (b'{"cost":0.05,"is_byok":true,"cost_details":null}', "50000.00"),
        (b'{"cost":0}', "0"),
        (b'{"cost":null}', None),
        (b'{"prompt_tokens":1}', None),
        (b'{"cost":-1}', None),
        (b'{"cost":"NaN"}', None),
        (b'{"cost":"Infinity"}', None),
        (b'{"cost":1e999999999}', None),
        (b'{"cost":2000000}', None),
        (b'{"cost":{"total":1}}', None),
        (b'{"cost":true}', None),
        (b"[1]", None),
        (b'{"cost":', None),
        (b'{"cost":1,"x":"' + b"x" * 20_000 + b'"}', None),
    ],
)
def test_what_openrouter_says_it_charged(usage: bytes, microdollars: str | None) -> None:
    expected = None if microdollars is None else Decimal(microdollars)
    assert read_reported_cost(usage, CostField.COST) == expected


@pytest.mark.parametrize(
    ("usage", "microdollars"),
    [
        # The example of xAI's page: $0.0037756.
        (b'{"prompt_tokens":37,"cost_in_usd_ticks":37756000}', "3775.6"),
        (b'{"cost_in_usd_ticks":200000000}', "20000"),
        (b'{"cost_in_usd_ticks":0}', "0"),
        (b'{"cost":5}', None),
        (b'{"cost_in_usd_ticks":-5}', None),
    ],
)
def test_what_xai_says_it_charged(usage: bytes, microdollars: str | None) -> None:
    expected = None if microdollars is None else Decimal(microdollars)
    assert read_reported_cost(usage, CostField.COST_IN_USD_TICKS) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens_details": {"audio_tokens": 5, "cached_tokens": 9, "image_tokens": 2},
                "completion_tokens_details": {"audio_tokens": 7, "reasoning_tokens": 1},
                "service_tier": "flex",
            },
            BilledUsage(input_audio=5, input_image=2, output_audio=7, service_tier="flex"),
        ),
        (
            {
                "input_tokens_details": {"image_tokens": 4, "cached_tokens_details": {"image_tokens": 3}},
                "output_tokens_details": {"image_tokens": 6},
            },
            BilledUsage(input_image=4, cached_image=3, output_image=6),
        ),
        (
            {
                "cache_creation_input_tokens": 50,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 40},
                "server_tool_use": {"web_search_requests": 2},
                "service_tier": "priority",
                "speed": "fast",
            },
            BilledUsage(cache_write_hour=40, web_searches=2, service_tier="priority", speed="fast"),
        ),
        (
            {
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}, {"modality": "AUDIO", "tokenCount": 6}],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
            },
            BilledUsage(input_audio=6, cached_audio=1, output_image=1290),
        ),
        ({"type": "duration", "seconds": 8.2}, BilledUsage(audio_seconds=9)),
        ({"citation_tokens": 12, "seconds": -1}, BilledUsage(output_citation=12)),
        ({"prompt_tokens_details": None, "cache_creation": None}, BilledUsage()),
        ({"prompt_tokens_details": {"audio_tokens": -3}}, BilledUsage()),
        ({"prompt_tokens_details": "none"}, BilledUsage()),
    ],
)
def test_what_has_a_price_of_its_own(usage: dict[str, Any], expected: BilledUsage) -> None:
    assert read_billed_usage(msgspec.json.encode(usage)) == expected


@given(st.binary(max_size=200))
def test_nothing_that_a_provider_sends_is_an_error(raw: bytes) -> None:
    read_billed_usage(raw)
    for named in CostField:
        read_reported_cost(raw, named)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(BilledUsage.__struct_fields__), inner),
    max_leaves=5,
)
_FIELDS = [
    "cost", "cost_in_usd_ticks", "is_byok", "cost_details", "prompt_tokens_details", "cache_creation", "seconds",
    "server_tool_use", "promptTokensDetails", "service_tier",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_no_field_of_a_strange_kind_is_an_error(usage: dict[str, Any]) -> None:
    try:
        raw = msgspec.json.encode(usage)
    except (OverflowError, ValueError):
        return
    billed = read_billed_usage(raw)
    assert min(getattr(billed, name) for name in billed.__struct_fields__[:-2]) >= 0
    for named in CostField:
        cost = read_reported_cost(raw, named)
        assert cost is None or 0 <= cost < 10**12
