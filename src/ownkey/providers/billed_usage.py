"""What a raw usage object says beyond the five counters: the provider's own cost, and tokens that have other prices.

All of it is read from the object as the provider sent it and as it is kept with the event, in whatever dialect: fields
of that name mean the same wherever they occur.

* OpenRouter (https://openrouter.ai/docs/use-cases/usage-accounting): `cost` is what the account was charged, in credits
  of one dollar. With a key of one's own there (`is_byok`) that is only the fee, and the provider behind charges
  `cost_details.upstream_inference_cost` besides.
* xAI (https://docs.x.ai/developers/cost-tracking): `cost_in_usd_ticks`, of which a dollar has 10^10.
* Anthropic: writes to the cache that last an hour cost more than the others (`cache_creation`); `service_tier`, `speed`
  and searches (`server_tool_use`) have prices of their own.
* Perplexity counts its searches (`num_search_queries`, `tool_calls_details`); those of OpenAI and Google are added to
  the usage when it is read (`counted_searches`). So are the characters of what was to be spoken (`spoken_text`).
* OpenAI: tokens of sound and of pictures in the details; Gemini: the same in lists by modality.
"""

from __future__ import annotations

from decimal import Decimal, DecimalException
from math import ceil
from typing import Final, TypeVar

import msgspec
from msgspec import Struct, field

from ownkey.domain.provider import CostField
from ownkey.providers.counters import COUNT_LIMIT, USAGE_LIMIT_BYTES, Count, read_count
from ownkey.providers.unreadable import UNREADABLE

_MICRODOLLARS: Final = Decimal(1_000_000)
_TICKS_PER_MICRODOLLAR: Final = Decimal(10_000)
# No call costs a million dollars: what says so is no cost.
_COST_LIMIT_MICRODOLLARS: Final = Decimal(10**12)

T = TypeVar("T")


class BilledUsage(Struct, frozen=True, kw_only=True):
    """Parts of the five counters, and what is counted beside them. 0: none, or nobody says."""

    cache_write_hour: int = 0
    input_audio: int = 0
    input_image: int = 0
    input_video: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    cached_video: int = 0
    output_audio: int = 0
    output_image: int = 0
    output_video: int = 0
    output_citation: int = 0
    web_searches: int = 0
    storage_searches: int = 0
    audio_seconds: int = 0
    input_characters: int = 0
    service_tier: str | None = None
    speed: str | None = None


class _CostDetails(Struct):
    upstream_inference_cost: Decimal | None = None


class _Cost(Struct):
    cost: Decimal | None = None
    cost_in_usd_ticks: Decimal | None = None
    is_byok: bool | None = None
    cost_details: _CostDetails | None = None


class _Parts(Struct):
    audio_tokens: Count = None
    image_tokens: Count = None
    video_tokens: Count = None
    cached_tokens_details: _Parts | None = None


class _CacheCreation(Struct):
    ephemeral_1h_input_tokens: Count = None


class _Searches(Struct):
    web_search_requests: Count = None


class _Invocations(Struct):
    invocation: Count = None


class _ToolCalls(Struct):
    search_web: _Invocations | None = None


class _Counted(Struct):
    web: Count = None
    files: Count = None


class _Modality(Struct):
    modality: str = ""
    token_count: Count = field(default=None, name="tokenCount")


class _Usage(Struct):
    prompt_tokens_details: _Parts | None = None
    completion_tokens_details: _Parts | None = None
    input_tokens_details: _Parts | None = None
    output_tokens_details: _Parts | None = None
    input_token_details: _Parts | None = None  # OpenAI's transcriptions
    cache_creation: _CacheCreation | None = None
    server_tool_use: _Searches | None = None
    num_search_queries: Count = None
    tool_calls_details: _ToolCalls | None = None
    ownkey_searches: _Counted | None = None
    ownkey_characters: Count = None
    citation_tokens: Count = None
    seconds: Count = None
    service_tier: str | None = None
    speed: str | None = None
    prompt: list[_Modality] | None = field(default=None, name="promptTokensDetails")
    tool_use: list[_Modality] | None = field(default=None, name="toolUsePromptTokensDetails")
    cache: list[_Modality] | None = field(default=None, name="cacheTokensDetails")
    candidates: list[_Modality] | None = field(default=None, name="candidatesTokensDetails")


_COST: Final = msgspec.json.Decoder(_Cost)
_USAGE: Final = msgspec.json.Decoder(_Usage)
_NOTHING: Final = BilledUsage()
_NO_PARTS: Final = _Parts()


