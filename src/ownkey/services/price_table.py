"""The price table of `genai-prices`: dollars per million tokens are micro-dollars per token.

Nearly every call is text with the cache at most: its rates are looked up once a day and model, and a price is six
multiplications. What has other prices (sound, pictures, searches, calls as such) goes through the library itself, which
takes some 70 µs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

from msgspec import Struct

from ownkey.domain.usage import Tokens
from ownkey.providers.billed_usage import BilledUsage

_CACHE_LIMIT: Final = 4096
_MILLION: Final = 1_000_000
# Dollars for a thousand calls are so many micro-dollars for one.
_CALL: Final = 1_000
_NONE: Final = Decimal(0)
_TEXT: Final = BilledUsage()
# The keys of the table that the rates below stand for. Every other key is the library's.
_PLAIN: Final = frozenset(
    {"input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok", "output_reasoning_mtok"}
)
# A model that has a price for pictures or films answers with them unasked.
_BOUNDING: Final = _PLAIN | {"output_image_mtok", "output_video_mtok"}
_SEARCHES: Final = ("web_searches_kcount", "storage_searches_kcount", "social_searches_kcount")
# Dollars for a thousand: Google's, of what is not in the table.
_DEAREST_SEARCH: Final = Decimal(35)
_CHARACTERS: Final = "input_mchars"
_HOURS: Final = ("audio_hours", "input_audio_hours")
# What a usage object must name for a price of that key to count.
_NAMED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "input_audio_mtok": ("input_audio", "cached_audio"),
    "input_image_mtok": ("input_image", "cached_image"),
    "input_video_mtok": ("input_video", "cached_video"),
    "cache_audio_read_mtok": ("cached_audio",),
    "cache_image_read_mtok": ("cached_image",),
    "cache_video_read_mtok": ("cached_video",),
    "output_audio_mtok": ("output_audio",),
    "output_image_mtok": ("output_image",),
    "output_video_mtok": ("output_video",),
    "output_citation_mtok": ("output_citation",),
    "web_searches_kcount": ("web_searches",),
    "storage_searches_kcount": ("storage_searches",),
    # What no usage object tells of, and what is charged on top of the tokens.
    "social_searches_kcount": (),
    "code_executions_kcount": (),
}
# What the library can count by itself, or with a usage object that names it.
_COUNTED: Final = frozenset({"requests_kcount", "audio_hours", "input_audio_hours", _CHARACTERS})


class ListPrice(Struct, frozen=True):
    """What the table says of a model: micro-dollars per million tokens, of the lowest tier where there are several."""

    input_microdollars: int | None
    output_microdollars: int | None
    context_tokens: int | None


class Rate(Struct, frozen=True):
    """Micro-dollars per token; from a size of the input on another price, for all of its tokens."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        """The price in a call with this much input."""
        price = self.base
        for start, higher in self.tiers:
            if input_tokens > start:
                price = higher
        return price

    def highest(self, input_tokens: int) -> Decimal:
        """The most that a token can cost in a call with up to this much input."""
        return max(self.base, *(price for start, price in self.tiers if start < input_tokens), _NONE)


class Rates(Struct, frozen=True, kw_only=True):
    """What the tokens of a text cost."""

    fresh: Rate
    cache_read: Rate
    cache_write: Rate
    cache_write_hour: Rate
    text: Rate
    reasoning: Rate

    def charge(self, tokens: Tokens, hour: int = 0) -> Decimal:
        """Micro-dollars for a call, of whose writes to the cache `hour` tokens stay for an hour."""
        size = tokens.input_total
        amount = self.fresh.at(size) * tokens.input_uncached + self.text.at(size) * tokens.output_text
        # Most calls have none of the others, and nothing times a price is work all the same.
        if tokens.cache_read:
            amount += self.cache_read.at(size) * tokens.cache_read
        if tokens.cache_write:
            hour = min(hour, tokens.cache_write)
            amount += self.cache_write.at(size) * (tokens.cache_write - hour)
            amount += self.cache_write_hour.at(size) * hour
        if tokens.output_reasoning:
            amount += self.reasoning.at(size) * tokens.output_reasoning
        return amount


class _Priced(Struct, frozen=True, kw_only=True):
    """A model on one day. `rates` None: only the library can tell, from a usage object that names one of `needed`.

    `named` is what a usage object must not name for the rates to be all.
    """

    rates: Rates | None = None
    named: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


class PriceTable:
    """Prices by the table's provider and model. It is loaded at the first question, which takes half a second."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, date, str | None, str | None], _Priced | None] = {}

    @cached_property
    def version(self) -> str:
        """The table's name and version, kept on every row that it priced."""
        return f"genai-prices {version('genai-prices')}"

    def charge(
        self, provider: str, model: str, tokens: Tokens | None, at: datetime, billed: BilledUsage = _TEXT
    ) -> Decimal | None:
        """Micro-dollars for a call, not rounded; None where no price is known: "unpriced" is not free.

        `tokens` None: nobody knows them, so that only what is charged by something else has a price.
        """
        context = _context(billed)
        priced = self._find(provider, model, at, context)
        if priced is None or (tokens is None and not priced.needed):
            return None
        tokens = tokens or Tokens()
        if priced.rates is not None and not (priced.named and any(getattr(billed, name) for name in priced.named)):
            return priced.rates.charge(tokens, billed.cache_write_hour)
        if priced.needed and not any(getattr(billed, name) for name in priced.needed):
            return None
        try:
            return self._ask_library(provider, model, tokens, at, billed, context)
        except ValueError:
            # The parts that a provider names do not fit into what it counts; the counts are what it bills by.
            return self._ask_library(provider, model, tokens, at, _TEXT, context)

    def bound(
        self,
        provider: str,
        model: str,
        at: datetime,
        *,
        input_tokens: int,
        output_tokens: int,
        special: bool = False,
        audio_seconds: int = 0,
        searches: int = 0,
        characters: int = 0,
    ) -> Decimal | None:
        """The most that a call can cost, in micro-dollars; None where no price is known.

        `special`: sound, pictures, or another class of service than usual may be part of it, at whatever price.
        `audio_seconds`: the length of the sound, for models that charge by it. `searches`: how often the provider may
        look something up; where the table has no fee for that, the dearest of them all. `characters`: text to be
        spoken, for models that charge by that.
        """
        found = self._find_model(provider, model)
        if found is None or self._find(provider, model, at, {}) is None:
            return None
        standard = found.get_prices(_in_utc(at))
        prices = [standard, *(variant.prices for variant in found.price_variants or () if special)]
        highest = {"input": _NONE, "output": _NONE}
        for key, value in (pair for one in prices for pair in vars(one).items()):
            direction = "output" if key.startswith("output") else "input"
            if value is not None and key.endswith("_mtok") and (special or key in _BOUNDING):
                highest[direction] = max(highest[direction], _read_rate(value).highest(input_tokens))
        calls = max((vars(one).get("requests_kcount") or _NONE for one in prices), default=_NONE) * _CALL
        hours = max((vars(one).get(key) or _NONE for one in prices for key in _HOURS), default=_NONE)
        sound = hours * _MILLION * audio_seconds / 3600
        fee = (
            max((vars(one).get(key) or _NONE for one in prices for key in _SEARCHES), default=_NONE) or _DEAREST_SEARCH
        )
        looked_up = fee * _CALL * searches
        spoken = max((vars(one).get(_CHARACTERS) or _NONE for one in prices), default=_NONE) * characters
        tokens = highest["input"] * input_tokens + highest["output"] * output_tokens
        return tokens + calls + sound + looked_up + spoken

    def list_price(self, provider: str, model: str, at: datetime) -> ListPrice | None:
        """What the table says of a model; None where it does not know it."""
        found = self._find_model(provider, model)
        if found is None:
            return None
        prices, context = found.get_prices(at), found.context_window
        return ListPrice(
            _per_million(prices.input_mtok),
            _per_million(prices.output_mtok),
            context if isinstance(context, int) and context > 0 else None,
        )

    def _find(self, provider: str, model: str, at: datetime, context: dict[str, str]) -> _Priced | None:
        moment = _in_utc(at)
        key = (provider, model, moment.date(), context.get("service_tier"), context.get("speed"))
        if key in self._known:
            return self._known[key]
        found = self._find_model(provider, model)
        if found is None:
            priced = None
        else:
            priced = _read_prices(found.get_prices(moment, context), free=_is_free(found))
            if _depends_on_the_hour(found):
                return priced
        if len(self._known) >= _CACHE_LIMIT:
            self._known.clear()
        self._known[key] = priced
        return priced

    def _find_model(self, provider: str, model: str) -> Any:
        try:
            _, found = self._snapshot.find_provider_model(model, None, provider, None)
        except LookupError:
            return None
        return found

    @property
    def _snapshot(self) -> Any:
        return import_module("genai_prices.data_snapshot").get_snapshot()

    def _ask_library(
        self, provider: str, model: str, tokens: Tokens, at: datetime, billed: BilledUsage, context: dict[str, str]
    ) -> Decimal:
        library = import_module("genai_prices")
        usage = library.Usage(**_library_usage(tokens, billed))
        result = library.calc_price(
            usage, model, provider_id=provider, genai_request_timestamp=at, price_context=context
        )
        total: Decimal = result.total_price
        return total * _MILLION


