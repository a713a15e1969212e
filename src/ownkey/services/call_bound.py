"""The most that a call may cost, from the client's body and before anything is sent.

A token is at least one byte of text, and JSON only adds to it: as many tokens as the body has bytes, and as a provider
adds unseen, is never too few.
What a body merely points at (a picture's address, a file's name, an earlier answer) is taken as the most that the
model can read. An answer is as long as the request allows, or as the model can make it, or as the policy assumes.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from ownkey.domain.budget import MICRODOLLARS_LIMIT, Bound
from ownkey.domain.routing import Attempt
from ownkey.providers.unreadable import UNREADABLE
from ownkey.services.pricing import Pricing
from ownkey.services.search_bound import ASSUMED_SEARCHES, SearchFields, count_searches, searches_unasked

# A picture costs up to this much, at the highest resolution that any provider reads one at.
_TOKENS_PER_PICTURE: Final = 50_000
# Where nobody knows how much a model can read.
_ASSUMED_CONTEXT_TOKENS: Final = 200_000
# What providers put in front of a conversation unseen: templates say what day it is, some have a prompt of their own
# (Mistral some hundred tokens, xAI some seven hundred).
HIDDEN_TOKENS: Final = 1_000
# And where there are tools: how to call them (Anthropic up to 530 tokens); for each dated tool of Anthropic's, which is
# described there and not in the request, up to 735 more.
TOOL_TOKENS: Final = 1_000
# Files that lie elsewhere, pages that are packed, tools that search: a model reads more than the body has.
_FILES: Final = (b'"file_id"', b'"file_url"', b'"file_uri"', b'"fileUri"')
_SEARCHES: Final = (
    b"search", b"Search", b"url_context", b"urlContext", b"web_fetch", b"mcp", b"code_execution", b"codeExecution",
    b"code_interpreter",
)  # fmt: skip
_DATED: Final = b"_20"
_ADDRESSES: Final = (b'"document_url"', b'"video_url"', b'"audio_url"')


# A letter may be written by its number, and a slash behind a backslash: then a word is there and is not found.
_DISGUISED: Final = re.compile(rb"\\(?:u00[2-7]|/)")
# Of what is there twice one reader takes the first and another the last.
_BOUNDING: Final = (
    "max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "n", "candidateCount",
    "candidate_count", "generationConfig", "generation_config", "service_tier", "speed", "modalities", "tools",
)  # fmt: skip
_QUOTED: Final = tuple(f'"{name}"'.encode() for name in _BOUNDING)
_LIMITS: Final = frozenset(_BOUNDING[:4])
_ANSWERS: Final = frozenset(_BOUNDING[4:7])


_ABSENT: Final = Raw(b"null")


class _Generation(Struct):
    """Gemini's settings, in both spellings that it takes."""

    max_output_tokens: object = field(default=None, name="maxOutputTokens")
    max_output_tokens_too: object = field(default=None, name="max_output_tokens")
    candidates: object = field(default=None, name="candidateCount")
    candidates_too: object = field(default=None, name="candidate_count")
    modalities: object = field(default=None, name="responseModalities")


class _Fields(SearchFields):
    """The words in which the dialects limit an answer, point at what was said before, and ask for other prices."""

    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None
    n: object = None
    generation: Raw = field(default=_ABSENT, name="generationConfig")
    generation_too: Raw = field(default=_ABSENT, name="generation_config")
    previous: object = field(default=None, name="previous_response_id")
    conversation: object = None
    prompt: object = None
    # Servers that the provider asks by itself, beside the searches.
    mcp_servers: object = None
    cached: object = field(default=None, name="cachedContent")
    cached_too: object = field(default=None, name="cached_content")
    modalities: object = None
    service_tier: object = None
    speed: object = None

    @property
    def points(self) -> bool:
        """Whether something was said before that is not in the body, or may be found by a search or a server."""
        before = self.previous or self.conversation or self.prompt or self.cached or self.cached_too
        asked = self.mcp_servers or self.plugins or self.enable_search
        # Of options, an empty object asks for them as well.
        given = self.web_search_options is not None or self.search_parameters is not None
        return bool(before or asked or given) or any(word in bytes(self.tools) for word in _SEARCHES)

    @property
    def has_other_prices(self) -> bool:
        """Whether answers in pictures or sound, or another class of service, are asked for."""
        asked = self.modalities or self.service_tier or self.speed
        return bool(asked) or any(one.modalities for one in self.generations)

    @property
    def generations(self) -> list[_Generation]:
        """Gemini's settings. What cannot be read as those is no reason to overlook the rest: others ignore it."""
        found = []
        for raw in (self.generation, self.generation_too):
            if bytes(raw) != b"null":
                try:
                    found.append(_GENERATION.decode(raw))
                except UNREADABLE:
                    continue
        return found


