"""Which dialect a path and its headers are of."""

from __future__ import annotations

import pytest

from ownkey.domain.provider import Dialect
from ownkey.errors import NotFound, RequestError
from ownkey.http.doors import Door, Headers, find_dialect, find_door, is_gateway_path

CHAT, CLAUDE, GEMINI = Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI
RESPONSES = Dialect.OPENAI_RESPONSES
CLAUDES: Headers = [(b"anthropic-version", b"2023-06-01")]
GOOGLES: Headers = [(b"x-goog-api-key", b"ok-1")]


@pytest.mark.parametrize("base", ["/v1/models", "/v1beta/models"])
@pytest.mark.parametrize(
    ("verb", "query", "door"),
    [
        ("generateContent", b"", Door(dialect=GEMINI, want="answer", stream=False)),
        ("streamGenerateContent", b"alt=sse", Door(dialect=GEMINI, want="answer", stream=True)),
        ("streamGenerateContent", b"", Door(dialect=GEMINI, want="answer", stream=True, as_array=True)),
        ("countTokens", b"", Door(dialect=GEMINI, want="count", stream=False)),
        ("embedContent", b"", Door(dialect=GEMINI, want="answer", operation="embeddings", stream=False)),
        ("batchEmbedContents", b"", Door(dialect=GEMINI, want="answer", operation="embeddings", stream=False)),
    ],
)
@pytest.mark.parametrize("name", ["gemini-3.8-flash", "ollama/llama3:8b", "task:coding"])
def test_googles_methods_below_either_version(base: str, verb: str, query: bytes, door: Door, name: str) -> None:
    path = f"{base}/{name}:{verb}"
    found = find_door("POST", path, query, [])
    assert (found.dialect, found.want, found.operation) == (door.dialect, door.want, door.operation)
    assert (found.stream, found.as_array, found.model) == (door.stream, door.as_array, name)
    assert find_dialect(path, []) is GEMINI
    with pytest.raises(RequestError) as caught:
        find_door("GET", path, query, [])
    assert caught.value.code == "method_not_allowed"


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/models", [], CHAT),
        ("/v1/models", CLAUDES, CLAUDE),
        ("/v1/models", GOOGLES, GEMINI),
        ("/v1beta/models", [], GEMINI),
    ],
)
def test_a_list_of_models_is_in_the_form_of_who_asks(path: str, headers: Headers, dialect: Dialect) -> None:
    assert find_door("GET", path, b"", headers) == Door(dialect=dialect, want="models")
    one = find_door("GET", f"{path}/llama3:8b", b"", headers)
    assert one == Door(dialect=dialect, want="models", model="llama3:8b")
    assert find_dialect(path, headers) is dialect


def test_other_paths_lead_nowhere() -> None:
    for path in ("/v1/models/:generateContent", "/v1beta/models/x:doSomething", "/v1beta/files", "/v1/nothing"):
        with pytest.raises((NotFound, RequestError)):
            find_door("POST", path, b"", [])


ADD, LEAVE, LEAVE_BETA = "base URL ends in /v1:", "Leave /v1 out of", "Leave /v1beta out of"


@pytest.mark.parametrize(
    ("path", "headers", "dialect", "cure"),
    [
        ("/chat/completions", [], CHAT, ADD),
        ("/embeddings", [], CHAT, ADD),
        ("/responses", [], RESPONSES, ADD),
        ("/responses/resp_1", [], RESPONSES, ADD),
        ("/messages", [], CLAUDE, ADD),
        ("/messages/count_tokens", [], CLAUDE, ADD),
        ("/models", [], CHAT, ADD),
        ("/models", CLAUDES, CLAUDE, ADD),
        ("/models/gpt-5", [], CHAT, ADD),
        ("/models/gemini-3.8-flash:generateContent", [], GEMINI, "base URL ends in /v1beta:"),
        ("/v1/v1/chat/completions", [], CHAT, LEAVE),
        ("/v1/v1/v1/chat/completions", [], CHAT, LEAVE),
        ("/v1" * 5000 + "/messages", [], CLAUDE, LEAVE),
        ("/v1/v1/messages", [], CLAUDE, LEAVE),
        ("/v1/v1/models", GOOGLES, GEMINI, LEAVE),
        ("/v1/v1beta/models/auto:generateContent", [], GEMINI, LEAVE),
        ("/v1beta/v1beta/models/auto:generateContent", GOOGLES, GEMINI, LEAVE_BETA),
        ("/v1beta/v1/messages", CLAUDES, CLAUDE, LEAVE_BETA),
        ("/v1beta/v1/chat/completions", [], CHAT, LEAVE_BETA),
        ("/v1beta/v1/models", GOOGLES, GEMINI, LEAVE_BETA),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_with_a_wrong_base_url_hears_which_one_is_right(
    method: str, path: str, headers: Headers, dialect: Dialect, cure: str
) -> None:
    assert is_gateway_path(path)
    with pytest.raises(NotFound) as caught:
        find_door(method, path, b"", headers)
    assert (caught.value.code, caught.value.status) == ("unknown_path", 404)
    assert cure in caught.value.message
    assert find_dialect(path, headers) is dialect


def test_other_pages_of_the_server_are_not_the_gateways() -> None:
    for path in ("/", "/api/models", "/admin/", "/healthz", "/v1", "/modelsx", "/chat"):
        assert not is_gateway_path(path)
