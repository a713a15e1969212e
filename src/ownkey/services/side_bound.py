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
# What lies elsewhere may be as large as the largest that a provider fetches: 100 MB at Groq, two days of such speech.
_FETCHED_BYTES: Final = 100 * 1024 * 1024
_ELSEWHERE: Final = re.compile(rb'name="?(?:file_url|url|file_id)(?:"|[ \t]*[;\r\n]|$)', re.IGNORECASE)
_HEAD_LIMIT_BYTES: Final = 16 * 1024
_PARTS_LIMIT: Final = 1_000
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
    size = len(body) if _holds_its_sound(body) else max(len(body), _FETCHED_BYTES)
    seconds = max(_SHORTEST_SECONDS, -(-size // _BYTES_PER_SECOND))
    heard, written = _HEARD_PER_SECOND * seconds + _HINT_TOKENS, _WRITTEN_PER_SECOND * seconds + _HINT_TOKENS
    model = attempt.provider.find_model(attempt.model)
    if model is not None and model.context_tokens is not None:
        heard = min(heard, model.context_tokens)
    if model is not None and model.output_tokens is not None:
        written = min(written, model.output_tokens)
    return Extent(heard, written, special=True, audio_seconds=seconds)


def _holds_its_sound(body: bytes) -> bool:
    """Whether a form has a file, and names none that lies elsewhere. Of what cannot be read it is not known."""
    begin = 0 if body.startswith(b"--") else body.find(b"\r\n--", 0, _HEAD_LIMIT_BYTES) + 2
    delimiter = body[begin : max(body.find(b"\r\n", begin, begin + _HEAD_LIMIT_BYTES), 0)].rstrip(b" \t")
    if len(delimiter) <= 2:
        return False
    has_file, position = False, begin
    for _ in range(_PARTS_LIMIT):
        if body.startswith(b"--", position + len(delimiter)):
            return has_file
        end = body.find(b"\r\n\r\n", position, position + _HEAD_LIMIT_BYTES)
        head = body[position : max(end, position)]
        if not head or _ELSEWHERE.search(head) is not None:
            return False
        has_file = has_file or b"filename" in head.lower()
        position = body.find(delimiter, position + len(delimiter))
        if position < 0:
            break
    return False


def _read_edit(attempt: Attempt, body: bytes, assumed_output_tokens: int) -> Extent:
    pictures = max(1, body.count(b"filename") + body.count(b"image_url") + body.count(b"file_id"))
    taken = _TOKENS_PER_PICTURE * pictures + min(len(body), _PROMPT_BYTES)
    found = assume_extent(attempt, taken, embeddings=False, assumed_output_tokens=assumed_output_tokens)
    # Of a field that is there twice, somebody may read the other one.
    answers = max((int(one) for one in _COUNT.findall(body)), default=1)
    return replace(found, output_tokens=found.output_tokens * max(1, answers), special=True)
