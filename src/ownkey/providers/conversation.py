"""A request and its answer as no dialect writes them: the hub through which every dialect reaches every other.

A dialect has a reader and a writer for each; with four dialects that is eight of each instead of twelve pairs. The
neutral form holds what at least two dialects can say. What only one can say stays in `foreign` (whole fields),
`hosted_tools` or a `Seal`; a writer of another dialect refuses it by name (`translation.refuse_foreign`), so that
nothing a client relies on is dropped without a word. Fields that merely advise, and values that say what happens
anyway, never get that far: the reader leaves them out.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Tokens

CacheTTL = Literal["5m", "1h"]


class Seal(Struct, frozen=True):
    """What only the dialect that wrote it can read: signed or encrypted reasoning. It goes back there and nowhere else.

    `data` is Anthropic's signature (or the data of redacted thinking, with `redacted`), the `encrypted_content` of
    Responses (`id` is the item's), Gemini's thoughtSignature in base64. `seals` carries it through the other dialects.
    """

    dialect: Dialect
    data: str
    id: str | None = None
    redacted: bool = False


class Citation(Struct, frozen=True, kw_only=True):
    """A web source of a text. `start` and `end` are positions in the text, in characters."""

    url: str
    title: str = ""
    start: int | None = None
    end: int | None = None


class Text(Struct, kw_only=True):
    """Text. `cache_ttl`: everything up to here is worth caching for so long (Anthropic's cache_control)."""

    text: str
    cache_ttl: CacheTTL | None = None
    citations: list[Citation] = []


class Media(Struct, kw_only=True):
    """A picture, a document, sound or a film: exactly one of `data` (base64) and `url`.

    `media_type` is None where a URL's is not known. `detail` is OpenAI's `low`, `high` or `auto` for pictures.
    A file that a provider holds (`file_id`) is that provider's own: readers put the block into `foreign`.
    """

    kind: Literal["image", "document", "audio", "video"]
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    name: str | None = None
    detail: str | None = None
    cache_ttl: CacheTTL | None = None


class Thinking(Struct, kw_only=True):
    """Reasoning before an answer. Without a seal it is for people only: no provider takes it back."""

    text: str = ""
    seal: Seal | None = None


class ToolCall(Struct, kw_only=True):
    """A call of one of the client's tools. `arguments` is JSON text as the model wrote it; any text if `freeform`."""

    id: str
    name: str
    arguments: str = "{}"
    freeform: bool = False
    seal: Seal | None = None
    cache_ttl: CacheTTL | None = None


class ToolResult(Struct, kw_only=True):
    """What a tool answered. `name` is set where the dialect says it or an earlier call of this id told it."""

    call_id: str
    content: list[Text | Media]
    name: str | None = None
    is_error: bool = False
    cache_ttl: CacheTTL | None = None


class Refusal(Struct, kw_only=True):
    """The model's words for why it will not answer."""

    text: str


Part = Text | Media | Thinking | ToolCall | ToolResult | Refusal


class Turn(Struct, kw_only=True):
    """One side's contribution. Tool results are in a user's turn. `system`: an instruction in mid-conversation.

    Neighbours of one role stay apart; a writer whose dialect wants alternation merges them.
    """

    role: Literal["user", "assistant", "system"]
    parts: list[Part]
    name: str | None = None


class Grammar(Struct, frozen=True):
    """What a freeform tool's input must look like."""

    syntax: Literal["lark", "regex"]
    definition: str


class Tool(Struct, kw_only=True):
    """A function of the client's. `freeform`: it takes any text instead of JSON (OpenAI's custom tools).

    `schema` is the JSON schema of its arguments, None where the client gave none. A dialect without freeform tools
    writes one as `freeform` says.
    """

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    freeform: bool = False
    grammar: Grammar | None = None
    cache_ttl: CacheTTL | None = None


class ToolChoice(Struct, frozen=True, kw_only=True):
    """Which tools the model may or must call. `names` narrows them down (`named`: one; `required`: any of these)."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    names: tuple[str, ...] = ()


class OutputFormat(Struct, frozen=True, kw_only=True):
    """The form of the answer's text. `json_object`: any JSON."""

    kind: Literal["json_object", "json_schema"]
    name: str = "answer"
    description: str | None = None
    schema: dict[str, Any] = {}
    strict: bool | None = None


class Reasoning(Struct, frozen=True, kw_only=True):
    """How much to think: as a word (none, minimal, low, medium, high, xhigh, max) or as a budget in tokens.

    `adaptive`: the model decides (Anthropic). `show`: the client wants to read a summary of it.
    """

    effort: str | None = None
    budget_tokens: int | None = None
    adaptive: bool = False
    show: bool | None = None


class Conversation(Struct, kw_only=True):
    """A request. None always means that the client did not say.

    `instructions` are the system and developer messages that come before the first turn. `logprobs` is the number of
    alternatives per token, 0 for none but the chosen one. `user` is the end user's opaque name. `foreign` maps a field
    of the client's dialect (`tools[2]`, `previous_response_id`) to its value.
    """

    instructions: list[Text] = []
    turns: list[Turn] = []
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: int | None = None
    choices: int | None = None
    user: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    verbosity: str | None = None
    foreign: dict[str, Any] = {}


class Logprob(Struct, frozen=True, kw_only=True):
    """One token of the answer and its likelihood; `alternatives` are the likeliest ones in its place.

    `utf8` are the token's bytes where the provider tells them: half a character has no text of its own.
    """

    token: str
    logprob: float
    utf8: tuple[int, ...] | None = None
    alternatives: tuple[Logprob, ...] = ()


Finish = Literal["stop", "stop_sequence", "length", "tool_calls", "refusal", "pause"]


class Answer(Struct, kw_only=True):
    """A whole answer. `refusal` covers content filters and safety stops. `created` is in seconds since 1970."""

    id: str
    model: str
    created: int
    parts: list[Part]
    finish: Finish
    stop_sequence: str | None = None
    tokens: Tokens | None = None
    raw_usage: bytes | None = None
    logprobs: list[Logprob] | None = None