def read_reported_cost(raw: bytes, named: CostField) -> Decimal | None:
    """What the provider says it charged, in micro-dollars; None where it says nothing that can be a cost."""
    said = _decode(_COST, raw)
    if said is None:
        return None
    try:
        amount = _read_ticks(said) if named is CostField.COST_IN_USD_TICKS else _read_dollars(said)
    except DecimalException:
        return None
    if amount is None or not amount.is_finite() or not 0 <= amount < _COST_LIMIT_MICRODOLLARS:
        return None
    return amount


def read_billed_usage(raw: bytes) -> BilledUsage:
    """What has a price of its own. Never raises, and no number is negative."""
    said = _decode(_USAGE, raw)
    if said is None:
        return _NOTHING
    taken = said.prompt_tokens_details or said.input_tokens_details or said.input_token_details or _NO_PARTS
    given = said.completion_tokens_details or said.output_tokens_details or _NO_PARTS
    if not _is_special(said, taken, given):
        return _NOTHING if said.service_tier is said.speed is None else _name_class(said)
    cached = taken.cached_tokens_details or _NO_PARTS
    heard = _sum_kinds(said.prompt, said.tool_use)
    kept, made = _sum_kinds(said.cache), _sum_kinds(said.candidates)
    return BilledUsage(
        cache_write_hour=read_count(said.cache_creation.ephemeral_1h_input_tokens) if said.cache_creation else 0,
        input_audio=read_count(taken.audio_tokens) + heard[0],
        input_image=read_count(taken.image_tokens) + heard[1],
        input_video=read_count(taken.video_tokens) + heard[2],
        cached_audio=read_count(cached.audio_tokens) + kept[0],
        cached_image=read_count(cached.image_tokens) + kept[1],
        cached_video=read_count(cached.video_tokens) + kept[2],
        output_audio=read_count(given.audio_tokens) + made[0],
        output_image=read_count(given.image_tokens) + made[1],
        output_video=read_count(given.video_tokens) + made[2],
        output_citation=read_count(said.citation_tokens),
        web_searches=_count_searches(said),
        storage_searches=read_count(said.ownkey_searches.files) if said.ownkey_searches else 0,
        # Sound is charged by the second that has begun.
        audio_seconds=ceil(max(0.0, min(said.seconds, COUNT_LIMIT))) if said.seconds else 0,
        input_characters=read_count(said.ownkey_characters),
        service_tier=said.service_tier,
        speed=said.speed,
    )


def _count_searches(said: _Usage) -> int:
    """Each provider counts them in one place."""
    called = said.tool_calls_details.search_web if said.tool_calls_details is not None else None
    return max(
        read_count(said.server_tool_use.web_search_requests) if said.server_tool_use else 0,
        read_count(said.num_search_queries),
        read_count(called.invocation) if called is not None else 0,
        read_count(said.ownkey_searches.web) if said.ownkey_searches else 0,
    )


def _is_special(said: _Usage, taken: _Parts, given: _Parts) -> bool:
    """Whether there is more than text; most often there is not."""
    return bool(
        taken.audio_tokens
        or taken.image_tokens
        or taken.video_tokens
        or taken.cached_tokens_details
        or given.audio_tokens
        or given.image_tokens
        or given.video_tokens
        or said.cache_creation
        or said.server_tool_use
        or said.num_search_queries
        or said.tool_calls_details
        or said.ownkey_searches
        or said.ownkey_characters
        or said.citation_tokens
        or said.seconds
        or said.prompt
        or said.tool_use
        or said.cache
        or said.candidates
    )


def _name_class(said: _Usage) -> BilledUsage:
    return BilledUsage(service_tier=said.service_tier, speed=said.speed)


def _decode(decoder: msgspec.json.Decoder[T], raw: bytes) -> T | None:
    if len(raw) > USAGE_LIMIT_BYTES:
        return None
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None


def _read_ticks(said: _Cost) -> Decimal | None:
    return None if said.cost_in_usd_ticks is None else said.cost_in_usd_ticks / _TICKS_PER_MICRODOLLAR


def _read_dollars(said: _Cost) -> Decimal | None:
    if said.cost is None:
        return None
    behind = said.cost_details.upstream_inference_cost if said.is_byok and said.cost_details is not None else None
    return (said.cost + (behind or 0)) * _MICRODOLLARS


def _sum_kinds(*lists: list[_Modality] | None) -> tuple[int, int, int]:
    """Tokens of sound, of pictures and of film."""
    if not any(lists):
        return 0, 0, 0
    found = {"AUDIO": 0, "IMAGE": 0, "VIDEO": 0}
    for one in (one for counts in lists if counts for one in counts if one.modality in found):
        found[one.modality] += read_count(one.token_count)
    return found["AUDIO"], found["IMAGE"], found["VIDEO"]
