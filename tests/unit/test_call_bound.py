"""The bound of a call is never less than what it may cost, and as little more as can be."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ownkey.domain.provider import Dialect, Model, Provider
from ownkey.domain.routing import Attempt
from ownkey.domain.settings import Payer
from ownkey.services.call_bound import HIDDEN_TOKENS, TOOL_TOKENS, Extent, assume_extent, price, read_extent
from ownkey.services.pricing import Pricing

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ASSUMED = 5_000
PICTURE = 50_000


def attempt(model: str = "gpt-4o-mini", *, known: Model | None = None, **fields: Any) -> Attempt:
    values: dict[str, Any] = {"prices": "openai", "models": {} if known is None else {known.id: known}, **fields}
    provider = Provider(
        id="openai", label="OpenAI", dialect=Dialect.OPENAI_CHAT, base_url="https://x.test/v1", **values
    )
    return Attempt(provider, model, None, Payer.SHARED)


def read(content: object, one: Attempt | None = None, *, embeddings: bool = False) -> Extent:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_extent(one or attempt(), body, embeddings=embeddings, assumed_output_tokens=ASSUMED)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ASSUMED),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20}, 20),
        ({"max_output_tokens": 30}, 30),
        ({"max_tokens": 10, "max_completion_tokens": 20}, 20),
        ({"max_tokens": 10, "n": 3}, 30),
        ({"n": 2}, 2 * ASSUMED),
        ({"max_tokens": 10.0}, 10),
        ({"generationConfig": {"maxOutputTokens": 40, "candidateCount": 2}}, 80),
        ({"generation_config": {"max_output_tokens": 50}}, 50),
        # What no provider takes for a limit is none.
        ({"max_tokens": "10"}, ASSUMED),
        ({"max_tokens": True}, ASSUMED),
        ({"max_tokens": None}, ASSUMED),
        ({"max_tokens": 0}, ASSUMED),
        ({"max_tokens": -5, "n": -1}, ASSUMED),
        ({"n": [5]}, ASSUMED),
        ({"generationConfig": "long"}, ASSUMED),
        ({"generationConfig": "long", "max_tokens": 90_000, "n": 2}, 180_000),
        ({"generation_config": [], "generationConfig": {"maxOutputTokens": 40}}, 40),
    ],
)
def test_an_answer_is_as_long_as_the_request_allows(fields: dict[str, object], expected: int) -> None:
    assert read({"messages": [], **fields}).output_tokens == expected


def test_what_cannot_be_read_is_bounded_all_the_same() -> None:
    assert read(b"not JSON") == Extent(8 + HIDDEN_TOKENS, ASSUMED)
    assert read(b"[" * 100_000).output_tokens == ASSUMED
    assert read(b'{"max_tokens": 1e400}').output_tokens == ASSUMED


def test_a_model_that_is_known_bounds_both_sides() -> None:
    known = attempt("m", known=Model(id="m", context_tokens=1_000, output_tokens=300))
    assert read({"messages": ["x" * 5_000]}, known) == Extent(1_000, 300)
    assert read({"max_tokens": 200}, known).output_tokens == 200
    assert read({"max_tokens": 900}, known).output_tokens == 300
    assert assume_extent(known, 70, embeddings=False, assumed_output_tokens=ASSUMED) == Extent(70, 300)
    assert assume_extent(known, 70, embeddings=True, assumed_output_tokens=ASSUMED) == Extent(70, 0)


def test_no_script_has_more_tokens_than_bytes() -> None:
    for text in ("hello", "Grüße", "你好世界", "🎉🎉🎉", "\u0000\u0001"):
        for escaped in (True, False):
            body = json.dumps({"input": text}, ensure_ascii=escaped).encode()
            assert read(body, embeddings=True).input_tokens >= len(text.encode())
    assert read({"input": "x"}, embeddings=True).output_tokens == 0


def test_pictures_and_what_lies_elsewhere_are_counted_in() -> None:
    chat = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    responses = {"type": "input_image", "image_url": "https://x.test/a.png"}
    claude = {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}
    for part in (chat, responses, claude):
        found = read({"messages": [{"content": [part, part]}]})
        assert 2 * PICTURE < found.input_tokens < 2 * PICTURE + 500 + HIDDEN_TOKENS
        assert found.special
    assert not read({"messages": [{"content": "an image of a cat"}]}).special
    for field in (
        {"service_tier": "priority"},
        {"speed": "fast"},
        {"modalities": ["text", "audio"]},
        {"generationConfig": {"responseModalities": ["IMAGE"]}},
        {"messages": [{"type": "input_audio"}]},
    ):
        assert read(field).special
    window = attempt("m", known=Model(id="m", context_tokens=128_000))
    for field in (
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"cachedContent": "cachedContents/1"},
        {"messages": [{"type": "input_file", "file_id": "file-1"}]},
        {"messages": [{"source": {"media_type": "application/pdf", "data": "JVBERi0"}}]},
        {"tools": [{"type": "web_search_preview"}]},
        {"contents": [{"fileData": {"fileUri": "gs://x"}}]},
    ):
        assert read(field, window).input_tokens == 128_000
        assert read(field).input_tokens == 200_000
    assert (
        read({"tools": [{"parameters": {"properties": {"container": {}}}}]}).input_tokens
        < 200 + HIDDEN_TOKENS + TOOL_TOKENS
    )


def test_what_a_provider_adds_unseen_is_counted_in() -> None:
    """Some hundred tokens before each conversation, as many again with tools, and more with those it describes."""
    plain = {"messages": [{"role": "user", "content": "Hi"}]}
    own = {**plain, "tools": [{"name": "f", "input_schema": {}}]}
    described = {**plain, "tools": [{"type": "computer_20250124"}, {"type": "bash_20250124"}]}
    for content, added in ((plain, 700), (own, 700 + 530), (described, 700 + 530 + 735 + 245)):
        assert read(content).input_tokens >= len(json.dumps(content)) + added
    assert read({"input": "x"}, embeddings=True).input_tokens == len(json.dumps({"input": "x"}))


def hide(text: bytes, word: bytes) -> bytes:
    """Write the first letter of a word by its number, as JSON allows."""
    return text.replace(word, b"\\u%04x" % word[0] + word[1:])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]}, [b"image_url"]),
        ({"tools": [{"type": "web_search"}], "messages": []}, [b"search"]),
        ({"messages": [{"type": "file", "file_id": "f"}]}, [b"file_id"]),
        ({"messages": [{"type": "input_audio"}]}, [b"audio"]),
        ({"max_tokens": 4000}, [b"max_tokens"]),
        ({"previous_response_id": "r", "input": "x"}, [b"previous_response_id"]),
    ],
)
def test_what_is_written_in_another_way_is_counted_in(content: dict[str, object], words: list[bytes]) -> None:
    plain = json.dumps(content).encode()
    hidden = plain
    for word in words:
        hidden = hide(hidden, word)
    assert hidden != plain and json.loads(hidden) == content
    shown, found = read(plain), read(hidden)
    assert found.special == shown.special
    assert found.output_tokens == shown.output_tokens
    assert shown.input_tokens <= found.input_tokens <= shown.input_tokens + len(hidden)


def test_a_slash_behind_a_backslash_is_one() -> None:
    plain = read({"messages": [{"mime": "application/pdf"}]}).input_tokens
    assert read(rb'{"messages": [{"mime": "application\/pdf"}]}').input_tokens == plain


@pytest.mark.parametrize(
    "body",
    [
        b'{"max_tokens": 90000, "messages": [], "max_tokens": 1}',
        b'{"max_tokens": 1, "messages": [], "max_tokens": 90000}',
        b'{"n": 100, "max_tokens": 1, "n": 1, "messages": []}',
        b'{"generationConfig": {"maxOutputTokens": 90000, "maxOutputTokens": 1}}',
        b'{"generationConfig": {"maxOutputTokens": 90000}, "generationConfig": {"maxOutputTokens": 1}}',
    ],
)
def test_what_is_named_twice_bounds_nothing(body: bytes) -> None:
    """One provider reads the first of them, another the last."""
    found = read(body)
    assert found.output_tokens >= 90_000 or found.output_tokens == 100 * ASSUMED
    assert found.input_tokens >= 100_000
    assert found.special
    known = attempt(known=Model(id="gpt-4o-mini", output_tokens=16_384))
    assert read(body, known).output_tokens >= 16_384


def test_names_of_ones_own_tools_may_be_there_twice() -> None:
    tool = {"function": {"parameters": {"properties": {"n": {}, "max_tokens": {}}}}}
    assert read({"max_tokens": 10, "n": 1, "tools": [tool, tool]}).output_tokens == 10


@pytest.mark.parametrize(
    "fields",
    [
        {"mcp_servers": [{"url": "https://x"}]},
        {"plugins": [{"id": "web"}]},
        {"web_search_options": {}},
        {"search_parameters": {}},
        {"enable_search": True},
        {"tools": [{"type": "mcp"}]},
        {"tools": [{"type": "web_fetch_20250910"}]},
        {"messages": [{"type": "video_url", "video_url": {"url": "https://x"}}]},
        {"messages": [{"type": "document", "source": {"type": "url", "url": "https://x"}}]},
    ],
)
def test_what_a_provider_fetches_by_itself_may_be_as_much_as_it_can_read(fields: dict[str, object]) -> None:
    assert read({"messages": [], **fields}).input_tokens >= 100_000


@pytest.mark.parametrize("fields", [{"n": 10**18}, {"max_tokens": 1e300, "n": 1e300}, {"max_tokens": 2**64 - 1}])
def test_no_number_is_too_large_to_be_counted(fields: dict[str, object]) -> None:
    found = price(Pricing(), attempt(), read(fields), NOW)
    assert found.cost_microdollars is not None
    assert 0 < found.cost_microdollars <= 2**53
    assert 0 < found.tokens <= 2**53


def test_the_price_is_that_of_the_dearest_kind() -> None:
    pricing = Pricing()
    # 15 and 60 cents a million; Claude's cache costs a quarter more to write than fresh input does.
    assert price(pricing, attempt(), Extent(200, 100), NOW).cost_microdollars == 90
    claude = attempt("claude-sonnet-4-5", prices="anthropic")
    assert price(pricing, claude, Extent(1_000, 100), NOW).cost_microdollars >= 3_750 + 1_500
    assert price(pricing, attempt(), Extent(200, 100), NOW).tokens == 300


def test_what_nobody_has_a_price_for_has_no_bound() -> None:
    pricing = Pricing()
    assert price(pricing, attempt("nobody-knows-this"), Extent(1, 1), NOW).cost_microdollars is None
    assert price(pricing, attempt(prices=None), Extent(1, 1), NOW).cost_microdollars is None
    own_machine = attempt("llama3", prices=None, local=True)
    assert price(pricing, own_machine, Extent(10, 10), NOW).cost_microdollars == 0


def test_a_model_that_answers_in_pictures_does_so_unasked() -> None:
    drawing = attempt("gemini-2.5-flash-image", prices="google")
    assert (price(Pricing(), drawing, Extent(0, 1_000), NOW).cost_microdollars or 0) >= 30_000


def test_sound_is_charged_by_its_length_where_there_is_no_price_for_tokens() -> None:
    assert price(Pricing(), attempt("whisper-1"), Extent(0, 0, audio_seconds=3_600), NOW).cost_microdollars == 360_000


def searches(fields: dict[str, object], model: str = "gpt-4o-mini") -> int:
    return read({"messages": [], **fields}, attempt(model)).searches


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({}, 0),
        ({"tools": [{"type": "function", "function": {"name": "web_search"}}]}, 0),
        ({"tools": [{"type": "custom", "name": "search"}]}, 0),
        ({"tools": [{"functionDeclarations": [{"name": "search_maps"}]}]}, 0),
        ({"tools": [{"name": "search", "input_schema": {}}]}, 0),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]}, 3),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 20),
        ({"tools": [{"type": "web_search_20250305", "max_uses": 0}]}, 20),
        ({"tools": [{"type": "web_search_20250305", "max_uses": True}]}, 20),
        # Nobody else keeps that limit.
        ({"tools": [{"type": "web_search", "max_uses": 1}]}, 20),
        ({"tools": [{"type": "web_search_preview"}, {"type": "file_search"}]}, 40),
        ({"tools": [{"type": "web_search"}, {"type": "code_interpreter"}], "max_tool_calls": 4}, 4),
        ({"tools": [{"type": "web_search"}], "max_tool_calls": 90}, 90),
        ({"tools": [{"google_search": {}}]}, 20),
        ({"tools": [{"googleSearch": {}}, {"googleMaps": {}}]}, 40),
        ({"tools": [{"googleSearchRetrieval": {}}], "generationConfig": {"candidateCount": 2}}, 40),
        ({"tools": [{"type": "openrouter:web_search"}]}, 20),
        ({"tools": "web_search"}, 20),
        ({"web_search_options": {}}, 20),
        ({"enable_search": True}, 20),
        ({"search_parameters": {"mode": "auto", "max_search_results": 30}}, 30),
        ({"plugins": [{"id": "web", "max_results": 50}]}, 50),
        ({"plugins": [{"id": "web", "max_results": 10**30}]}, 1_000),
    ],
)
def test_searches_are_counted_in(fields: dict[str, object], most: int) -> None:
    assert searches(fields) == most


@pytest.mark.parametrize(
    ("model", "most"),
    [("gpt-4o-search-preview", 1), ("openai/gpt-6-luna:online", 20), ("o3-deep-research", 20), ("sonar", 0)],
)
def test_some_models_search_unasked(model: str, most: int) -> None:
    assert searches({}, model) == most


def test_a_search_costs_its_fee_besides() -> None:
    pricing = Pricing()

    def fee(one: Attempt) -> int:
        plain, searching = (price(pricing, one, Extent(10, 10, searches=count), NOW) for count in (0, 3))
        assert plain.cost_microdollars is not None and searching.cost_microdollars is not None
        return searching.cost_microdollars - plain.cost_microdollars

    assert fee(attempt()) == 30_000, "ten dollars a thousand"
    assert fee(attempt("gemini-2.5-flash", prices="google")) == 105_000
    assert fee(attempt("gpt-4o-search-preview")) == 105_000, "where nobody has its fee, the dearest of them"
    absurd = price(pricing, attempt(), read({"tools": [{"type": "web_search_20250305", "max_uses": 10**25}]}), NOW)
    assert absurd.cost_microdollars is not None and absurd.cost_microdollars <= 2**53
