"""Costs to the micro-dollar, and where each figure comes from."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from ownkey.config import Config
from ownkey.domain.provider import CostField, Dialect, Provider
from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Tokens, TokensSource, UsageEvent, new_id
from ownkey.errors import ConfigError
from ownkey.providers.billed_usage import BilledUsage
from ownkey.services.price_book import PriceBook
from ownkey.services.price_table import PriceTable
from ownkey.services.pricing import Pricing
from ownkey.startup import read_prices

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def provider(name: str = "openai", **fields: Any) -> Provider:
    values: dict[str, Any] = {"prices": name, "dialect": Dialect.OPENAI_CHAT, "base_url": "https://x.test/v1"}
    return Provider(id=name, label=name, **(values | fields))


def event(model: str = "gpt-4o-mini", *, at: str = "openai", **fields: Any) -> UsageEvent:
    values: dict[str, Any] = {
        "id": new_id(), "request_id": new_id(), "user_id": "ada", "occurred_at": NOON, "attempt": 1, "task": None,
        "provider": at, "model": model, "requested_model": model, "credential_id": None, "payer": Payer.SHARED,
        "operation": "chat", "streamed": False, "tokens": Tokens(input_uncached=1000, output_text=100),
        "tokens_source": TokensSource.REPORTED,
    }  # fmt: skip
    return UsageEvent(**(values | fields))


def price(one: UsageEvent, by: Provider | None, book: str = "", path: Path | None = None) -> tuple[Any, ...]:
    loaded = None
    if path is not None:
        file = path / "prices.toml"
        file.write_text(book)
        loaded = PriceBook.load(file)
    Pricing(loaded).price(one, by)
    return one.cost_microdollars, one.cost_source


def test_every_price_of_the_table_is_what_its_own_library_says() -> None:
    """Text with cache and reasoning, at every model there is, below and above the tiers."""
    table, seed, compared = PriceTable(), random.Random(3), 0
    for source in get_snapshot().providers:
        for model in source.models:
            tokens = Tokens(
                input_uncached=seed.choice([0, 7, 150_000, 300_000]),
                cache_read=seed.choice([0, 500]),
                cache_write=seed.choice([0, 300]),
                output_text=seed.choice([0, 100]),
                output_reasoning=seed.choice([0, 50]),
            )
            charged = table.charge(source.id, model.id, tokens, NOON)
            if charged is None:
                continue
            usage = genai_prices.Usage(
                input_tokens=tokens.input_total,
                cache_read_tokens=tokens.cache_read,
                cache_write_tokens=tokens.cache_write,
                output_tokens=tokens.output_total,
                output_reasoning_tokens=tokens.output_reasoning,
            )
            expected = genai_prices.calc_price(
                usage, model.id, provider_id=source.id, genai_request_timestamp=NOON
            ).total_price
            assert charged == expected * 1_000_000, (source.id, model.id, tokens)
            compared += 1
    assert compared > 1500


@pytest.mark.parametrize(
    ("source", "model", "tokens", "usage", "microdollars"),
    [
        # 600 x 0.15 + 400 x 0.075 + 100 x 0.60
        ("openai", "gpt-4o-mini", Tokens(input_uncached=600, cache_read=400, output_text=100), None, 180),
        # Claude's cache: 10 x 3 + 100 x 0.30 + 40 x 3.75 + 60 x 6 (an hour) + 8 x 15
        (
            "anthropic",
            "claude-sonnet-4-5",
            Tokens(input_uncached=10, cache_read=100, cache_write=100, output_text=8),
            b'{"cache_creation":{"ephemeral_5m_input_tokens":40,"ephemeral_1h_input_tokens":60}}',
            690,
        ),
        # More than 200,000 tokens in: every token at the higher price. 200,001 x 2.50 + 10 x 15
        ("google", "gemini-2.5-pro", Tokens(input_uncached=200_001, output_text=4, output_reasoning=6), None, 500_152),
        ("google", "gemini-2.5-pro", Tokens(input_uncached=200_000, output_text=4, output_reasoning=6), None, 250_100),
        # Sound at its own price, out of the same counter: 70 x 0.30 + 30 x 1.00 + 10 x 2.50
        (
            "google",
            "gemini-2.5-flash",
            Tokens(input_uncached=100, output_text=10),
            b'{"promptTokensDetails":[{"modality":"TEXT","tokenCount":70},{"modality":"AUDIO","tokenCount":30}]}',
            76,
        ),
        # Flexible service costs half.
        ("openai", "gpt-5.4", Tokens(input_uncached=1000, output_text=100), b'{"service_tier":"flex"}', 2000),
        ("openai", "gpt-5.4", Tokens(input_uncached=1000, output_text=100), b'{"service_tier":"default"}', 4000),
        # Searches besides tokens, at ten dollars a thousand.
        (
            "anthropic",
            "claude-sonnet-4-5",
            Tokens(input_uncached=10, output_text=1),
            b'{"server_tool_use":{"web_search_requests":2}}',
            20_045,
        ),
        # By the hour of sound, without a token: 60 s x $0.006 a minute.
        ("openai", "whisper-1", None, b'{"type":"duration","seconds":60}', 6000),
    ],
)
def test_what_a_call_costs_by_the_table(
    source: str, model: str, tokens: Tokens | None, usage: bytes | None, microdollars: int
) -> None:
    one = event(model, at=source, tokens=tokens, raw_usage=usage)
    assert price(one, provider(source)) == (microdollars, CostSource.COMPUTED)
    assert (one.price_version or "").startswith("genai-prices ")


def test_parts_that_contradict_the_counters_do_not_lose_the_price() -> None:
    usage = b'{"promptTokensDetails":[{"modality":"AUDIO","tokenCount":5000}]}'
    one = event("gemini-2.5-flash", at="google", raw_usage=usage, tokens=Tokens(input_uncached=100, output_text=10))
    assert price(one, provider("google")) == (55, CostSource.COMPUTED)


def test_a_tier_that_the_answer_names_is_kept_and_counts() -> None:
    one = event("gpt-5.4", service_tier="flex")
    assert price(one, provider()) == (2000, CostSource.COMPUTED)
    other = event("claude-sonnet-4-5", at="anthropic", raw_usage=b'{"service_tier":"standard"}')
    price(other, provider("anthropic"))
    assert (one.service_tier, other.service_tier) == ("flex", "standard")


@pytest.mark.parametrize(
    ("one", "by"),
    [
        (event("unheard-of-model"), provider()),
        (event("llama", at="cellar"), provider("cellar", prices=None)),
        (event(), None),
        # Sold by the page, and a page is not what was counted.
        (event("mistral-ocr-latest", at="mistral"), provider("mistral")),
        # Sold by the second, and nobody said how many.
        (event("whisper-1"), provider()),
    ],
)
def test_what_has_no_price_is_unpriced_and_not_free(one: UsageEvent, by: Provider | None) -> None:
    assert price(one, by) == (None, CostSource.UNPRICED)


def test_what_costs_nothing_is_free_and_not_unpriced() -> None:
    one = event("openai/gpt-oss-20b:free", at="openrouter")
    assert price(one, provider("openrouter")) == (0, CostSource.COMPUTED)


def test_what_the_provider_says_it_charged_comes_before_the_table() -> None:
    openrouter = provider("openrouter", reports_cost=CostField.COST)
    one = event("openai/gpt-4o-mini", at="openrouter", raw_usage=b'{"prompt_tokens":1000,"cost":0.0123456}')
    assert price(one, openrouter) == (12346, CostSource.REPORTED)
    assert one.price_version is None
    xai = provider("xai", prices="x-ai", reports_cost=CostField.COST_IN_USD_TICKS)
    one = event("grok-4.3", at="xai", raw_usage=b'{"cost_in_usd_ticks":37756000}')
    assert price(one, xai) == (3776, CostSource.REPORTED)
    # Nothing usable was said: the table helps out.
    one = event("openai/gpt-4o-mini", at="openrouter", raw_usage=b'{"cost":-1}')
    assert price(one, openrouter) == (210, CostSource.COMPUTED)
    # A provider that is not known to say so may mean anything by that field.
    one = event(raw_usage=b'{"cost":123}')
    assert price(one, provider()) == (210, CostSource.COMPUTED)


def test_what_was_reported_on_the_way_is_not_the_cost() -> None:
    """xAI tells in every part of a stream what it has charged until then."""
    xai = provider("xai", prices="x-ai", reports_cost=CostField.COST_IN_USD_TICKS)
    usage = b'{"cost_in_usd_ticks":10000}'
    one = event("grok-4.3", at="xai", raw_usage=usage, tokens_source=TokensSource.ESTIMATED)
    cost, source = price(one, xai)
    assert cost > 1 and source is CostSource.ESTIMATED


def test_an_estimate_stays_an_estimate() -> None:
    one = event(tokens_source=TokensSource.ESTIMATED)
    assert price(one, provider()) == (210, CostSource.ESTIMATED)
    unknown = event("unheard-of-model", tokens_source=TokensSource.ESTIMATED)
    assert price(unknown, provider()) == (None, CostSource.UNPRICED)


def test_a_call_without_tokens_has_neither_cost_nor_source() -> None:
    assert price(event(tokens=None, tokens_source=TokensSource.NONE), provider()) == (None, None)


def test_negative_counters_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        price(event(tokens=Tokens(input_uncached=-10, output_text=100)), provider())


OWN = """
[[price]]
provider = "openai"
input = 2
output = 8

