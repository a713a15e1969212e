"""Thought signatures: what Gemini wants back with its own calls, and what it takes for calls of other models."""

from __future__ import annotations

from typing import Final

from ownkey.domain.provider import Dialect
from ownkey.providers.conversation import Seal
from ownkey.providers.gemini.fields import standard_base64
from ownkey.providers.seals import read_seal, write_seal

# Since Gemini 3 the first call of every step must be signed, or the request fails. For calls that another model
# made Google documents this word (and one more that Vertex AI does not know). It stands there as it is: it happens to
# be valid URL-safe base64, so that SDKs which decode the field carry it unharmed.
UNSIGNED: Final = "skip_thought_signature_validator"
_NO_SEALS: Final = frozenset({UNSIGNED, "context_engineering_is_the_way_to_go"})


def read_signature(text: str) -> Seal | None:
    """The seal in a client's `thoughtSignature`; None for the word that says there is none."""
    if text in _NO_SEALS or not text:
        return None
    return read_seal(standard_base64(text), Dialect.GEMINI)


def write_signature(seal: Seal) -> str:
    """The `thoughtSignature` for a client."""
    return write_seal(seal, Dialect.GEMINI)


def own_signature(seal: Seal | None) -> str | None:
    """The `thoughtSignature` for Google: only its own seals mean anything to it."""
    return seal.data if seal is not None and seal.dialect is Dialect.GEMINI else None