def _read_prices(prices: Any, *, free: bool) -> _Priced | None:
    """None: nothing that can be counted has a price here."""
    held = {key: value for key, value in vars(prices).items() if value is not None and not key.startswith("_")}
    if not held and not free:
        return None
    others = held.keys() - _PLAIN
    if others - _NAMED_BY.keys():
        if others - _NAMED_BY.keys() - _COUNTED:
            return None
        if _CHARACTERS in others:
            return _Priced(needed=("input_characters",))
        by_time = others & {"audio_hours", "input_audio_hours"}
        return _Priced(needed=("audio_seconds",) if by_time and not held.keys() & _PLAIN else ())
    rates = {key: _read_rate(held[key]) for key in held.keys() & _PLAIN}
    fresh = rates.get("input_mtok", Rate(_NONE))
    # What has no price of its own costs what the rest costs.
    written, text = rates.get("cache_write_mtok", fresh), rates.get("output_mtok", Rate(_NONE))
    return _Priced(
        rates=Rates(
            fresh=fresh,
            cache_read=rates.get("cache_read_mtok", fresh),
            cache_write=written,
            cache_write_hour=rates.get("cache_write_1h_mtok", written),
            text=text,
            reasoning=rates.get("output_reasoning_mtok", text),
        ),
        named=tuple(sorted({name for key in others for name in _NAMED_BY[key]})),
    )