[[price]]
provider = "openai"
model = "gpt-4o*"
from = 2026-11-01
until = 2026-12-01
input = 0.1234567
cache_read = 0.01
output = 1
reasoning = 3
request = 0.000005

[[price]]
provider = "openai"
payer = "own"
model = "o3"
factor = 0.5

[[price]]
provider = "openrouter"
factor = 0.9
"""


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # 1000 x 0.1234567 + 100 x 1 + 5
        ({"model": "gpt-4o-mini"}, (228, CostSource.COMPUTED)),
        # 500 x 0.1234567 + 500 x 0.01 + 60 x 1 + 40 x 3 + 5
        (
            {
                "model": "gpt-4o",
                "tokens": Tokens(input_uncached=500, cache_read=500, output_text=60, output_reasoning=40),
            },
            (252, CostSource.COMPUTED),
        ),
        # The month before and the month after, the entry for all models holds.
        ({"model": "gpt-4o", "occurred_at": datetime(2026, 10, 31, 23, 59, tzinfo=UTC)}, (2800, CostSource.COMPUTED)),
        ({"model": "gpt-4o", "occurred_at": datetime(2026, 11, 1, tzinfo=UTC)}, (228, CostSource.COMPUTED)),
        ({"model": "gpt-4o", "occurred_at": datetime(2026, 12, 1, tzinfo=UTC)}, (2800, CostSource.COMPUTED)),
        ({"model": "unheard-of-model"}, (2800, CostSource.COMPUTED)),
        # Half of the table's price, for calls on users' own keys alone. o3: 1000 x 2 + 100 x 8
        ({"model": "o3", "payer": Payer.OWN}, (1400, CostSource.COMPUTED)),
        ({"model": "o3", "payer": Payer.SHARED}, (2800, CostSource.COMPUTED)),
        ({"model": "gpt-4o", "tokens_source": TokensSource.ESTIMATED}, (228, CostSource.ESTIMATED)),
        ({"model": "openai/gpt-4o-mini", "at": "openrouter"}, (189, CostSource.COMPUTED)),
        # What was reported, times the factor, is not what was reported any more.
        (
            {"model": "openai/gpt-4o-mini", "at": "openrouter", "raw_usage": b'{"cost":0.01}'},
            (9000, CostSource.COMPUTED),
        ),
    ],
)
def test_the_operators_own_prices(tmp_path: Path, fields: dict[str, Any], expected: tuple[int, CostSource]) -> None:
    one = event(**fields)
    reports = CostField.COST if one.provider == "openrouter" else None
    assert price(one, provider(one.provider, reports_cost=reports), OWN, tmp_path) == expected
    assert "own price of" in (one.price_version or "")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # Two searches and a file's at $4 a thousand, besides the tokens.
        ({"raw_usage": b'{"ownkey_searches":{"web":2,"files":1}}'}, (1_100 + 3 * 4_000, CostSource.COMPUTED)),
        ({"tokens": None, "raw_usage": b'{"ownkey_characters":1000}'}, (20_000, CostSource.COMPUTED)),
        # Of what it is charged by in the table nothing is known then.
        ({"tokens": None, "raw_usage": b'{"ownkey_characters":1000}', "model": "gpt-4o-mini-tts"}, (None, None)),
        ({"tokens": None, "model": "tts-1"}, (None, None)),
    ],
)
def test_an_own_price_for_searches_and_for_text_to_be_spoken(
    tmp_path: Path, fields: dict[str, Any], expected: tuple[int | None, CostSource | None]
) -> None:
    book = """
