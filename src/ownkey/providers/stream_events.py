"""A streamed answer as no dialect writes it: readers make it of a provider's events, writers turn it into a client's.

The order is fixed, whatever the provider does: `Started`, then for each part `PartStarted`, its deltas and `PartEnded`,
then `Ended`. `index` counts parts from 0. Parts may overlap only where both are tool calls (parallel calls whose
arguments arrive interleaved); a writer that cannot interleave holds back the later one. `KeepAlive` may stand
anywhere after the first content.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ownkey.domain.usage import Tokens
from ownkey.providers.conversation import Citation, Finish, Logprob, Seal

PartKind = Literal["text", "thinking", "tool_call", "refusal"]


class Started(Struct, frozen=True):
    """The provider took the request. `tokens` is the input so far, where it says so at the start (Anthropic)."""

    id: str
    model: str
    created: int
    tokens: Tokens | None = None


class PartStarted(Struct, frozen=True):
    """A part begins. `call_id` and `name` are those of a tool call; `freeform`: its deltas are any text, not JSON."""

    index: int
    kind: PartKind
    call_id: str = ""
    name: str = ""
    freeform: bool = False


class Delta(Struct, frozen=True):
    """More of a part: text, thinking, refusal, or a tool call's arguments as JSON text (any text if `freeform`)."""

    index: int
    text: str
    logprobs: tuple[Logprob, ...] = ()


class Cited(Struct, frozen=True):
    """A source of a text part."""

    index: int
    citation: Citation


class Sealed(Struct, frozen=True):
    """The seal of a thinking part or of a tool call."""

    index: int
    seal: Seal


class PartEnded(Struct, frozen=True):
    """A part is complete."""

    index: int


class Ended(Struct, frozen=True):
    """Why the answer ended. Usage may still follow: it is the reader's `tokens`."""

    finish: Finish
    stop_sequence: str | None = None


class KeepAlive(Struct, frozen=True):
    """The provider is still at work (Anthropic's ping). A writer may say so in its own way, or leave it out."""


StreamEvent = Started | PartStarted | Delta | Cited | Sealed | PartEnded | Ended | KeepAlive

CONTENT = (Delta, PartStarted)
