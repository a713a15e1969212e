"""The most that a call may cost, from the client's body and before anything is sent.

A token is at least one byte of text, and JSON only adds to it: as many tokens as the body has bytes is never too few.
What a body merely points at (a picture's address, a file's name, an earlier answer) is taken as the most that the
model can read. An answer is as long as the request allows, or as the model can make it, or as the policy assumes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct, field

from ownkey.domain.budget import Bound
from ownkey.domain.routing import Attempt
from ownkey.providers.unreadable import UNREADABLE
from ownkey.services.pricing import Pricing

# A picture costs up to this much, at the highest resolution that any provider reads one at.
_TOKENS_PER_PICTURE: Final = 50_000
# Where nobody knows how much a model can read.
_ASSUMED_CONTEXT_TOKENS: Final = 200_000
_PICTURES: Final = (b'"image_url"', b'"input_image"', b'"image"')
# Sound, pictures as answers, and classes of service have prices of their own.
_SPECIAL: Final = (b"audio", b'"modalities"', b'"responseModalities"', b'"service_tier"', b'"serviceTier"', b'"speed"')
# What makes a model read more than the body has: files that lie elsewhere, pages that are packed, tools that search.
_POINTERS: Final = (
    b'"file_id"', b'"file_url"', b'"file_uri"', b'"fileUri"', b"application/pdf", b'"vector_store_ids"',
    b'"web_search', b'"google_search', b'"googleSearch', b'"url_context"', b'"urlContext"',
)  # fmt: skip


class _Generation(Struct):
    """Gemini's settings, in both spellings that it takes."""

    max_output_tokens: object = field(default=None, name="maxOutputTokens")
    max_output_tokens_too: object = field(default=None, name="max_output_tokens")
    candidates: object = field(default=None, name="candidateCount")
    candidates_too: object = field(default=None, name="candidate_count")


class _Fields(Struct):
    """The words in which the dialects limit an answer, and in which they point at what was said before."""

    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None
    n: object = None
    generation: _Generation | None = field(default=None, name="generationConfig")
    generation_too: _Generation | None = field(default=None, name="generation_config")
    previous: object = field(default=None, name="previous_response_id")
    conversation: object = None
    prompt: object = None
    cached: object = field(default=None, name="cachedContent")
    cached_too: object = field(default=None, name="cached_content")


class Extent(Struct, frozen=True):
    """The most tokens that a call may take in and give out. `special`: some of them may have another price."""

    input_tokens: int
    output_tokens: int
    special: bool = False


_FIELDS: Final = msgspec.json.Decoder(_Fields)


def read_extent(attempt: Attempt, body: bytes, *, embeddings: bool, assumed_output_tokens: int) -> Extent:
    """The bounds of a call with this body."""
    try:
        fields = _FIELDS.decode(body)
    except UNREADABLE:
        fields = _Fields()
    return Extent(
        _read_input(attempt, body, fields),
        0 if embeddings else _read_output(attempt, fields, assumed_output_tokens),
        special=any(word in body for word in (*_PICTURES, *_SPECIAL)),
    )


def assume_extent(attempt: Attempt, input_tokens: int, *, embeddings: bool, assumed_output_tokens: int) -> Extent:
    """The bounds of a call that is only thought of, and names no limit."""
    return Extent(input_tokens, 0 if embeddings else _longest_answer(attempt, assumed_output_tokens))


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
    )
    if cost is None and attempt.provider.local:
        cost = 0
    return Bound(cost_microdollars=cost, tokens=extent.input_tokens + extent.output_tokens)


def _read_input(attempt: Attempt, body: bytes, fields: _Fields) -> int:
    taken = len(body) + _TOKENS_PER_PICTURE * _count_pictures(body)
    context = _context_of(attempt)
    points = fields.previous or fields.conversation or fields.prompt or fields.cached or fields.cached_too
    if points or any(word in body for word in _POINTERS):
        taken = max(taken, context or _ASSUMED_CONTEXT_TOKENS)
    return taken if context is None else min(taken, context)


def _count_pictures(body: bytes) -> int:
    """OpenAI's forms have two of these words for a picture, Anthropic's has one of its own."""
    return -(-(body.count(b'"image_url"') + body.count(b'"input_image"')) // 2) + body.count(b'"image"')


def _read_output(attempt: Attempt, fields: _Fields, assumed: int) -> int:
    generations = [one for one in (fields.generation, fields.generation_too) if one is not None]
    limits = [fields.max_tokens, fields.max_completion_tokens, fields.max_output_tokens]
    limits += [limit for one in generations for limit in (one.max_output_tokens, one.max_output_tokens_too)]
    answers = [fields.n, *(count for one in generations for count in (one.candidates, one.candidates_too))]
    longest = _largest(limits)
    known = _known_output(attempt)
    if longest is None:
        longest = _longest_answer(attempt, assumed)
    elif known is not None:
        longest = min(longest, known)
    return longest * (_largest(answers) or 1)


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
    found = [int(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool) and one >= 1]
    return max(found) if found else None
