"""Output items and the end of a response as a provider writes them, for whole answers and for streams."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.conversation import Citation, Finish, Logprob, Part, Refusal, Seal, Text, Thinking, ToolCall
from ownkey.providers.counted_searches import add_searches, count_items
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.openai_responses.usage import read_usage

ABSENT: Final = Raw(b"null")


class WireToken(Struct):
    """A token's likelihood."""

    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: list[WireToken] | None = None

    def read(self) -> Logprob:
        """The neutral form."""
        return Logprob(
            token=self.token,
            logprob=self.logprob,
            utf8=None if self.bytes is None else tuple(self.bytes),
            alternatives=tuple(token.read() for token in self.top_logprobs or ()),
        )


class WireAnnotation(Struct):
    """A source of a text, or something of OpenAI's own tools."""

    type: str = ""
    url: str = ""
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None

    def read(self) -> Citation | None:
        """The neutral form of a web source."""
        if self.type != "url_citation":
            return None
        return Citation(url=self.url, title=self.title or "", start=self.start_index, end=self.end_index)


class WireContent(Struct):
    """A part of a message, or of reasoning."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[WireAnnotation] | None = None
    logprobs: list[WireToken] | None = None


class WireItem(Struct):
    """An output item that has content."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[WireContent] | None = None
    summary: list[WireContent] | None = None
    encrypted_content: str | None = None

    @property
    def thoughts(self) -> str:
        """The summary of reasoning, or the reasoning itself where a provider shows it."""
        return "\n\n".join([part.text for part in self.summary or self.content or () if part.text])

    @property
    def seal(self) -> Seal | None:
        """What only the provider can read of its reasoning."""
        sealed = self.encrypted_content
        return Seal(Dialect.OPENAI_RESPONSES, sealed, self.id) if sealed else None

    def read(self) -> list[Part]:
        """The parts in this item."""
        match self.type:
            case "message":
                return [part for content in self.content or () if (part := _read_content(content)) is not None]
            case "reasoning":
                text, seal = self.thoughts, self.seal
                return [Thinking(text=text, seal=seal)] if text or seal is not None else []
            case "function_call":
                return [ToolCall(id=self.call_id or self.id or "", name=self.name or "", arguments=self.said or "{}")]
            case "custom_tool_call":
                identifier = self.call_id or self.id or ""
                return [ToolCall(id=identifier, name=self.name or "", arguments=self.said, freeform=True)]
        return []

    @property
    def said(self) -> str:
        """What a call says: its arguments, or a freeform tool's input."""
        return (self.input if self.type == "custom_tool_call" else self.arguments) or ""


class _Kind(Struct):
    type: str = ""


_KIND: Final = msgspec.json.Decoder(_Kind)
_ITEM: Final = msgspec.json.Decoder(WireItem)
_READ: Final = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})


def read_item(raw: Raw) -> WireItem:
    """An item. Those of hosted tools, which are never asked for, have nothing that is read. May raise UNREADABLE."""
    return _ITEM.decode(raw) if _KIND.decode(raw).type in _READ else WireItem()


def _read_content(content: WireContent) -> Text | Refusal | None:
    if content.type == "refusal":
        return Refusal(text=content.refusal or "")
    if content.type != "output_text" or not content.text:
        return None
    citations = (annotation.read() for annotation in content.annotations or ())
    return Text(text=content.text, citations=[citation for citation in citations if citation is not None])


class Incomplete(Struct):
    """Why a response is incomplete."""

    reason: str | None = None


class WireEnd(Struct):
    """How a response ended: what a stream's last event and a whole answer have in common."""

    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    error: Raw = ABSENT
    incomplete_details: Incomplete | None = None
    usage: Raw = ABSENT

    @property
    def tokens(self) -> Tokens | None:
        """The usage, if it says any."""
        raw = bytes(self.usage)
        return None if raw == b"null" else read_usage(raw)

    @property
    def raw_usage(self) -> bytes | None:
        """The usage in the provider's words."""
        raw = bytes(self.usage)
        return None if raw == b"null" else raw

    @property
    def failure(self) -> Failure | None:
        """The error of a response that failed."""
        error = bytes(self.error)
        if error != b"null":
            return read_failure_in_answer(error)
        if self.status in ("failed", "cancelled"):
            return Failure(outcome=Outcome.OVERLOADED, message="The provider gave up on its answer.")
        return None

    @property
    def cut(self) -> Literal["length", "refusal"] | None:
        """Why the answer is not whole, or None."""
        details = self.incomplete_details
        if self.status != "incomplete":
            return None
        return "refusal" if details is not None and details.reason == "content_filter" else "length"


def finish_of(end: WireEnd, *, called: bool, refused: bool) -> Finish:
    """Why the answer ended. `called`: it has a tool call; `refused`: it has a refusal."""
    cut = end.cut
    if cut is not None:
        return cut
    if called:
        return "tool_calls"
    return "refusal" if refused else "stop"


class WireResponse(WireEnd):
    """A whole response."""

    output: list[Raw] | None = None

    @property
    def raw_usage(self) -> bytes | None:
        """The usage in the provider's words, and the searches that the answer shows."""
        return add_searches(super().raw_usage, *count_items(self.output or ()))


RESPONSE: Final = msgspec.json.Decoder(WireResponse)
