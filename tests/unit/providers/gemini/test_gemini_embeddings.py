"""Embeddings between OpenAI's form and Gemini's."""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from typing import Any

import pytest
from gemini_wire import BASE_URL, PROVIDER, make_call
from google.genai import types
from openai.types import CreateEmbeddingResponse

from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.usage import Outcome, Tokens
from ownkey.errors import RequestError
from ownkey.providers.dialect import AnswerFailed, Call
from ownkey.providers.gemini.embeddings import GeminiEmbeddings, OpenAIEmbeddings

MODEL = "gemini-embedding-001"
OPENAI = Provider(id="openai", label="OpenAI", dialect=Dialect.OPENAI_CHAT, base_url="https://api.openai.com/v1")
ANSWER = {"embeddings": [{"values": [0.5, -1]}, {"values": [0.25, 1]}], "usageMetadata": {"promptTokenCount": 7}}


def ask(**fields: Any) -> Call:
    body = {"model": "anything", "input": ["a", "b"], **fields}
    return Call(operation="embeddings", body=json.dumps(body).encode(), model=MODEL)


def test_a_client_of_openais_at_gemini() -> None:
    request = GeminiEmbeddings().encode(PROVIDER, BASE_URL, ask(dimensions=2, user="me", encoding_format="float"))
    assert request.url == f"{BASE_URL}/models/{MODEL}:batchEmbedContents"
    assert request.auth_header == ("x-goog-api-key", "")
    assert json.loads(request.body) == {
        "requests": [
            {"model": f"models/{MODEL}", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2}
            for text in ("a", "b")
        ]
    }
    assert len(json.loads(GeminiEmbeddings().encode(PROVIDER, BASE_URL, ask(input="a")).body)["requests"]) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"input": [1, 2]}, "input"), ({"input": [[1]]}, "input"), ({"input": 5}, "input"), ({"x": 1}, "x")],
)
def test_what_gemini_cannot_embed(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        GeminiEmbeddings().encode(PROVIDER, BASE_URL, ask(**fields))
    assert caught.value.param == param


def test_vectors_for_a_client_of_openais() -> None:
    decoded = GeminiEmbeddings().decode(json.dumps(ANSWER).encode(), ask())
    answer = CreateEmbeddingResponse.model_validate_json(decoded.body, strict=True)
    assert [(entry.index, entry.embedding) for entry in answer.data] == [(0, [0.5, -1]), (1, [0.25, 1])]
    assert answer.model == MODEL
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 7)
    assert decoded.tokens == Tokens(input_uncached=7)
    packed = json.loads(GeminiEmbeddings().decode(json.dumps(ANSWER).encode(), ask(encoding_format="base64")).body)
    assert struct.unpack("<2f", b64decode(packed["data"][1]["embedding"])) == (0.25, 1.0)
    unknown = GeminiEmbeddings().decode(b'{"embeddings":[]}', ask())
    assert unknown.tokens is None
    assert json.loads(unknown.body)["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


def test_what_is_no_answer_of_geminis() -> None:
    for body in (b"{}", b"[]", b"{", b'{"embeddings":[{"values":["a"]}]}'):
        with pytest.raises(ValueError, match="answer"):
            GeminiEmbeddings().decode(body, ask(encoding_format="base64"))
    with pytest.raises(AnswerFailed) as caught:
        GeminiEmbeddings().decode(b'{"error":{"code":503,"status":"UNAVAILABLE"}}', ask())
    assert caught.value.failure.outcome is Outcome.OVERLOADED


def google(body: Any) -> Call:
    return make_call(body, model="text-embedding-3-small", operation="embeddings")


BATCH = {
    "requests": [
        {
            "model": "models/x",
            "content": {"parts": [{"text": "a"}, {"text": "b"}], "role": "user"},
            "taskType": "RETRIEVAL_QUERY",
            "output_dimensionality": 8,
        },
        {"content": {"parts": {"text": "c"}}, "title": "C", "outputDimensionality": 8},
    ]
}


def test_a_client_of_googles_at_openai() -> None:
    request = OpenAIEmbeddings().encode(OPENAI, OPENAI.base_url, google(BATCH))
    assert request.url == "https://api.openai.com/v1/embeddings"
    assert json.loads(request.body) == {"model": "text-embedding-3-small", "input": ["a\nb", "c"], "dimensions": 8}
    single = OpenAIEmbeddings().encode(OPENAI, OPENAI.base_url, google({"content": {"parts": [{"text": "a"}]}}))
    assert json.loads(single.body) == {"model": "text-embedding-3-small", "input": ["a"]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"content": {"parts": [{"inlineData": {}}]}}, "content.parts[0]"),
        ({"content": "a"}, "content"),
        ({"content": {"parts": []}, "autoTruncate": True}, "autoTruncate"),
        ({"requests": ["a"]}, "requests[0]"),
        ({"requests": [{"content": {"parts": []}}, BATCH["requests"][0]]}, "requests"),
    ],
)
def test_what_openai_cannot_embed(body: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        OpenAIEmbeddings().encode(OPENAI, OPENAI.base_url, google(body))
    assert caught.value.param == param


def test_vectors_for_a_client_of_googles() -> None:
    packed = b64encode(struct.pack("<2f", 0.25, 1)).decode()
    body = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 1, "embedding": packed},
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
        ],
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    decoded = OpenAIEmbeddings().decode(json.dumps(body).encode(), google(BATCH))
    answer = types.EmbedContentResponse.model_validate_json(decoded.body)
    assert [vector.values for vector in answer.embeddings or ()] == [[0.5, -1], [0.25, 1]]
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.prompt_token_count == 7
    assert decoded.tokens == Tokens(input_uncached=7)
    single = OpenAIEmbeddings().decode(json.dumps(body).encode(), google({"content": {"parts": []}}))
    assert json.loads(single.body)["embedding"] == {"values": [0.5, -1]}


def test_what_is_no_answer_of_openais() -> None:
    for body in (b'{"data":[]}', b'{"data":[{"embedding":"!"}]}', b'{"data":[{"embedding":"AAA="}]}', b"{}"):
        with pytest.raises(ValueError, match=r"answer|embedding"):
            OpenAIEmbeddings().decode(body, google({"content": {"parts": []}}))


def test_nothing_is_streamed() -> None:
    for adapter in (GeminiEmbeddings(), OpenAIEmbeddings()):
        with pytest.raises(RequestError):
            adapter.stream_decoder(PROVIDER, ask())
        assert adapter.read_failure(503, {}, b"").outcome is Outcome.OVERLOADED
