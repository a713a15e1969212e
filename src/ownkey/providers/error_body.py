"""What an error body says, whatever its shape: every provider has one of its own.

The shapes that are read here:

* OpenAI, Groq, xAI (new), Together, Azure: `{"error": {"message", "type", "param", "code"}}`
* Gemini: `{"error": {"code": 429, "message", "status", "details": [...]}}`, at times inside an array, at times
  as text inside another error's `message`
* Anthropic: `{"type": "error", "error": {"type", "message", "details": {"error_code"}}, "request_id"}`
* Mistral: `{"object": "error", "message", "type", "param", "code"}`, where `message` may be an object, and
  `{"detail": [{"loc", "msg", "type"}]}`
* xAI (old), Cohere, Bedrock, NVIDIA: `{"code", "error": "text"}`, `{"message"}`, `{"title", "status", "detail"}`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.providers.unreadable import UNREADABLE

# More than a person is shown: who knows the secret takes it out first, and a cut through it would hide it from him.
MESSAGE_LIMIT: Final = 2_000
_BODY_LIMIT_BYTES: Final = 256 * 1024

# Whatever looks like a key, whole or with stars in its middle. The exact secret is scrubbed again by who knows it.
_KEY_LIKE: Final = re.compile(
    r"""
    (?:\bBearer\s+\S+)
    | (?<![A-Za-z0-9])(?:sk|gsk|xai|pplx|nvapi|csk|fw|tgp|hf|ok|ABSK)[-_][\w*.\-+/=]{4,}
    | (?<![A-Za-z0-9])(?:AIza|AQ\.|ABSK|bedrock-api-key-)[\w*.\-+/=]{8,}
    | (?<!\S)(?:[^\s*]++|\*(?!\*\*))*+\*{3,}\S*
    | (?<![A-Za-z0-9_-])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{24,}(?![A-Za-z0-9_-])
    """,
    re.VERBOSE,
)


class ErrorBody(Struct, frozen=True, kw_only=True):
    """The words of an error. `codes` are its machine-readable words in lower case, the most exact first.

    `names_field`: it is about a field of the request.
    """

    message: str = ""
    codes: tuple[str, ...] = ()
    quota_ids: tuple[str, ...] = ()
    names_field: bool = False
    request_id: str | None = None
    document: Any = None

    @property
    def code(self) -> str | None:
        """The most exact code, or None."""
        return self.codes[0] if self.codes else None


def read_error_body(body: bytes) -> ErrorBody:
    """Read an error body. Never raises: what cannot be read has no codes."""
    try:
        return read_error_document(msgspec.json.decode(body[:_BODY_LIMIT_BYTES]))
    except UNREADABLE:
        # Often a page of HTML from something in between: not for people to read.
        return ErrorBody()


def read_error_document(document: Any) -> ErrorBody:
    """Read a decoded error body or the value of its `error` field."""
    original = document
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, str):
        return ErrorBody(message=tidy(document), document=original)
    if not isinstance(document, dict):
        return ErrorBody(document=original)
    error = document.get("error")
    inner = error if isinstance(error, dict) else document
    text = _message(inner) or (error if isinstance(error, str) else "")
    nested = _nested(text)
    codes = [*_codes(inner), *(_codes(document) if inner is not document else ())]
    quota_ids = tuple(_quota_ids(inner))
    names_field = _names_field(inner)
    if nested is not None:
        text, codes = nested.message or text, [*nested.codes, *codes]
        quota_ids = (*nested.quota_ids, *quota_ids)
        names_field = names_field or nested.names_field
        original = nested.document
    request_id = document.get("request_id")
    return ErrorBody(
        message=tidy(text),
        codes=tuple(dict.fromkeys(codes)),
        quota_ids=quota_ids,
        names_field=names_field,
        request_id=request_id if isinstance(request_id, str) else None,
        document=original,
    )


def tidy(text: str) -> str:
    """A provider's words without anything like a key, on one line, of at most MESSAGE_LIMIT characters."""
    line = " ".join(text[: MESSAGE_LIMIT * 2].split())
    if len(text) > MESSAGE_LIMIT * 2:
        line = _without_last_word(line)
    line = _KEY_LIKE.sub("[key]", line)
    return line if len(line) <= MESSAGE_LIMIT else _without_last_word(line[: MESSAGE_LIMIT - 1]) + "…"


def _without_last_word(line: str) -> str:
    """The last word may have been cut, and half a key is not recognised as one."""
    return line.rpartition(" ")[0] or line


def _message(error: dict[str, Any]) -> str:
    for name in ("message", "Message", "detail", "msg", "error_message", "title"):
        value = error.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, dict):
            return _message(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return _validation_message(value)
    return ""


def _validation_message(problems: list[Any]) -> str:
    """`body.temperature: Input should be less than 2` from the list that FastAPI answers with."""
    texts = []
    for problem in problems[:3]:
        if isinstance(problem, dict):
            place = problem.get("loc")
            where = ".".join(str(part) for part in place) + ": " if isinstance(place, list) else ""
            texts.append(where + str(problem.get("msg", "")))
    return "; ".join(texts)


def _codes(error: dict[str, Any]) -> Iterator[str]:
    """The machine-readable words of one error object, the most exact first."""
    details = error.get("details")
    if isinstance(details, dict):
        yield from _words(details.get("error_code"))
    if isinstance(details, list):
        for detail in details:
            if isinstance(detail, dict):
                yield from _words(detail.get("reason"))
    inner = error.get("innererror") or error.get("inner_error")
    if isinstance(inner, dict):
        yield from _words(inner.get("code"))
    for name in ("code", "type", "status"):
        yield from _words(error.get(name))


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value and value != "error":
        yield value.lower()[:80]


def _names_field(error: dict[str, Any]) -> bool:
    """`param` of OpenAI, `loc` of FastAPI's list of problems, `fieldViolations` of Google's BadRequest."""
    if error.get("param"):
        return True
    for name in ("message", "detail"):
        problems = error.get(name)
        if isinstance(problems, dict):
            problems = problems.get("detail")
        if isinstance(problems, list) and any(isinstance(problem, dict) and problem.get("loc") for problem in problems):
            return True
    details = error.get("details")
    return isinstance(details, list) and any(isinstance(one, dict) and "fieldViolations" in one for one in details)


def _quota_ids(error: dict[str, Any]) -> Iterator[str]:
    """Gemini's names of the quotas that were exceeded, such as GenerateRequestsPerDayPerProjectPerModel."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("violations") if isinstance(detail, dict) else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and isinstance(violation.get("quotaId"), str):
                yield violation["quotaId"]


def _nested(text: str) -> ErrorBody | None:
    """An error that was put into another one's message as text."""
    if not text.lstrip().startswith(("{", "[{")):
        return None
    nested = read_error_body(text.encode())
    return nested if nested.message or nested.codes else None
