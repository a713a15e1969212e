"""What a request may ask with a user's own key, and not with the operator's, which many share.

Some fields name what a provider keeps: an earlier response, a file, a container, a vector store. With a user's own key
these are the user's own. With the operator's they could be any user's, for the provider knows no difference between
them. Other fields let the provider choose among models: then it is not known here which of them the operator pays for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.provider import Dialect
from ownkey.domain.routing import Operation, SkipReason
from ownkey.providers.peek import NOTHING
from ownkey.providers.side_operations.peek import FORMS
from ownkey.providers.unreadable import UNREADABLE

# Quotes inside JSON strings are escaped, so these find a field's name or a type, and hardly ever anything else.
_MARKS: Final[dict[Dialect, tuple[bytes, ...]]] = {
    Dialect.OPENAI_CHAT: (b'"file', b'"audio"'),
    Dialect.OPENAI_RESPONSES: (b'"file', b'"container', b'"item_reference"', b'"image_generation_call"'),
    Dialect.ANTHROPIC_MESSAGES: (b'"file', b'"container'),
    Dialect.GEMINI: (b'"file', b'"cached'),
}
# A letter of a name may be written by its number, which nobody does who has nothing to hide.
_NUMBERED: Final = b"\\u00"
_ESCAPED: Final = re.compile(rb"\\u00[2-7]")
# Fields of the whole request; null stands for nothing.
_TOP: Final = frozenset(
    {
        "cachedContent",
        "cached_content",
        "container",
        "conversation",
        "extra_body",
        "library_ids",
        "previous_interaction_id",
        "previous_response_id",
        "prompt",
        "thread",
        "voice",
    }
)
# Fields that name something stored wherever they stand.
_ANYWHERE: Final = frozenset(
    {
        "cachedContent",
        "cached_content",
        "container_id",
        "conversation",
        "file_id",
        "file_ids",
        "fileSearchStoreNames",
        "file_search_store_names",
        "library_ids",
        "previous_message_id",
        "previous_response_id",
        "vector_store_ids",
    }
)
# What an application's own tools take and give, and the shapes of it: no provider looks inside.
_OPAQUE: Final = frozenset(
    {
        "args",
        "arguments",
        "input_schema",
        "json_schema",
        "metadata",
        "parameters",
        "parametersJsonSchema",
        "parameters_json_schema",
        "responseJsonSchema",
        "responseSchema",
        "response_json_schema",
        "response_schema",
        "schema",
    }
)
_OWN_RESULTS: Final = frozenset({"functionResponse", "function_response"})
# Files that a link leads to are not kept by a provider, unless the link is its own.
_LINKS: Final = frozenset({"fileUri", "file_uri", "file_url", "image_url", "uri", "url"})
_KEPT: Final = ("files/", "gs://")
_GOOGLE_FILES: Final = "generativelanguage.googleapis.com"
_ALL_DIALECTS: Final = (b'"gs:', b"generativelanguage")
# OpenRouter's and other gateways' own lists of what to try.
_CHOICES: Final = frozenset({"fallbacks", "models", "preset", "providerOptions", "route"})
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])

# A preset may stand in OpenRouter's model names too.
_PRESET: Final = "@preset/"


class Unshareable(Struct, frozen=True):
    """Why the operator's key is not used for a request: the skip's reason, and the field it is about."""

    reason: str
    field: str


class _Object(list[tuple[str, Any]]):
    """An object's pairs, all of them: of a name that is there twice, parsers read this or that one."""


def find_unshareable(
    body: bytes, operation: Operation, dialect: Dialect, model: str, fields: Mapping[str, Raw] | None = None
) -> Unshareable | None:
    """The first thing in a request that forbids the operator's key, or None. What cannot be read is forbidden.

    `fields` are those of the body, where somebody has read them already.
    """
    if _PRESET in model:
        return Unshareable(SkipReason.MODEL_LISTS_NEED_OWN_KEY, "model")
    if operation in FORMS or operation == "embeddings":
        return None  # these have room for bytes and words alone
    if fields is None:
        try:
            fields = _FIELDS.decode(body)
        except UNREADABLE:
            return Unshareable(SkipReason.STORED_OBJECTS_NEED_OWN_KEY, "body")
    for name in fields:
        if name in _TOP and _names_stored(name, fields[name]):
            return Unshareable(SkipReason.STORED_OBJECTS_NEED_OWN_KEY, name)
        if name in _CHOICES and bytes(fields[name]) not in NOTHING:
            return Unshareable(SkipReason.MODEL_LISTS_NEED_OWN_KEY, name)
    found = _find_stored(body, dialect)
    return None if found is None else Unshareable(SkipReason.STORED_OBJECTS_NEED_OWN_KEY, found)


def _find_stored(body: bytes, dialect: Dialect) -> str | None:
    marked = any(body.rfind(mark) >= 0 for mark in (*_MARKS[dialect], *_ALL_DIALECTS))
    if not marked and (body.rfind(_NUMBERED) < 0 or _ESCAPED.search(body) is None):
        return None
    try:
        read = json.loads(body, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        return "body"
    return next(_references(read), None)


def _names_stored(name: str, raw: Raw) -> bool:
    try:
        value = json.loads(bytes(raw), object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        return True
    if name in ("prompt", "voice"):  # a text of that name is the thing itself
        return isinstance(value, _Object) and any(key == "id" for key, _ in value)
    if name == "container":
        return _is_kept_container(value)
    if name == "extra_body":
        return next(_references(value), None) is not None
    return value not in (None, "", [])


def _references(value: Any) -> Iterator[str]:
    """The fields that refer to something stored. Without recursion: a body may be nested deeply."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Object):
            kinds = [one for key, one in value if key == "type"]
            if "item_reference" in kinds:
                yield "item_reference"
            if "image_generation_call" in kinds and not any(key == "result" and given for key, given in value):
                yield "image_generation_call"
            for key, inner in value:
                if key in _OPAQUE or key in _OWN_RESULTS or (key == "input" and kinds == ["tool_use"]):
                    continue
                if _names_kept(key, inner):
                    yield key
                waiting.append(inner)
        elif isinstance(value, list):
            waiting += value


def _names_kept(name: str, value: Any) -> bool:
    """Whether this field, wherever it stands, refers to something stored."""
    if name in _LINKS:
        return isinstance(value, str) and _is_kept_link(value)
    if name == "audio":
        return _has_id(value)
    if name == "container":
        return _is_kept_container(value)
    return name in _ANYWHERE and value not in (None, "", [])


def _is_kept_link(value: str) -> bool:
    return value.startswith(_KEPT) or _GOOGLE_FILES in value.lower()


def _has_id(value: Any) -> bool:
    return isinstance(value, _Object) and any(key == "id" for key, _ in value)


def _is_kept_container(value: Any) -> bool:
    """A container that is there already; `{"type": "auto"}` is a new one. Skills of one's own are kept as well."""
    if not isinstance(value, _Object):
        return bool(value)
    fields = dict(value)
    if _has_id(value) or "container_id" in fields:
        return True
    skills = fields.get("skills")
    if not isinstance(skills, list):
        return False
    return any(not isinstance(skill, _Object) or ("type", "anthropic") not in skill for skill in skills)
