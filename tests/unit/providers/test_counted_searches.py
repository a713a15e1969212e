"""Searches that an answer shows are written into the usage that is kept, and nothing else of it changes."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from ownkey.providers.billed_usage import read_billed_usage
from ownkey.providers.counted_searches import add_searches, count_items, count_queries, read_queries


def items(*kinds: object) -> list[Raw]:
    return [Raw(json.dumps(one).encode()) for one in kinds]


def test_only_searches_are_counted() -> None:
    search = {"type": "web_search_call", "action": {"type": "search", "query": "tides"}}
    opened = {"type": "web_search_call", "action": {"type": "open_page"}}
    said = {"type": "message", "content": [{"text": "web_search_call"}]}
    assert count_items(items(search, opened, {"type": "web_search_call"}, said, {"type": "file_search_call"})) == (2, 1)
    assert count_items([*items("_search_call", 1, None), Raw(b'{"type": "_search_call')]) == (0, 0)


@pytest.mark.parametrize(
    ("grounding", "queries"),
    [
        ({"webSearchQueries": ["a", "", "b"]}, ["a", "b"]),
        ({"webSearchQueries": None}, []),
        ({"webSearchQueries": "a"}, []),
        ({}, []),
        (None, []),
    ],
)
def test_queries_are_read(grounding: object, queries: list[str]) -> None:
    assert read_queries(Raw(json.dumps(grounding).encode())) == queries


def test_older_models_are_charged_by_the_answer() -> None:
    assert count_queries(["a", "b", "a"], "gemini-3.8-flash") == 2
    assert count_queries(["a", "b", "a"], "gemini-2.5-pro") == 1
    assert count_queries([], "gemini-2.5-pro") == 0


@pytest.mark.parametrize("raw", [b"{}", b'{"input_tokens": 1}', b' {\n "input_tokens": 1}\n', b"[]", b"null", None])
def test_the_usage_stays_what_it_was(raw: bytes | None) -> None:
    assert add_searches(raw, 0) is raw
    added = add_searches(raw, 2, 1)
    if raw is None or b"{" not in raw:
        assert added is raw
        return
    assert added is not None
    assert json.loads(added) == {"ownkey_searches": {"web": 2, "files": 1}, **json.loads(raw)}
    billed = read_billed_usage(added)
    assert (billed.web_searches, billed.storage_searches) == (2, 1)


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (b'{"num_search_queries": 4}', 4),
        (b'{"tool_calls_details": {"search_web": {"invocation": 3}}}', 3),
        (b'{"server_tool_use": {"web_search_requests": 2}, "num_search_queries": null}', 2),
        (b'{"num_search_queries": -4}', 0),
        (b'{"tool_calls_details": null}', 0),
    ],
)
def test_providers_that_count_them_are_believed(raw: bytes, count: int) -> None:
    assert read_billed_usage(raw).web_searches == count