def _is_free(model: Any) -> bool:
    """Whether a model without a price is one that costs nothing, and not one whose price is not known."""
    told = f"{model.price_comments or ''} {model.description or ''}".lower()
    return ":free" in model.id or "free of charge" in told


def _read_rate(value: Any) -> Rate:
    if isinstance(value, Decimal):
        return Rate(value)
    return Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))


def _per_million(rate: Any) -> int | None:
    """Dollars as micro-dollars. A price with tiers says what the first tokens cost."""
    base = getattr(rate, "base", rate)
    return None if base is None else int((Decimal(base) * _MILLION).to_integral_value(ROUND_HALF_EVEN))


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is UTC:
        return at
    return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _depends_on_the_hour(model: Any) -> bool:
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [one.constraint for one in (*conditional, *(model.price_variants or ()))]
    return any(hasattr(constraint, "start_time") for constraint in constraints)


def _context(billed: BilledUsage) -> dict[str, str]:
    """What the table chooses prices by, where an answer says it."""
    if billed.service_tier is billed.speed is None:
        return {}
    given = {"service_tier": billed.service_tier, "speed": billed.speed}
    return {name: value for name, value in given.items() if value}


def _library_usage(tokens: Tokens, billed: BilledUsage) -> dict[str, int]:
    """The library's counters. It wants to know what two of them have in common where both have a price."""
    usage = {
        "input_tokens": tokens.input_total,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "cache_write_1h_tokens": min(billed.cache_write_hour, tokens.cache_write),
        "output_tokens": tokens.output_total,
        "output_reasoning_tokens": tokens.output_reasoning,
        "output_citation_tokens": billed.output_citation,
        "web_searches": billed.web_searches,
        "storage_searches": billed.storage_searches,
        "input_characters": billed.input_characters,
        "audio_seconds": billed.audio_seconds,
        "input_audio_seconds": billed.audio_seconds,
    }
    for kind in ("audio", "image", "video"):
        cached: int = getattr(billed, f"cached_{kind}")
        usage[f"input_{kind}_tokens"] = max(getattr(billed, f"input_{kind}"), cached)
        usage[f"cache_{kind}_read_tokens"] = cached
        usage[f"output_{kind}_tokens"] = getattr(billed, f"output_{kind}")
    return usage
