"""Prices of the operator's own, in place of the table's: a TOML file named by OWNKEY_PRICES.

    [[price]]
    provider = "openai"      # the provider's id in the catalogue
    model = "gpt-5*"         # a shell pattern; every model where it is left out
    from = 2026-11-01        # the first day (UTC) on which it holds; always, where left out
    until = 2027-01-01       # the first day on which it does not hold any more
    payer = "shared"         # only calls on the operator's key; "own": only on users' keys
    input = 1.25             # dollars per million tokens; where left out beside output: as in the table
    cache_read = 0.125       # where left out: as input
    cache_write = 1.25       # where left out: as input
    cache_write_hour = 2.50  # where left out: as cache_write
    output = 10.00           # where left out beside input: as in the table
    reasoning = 10.00        # where left out: as output
    request = 0.001          # dollars per call, besides; alone: tokens cost nothing
    search = 10.00           # dollars per thousand searches that the provider reports, besides
    characters = 15.00       # dollars per million characters of a text to be spoken
    factor = 0.8             # in place of all these: so many times what would be charged otherwise

An entry with a price for one side only takes the other one from the table. Where the table has none, the file is
refused (`require_whole`), or the call is unpriced: what nobody gave a price is not free.

Of several entries that fit a call, the last one in the file holds. Numbers are decimal and exact.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, DecimalException
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import Struct

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Tokens
from ownkey.errors import ConfigError
from ownkey.providers.billed_usage import BilledUsage
from ownkey.services.price_table import Rate, Rates

_MILLION: Final = Decimal(1_000_000)
# Dollars for a thousand are so many micro-dollars for one.
_THOUSAND: Final = Decimal(1_000)
_ZERO: Final = Decimal(0)
_LIMIT: Final = Decimal(1_000_000)
_PER_TOKEN: Final = ("input", "cache_read", "cache_write", "cache_write_hour", "output", "reasoning")
_NUMBERS: Final = (*_PER_TOKEN, "request", "search", "characters", "factor")
# What is a part of one side, and costs as much as that where it has no price.
_PARTS: Final = {"cache_read": "input", "cache_write": "input", "cache_write_hour": "input", "reasoning": "output"}
_PATTERN: Final = re.compile(r"[*?\[]")
_DAY: Final = re.compile(r"\s*(?P<name>from|until)\s*=\s*(?P<day>\d[^\s#]*)\s*(?:#.*)?$")
_FIELDS: Final = frozenset({"provider", "model", "from", "until", "payer", *_NUMBERS})


class OwnPrice(Struct, frozen=True, kw_only=True):
    """One entry. Either `factor` is set, or `rates` with the others (micro-dollars for one).

    `missing` is the side that has no price here, and nothing in `rates`: the table's holds. `place` is where it stands.
    """

    provider: str
    model: str = "*"
    start: date | None = None
    end: date | None = None
    payer: Payer | None = None
    rates: Rates | None = None
    request: Decimal = _ZERO
    search: Decimal = _ZERO
    characters: Decimal = _ZERO
    factor: Decimal | None = None
    missing: Literal["input", "output"] | None = None
    place: str = ""

    @property
    def version(self) -> str:
        """How rows name the price that they were charged by."""
        since = f" since {self.start}" if self.start else ""
        times = f" times {self.factor}" if self.factor is not None else ""
        return f"own price of {self.provider}/{self.model}{since}{times}"

    def fits(self, provider: str, model: str, payer: Payer, day: date) -> bool:
        """Whether a call of that day (UTC) is charged by it."""
        return (
            self.provider == provider
            and self.payer in (None, payer)
            and self.holds_on(day)
            and fnmatchcase(model, self.model)
        )

    def holds_on(self, day: date) -> bool:
        """Whether it holds on this day (UTC)."""
        return (self.start is None or day >= self.start) and (self.end is None or day < self.end)

    def charge(self, tokens: Tokens | None, billed: BilledUsage) -> Decimal | None:
        """Micro-dollars for a call; only where there are rates. None: it is charged by what nobody has counted."""
        used = self.characters * billed.input_characters
        if tokens is None and not used:
            return None
        if tokens is not None and self.rates is not None:
            used += self.rates.charge(tokens, billed.cache_write_hour)
        return used + self.request + self.search * (billed.web_searches + billed.storage_searches)

    def bound(self, input_tokens: int, output_tokens: int, searches: int = 0, characters: int = 0) -> Decimal:
        """The most that a call can cost, in micro-dollars; only where there are rates."""
        besides = self.request + self.search * searches + self.characters * characters
        if self.rates is None:
            return besides
        rates = self.rates
        dearest = max(one.base for one in (rates.fresh, rates.cache_read, rates.cache_write, rates.cache_write_hour))
        return dearest * input_tokens + max(rates.text.base, rates.reasoning.base) * output_tokens + besides


class PriceBook:
    """The entries of one file."""

    def __init__(self, prices: Sequence[OwnPrice] = ()) -> None:
        self._by_provider: dict[str, list[OwnPrice]] = {}
        for price in prices:
            # The last one of the file is asked first.
            self._by_provider.setdefault(price.provider, []).insert(0, price)

    @classmethod
    def load(cls, path: Path | None) -> PriceBook:
        """Read the file; without one, an empty book. Raises ConfigError, which says where the file is wrong."""
        if path is None:
            return cls()
        try:
            document = tomllib.loads(path.expanduser().read_text(encoding="utf-8"), parse_float=Decimal)
        except OSError as error:
            raise ConfigError(f"OWNKEY_PRICES: {path} cannot be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, DecimalException) as error:
            why = _find_wrong_day(path) or f"is not valid TOML: {error}."
            raise ConfigError(f"OWNKEY_PRICES: {path} {why}") from None
        entries = document.pop("price", [])
        if document or not isinstance(entries, list):
            raise ConfigError(f"OWNKEY_PRICES: {path} holds tables [[price]] and nothing else.")
        return cls([_read(entry, f"OWNKEY_PRICES: {path}: [[price]] {n}") for n, entry in enumerate(entries, 1)])

    def __len__(self) -> int:
        return sum(len(prices) for prices in self._by_provider.values())

    def __iter__(self) -> Iterator[OwnPrice]:
        return (price for prices in self._by_provider.values() for price in reversed(prices))

    def require_whole(self, has_other_price: Callable[[str, str | None], bool]) -> None:
        """Refuse entries for one side only that have nowhere to take the other one from. Raises ConfigError.

        `has_other_price(provider, model)` says whether the table has one; the model is None for a pattern.
        """
        for price in self:
            model = None if _PATTERN.search(price.model) else price.model
            if price.missing is not None and not has_other_price(price.provider, model):
                raise ConfigError(
                    f"{price.place} has no price for {price.missing}, and the table has none of "
                    f"{price.provider}/{price.model} to take in its place. "
                    f"Write {price.missing} = 0 if it costs nothing."
                )

    @property
    def providers(self) -> frozenset[str]:
        """The ids of providers that have a price here."""
        return frozenset(self._by_provider)

    def find(self, provider: str, model: str, payer: Payer, at: datetime) -> OwnPrice | None:
        """The entry that holds for a call, or None."""
        prices = self._by_provider.get(provider)
        if not prices:
            return None
        day = (at if at.tzinfo is None else at.astimezone(UTC)).date()
        return next((price for price in prices if price.fits(provider, model, payer, day)), None)


def _read(entry: Any, place: str) -> OwnPrice:
    if not isinstance(entry, dict):
        raise ConfigError(f"{place} is not a table.")
    for name in entry:
        if name not in _FIELDS:
            raise ConfigError(f"{place}: {name[:40]!r} is not a field. The fields are: {', '.join(sorted(_FIELDS))}.")
    numbers = {name: _read_number(entry[name], f"{place}: {name}") for name in _NUMBERS if name in entry}
    factor = numbers.get("factor")
    if not numbers or (factor is not None and len(numbers) > 1):
        raise ConfigError(f"{place} has either a factor, or prices such as input and output.")
    start, end = _read_day(entry, "from", place), _read_day(entry, "until", place)
    if start is not None and end is not None and end <= start:
        raise ConfigError(f"{place}: it ends before it begins.")
    for part, whole in _PARTS.items():
        if part in numbers and whole not in numbers:
            raise ConfigError(f"{place} has {part} and no {whole}, which it is a part of. Add {whole}.")
    payer = entry.get("payer")
    if payer is not None and payer not in list(Payer):
        raise ConfigError(f"{place}: payer is own or shared.")
    return OwnPrice(
        provider=_read_text(entry.get("provider"), f"{place}: provider"),
        model=_read_text(entry.get("model", "*"), f"{place}: model"),
        start=start,
        end=end,
        payer=None if payer is None else Payer(payer),
        rates=None if factor is not None else _make_rates(numbers),
        request=numbers.get("request", _ZERO) * _MILLION,
        search=numbers.get("search", _ZERO) * _THOUSAND,
        characters=numbers.get("characters", _ZERO),
        factor=factor,
        missing=_find_missing(numbers),
        place=place,
    )


def _find_missing(numbers: dict[str, Decimal]) -> Literal["input", "output"] | None:
    if "input" in numbers and "output" not in numbers:
        return "output"
    return "input" if "output" in numbers and "input" not in numbers else None


def _find_wrong_day(path: Path) -> str | None:
    """The parser says where it stumbled over a date, and not that no month has that number."""
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for number, line in enumerate(lines, 1):
        found = _DAY.match(line)
        if found is None:
            continue
        try:
            date.fromisoformat(found["day"])
        except ValueError:
            name, day = found["name"], found["day"][:20]
            return f"line {number}: {name} = {day} is not a day of the calendar. Write it as 2026-11-01."
    return None


def _make_rates(numbers: dict[str, Decimal]) -> Rates:
    fresh, text = numbers.get("input", _ZERO), numbers.get("output", _ZERO)
    written = numbers.get("cache_write", fresh)
    return Rates(
        fresh=Rate(fresh),
        cache_read=Rate(numbers.get("cache_read", fresh)),
        cache_write=Rate(written),
        cache_write_hour=Rate(numbers.get("cache_write_hour", written)),
        text=Rate(text),
        reasoning=Rate(numbers.get("reasoning", text)),
    )


def _read_number(value: Any, place: str) -> Decimal:
    number = Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= _LIMIT:
        raise ConfigError(f"{place} is a number from 0 to {_LIMIT:,}.")
    return number


def _read_day(entry: dict[str, Any], name: str, place: str) -> date | None:
    value = entry.get(name)
    if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
        raise ConfigError(f"{place}: {name} is a day such as 2026-11-01.")
    return value


def _read_text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise ConfigError(f"{place} is a text of up to 200 characters.")
    return value
