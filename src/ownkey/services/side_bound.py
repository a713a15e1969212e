"""The most that a call with pictures or sound may cost: a file's bytes say little of its tokens.

A picture is a fixed number of tokens, however large its file. Sound is tokens, or money, by its length, which the size
bounds from the other side: it is taken to be packed as tightly as the codecs of telephones pack speech.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import replace

from ownkey.domain.routing import Attempt, Operation
from ownkey.providers.spoken_text import count_characters
from ownkey.services.call_bound import Extent, assume_extent, read_extent

# 4 kbit/s, less than the slowest that a provider reads.
_BYTES_PER_SECOND: Final = 500
# Groq charges for ten seconds at least.
_SHORTEST_SECONDS: Final = 10
# Gemini reads 32 tokens of a second; others read less.
_HEARD_PER_SECOND: Final = 40
# Fast speech, in scripts that take a token for each sign.
_WRITTEN_PER_SECOND: Final = 10
# The hints that go with sound, and the few words of an answer about silence.
_HINT_TOKENS: Final = 1_000
# About 20 tokens of sound in a second in which 15 letters are spoken, at a quarter of the speed.
_SPOKEN_PER_BYTE: Final = 6
# As in `call_bound`.
_TOKENS_PER_PICTURE: Final = 50_000
# A prompt for a picture has 32,000 letters at most.
_PROMPT_BYTES: Final = 128_000
_COUNT: Final = re.compile(rb'name="?n"?[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n[ \t]*(\d{1,9})')


def read_side_extent(attempt: Attempt, operation: Operation, body: bytes, *, assumed_output_tokens: int) -> Extent:
    """The bounds of a call of an operation that is neither chat nor embeddings."""
    if operation in ("transcriptions", "translations"):
        return _read_sound(attempt, body)
    if operation == "image_edits":
        return _read_edit(attempt, body, assumed_output_tokens)
    found = read_extent(attempt, body, embeddings=False, assumed_output_tokens=assumed_output_tokens)
    if operation == "speech":
        spoken = min(found.output_tokens, _SPOKEN_PER_BYTE * len(body))
        return replace(found, output_tokens=spoken, special=True, characters=count_characters(body))
    return replace(found, special=True) if operation == "images" else found


def _read_sound(attempt: Attempt, body: bytes) -> Extent:
    seconds = max(_SHORTEST_SECONDS, -(-len(body) // _BYTES_PER_SECOND))
    heard, written = _HEARD_PER_SECOND * seconds + _HINT_TOKENS, _WRITTEN_PER_SECOND * seconds + _HINT_TOKENS
    model = attempt.provider.find_model(attempt.model)
    if model is not None and model.context_tokens is not None:
        heard = min(heard, model.context_tokens)
    if model is not None and model.output_tokens is not None:
        written = min(written, model.output_tokens)
    return Extent(heard, written, special=True, audio_seconds=seconds)


def _read_edit(attempt: Attempt, body: bytes, assumed_output_tokens: int) -> Extent:
    pictures = max(1, body.count(b"filename"))
    taken = _TOKENS_PER_PICTURE * pictures + min(len(body), _PROMPT_BYTES)
    found = assume_extent(attempt, taken, embeddings=False, assumed_output_tokens=assumed_output_tokens)
    # Of a field that is there twice, somebody may read the other one.
    answers = max((int(one) for one in _COUNT.findall(body)), default=1)
    return replace(found, output_tokens=found.output_tokens * max(1, answers), special=True)
