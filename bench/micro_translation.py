"""What every pair of dialects costs, in microseconds of one core: `python -m bench.micro_translation`.

Per pair: to write a request of some 2 kB and of some 20 kB, to read a whole answer and write it, and per chunk of a
stream. Passing through is on the diagonal. The figures are of the processor's time, the best of nine runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from bench.micro_dialects import CATALOG, chat_body
from ownkey.domain.provider import Dialect
from ownkey.providers.adapters import get_adapter, get_inbound, get_outbound
from ownkey.providers.dialect import Call
from ownkey.testing.replies import Reply
from ownkey.testing.speakers import speaker_of

_RUNS: Final = 9
_PIECES: Final = 200
_PROVIDERS: Final = {
    Dialect.OPENAI_CHAT: "openai",
    Dialect.OPENAI_RESPONSES: "perplexity",
    Dialect.ANTHROPIC_MESSAGES: "anthropic",
    Dialect.GEMINI: "gemini",
}
_MODELS: Final = {Dialect.ANTHROPIC_MESSAGES: "claude-sonnet-5-5", Dialect.GEMINI: "gemini-3.8-flash"}
_REPLY: Final = Reply(text=" ".join(["some", "words", "of", "an", "answer"] * 40), pieces=_PIECES, output_text=_PIECES)


def microseconds(action: Callable[[], object], count: int) -> float:
    """The processor's time of one call."""
    best = float("inf")
    for _ in range(_RUNS):
        started = time.process_time()
        for _ in range(count):
            action()
        best = min(best, (time.process_time() - started) / count)
    return best * 1e6


def body_of(client: Dialect, size: int) -> bytes:
    """A conversation as a client of this dialect writes it."""
    chat = Call(operation="chat", body=chat_body(size), model=_MODELS.get(client, "m"), stream=True)
    conversation = get_inbound(Dialect.OPENAI_CHAT).read_request(chat)
    row = CATALOG[_PROVIDERS[client]]
    body = get_outbound(client).write_request(row, row.base_url, chat, conversation).body
    return body if isinstance(body, bytes) else b"".join(body)


def measure_pair(client: Dialect, provider: Dialect) -> list[float]:
    """The four figures of a pair."""
    row, adapter = CATALOG[_PROVIDERS[provider]], get_adapter(client, provider)
    speaker, model = speaker_of(provider), _MODELS.get(provider, "m")
    figures = []
    calls = []
    for size in (2_000, 20_000):
        call = Call(operation="chat", body=body_of(client, size), model=model, dialect=client, stream=True)
        figures.append(microseconds(lambda call=call: adapter.encode(row, row.base_url, call), 2_000_000 // size))
        calls.append(call)
    answer = speaker.speak(_REPLY, {}, model).data
    figures.append(microseconds(lambda: adapter.decode(answer, calls[0]), 1000))
    events = [spoken.data for spoken in speaker.stream(_REPLY, {}, model)]

    def stream() -> None:
        decoder = adapter.stream_decoder(row, calls[0])
        for event in events:
            decoder.feed(event)
        decoder.finish()
        assert decoder.complete

    figures.append(microseconds(stream, 10) / len(events))
    return figures


def main() -> int:
    """Print the table."""
    write = sys.stdout.write
    write(f"{'client':20} {'provider':20} {'request 2 kB':>13} {'20 kB':>9} {'answer':>9} {'chunk':>9}   (µs)\n")
    for client in Dialect:
        for provider in Dialect:
            figures = "".join(f"{figure:10.1f}" for figure in measure_pair(client, provider))
            write(f"{client:20} {provider:20}    {figures}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
