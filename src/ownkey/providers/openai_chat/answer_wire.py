"""What providers of the chat dialect write into an answer, and into the chunks of a stream.

Only what can be translated is decoded. A field that providers fill with all kinds of things is `Any`: a strange value
there must not cost the answer.
"""

from __future__ import annotations

import os
import time
from typing import Any, Final

from msgspec import Raw, Struct

from ownkey.providers.conversation import Citation, Finish, Logprob
from ownkey.providers.counters import COUNT_LIMIT

ABSENT: Final = Raw(b"null")
# OpenAI's value for a token beyond the likeliest twenty.
_HARDLY_LIKELY: Final = -9999.0
_NOTHING: Final = frozenset({b"null", b'""', b"[]", b"{}"})


class WireFunction(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class WireCustom(Struct):
    name: str | None = None
    input: str | None = None


class WireCall(Struct):
    """A call, or a piece of one. Not every provider tells `index` or `id`, and some tell the same index twice."""

    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None
    custom: WireCustom | None = None
    extra_content: Any = None


class WirePart(Struct):
    """A part of Mistral's content, which is a list where there is thinking."""

    type: str = ""
    text: str | None = None
    thinking: Any = None


class WireMessage(Struct):
    """A message or a delta."""

    content: str | list[WirePart] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    tool_calls: list[WireCall] | None = None
    function_call: WireFunction | None = None
    annotations: Any = None


class WireTop(Struct):
    token: str = ""
    logprob: float | None = None
    bytes: tuple[int, ...] | None = None


class WireLogprob(WireTop):
    top_logprobs: list[WireTop] | None = None


class WireLogprobs(Struct):
    content: list[WireLogprob] | None = None
    refusal: list[WireLogprob] | None = None


def is_present(raw: Raw) -> bool:
    """Whether a field says anything."""
    return bytes(raw) not in _NOTHING


def first_error(*errors: Raw) -> bytes | None:
    """The first of these that is an error."""
    return next((bytes(error) for error in errors if is_present(error)), None)


def split_content(content: str | list[WirePart] | None) -> tuple[str, str]:
    """The text, and the thinking that stands in the content."""
    if content is None or isinstance(content, str):
        return content or "", ""
    texts = [part.text for part in content if part.type == "text" and part.text]
    thoughts = [_thinking_text(part.thinking) for part in content if part.type == "thinking"]
    return "".join(texts), "".join(thoughts)


def _thinking_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    texts = [part.get("text") for part in value if isinstance(part, dict)] if isinstance(value, list) else []
    return "".join(text for text in texts if isinstance(text, str))


def thinking_of(message: WireMessage) -> tuple[str, str]:
    """The text of thinking, and the field that it came in."""
    if message.reasoning_content and isinstance(message.reasoning_content, str):
        return message.reasoning_content, "reasoning_content"
    if message.reasoning and isinstance(message.reasoning, str):
        return message.reasoning, "reasoning"
    return "", ""


def details_of(message: WireMessage) -> list[dict[str, Any]]:
    """The entries of `reasoning_details`."""
    given = message.reasoning_details
    return [entry for entry in given if isinstance(entry, dict)] if isinstance(given, list) else []


def read_finish(word: str | None, *, calls: bool, refused: bool) -> Finish:
    """Why an answer ended. Some providers say `stop` where they mean calls; what nobody knows is an ordinary end."""
    match word:
        case "length" | "max_tokens" | "model_length":
            return "length"
        case "content_filter":
            return "refusal"
    if calls:
        return "tool_calls"
    return "refusal" if refused else "stop"


def read_logprobs(given: WireLogprobs | None) -> list[Logprob] | None:
    """The tokens of an answer or of a chunk."""
    if given is None:
        return None
    tokens = [*(given.content or ()), *(given.refusal or ())]
    return [_read_token(one, tuple(_read_token(top) for top in one.top_logprobs or ())) for one in tokens]


def _read_token(given: WireTop, alternatives: tuple[Logprob, ...] = ()) -> Logprob:
    logprob = given.logprob if given.logprob is not None else _HARDLY_LIKELY
    return Logprob(token=given.token, logprob=logprob, utf8=given.bytes, alternatives=alternatives)


def read_citations(annotations: object) -> list[Citation]:
    """The web sources among annotations."""
    found = []
    for annotation in annotations if isinstance(annotations, list) else ():
        cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
        url = cited.get("url") if isinstance(cited, dict) else None
        if isinstance(cited, dict) and isinstance(url, str):
            title, start, end = (cited.get(name) for name in ("title", "start_index", "end_index"))
            found.append(
                Citation(
                    url=url,
                    title=title if isinstance(title, str) else "",
                    start=start if isinstance(start, int) else None,
                    end=end if isinstance(end, int) else None,
                )
            )
    return found


def read_word(value: object, otherwise: str = "") -> str:
    """An id or a model's name."""
    return value if isinstance(value, str) and value else otherwise


def read_created(value: object) -> int:
    """When an answer was made; now, if its provider does not say."""
    return value if isinstance(value, int) and 0 < value <= COUNT_LIMIT else int(time.time())


def new_call_id() -> str:
    """An id for a call that came without one."""
    return f"call_{os.urandom(12).hex()}"