class Extent(Struct, frozen=True):
    """The most tokens that a call may take in and give out. `special`: some of them may have another price.

    `audio_seconds`: sound that is charged by its length, where a model does that. `searches`: what the provider looks
    up, for a fee. `characters`: text to be spoken, where a model is charged by that.
    """

    input_tokens: int
    output_tokens: int
    special: bool = False
    audio_seconds: int = 0
    searches: int = 0
    characters: int = 0


_FIELDS: Final = msgspec.json.Decoder(_Fields)
_GENERATION: Final = msgspec.json.Decoder(_Generation)


def read_extent(attempt: Attempt, body: bytes, *, embeddings: bool, assumed_output_tokens: int) -> Extent:
    """The bounds of a call with this body."""
    size, body = len(body), _undisguise(body)
    try:
        fields = _FIELDS.decode(body)
    except UNREADABLE:
        fields = _Fields()
    if not embeddings:
        size += _count_hidden(bytes(fields.tools))
    pictures = _count_pictures(body)
    named = _read_all(body) if any(body.count(name) > 1 for name in _QUOTED) else None
    if named is not None:
        context = _context_of(attempt) or max(size + _TOKENS_PER_PICTURE * pictures, _ASSUMED_CONTEXT_TOKENS)
        longest = 0 if embeddings else _longest_of(attempt, named, assumed_output_tokens)
        return Extent(context, longest, special=True, searches=ASSUMED_SEARCHES if fields.points else 0)
    searches = 0 if embeddings else count_searches(fields, attempt.model) * _count_answers(fields)
    return Extent(
        _read_input(attempt, body, size, fields, pictures),
        0 if embeddings else _read_output(attempt, fields, assumed_output_tokens),
        special=pictures > 0 or fields.has_other_prices or b"audio" in body,
        searches=min(searches, MICRODOLLARS_LIMIT),
    )


def assume_extent(
    attempt: Attempt,
    input_tokens: int,
    *,
    embeddings: bool,
    assumed_output_tokens: int,
    max_output_tokens: int | None = None,
) -> Extent:
    """The bounds of a call that is only thought of; `max_output_tokens` is the limit that it would name."""
    if embeddings:
        return Extent(input_tokens, 0)
    longest = _longest_answer(attempt, assumed_output_tokens)
    known = _known_output(attempt)
    if max_output_tokens is not None:
        longest = max_output_tokens if known is None else min(max_output_tokens, known)
    return Extent(input_tokens, longest)


def price(pricing: Pricing, attempt: Attempt, extent: Extent, at: datetime) -> Bound:
    """What that may cost at most. What runs on the operator's own machine costs nothing unless it has a price."""
    cost = pricing.bound(
        attempt.provider,
        attempt.model,
        attempt.payer,
        at,
        input_tokens=extent.input_tokens,
        output_tokens=extent.output_tokens,
        special=extent.special,
        audio_seconds=extent.audio_seconds,
        searches=extent.searches,
        characters=extent.characters,
    )
    if cost is None and attempt.provider.local:
        cost = 0
    # More than any limit can be is more than enough, and sums of it still fit into the database's numbers.
    return Bound(
        cost_microdollars=None if cost is None else min(cost, MICRODOLLARS_LIMIT),
        tokens=min(extent.input_tokens + extent.output_tokens, MICRODOLLARS_LIMIT),
    )


