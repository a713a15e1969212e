"""The small parts of Gemini's dialect, one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gemini_wire import PROVIDER, make_call, read_stream
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.usage import Outcome, Tokens
from ownkey.errors import RequestError
from ownkey.providers.conversation import Citation
from ownkey.providers.gemini.citations import read_citations, write_grounding
from ownkey.providers.gemini.fields import camel, read_integer, read_number
from ownkey.providers.gemini.models import is_before, model_path, read_version, resource_name
from ownkey.providers.gemini.passthrough import GeminiPassthrough
from ownkey.providers.gemini.schema import to_json_schema
from ownkey.providers.gemini.usage import read_usage, write_usage
from ownkey.providers.sse import EVENT_LIMIT_BYTES


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("gemini-2.5-flash-lite-preview-09-2025", (2, 5)),
        ("models/gemini-3-pro-preview", (3, 0)),
        ("gemini-4-argon", (4, 0)),
        ("google/gemini-3.8-flash", (3, 8)),
        ("gemini-flash-latest", None),
        ("gemini-embedding-001", None),
        ("gemma-4-27b", None),
    ],
)
def test_versions(model: str, version: tuple[int, int] | None) -> None:
    assert read_version(model) == version
    assert is_before(model, 3) is (version is not None and version < (3, 0))


def test_names_of_models() -> None:
    assert resource_name("gemini-x") == resource_name("models/gemini-x") == "models/gemini-x"
    assert resource_name("tunedModels/x") == model_path("tunedModels/x") == "tunedModels/x"
    assert model_path("models/../x") == "models/..%2Fx"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("inline_data", "inlineData"),
        ("inlineData", "inlineData"),
        ("_response_json_schema", "_responseJsonSchema"),
        ("a__b", "aB"),
        ("_", "_"),
        ("trailing_", "trailing_"),
    ],
)
def test_names_of_fields(name: str, written: str) -> None:
    assert camel(name) == written


@pytest.mark.parametrize("value", [True, "x", "nan", "inf", None, [], 2**60, -(2.0**70)])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(RequestError):
        read_number(value, "x")
    with pytest.raises(RequestError):
        read_integer(value, "x")


def test_schemas() -> None:
    schema = {
        "type": "OBJECT",
        "title": "T",
        "$defs": {"Pet": {"type": "STRING", "maxLength": "5"}},
        "properties": {"pet": {"ref": "#/defs/Pet"}, "cat": {"$ref": "#/$defs/Pet"}, "any": {"nullable": True}},
        "additionalProperties": {"type": "TYPE_UNSPECIFIED", "description": "x"},
    }
    assert to_json_schema(schema, "s") == {
        "type": "object",
        "title": "T",
        "$defs": {"Pet": {"type": "string", "maxLength": 5}},
        "properties": {"pet": {"$ref": "#/$defs/Pet"}, "cat": {"$ref": "#/$defs/Pet"}, "any": {}},
        "additionalProperties": {"description": "x"},
    }
    assert to_json_schema({"additional_properties": False}, "s") == {"additionalProperties": False}
    assert to_json_schema({"type": "STRING", "nullable": True, "enum": [None]}, "s")["enum"] == [None]
    for wrong in ({"properties": []}, {"defs": 5}, {"items": "x"}, {"type": 5}, {"nullable": "x"}, "OBJECT"):
        with pytest.raises(RequestError):
            to_json_schema(wrong, "s")


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [
        (b'{"promptTokenCount":5,"cachedContentTokenCount":9}', Tokens(cache_read=5)),
        (b'{"candidatesTokenCount":3.0}', Tokens(output_text=3)),
        (b'{"promptTokenCount":-5,"thoughtsTokenCount":-1}', Tokens()),
        (b'{"promptTokenCount":1,"toolUsePromptTokenCount":10}', Tokens(input_uncached=11)),
        (b'{"totalTokenCount":5}', None),
        (b'{"promptTokenCount":"5"}', None),
        (b"[]", None),
        (b"{" + b" " * 20_000 + b"}", None),
    ],
)
def test_usage(raw: bytes, tokens: Tokens | None) -> None:
    assert read_usage(raw) == tokens


COUNTS = st.integers(0, 2**40)


@given(st.builds(Tokens, input_uncached=COUNTS, cache_read=COUNTS, output_text=COUNTS, output_reasoning=COUNTS))
def test_usage_there_and_back(tokens: Tokens) -> None:
    written = write_usage(tokens)
    assert written["totalTokenCount"] == tokens.input_total + tokens.output_total
    assert read_usage(json.dumps(written).encode()) == tokens


@pytest.mark.parametrize(
    ("grounding", "found"),
    [
        (b'{"groundingChunks":[{"web":{"uri":"u"}},{"maps":{"uri":"m","title":"M"}},{}]}', [("u", None), ("m", None)]),
        (
            b'{"groundingChunks":[{"retrievedContext":{"uri":"r"}}],"groundingSupports":[{"groundingChunkIndices":[0,7]}]}',
            [("r", None)],
        ),
        (
            b'{"groundingChunks":[{"web":{"uri":"u"}}],"groundingSupports":'
            b'[{"segment":{"startIndex":5,"endIndex":900},"groundingChunkIndices":[0]}]}',
            [("u", None)],
        ),
        (
            b'{"groundingChunks":[{"web":{"uri":"u"}}],"groundingSupports":'
            b'[{"segment":{"partIndex":9,"startIndex":1,"endIndex":3},"groundingChunkIndices":[0]}]}',
            [("u", 0)],  # a position inside a character is at its beginning
        ),
        (b'{"groundingChunks":5}', []),
        (b"nonsense", []),
    ],
)
def test_sources_that_say_little(grounding: bytes, found: list[tuple[str, int | None]]) -> None:
    citations = read_citations(grounding, None, "äöü", [0])
    assert [(citation.url, citation.start) for citation in citations] == found


def test_no_sources_are_none() -> None:
    assert write_grounding([(0, "text", [])]) is None
    assert write_grounding([(0, "text", [Citation(url="u")])]) == {
        "groundingChunks": [{"web": {"uri": "u", "title": ""}}]
    }


def test_an_endless_event_breaks_a_stream() -> None:
    data = b"data: " + b"x" * (EVENT_LIMIT_BYTES + 1)
    reader, _ = read_stream(data)
    passing = GeminiPassthrough().stream_decoder(PROVIDER, make_call(stream=True))
    passing.feed(data)
    for failure in (reader.failure, passing.failure):
        assert failure is not None
        assert failure.outcome is Outcome.STREAM_BROKEN
