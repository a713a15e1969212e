"""What it costs to go from each dialect to each other, in microseconds: `python bench/micro_translation.py`.

The figures are processor time, the best of many runs, so that a busy machine shows as little as possible. On the
diagonal bytes pass through. The client's request is written by its own dialect's writer for providers, the provider's
answer by its own dialect's writer for clients, so that every pair has the same conversation to carry.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable, Iterable
from time import process_time
from typing import Final

from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.usage import Tokens
from ownkey.providers.adapters import get_adapter, get_inbound, get_outbound
from ownkey.providers.conversation import Answer, Conversation, Text, Tool, ToolCall, ToolResult, Turn
from ownkey.providers.dialect import Call
from ownkey.providers.stream_events import Delta, Ended, PartEnded, PartStarted, Started, StreamEvent

MODELS: Final = {
    Dialect.OPENAI_CHAT: "gpt-5.4",
    Dialect.OPENAI_RESPONSES: "gpt-5.4",
    Dialect.ANTHROPIC_MESSAGES: "claude-sonnet-5-5",
    Dialect.GEMINI: "gemini-3.8-flash",
}
SHORT: Final = {
    Dialect.OPENAI_CHAT: "chat",
    Dialect.OPENAI_RESPONSES: "responses",
    Dialect.ANTHROPIC_MESSAGES: "anthropic",
    Dialect.GEMINI: "gemini",
}
TOKENS: Final = Tokens(input_uncached=472, output_text=200)
CHUNKS: Final = 200
RUN_SECONDS: Final = 0.02
SIZES: Final = (1_000, 20_000, 200_000)


def measure(action: Callable[[], object]) -> float:
    """The best time of many, in microseconds."""
    timer = timeit.Timer(action, timer=process_time)
    count = max(int(RUN_SECONDS / max(timer.timeit(3) / 3, 1e-7)), 1)
    return min(timer.repeat(repeat=9, number=count)) / count * 1e6


def provider(dialect: Dialect) -> Provider:
    """Somebody who speaks a dialect."""
    return Provider(id="some", label="Some", dialect=dialect, base_url="https://some.test/v1")


def conversation(size: int) -> Conversation:
    """One of about `size` bytes: talk, a call of a tool and its result, over and over."""
    turns: list[Turn] = []
    written = 0
    while written < size - 400:
        call_id = f"call_{len(turns)}"
        said, answered, found = "Tell me more, please. " * 12, 'Well, "it" is:\n\n- one\n- two\n' * 6, "a line\n" * 30
        turns += [
            Turn(role="user", parts=[Text(text=said)]),
            Turn(role="assistant", parts=[Text(text=answered), ToolCall(id=call_id, name="look", arguments='{"x":1}')]),
            Turn(role="user", parts=[ToolResult(call_id=call_id, name="look", content=[Text(text=found)])]),
        ]
        written += len(said) + len(answered) + len(found) + 400
    turns.append(Turn(role="user", parts=[Text(text="And now?")]))
    schema = {"type": "object", "properties": {"x": {"type": "integer", "description": "Where to look."}}}
    tools = [Tool(name="look", description="Looks somewhere.", schema=schema)]
    return Conversation(instructions=[Text(text="You are helpful.")], turns=turns, tools=tools, max_output_tokens=1000)


def call_from(client: Dialect, model: str, size: int, *, stream: bool) -> Call:
    """A client's request, in its dialect."""
    draft = Call(operation="chat", body=b"{}", model=MODELS[client], dialect=client, stream=stream)
    request = get_outbound(client).write_request(provider(client), "https://some.test/v1", draft, conversation(size))
    body = request.body if isinstance(request.body, bytes) else b"".join(bytes(piece) for piece in request.body)
    return Call(operation="chat", body=body, model=model, dialect=client, stream=stream)


def stream_of(dialect: Dialect) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """A provider's stream: its beginning, many chunks of text, and its end."""
    call = call_from(dialect, MODELS[dialect], 0, stream=True)
    writer = get_inbound(dialect).stream_writer(call, Conversation())

    def write(events: Iterable[StreamEvent]) -> list[bytes]:
        return [data for event in events if (data := writer.write([event], TOKENS))]

    start = write([Started("id_B9MHDbslfkBeAs8l4bebGd", MODELS[dialect], 1790000000), PartStarted(0, "text")])
    start += write([Delta(0, "Well")])
    chunks = write([Delta(0, " hello") for _ in range(CHUNKS)])
    return start, chunks, [*write([PartEnded(0), Ended("stop")]), writer.finish(TOKENS)]


def chunk_cost(client: Dialect, dialect: Dialect, call: Call) -> float:
    """One chunk of text in the middle of a stream."""
    start, chunks, _ = stream_of(dialect)
    decoder = get_adapter(client, dialect).stream_decoder(provider(dialect), call)
    for data in start:
        decoder.feed(data)
    assert decoder.committed
    return measure(lambda: [decoder.feed(data) for data in chunks]) / len(chunks)


def frame_cost(client: Dialect, dialect: Dialect, call: Call) -> float:
    """The beginning and the end of a stream, the decoder's making included."""
    start, _, end = stream_of(dialect)
    adapter, one = get_adapter(client, dialect), provider(dialect)

    def run() -> None:
        decoder = adapter.stream_decoder(one, call)
        for data in (*start, *end):
            decoder.feed(data)
        decoder.finish()
        assert decoder.complete

    return measure(run)


def answer_cost(client: Dialect, dialect: Dialect, call: Call) -> float:
    """A whole answer of half a kilobyte."""
    answer = Answer(
        id="id_1",
        model=MODELS[dialect],
        created=1790000000,
        parts=[Text(text="x" * 400)],
        finish="stop",
        tokens=TOKENS,
    )
    body = get_inbound(dialect).write_answer(answer, call, Conversation())
    adapter = get_adapter(client, dialect)
    return measure(lambda: adapter.decode(body, call))


def main() -> int:
    """Print one line for each pair."""
    sizes = "".join(f"{f'request {size // 1000} kB':>16}" for size in SIZES)
    sys.stdout.write(f"{'client > provider':24}{sizes}{'answer':>10}{'chunk':>10}{'stream':>10}   (µs)\n")
    for client in Dialect:
        for dialect in Dialect:
            one, adapter = provider(dialect), get_adapter(client, dialect)
            figures = []
            for size in SIZES:
                call = call_from(client, MODELS[dialect], size, stream=True)
                figures.append(
                    measure(lambda adapter=adapter, one=one, call=call: adapter.encode(one, one.base_url, call))
                )
            call = call_from(client, MODELS[dialect], 0, stream=True)
            rest = [cost(client, dialect, call) for cost in (answer_cost, chunk_cost, frame_cost)]
            line = "".join(f"{figure:16.1f}" for figure in figures) + "".join(f"{figure:10.2f}" for figure in rest)
            sys.stdout.write(f"{SHORT[client]:>10} > {SHORT[dialect]:11}{line}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
