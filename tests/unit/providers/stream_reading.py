"""Feeding a recorded stream to a decoder, and reading what a client would get."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from ownkey.domain.provider import Dialect
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call, StreamDecoder

SAMPLES = Path(__file__).parents[2] / "wire" / "streams"
CATALOG = load_catalog()


def sample(name: str) -> bytes:
    """A recorded stream."""
    return (SAMPLES / f"{name}.sse").read_bytes()


def decoder_for(
    name: str,
    *,
    wants_usage: bool = False,
    body: bytes = b'{"messages":[{"role":"user","content":"hi"}],"stream":true}',
) -> StreamDecoder:
    """A fresh decoder of the dialect that the sample is in."""
    dialect = Dialect.ANTHROPIC_MESSAGES if name.startswith("anthropic") else Dialect.OPENAI_CHAT
    call = Call(operation="chat", body=body, model="m", stream=True, wants_usage=wants_usage)
    return get_adapter(Dialect.OPENAI_CHAT, dialect).stream_decoder(CATALOG["openai"], call)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def decode(decoder: StreamDecoder, pieces: list[bytes]) -> bytes:
    """Everything that the client gets."""
    return b"".join([*map(decoder.feed, pieces), decoder.finish()])


def chunks(output: bytes) -> list[dict[str, Any]]:
    """The JSON of every data event; `[DONE]` must be the last of them."""
    lines = [
        line[5:].strip()
        for line in output.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if line.startswith(b"data:")
    ]
    assert b"[DONE]" not in lines[:-1]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def text(output: bytes, field: str = "content") -> str:
    """The text of all deltas of the first choice."""
    return "".join(choice["delta"].get(field) or "" for chunk in chunks(output) for choice in chunk["choices"][:1])
