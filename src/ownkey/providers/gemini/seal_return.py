"""Before a Gemini client's bytes go to Gemini: other dialects' seals come out, since Google would refuse them.

Bodies without any are not touched, and finding out costs two searches for a few bytes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.gemini.signatures import UNSIGNED, read_signature
from ownkey.providers.unreadable import UNREADABLE

# `ownkey1.{` in base64: nine bytes, so it does not depend on what follows. It is the same in both alphabets.
_MARK: Final = b"b3dua2V5MS57"
_NAMES: Final = ("thoughtSignature", "thought_signature")
_CALLS: Final = ("functionCall", "function_call")


def return_seals(body: bytes) -> bytes:
    """The body with Gemini's own seals as they were, and without others."""
    if body.find(_MARK) < 0:
        return body
    try:
        request = msgspec.json.decode(body)
        _clean_request(request)
        return msgspec.json.encode(request)
    except UNREADABLE:
        raise RequestError("The body is not valid JSON, or it is nested too deeply.") from None


def _clean_request(request: Any) -> None:
    if not isinstance(request, dict):
        return
    for name in ("generateContentRequest", "generate_content_request"):
        _clean_request(request.get(name))
    for content in _messages(request.get("contents")):
        parts = [part for part in _messages(content.get("parts")) if _clean_part(part)]
        if "parts" in content:
            content["parts"] = parts
    contents = request.get("contents")
    if isinstance(contents, list):
        # A content whose only part was a seal says nothing now, and Google refuses it.
        request["contents"] = [content for content in contents if not _is_empty(content)]


def _clean_part(part: dict[str, Any]) -> bool:
    """Whether anything is left of a part."""
    for name in _NAMES:
        text = part.get(name)
        if not isinstance(text, str) or not text.encode().startswith(_MARK):
            continue
        seal = read_signature(text)
        if seal is not None and seal.dialect is Dialect.GEMINI:
            part[name] = seal.data
        elif any(call in part for call in _CALLS):
            part[name] = UNSIGNED
        else:
            # Another model's thought: nobody but that model can do anything with it.
            del part[name]
            return not part.get("thought") and bool(part.get("text", True))
    return True


def _messages(value: Any) -> list[dict[str, Any]]:
    given = value if isinstance(value, list) else [value]
    return [message for message in given if isinstance(message, dict)]


def _is_empty(content: Any) -> bool:
    return isinstance(content, dict) and content.get("parts") == []
