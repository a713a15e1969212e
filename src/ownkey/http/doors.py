"""The paths of the gateway: which dialect a client speaks by the path it asks for, and what it wants there."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import parse_qsl

from msgspec import Struct

from ownkey.domain.provider import Dialect
from ownkey.domain.routing import Operation
from ownkey.errors import NotFound, RequestError

Headers = list[tuple[bytes, bytes]]

GOOGLE: Final = "/v1beta/"
_GOOGLE_MODELS: Final = "/v1beta/models"
_MODELS: Final = "/v1/models"


class Door(Struct, frozen=True, kw_only=True):
    """What a request wants.

    `operation` is sent to a provider, or counted. `models` lists models or shows the one of that `model`. `model` and
    `stream` are what the path says of them. `as_array`: Google's stream without `alt=sse` is one JSON array.
    """

    dialect: Dialect
    want: Literal["answer", "count", "models"]
    operation: Operation = "chat"
    model: str | None = None
    stream: bool | None = None
    as_array: bool = False


_CHAT, _RESPONSES, _ANTHROPIC, _GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI,
)
_POST: Final = {
    "/v1/chat/completions": Door(dialect=_CHAT, want="answer"),
    "/v1/responses": Door(dialect=_RESPONSES, want="answer"),
    "/v1/responses/input_tokens": Door(dialect=_RESPONSES, want="count"),
    "/v1/messages": Door(dialect=_ANTHROPIC, want="answer"),
    "/v1/messages/count_tokens": Door(dialect=_ANTHROPIC, want="count"),
    "/v1/embeddings": Door(dialect=_CHAT, want="answer", operation="embeddings"),
    "/v1/images/generations": Door(dialect=_CHAT, want="answer", operation="images"),
    "/v1/images/edits": Door(dialect=_CHAT, want="answer", operation="image_edits"),
    "/v1/audio/speech": Door(dialect=_CHAT, want="answer", operation="speech"),
    "/v1/audio/transcriptions": Door(dialect=_CHAT, want="answer", operation="transcriptions"),
    "/v1/audio/translations": Door(dialect=_CHAT, want="answer", operation="translations"),
    "/v1/moderations": Door(dialect=_CHAT, want="answer", operation="moderations"),
    "/v1/rerank": Door(dialect=_CHAT, want="answer", operation="rerank"),
}
# As they are asked for by a client whose base URL has no version, and by one that adds a second one to it.
_UNVERSIONED: Final = frozenset((*(path.removeprefix("/v1") for path in _POST), "/models"))
_VERSIONS: Final = ("/v1beta", "/v1")
_SURPLUS: Final = re.compile(r"(?:/v1(?:beta)?)+(?=/v1(?:beta)?/)", re.ASCII)
# Google's methods after the colon: (want, operation, stream).
_METHODS: Final[dict[str, tuple[Literal["answer", "count"], Operation, bool]]] = {
    "generateContent": ("answer", "chat", False),
    "streamGenerateContent": ("answer", "chat", True),
    "countTokens": ("count", "chat", False),
    "embedContent": ("answer", "embeddings", False),
    "batchEmbedContents": ("answer", "embeddings", False),
}


def is_gateway_path(path: str) -> bool:
    """Whether a path is the gateway's to answer, if only with the base URL that its client should have."""
    return path.startswith(("/v1/", GOOGLE, "/models/", "/responses/")) or path in _UNVERSIONED


def find_dialect(path: str, headers: Headers) -> Dialect:
    """The dialect in which a client wants to hear of its errors."""
    meant = _find_meant(path)
    if meant is not None:
        # Google's library is known by its headers wherever it was sent.
        lister = _find_lister(headers)
        return lister if lister is _GEMINI else find_dialect(meant, headers)
    if path.startswith(GOOGLE):
        return _GEMINI
    if path.startswith(_MODELS):
        return _GEMINI if _names_method(path) else _find_lister(headers)
    if path.startswith("/v1/messages"):
        return _ANTHROPIC
    return _RESPONSES if path.startswith("/v1/responses") else _CHAT


