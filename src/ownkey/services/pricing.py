"""What an upstream call cost, in integer micro-dollars, by the price table of `genai-prices`.

A price of x dollars per million tokens is x micro-dollars per token, so flat prices need one multiplication
per counter. Prices with tiers or conditions go through the library itself (some 70 µs a call).
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final, Literal

from msgspec import Struct

from ownkey.domain.usage import Tokens

_CACHE_LIMIT: Final = 4096
_MILLION: Final = 1_000_000


class Cost(Struct, frozen=True):
    """Micro-dollars, and the price table they come from."""

    microdollars: int
    price_version: str


class ListPrice(Struct, frozen=True):
    """What the table says of a model: micro-dollars per million tokens, of the lowest tier where there are several."""

    input_microdollars: int | None
    output_microdollars: int | None
    context_tokens: int | None


class _FlatPrice(Struct, frozen=True):
    """Dollars per million tokens, in the order of the five counters."""

    rates: tuple[Decimal, Decimal, Decimal, Decimal, Decimal]

    def microdollars(self, tokens: Tokens) -> int:
        counts = (
            tokens.input_uncached,
            tokens.cache_read,
            tokens.cache_write,
            tokens.output_text,
            tokens.output_reasoning,
        )
        total = sum((rate * count for rate, count in zip(self.rates, counts, strict=True)), Decimal(0))
        return int(total.to_integral_value(ROUND_HALF_EVEN))


_Price = _FlatPrice | Literal["library", "none"]


class Pricing:
    """Prices by provider and model. The table is loaded at the first question: it takes half a second."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Price] = {}

    @cached_property
    def _library(self) -> Any:
        return import_module("genai_prices")

    @cached_property
    def version(self) -> str:
        """The price table's name and version, kept on every row that it priced."""
        return f"genai-prices {version('genai-prices')}"

    def cost(self, price_provider: str | None, model: str, tokens: Tokens, at: datetime) -> Cost | None:
        """The cost of a call, or None where no price is known: "unpriced" is not free."""
        if price_provider is None:
            return None
        key = (price_provider, model)
        price = self._known.get(key)
        if price is None:
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            price = self._known[key] = self._find_price(price_provider, model, at)
        if price == "none":
            return None
        if price == "library":
            return self._ask_library(price_provider, model, tokens, at)
        return Cost(price.microdollars(tokens), self.version)

    def list_price(self, price_provider: str | None, model: str, at: datetime) -> ListPrice | None:
        """The price to show before anything is spent; None where no price is known. Some 50 µs a call."""
        if price_provider is None:
            return None
        try:
            _, found = self._snapshot.find_provider_model(model, None, price_provider, None)
        except LookupError:
            return None
        prices = found.get_prices(at)
        context = found.context_window
        return ListPrice(
            _per_million(prices.input_mtok),
            _per_million(prices.output_mtok),
            context if isinstance(context, int) and context > 0 else None,
        )

    @property
    def _snapshot(self) -> Any:
        return import_module("genai_prices.data_snapshot").get_snapshot()

    def _calculate(self, provider: str, model: str, tokens: Tokens, at: datetime) -> Any:
        usage = self._library.Usage(
            input_tokens=tokens.input_total,
            cache_read_tokens=tokens.cache_read,
            cache_write_tokens=tokens.cache_write,
            output_tokens=tokens.output_total,
        )
        try:
            return self._library.calc_price(usage, model, provider_id=provider, genai_request_timestamp=at)
        except LookupError:
            return None

    def _ask_library(self, provider: str, model: str, tokens: Tokens, at: datetime) -> Cost | None:
        result = self._calculate(provider, model, tokens, at)
        if result is None:
            return None
        total = (result.total_price * _MILLION).to_integral_value(ROUND_HALF_EVEN)
        return Cost(int(total), self.version)

    def _find_price(self, provider: str, model: str, at: datetime) -> _Price:
        """The flat rates of a model, or who knows better: tiers and conditions are the library's."""
        result = self._calculate(provider, model, Tokens(input_uncached=1, output_text=1), at)
        if result is None:
            return "none"
        if type(result.model.prices).__name__ != "ModelPrice":
            return "library"
        price = result.model_price
        fresh, output = price.input_mtok, price.output_mtok
        # Where the cache has no price of its own, cached input costs what fresh input costs.
        read = fresh if price.cache_read_mtok is None else price.cache_read_mtok
        write = fresh if price.cache_write_mtok is None else price.cache_write_mtok
        rates = (fresh, read, write, Decimal(0) if output is None else output, Decimal(0) if output is None else output)
        return _FlatPrice(rates) if all(isinstance(rate, Decimal) for rate in rates) else "library"


def _per_million(rate: Any) -> int | None:
    """Dollars as micro-dollars. A price with tiers says what the first tokens cost."""
    base = getattr(rate, "base", rate)
    return None if base is None else int((Decimal(base) * _MILLION).to_integral_value(ROUND_HALF_EVEN))