def _undisguise(body: bytes) -> bytes:
    """The body with each character written as itself; as it is where nothing is hidden."""
    if _DISGUISED.search(body) is None:
        return body
    try:
        return msgspec.json.encode(msgspec.json.decode(body))
    except UNREADABLE:
        return body


def _read_input(attempt: Attempt, body: bytes, size: int, fields: _Fields, pictures: int) -> int:
    taken, context = size + _TOKENS_PER_PICTURE * pictures, _context_of(attempt)
    if context is not None and taken >= context:
        return context
    if fields.points or searches_unasked(attempt.model) or b"application/pdf" in body or _leads_elsewhere(body):
        return context or max(taken, _ASSUMED_CONTEXT_TOKENS)
    return taken


def _count_hidden(tools: bytes) -> int:
    """The most that a provider adds to a conversation with these tools."""
    if not tools:
        return HIDDEN_TOKENS
    return HIDDEN_TOKENS + TOOL_TOKENS * (1 + tools.count(_DATED))


def _leads_elsewhere(body: bytes) -> bool:
    """Whether it names a file that is kept, or gives the address of a document, a film or sound."""
    if b'"file' in body and (any(word in body for word in _FILES) or b'"http' in body):
        return True
    return any(word in body for word in _ADDRESSES) or (b'"document"' in body and b'"url"' in body)


def _count_pictures(body: bytes) -> int:
    """OpenAI's forms have two of these words for a picture, Anthropic's has one of its own."""
    if b"image" not in body:
        return 0
    return -(-(body.count(b'"image_url"') + body.count(b'"input_image"')) // 2) + body.count(b'"image"')


def _read_output(attempt: Attempt, fields: _Fields, assumed: int) -> int:
    limits = [fields.max_tokens, fields.max_completion_tokens, fields.max_output_tokens]
    limits += [limit for one in fields.generations for limit in (one.max_output_tokens, one.max_output_tokens_too)]
    longest = _largest(limits)
    known = _known_output(attempt)
    if longest is None:
        longest = _longest_answer(attempt, assumed)
    elif known is not None:
        longest = min(longest, known)
    return longest * _count_answers(fields)


def _count_answers(fields: _Fields) -> int:
    counts = [count for one in fields.generations for count in (one.candidates, one.candidates_too)]
    return _largest([fields.n, *counts]) or 1


def _read_all(body: bytes) -> list[tuple[str, object]] | None:
    """All names and values of the objects that bound a call, when one of them has a name twice; else None."""
    try:
        whole = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return []
    if not isinstance(whole, _Pairs):
        return []
    inner = [value for name, value in whole if name in ("generationConfig", "generation_config")]
    objects = [whole, *(one for one in inner if isinstance(one, _Pairs))]
    if all(len({name for name, _ in one}) == len(one) for one in objects):
        return None
    return [pair for one in objects for pair in one]


def _longest_of(attempt: Attempt, named: list[tuple[str, object]], assumed: int) -> int:
    """The most of whatever is named: nobody names something twice who does not want to mislead one of two readers."""
    longest = _largest([value for name, value in named if name in _LIMITS])
    answers = _largest([value for name, value in named if name in _ANSWERS]) or 1
    return max(longest or 0, _longest_answer(attempt, assumed)) * answers


class _Pairs(list[tuple[str, object]]):
    """An object's names and values, all of them."""


def _longest_answer(attempt: Attempt, assumed: int) -> int:
    known = _known_output(attempt)
    return assumed if known is None else known


def _known_output(attempt: Attempt) -> int | None:
    model = attempt.provider.find_model(attempt.model)
    return model.output_tokens if model is not None else None


def _context_of(attempt: Attempt) -> int | None:
    model = attempt.provider.find_model(attempt.model)
    return model.context_tokens if model is not None else None


def _largest(values: list[object]) -> int | None:
    """The largest that is a sensible number; a provider refuses the others."""
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool) and one >= 1]
    return int(min(max(numbers), MICRODOLLARS_LIMIT)) if numbers else None
