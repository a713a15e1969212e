"""What the dialects cost, in microseconds of one core: `python bench/micro_dialects.py`.

Each figure is the best of seven runs, so that a busy machine shows up as little as possible.
"""

from __future__ import annotations

import json
import sys
import timeit
from collections.abc import Callable

from ownkey.domain.provider import Dialect, Provider
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call, StreamDecoder
from ownkey.providers.failures import read_failure

CATALOG = load_catalog()
CLIENT = Dialect.OPENAI_CHAT
CHUNK = (
    b'data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1790000000,'
    b'"model":"gpt-5.4-mini","service_tier":"default","system_fingerprint":"fp_fc9f1d7035","choices":[{"index":0,'
    b'"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aBcDeF"}\n\n'
)
CLAUDE_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_014p7gG3wDgGV9EUtLvnow3U",'
    b'"type":"message","role":"assistant","model":"claude-sonnet-5-5","content":[],"stop_reason":null,'
    b'"usage":{"input_tokens":472,"output_tokens":2}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
)
CLAUDE_CHUNK = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":" hello"}}\n\n'
)
USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def measure(name: str, action: Callable[[], object]) -> None:
    """Print one line."""
    timer = timeit.Timer(action)
    count, _ = timer.autorange()
    count = max(count // 4, 1)
    best = min(timer.repeat(repeat=7, number=count)) / count
    sys.stdout.write(f"{name:62} {best * 1e6:9.2f} µs\n")


def chat_body(size: int) -> bytes:
    """A conversation of about `size` bytes, as OpenAI's client writes it."""
    turns = [{"role": "system", "content": "You are a helpful assistant."}]
    while len(json.dumps(turns)) < size - 100:
        turns.append({"role": "user", "content": "Tell me more about it, please. " * 12})
        turns.append({"role": "assistant", "content": 'Well, "it" is this:\n\n- one\n- two\n' * 10})
    turns.append({"role": "user", "content": "And now?"})
    fields = {"messages": turns, "model": "task:coding", "max_completion_tokens": 1000, "stream": True}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def committed(provider: Provider, start: bytes, body: bytes) -> StreamDecoder:
    """A decoder in the middle of its stream."""
    call = Call(operation="chat", body=body, model="m", stream=True)
    decoder = get_adapter(CLIENT, provider.dialect).stream_decoder(provider, call)
    decoder.feed(start)
    assert decoder.committed
    return decoder


def main() -> int:
    """Print every figure."""
    openai, claude = CATALOG["openai"], CATALOG["anthropic"]
    passing, translating = get_adapter(CLIENT, openai.dialect), get_adapter(CLIENT, claude.dialect)
    for size in (1_000, 4_000, 20_000, 200_000):
        body = chat_body(size)
        for provider in (openai, CATALOG["mistral"], claude):
            adapter = get_adapter(CLIENT, provider.dialect)
            call = Call(operation="chat", body=body, model="claude-sonnet-5-5", stream=True)
            measure(
                f"encode {len(body) / 1000:.1f} kB, {provider.id}",
                lambda adapter=adapter, provider=provider, call=call: adapter.encode(provider, provider.base_url, call),
            )
    call = Call(operation="chat", body=b'{"messages":[{"role":"user","content":"Hi"}]}', model="m")
    answer = json.dumps(
        {
            "id": "c",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 400}, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    ).encode()
    measure("decode 0.6 kB, openai", lambda: passing.decode(answer, call))
    claude_answer = json.dumps(
        {
            "type": "message",
            "id": "m",
            "model": "claude-sonnet-5-5",
            "content": [{"type": "text", "text": "x" * 400}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 7},
        }
    ).encode()
    measure("decode 0.6 kB, anthropic", lambda: translating.decode(claude_answer, call))

    body = chat_body(1_000)
    decoder = committed(openai, CHUNK, body)
    measure(f"chunk of {len(CHUNK)} B after the commit, openai", lambda: decoder.feed(CHUNK))
    eight = CHUNK * 8
    measure("8 chunks at once after the commit, openai (all 8)", lambda: decoder.feed(eight))
    half, rest = CHUNK[:150], CHUNK[150:]
    measure("chunk cut in two after the commit, openai", lambda: (decoder.feed(half), decoder.feed(rest)))
    spaced = CHUNK.replace(b":null", b": null")
    measure("chunk after the commit, openai with spaces", lambda: decoder.feed(spaced))
    measure("first chunk (parsed), openai", lambda: committed(openai, CHUNK, body))
    claude_decoder = committed(claude, CLAUDE_START + CLAUDE_CHUNK, body)
    measure(f"chunk of {len(CLAUDE_CHUNK)} B after the commit, anthropic", lambda: claude_decoder.feed(CLAUDE_CHUNK))
    measure("message_start to first content, anthropic", lambda: committed(claude, CLAUDE_START + CLAUDE_CHUNK, body))
    error = b'{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}'
    measure("read_failure", lambda: read_failure(429, {"retry-after": "1"}, error))
    measure("load_catalog", load_catalog)
    return 0


if __name__ == "__main__":
    sys.exit(main())