def find_door(method: str, path: str, query: bytes, headers: Headers) -> Door:
    """What a request wants. Raises NotFound(unknown_path, response_not_stored), RequestError(method_not_allowed)."""
    door = _POST.get(path)
    if door is not None and method == "POST":
        return door
    if _find_meant(path) is not None:
        raise _misdirected(path)
    if path.startswith(_MODELS):
        if _names_method(path):
            return _find_google(_MODELS, method, path, query)
        found = _find_models(_MODELS, path, _find_lister(headers))
        if found is not None and method == "GET":
            return found
        if found is not None:
            raise _not_allowed(method, path)
    if path.startswith(_GOOGLE_MODELS):
        return _find_google(_GOOGLE_MODELS, method, path, query)
    if door is not None:
        raise _not_allowed(method, path)
    if path.startswith("/v1/responses/"):
        raise NotFound(
            "Responses are not stored here, so none can be fetched, deleted or cancelled later. Send the items of the "
            "conversation with each request (`store: false`).",
            code="response_not_stored",
        )
    raise _unknown(path)


def _find_google(base: str, method: str, path: str, query: bytes) -> Door:
    name, _, verb = path[len(base) + 1 :].rpartition(":")
    found = _METHODS.get(verb)
    if found is None:
        models = _find_models(base, path, _GEMINI)
        if models is None:
            raise _unknown(path)
        if method != "GET":
            raise _not_allowed(method, path)
        return models
    if not name:
        raise _unknown(path)
    if method != "POST":
        raise _not_allowed(method, path)
    want, operation, stream = found
    as_array = stream and dict(parse_qsl(query.decode("latin-1"))).get("alt") != "sse"
    return Door(dialect=_GEMINI, want=want, operation=operation, model=name, stream=stream, as_array=as_array)


def _find_models(base: str, path: str, dialect: Dialect) -> Door | None:
    if path == base:
        return Door(dialect=dialect, want="models")
    name = path[len(base) :]
    return Door(dialect=dialect, want="models", model=name[1:]) if name.startswith("/") and len(name) > 1 else None


def _find_meant(path: str) -> str | None:
    """The path that a client with a wrong base URL has meant; None: its base URL is right."""
    if path in _UNVERSIONED or path.startswith(("/models/", "/responses/")):
        return ("/v1beta" if _names_method(path) else "/v1") + path
    surplus = _SURPLUS.match(path)
    return path[surplus.end() :] if surplus else None


def _misdirected(path: str) -> NotFound:
    version = next((one for one in _VERSIONS if path.startswith(one + "/")), None)
    if version is not None:
        cure = f"Leave {version} out of the base URL: the client adds the version itself."
    else:
        version = "/v1beta" if _names_method(path) else "/v1"
        cure = f"The base URL ends in {version}: add that to the one that the client has now."
    return NotFound(f"There is no {path[:100]} here. {cure}", code="unknown_path")


def _names_method(path: str) -> bool:
    """Whether a path ends as Google's do: its library asks below `/v1` too, and models may have colons of their own."""
    return path.rpartition(":")[2] in _METHODS


def _find_lister(headers: Headers) -> Dialect:
    """Whose list of models is wanted: three libraries ask for the same path."""
    for name, _ in headers:
        if name == b"anthropic-version":
            return _ANTHROPIC
        if name in (b"x-goog-api-key", b"x-goog-api-client"):
            return _GEMINI
    return _CHAT


def _unknown(path: str) -> NotFound:
    return NotFound(f"There is no {path[:100]} here. OpenAPI: /openapi.json", code="unknown_path")


def _not_allowed(method: str, path: str) -> RequestError:
    return RequestError(f"{method[:10]} is not allowed on {path[:100]}.", code="method_not_allowed", http_status=405)
