"""How many tokens went out and came in, roughly, for a call of which its provider did not say.

The providers' tokenizers are not at hand, and what came in is not kept: its size is, and what one event of it looks
like. In English and in code a token has about four bytes of UTF-8, in other scripts between three and six.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ownkey.domain.usage import Tokens

_BYTES_PER_TOKEN: Final = 4
# A picture of a megapixel, and a page of a document, are about as much.
_TOKENS_PER_FILE: Final = 1_000
# Shorter ones are ids and numbers.
_SMALLEST_FILE_BYTES: Final = 1_024
_FILE_MARKS: Final = (b";base64,", b'"data":"', b'"data": "')
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
# Where the dialects put what the model says; the other strings of an event are its frame.
_SPOKEN: Final = frozenset(
    {"content", "reasoning_content", "reasoning", "refusal", "arguments", "text", "thinking", "partial_json", "delta"}
)
_DEPTH: Final = 8


class Received:
    """What came in of an answer so far. `sample` is a part of it that holds content."""

    __slots__ = ("events", "sample", "size")

    def __init__(self) -> None:
        self.size = self.events = 0
        self.sample = b""

    def add(self, chunk: bytes) -> None:
        """Some more of it."""
        self.size += len(chunk)
        self.events += chunk.count(b"data:")

    def add_whole(self, answer: bytes) -> None:
        """An answer that is no stream."""
        self.size, self.events, self.sample = len(answer), 1, answer

    def estimate(self) -> int:
        """How many tokens the model has given out."""
        spoken, frame = 0, 0
        for size, said in _measure_events(self.sample):
            if said and (not spoken or size - said < frame):
                spoken, frame = said, size - said
        if not spoken:
            return 0
        # Every event is about as large as the sample's, around what it says.
        text = max(self.size - self.events * frame, spoken)
        return -(-text // _BYTES_PER_TOKEN)


def estimate_tokens(body: bytes, received: Received, reported: Tokens | None) -> Tokens:
    """The counters of a call that was cut short: what is known from the provider, and an estimate of the rest."""
    output = received.estimate()
    if reported is None:
        return Tokens(input_uncached=estimate_input(body), output_text=output)
    # Input is counted before the answer begins; the answer's own counter comes last, or grows on the way.
    missing = max(output - reported.output_total, 0)
    return Tokens(
        input_uncached=reported.input_uncached,
        cache_read=reported.cache_read,
        cache_write=reported.cache_write,
        output_text=reported.output_text + missing,
        output_reasoning=reported.output_reasoning,
    )


def estimate_input(body: bytes) -> int:
    """How many tokens a request has, of which pictures and files are about a thousand each."""
    files, size = 0, len(body)
    for mark in _FILE_MARKS:
        at = body.find(mark)
        while at >= 0:
            begin = at + len(mark)
            end = body.find(b'"', begin)
            end = len(body) if end < 0 else end
            if end - begin >= _SMALLEST_FILE_BYTES:
                files += 1
                size -= end - begin
            at = body.find(mark, end)
    return max(1, size // _BYTES_PER_TOKEN) + files * _TOKENS_PER_FILE


def _measure_events(block: bytes) -> Iterator[tuple[int, int]]:
    """The size of each event of a part of a stream, and how much of it the model said."""
    if block.lstrip().startswith(b"{"):  # a whole answer
        end, events = b"", [block]
    else:
        end = b"\r\n\r\n" if b"\r\n\r\n" in block else b"\n\n"
        events = block.split(end)
    for event in events:
        lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
        data = b"".join(lines) if end else event
        try:
            value = msgspec.json.decode(data)
        except _UNREADABLE:
            continue
        yield len(event) + len(end), _count_spoken(value, _DEPTH)


def _count_spoken(value: Any, depth: int) -> int:
    """The bytes of the texts in which a model speaks."""
    if depth == 0:
        return 0
    if isinstance(value, list):
        return sum(_count_spoken(one, depth - 1) for one in value)
    if not isinstance(value, dict):
        return 0
    total = 0
    for name, inner in value.items():
        if isinstance(inner, str):
            total += len(inner.encode("utf-8", "surrogatepass")) if name in _SPOKEN else 0
        else:
            total += _count_spoken(inner, depth - 1)
    return total