[[price]]
provider = "openai"
input = 1
output = 1
search = 4
characters = 20

[[price]]
provider = "openai"
model = "*-mini-tts"
input = 1
output = 1
"""
    assert price(event(**fields), provider(), book, tmp_path) == expected


def test_the_reference_pages_example_is_a_file_of_prices(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/reference/usage.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    assert price(event("gpt-5-mini"), provider(), example, tmp_path)[0] == 1_000 * 125 // 100 + 100 * 10 + 1_000
    assert PriceBook.load(tmp_path / "prices.toml").providers == {"openai", "azure_openai"}


def test_an_own_price_comes_before_what_the_provider_says(tmp_path: Path) -> None:
    one = event("openai/gpt-4o-mini", at="openrouter", raw_usage=b'{"cost":5}')
    book = '[[price]]\nprovider = "openrouter"\ninput = 1\noutput = 0\n'
    found = price(one, provider("openrouter", reports_cost=CostField.COST), book, tmp_path)
    assert found == (1000, CostSource.COMPUTED)


def test_a_bound_is_never_below_the_cost(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(OWN)
    seed = random.Random(5)
    for pricing in (Pricing(), Pricing(PriceBook.load(file))):
        for name, model in (("openai", "gpt-5.4"), ("google", "gemini-2.5-pro"), ("anthropic", "claude-sonnet-4-5")):
            for _ in range(40):
                size = seed.choice([1, 1000, 250_000])
                split = sorted(seed.randrange(size + 1) for _ in range(2))
                tokens = Tokens(
                    input_uncached=split[0],
                    cache_read=split[1] - split[0],
                    cache_write=size - split[1],
                    output_text=seed.randrange(1000),
                    output_reasoning=seed.randrange(1000),
                )
                hour = f'{{"cache_creation":{{"ephemeral_1h_input_tokens":{tokens.cache_write}}}}}'.encode()
                one = event(model, at=name, tokens=tokens, raw_usage=hour)
                pricing.price(one, provider(name))
                bound = pricing.bound(
                    provider(name),
                    model,
                    Payer.SHARED,
                    NOON,
                    input_tokens=tokens.input_total,
                    output_tokens=tokens.output_total,
                )
                assert bound is not None and one.cost_microdollars is not None
                assert one.cost_microdollars <= bound


def test_a_special_call_is_bound_by_the_dearest_price() -> None:
    def bound(model: str, source: str, special: bool) -> int | None:
        return Pricing().bound(
            provider(source), model, Payer.OWN, NOON, input_tokens=1000, output_tokens=100, special=special
        )

    assert bound("gemini-2.5-flash", "google", False) == 550
    assert (bound("gemini-2.5-flash", "google", True) or 0) >= 1250
    assert (bound("gpt-5.4", "openai", True) or 0) > (bound("gpt-5.4", "openai", False) or 0)
    assert bound("unheard-of-model", "openai", True) is None


def test_a_quote_says_the_least_and_the_most(tmp_path: Path) -> None:
    quote = Pricing().quote(provider(), "gpt-4o-mini", Payer.OWN, NOON, input_tokens=1000, output_tokens=100)
    assert quote is not None
    assert (quote.lowest, quote.highest, quote.input_price, quote.output_price) == (150, 210, 150_000, 600_000)
    file = tmp_path / "prices.toml"
    file.write_text(OWN)
    pricing = Pricing(PriceBook.load(file))
    quote = pricing.quote(provider(), "o3", Payer.OWN, NOON, input_tokens=1000, output_tokens=100)
    assert quote is not None
    assert (quote.lowest, quote.highest, quote.input_price) == (1000, 1400, 1_000_000)
    assert pricing.quote(provider("cellar", prices=None), "x", Payer.OWN, NOON, input_tokens=1, output_tokens=1) is None


@pytest.mark.parametrize(
    ("given", "model", "expected"),
    [
        # gpt-4o-mini: 15 and 60 cents a million. 1000 x 2 + 100 x 0.6, and 1000 x 0.15 + 100 x 8.
        ("input = 2", "gpt-4o-mini", 2060),
        ("output = 8", "gpt-4o-mini", 950),
        ('input = 2\nmodel = "gpt-4o*"', "gpt-4o-mini", 2060),
        ("input = 2", "text-embedding-3-small", 2000),
        ("request = 0.001", "gpt-4o-mini", 1000),
    ],
)
def test_a_side_that_is_left_out_costs_what_the_table_says(
    tmp_path: Path, given: str, model: str, expected: int
) -> None:
    book = f'[[price]]\nprovider = "openai"\n{given}\n'
    one = event(model)
    assert price(one, provider(), book, tmp_path) == (expected, CostSource.COMPUTED)
    pricing = Pricing(PriceBook.load(tmp_path / "prices.toml"))
    quote = pricing.quote(provider(), model, Payer.SHARED, NOON, input_tokens=1000, output_tokens=100)
    assert quote is not None
    assert quote.highest == expected


def test_the_higher_tier_holds_for_a_side_that_is_left_out(tmp_path: Path) -> None:
    book = '[[price]]\nprovider = "google"\ninput = 0\n'
    tokens = Tokens(input_uncached=300_000, output_text=1_000, output_reasoning=500)
    short = Tokens(input_uncached=1_000, output_text=1_000, output_reasoning=500)
    many = price(event("gemini-2.5-pro", at="google", tokens=tokens), provider("google"), book, tmp_path)[0]
    few = price(event("gemini-2.5-pro", at="google", tokens=short), provider("google"), book, tmp_path)[0]
    assert (many, few) == (22_500, 15_000)
    pricing = Pricing(PriceBook.load(tmp_path / "prices.toml"))
    bound = pricing.bound(
        provider("google"), "gemini-2.5-pro", Payer.SHARED, NOON, input_tokens=300_000, output_tokens=1_500
    )
    assert bound == 22_500


def test_a_side_that_has_no_price_anywhere_is_not_free(tmp_path: Path) -> None:
    book = '[[price]]\nprovider = "openai"\ninput = 2\n'
    assert price(event("unheard-of-model"), provider(), book, tmp_path) == (None, CostSource.UNPRICED)
    pricing = Pricing(PriceBook.load(tmp_path / "prices.toml"))
    bound = pricing.bound(provider(), "unheard-of-model", Payer.SHARED, NOON, input_tokens=1, output_tokens=1)
    assert bound is None
    assert pricing.show(provider(), "unheard-of-model", Payer.SHARED, NOON) is None


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ('provider = "openai"\nmodel = "unheard-of"\ninput = 1', "[[price]] 1 has no price for output"),
        ('provider = "openai"\nmodel = "gpt-4o"\ninput = 1', None),
        ('provider = "openai"\nmodel = "unheard-*"\ninput = 1', None),
        ('provider = "openai"\nmodel = "unheard-of"\ninput = 1\noutput = 0', None),
        ('provider = "cellar"\noutput = 1', "[[price]] 1 has no price for input"),
        ('provider = "nobody"\ninput = 1', "Write output = 0 if it costs nothing"),
        ('provider = "nobody"\nrequest = 1', None),
    ],
)
def test_a_file_whose_missing_side_nobody_knows_is_refused(tmp_path: Path, entry: str, complaint: str | None) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(f"[[price]]\n{entry}\n")
    catalog = {"openai": provider(), "cellar": provider("cellar", prices=None)}
    if complaint is None:
        assert len(read_prices(Config(prices=file), catalog)) == 1
    else:
        with pytest.raises(ConfigError) as caught:
            read_prices(Config(prices=file), catalog)
        assert complaint in caught.value.message and str(file) in caught.value.message


def test_decimals_are_exact_where_floats_are_not(tmp_path: Path) -> None:
    """0.1 + 0.2 million times: half a micro-dollar would be lost or won with floats."""
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nprovider = "openai"\ninput = 0.1\noutput = 0.2\n')
    pricing = Pricing(PriceBook.load(file))
    one = event(tokens=Tokens(input_uncached=10**12 + 5, output_text=10**12))
    pricing.price(one, provider())
    # Half a micro-dollar is rounded to the even one.
    assert one.cost_microdollars == (10**12 + 5) // 10 + 2 * 10**11
    assert Decimal("0.1") * (10**12 + 5) == Decimal("100000000000.5")


def test_parts_are_given_to_the_library_whole() -> None:
    table = PriceTable()
    billed = BilledUsage(input_audio=30, cached_audio=10)
    tokens = Tokens(input_uncached=60, cache_read=40, output_text=5)
    charged = table.charge("google", "gemini-2.5-flash", tokens, NOON, billed)
    usage = genai_prices.Usage(
        input_tokens=100, cache_read_tokens=40, input_audio_tokens=30, cache_audio_read_tokens=10, output_tokens=5
    )
    expected = genai_prices.calc_price(usage, "gemini-2.5-flash", provider_id="google", genai_request_timestamp=NOON)
    assert charged == expected.total_price * 1_000_000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("price = 1", "nothing else"),
        ("[prices]", "nothing else"),
        ('[[price]]\nmodel = "x"\ninput = 1', "provider is a text"),
        ('[[price]]\nprovider = "x"', "either a factor"),
        ('[[price]]\nprovider = "x"\nfactor = 1\ninput = 1', "either a factor"),
        ('[[price]]\nprovider = "x"\ninput = -1', "input is a number"),
        ('[[price]]\nprovider = "x"\ninput = nan', "input is a number"),
        ('[[price]]\nprovider = "x"\ninput = inf', "input is a number"),
        ('[[price]]\nprovider = "x"\ninput = true', "input is a number"),
        ('[[price]]\nprovider = "x"\ninput = "1"', "input is a number"),
        ('[[price]]\nprovider = "x"\ninput = 1e9', "input is a number"),
        ('[[price]]\nprovider = "x"\nimput = 1', "not a field"),
        ('[[price]]\nprovider = "x"\ninput = 1\npayer = "me"', "own or shared"),
        ('[[price]]\nprovider = "x"\ninput = 1\nfrom = "2026-01-01"', "is a day"),
        ('[[price]]\nprovider = "x"\ninput = 1\nfrom = 2026-01-01T00:00:00Z', "is a day"),
        ('[[price]]\nprovider = "x"\ninput = 1\nfrom = 2026-02-01\nuntil = 2026-02-01', "before it begins"),
        ('[[price]]\nprovider = "x"\ninput = 1\n[[price]]\nprovider = 2\ninput = 1', "[[price]] 2: provider"),
        ("[[price", "not valid TOML"),
        ('[[price]]\nprovider = "x"\nfrom = 2026-13-01  # when', "line 3: from = 2026-13-01 is not a day"),
        ("[[price]]\nuntil = 2026-02-30", "line 2: until = 2026-02-30 is not a day"),
        ('[[price]]\nprovider = "x"\noutput = 1\ncache_read = 1', "has cache_read and no input"),
        ('[[price]]\nprovider = "x"\ninput = 1\nreasoning = 1', "has reasoning and no output"),
    ],
)
def test_a_wrong_price_file_says_where(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        PriceBook.load(file)
    assert complaint in caught.value.message and str(file) in caught.value.message


def test_a_price_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        PriceBook.load(tmp_path / "none.toml")
    assert PriceBook.load(None).find("openai", "gpt-4o", Payer.OWN, NOON) is None
