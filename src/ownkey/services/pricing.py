"""What an upstream call cost, or may cost, in integer micro-dollars, and where the figure comes from.

In this order: the operator's own price (`price_book`), what the provider says it charged, the table of `genai-prices`
(`price_table`). An own price comes first because it stands for a contract of which neither of the others knows.
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from typing import Final

from msgspec import Struct, structs

from ownkey.domain.provider import Provider
from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Tokens, TokensSource, UsageEvent
from ownkey.providers.billed_usage import BilledUsage, read_billed_usage, read_reported_cost
from ownkey.services.price_book import OwnPrice, PriceBook
from ownkey.services.price_table import ListPrice, PriceTable

__all__ = ["ListPrice", "Pricing", "Quote"]

_MILLION: Final = 1_000_000
_PLAIN: Final = BilledUsage()


class Quote(Struct, frozen=True, kw_only=True):
    """What a call may cost before it is made, in micro-dollars.

    `lowest` is for the input as it is estimated and no answer, `highest` the most that it can be. The prices are per
    million tokens; None where the model has none of that kind.
    """

    lowest: int
    highest: int
    input_price: int | None
    output_price: int | None


class _Charge(Struct, frozen=True):
    """Micro-dollars, not rounded; `version` names the price, where there was one to go by."""

    amount: Decimal
    source: CostSource
    version: str | None


class Pricing:
    """Prices by provider and model: of the operator's `book`, and of the table."""

    def __init__(self, book: PriceBook | None = None) -> None:
        self._book, self._table = book or PriceBook(), PriceTable()

    def price(self, event: UsageEvent, provider: Provider | None) -> None:
        """Set the event's cost, where that comes from and by which price; its tier of service, too.

        `provider` None: it is gone from the catalogue. Raises ValueError for counters that are none.
        """
        if event.tokens is not None and min(structs.astuple(event.tokens)) < 0:
            raise ValueError("a number of tokens is negative")
        billed = _PLAIN if event.raw_usage is None else read_billed_usage(event.raw_usage)
        tier = event.service_tier = event.service_tier or billed.service_tier
        if tier != billed.service_tier:
            billed = structs.replace(billed, service_tier=tier)
        charge = self._charge(event, provider, billed)
        if charge is not None:
            event.cost_microdollars = int(charge.amount.to_integral_value(ROUND_HALF_EVEN))
            event.cost_source, event.price_version = charge.source, charge.version
        elif event.tokens is not None:
            event.cost_source = CostSource.UNPRICED

    def bound(
        self,
        provider: Provider,
        model: str,
        payer: Payer,
        at: datetime,
        *,
        input_tokens: int,
        output_tokens: int,
        special: bool = False,
        audio_seconds: int = 0,
        searches: int = 0,
        characters: int = 0,
    ) -> int | None:
        """The most that a call can cost, in micro-dollars; None where no price is known.

        `special`: sound, pictures, or another class of service than usual may be part of it, at whatever price.
        `audio_seconds`: the length of the sound, for models that charge by it. `searches`: how often the provider may
        look something up, for a fee. `characters`: text to be spoken, for models that charge by that.
        """
        own = self._book.find(provider.id, model, payer, at)

        def of_table(answer: int) -> Decimal | None:
            if provider.prices is None:
                return None
            return self._table.bound(
                provider.prices,
                model,
                at,
                input_tokens=input_tokens,
                output_tokens=answer,
                special=special,
                audio_seconds=audio_seconds,
                searches=searches,
                characters=characters,
            )

        if own is None or own.factor is not None:
            amount = of_table(output_tokens)
        elif own.missing is None:
            amount = own.bound(input_tokens, output_tokens, searches, characters)
        else:
            rest = _take_side(own.missing, of_table(0), of_table(output_tokens))
            amount = None if rest is None else own.bound(input_tokens, output_tokens, searches, characters) + rest
        if amount is None:
            return None
        return int(_times(amount, own).to_integral_value(ROUND_CEILING))

    def quote(
        self, provider: Provider, model: str, payer: Payer, at: datetime, *, input_tokens: int, output_tokens: int
    ) -> Quote | None:
        """What a call may cost with this much input and up to this much output; None where no price is known."""
        own = self._book.find(provider.id, model, payer, at)
        tokens = Tokens(input_uncached=input_tokens)
        lowest = self._compute(provider.prices, model, at, tokens, _PLAIN, own)
        highest = self.bound(provider, model, payer, at, input_tokens=input_tokens, output_tokens=output_tokens)
        if lowest is None or highest is None:
            return None
        listed = self.show(provider, model, payer, at)
        return Quote(
            lowest=int(lowest[0].to_integral_value(ROUND_HALF_EVEN)),
            highest=highest,
            input_price=None if listed is None else listed.input_microdollars,
            output_price=None if listed is None else listed.output_microdollars,
        )

    def show(self, provider: Provider, model: str, payer: Payer, at: datetime) -> ListPrice | None:
        """The price to show before anything is spent: the operator's own, else the table's. Some 50 µs a call."""
        own = self._book.find(provider.id, model, payer, at)
        listed = self.list_price(provider.prices, model, at)
        if own is not None and own.rates is not None:
            fresh, text = _per_million(own.rates.fresh.base), _per_million(own.rates.text.base)
            if listed is None:
                return ListPrice(fresh, text, None) if own.missing is None else None
            return ListPrice(
                listed.input_microdollars if own.missing == "input" else fresh,
                listed.output_microdollars if own.missing == "output" else text,
                listed.context_tokens,
            )
        if listed is None:
            return None
        prices = (listed.input_microdollars, listed.output_microdollars)
        first, second = (None if one is None else int(_times(Decimal(one), own)) for one in prices)
        return ListPrice(first, second, listed.context_tokens)

    def list_price(self, price_provider: str | None, model: str, at: datetime) -> ListPrice | None:
        """The table's price of a model; None where no price is known. Some 50 µs a call."""
        return None if price_provider is None else self._table.list_price(price_provider, model, at)

    def _charge(self, event: UsageEvent, provider: Provider | None, billed: BilledUsage) -> _Charge | None:
        own = self._book.find(event.provider, event.model, event.payer, event.occurred_at)
        if own is None or own.factor is not None:
            reported = _read_reported(event, provider)
            if reported is not None and own is None:
                return _Charge(reported, CostSource.REPORTED, None)
            if reported is not None and own is not None:
                return _Charge(_times(reported, own), CostSource.COMPUTED, own.version)
        tokens = event.tokens
        if tokens is None and billed.audio_seconds:
            tokens = Tokens()  # charged by time, and not counted in tokens
        if tokens is None and not billed.input_characters:
            return None
        prices = None if provider is None else provider.prices
        computed = self._compute(prices, event.model, event.occurred_at, tokens, billed, own)
        if computed is None:
            return None
        estimated = event.tokens_source is TokensSource.ESTIMATED
        return _Charge(computed[0], CostSource.ESTIMATED if estimated else CostSource.COMPUTED, computed[1])

    def _compute(
        self,
        price_provider: str | None,
        model: str,
        at: datetime,
        tokens: Tokens | None,
        billed: BilledUsage,
        own: OwnPrice | None,
    ) -> tuple[Decimal, str] | None:
        """What these tokens cost, and by which price."""
        if own is not None and own.factor is None and own.missing is None:
            charged = own.charge(tokens, billed)
            return None if charged is None else (charged, own.version)
        if price_provider is None:
            return None
        if own is not None and own.missing is not None:
            charged = own.charge(tokens, billed)
            if charged is None or tokens is None:
                return None
            rest = self._compute_side(price_provider, model, at, tokens, billed, own.missing)
            return None if rest is None else (charged + rest, f"{self._table.version}, {own.version}")
        amount = self._table.charge(price_provider, model, tokens, at, billed)
        if amount is None:
            return None
        return _times(amount, own), self._table.version if own is None else f"{self._table.version}, {own.version}"

    def _compute_side(
        self, price_provider: str, model: str, at: datetime, tokens: Tokens, billed: BilledUsage, side: str
    ) -> Decimal | None:
        """What one side of a call costs by the table."""
        silent = structs.replace(tokens, output_text=0, output_reasoning=0)
        unbilled = structs.replace(billed, output_audio=0, output_image=0, output_video=0, output_citation=0)
        without = self._table.charge(price_provider, model, silent, at, unbilled)
        if side == "input":
            return without
        return _take_side(side, without, self._table.charge(price_provider, model, tokens, at, billed))


def _take_side(side: str, without_answer: Decimal | None, whole: Decimal | None) -> Decimal | None:
    if without_answer is None or whole is None:
        return None
    return without_answer if side == "input" else max(whole - without_answer, Decimal(0))


def _read_reported(event: UsageEvent, provider: Provider | None) -> Decimal | None:
    if provider is None or provider.reports_cost is None or event.raw_usage is None:
        return None
    if event.tokens_source is TokensSource.ESTIMATED:
        return None  # it was reported on the way, and there was more to come
    return read_reported_cost(event.raw_usage, provider.reports_cost)


def _times(amount: Decimal, own: OwnPrice | None) -> Decimal:
    return amount if own is None or own.factor is None else amount * own.factor


def _per_million(rate: Decimal) -> int:
    return int((rate * _MILLION).to_integral_value(ROUND_HALF_EVEN))
