"""Requests after each other on one connection: what was read of one is not taken for what the next one says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.gateway.conftest import Platform

BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hi"}]})
PATH = "/v1/chat/completions"


class Line:
    """A connection that is kept."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
        self._connection.connect()
        self._socket = self._connection.sock

    def ask(self, token: str | None, path: str = PATH, body: str = BODY, **headers: str) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        sent = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        self._connection.request("POST", path, body, sent)
        answer = self._connection.getresponse()
        answer.read()
        assert self._connection.sock is self._socket, "another connection was opened"
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def line(platform: Platform) -> Iterator[Line]:
    line = Line(platform.url)
    yield line
    line.close()


async def _in_thread(ask: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(ask, *arguments, **named)


async def test_each_request_is_its_own_callers(platform: Platform, line: Line) -> None:
    ann, ben = (
        await platform.user(groq="gsk_ann_0000000000000001"),
        await platform.user(openai="sk-ben-0000000000000001"),
    )
    asked = [await _in_thread(line.ask, one) for one in (ann.token, ann.token, ben.token, None, ann.token, ben.token)]
    assert [status for status, _ in asked] == [200, 200, 200, 401, 200, 200]
    named = [headers.get("x-ownkey-provider") for _, headers in asked]
    assert named == ["groq", "groq", "openai", None, "groq", "openai"]
    assert len({headers["x-ownkey-request-id"] for _, headers in asked}) == len(asked)


async def test_a_longer_body_is_read_whole(platform: Platform, line: Line) -> None:
    user = await platform.user(groq="gsk_long_000000000000001")
    for words in (1, 2_000, 60_000, 3):
        messages = [{"role": "user", "content": "word " * words}]
        status, _ = await _in_thread(line.ask, user.token, body=json.dumps({"model": "auto", "messages": messages}))
        assert status == 200
        entry = platform.providers.ledger("groq")[-1]
        assert len(entry.body["messages"][0]["content"]) == 5 * words


async def test_what_a_header_says_holds_for_its_own_request(platform: Platform, line: Line) -> None:
    user = await platform.user(groq="gsk_heads_00000000000001")
    assert (await _in_thread(line.ask, user.token))[0] == 200
    status, _ = await _in_thread(line.ask, user.token, x_ownkey_fallback="perhaps")
    assert status == 400
    status, _ = await _in_thread(line.ask, user.token, content_encoding="gzip")
    assert status == 415
    assert (await _in_thread(line.ask, user.token))[0] == 200
    status, _ = await _in_thread(line.ask, user.token, "/v1/embeddings")
    assert status == 400
    assert (await _in_thread(line.ask, user.token))[0] == 200


async def test_a_token_that_is_revoked_is_asked_for_anew(platform: Platform, line: Line) -> None:
    user = await platform.user(groq="gsk_revoked_000000000001")
    for _ in range(4):  # often enough for its head to be one that repeats itself
        assert (await _in_thread(line.ask, user.token))[0] == 200
    [token] = await platform.ok.tokens.list_tokens(user.id)
    await platform.ok.tokens.revoke(user.id, token.id)
    assert (await _in_thread(line.ask, user.token))[0] == 401


async def test_requests_sent_without_waiting_are_each_their_own_callers(platform: Platform) -> None:
    """What is read of a head is read when its request has its turn, and others have arrived by then."""
    ann = await platform.user(groq="gsk_ann_0000000000000002")
    ben = await platform.user(openai="sk-ben-0000000000000002")
    tokens = [ann.token, ben.token, "ok-nobody", ann.token, ben.token]
    reader, writer = await asyncio.open_connection(*urlsplit(platform.url).netloc.split(":"))
    writer.write(b"".join(map(_raw, tokens)))
    asked = [await _read_answer(reader) for _ in tokens]
    writer.write(_raw(ben.token))
    asked.append(await _read_answer(reader))
    writer.close()
    assert asked == [(200, "groq"), (200, "openai"), (401, None), (200, "groq"), (200, "openai"), (200, "openai")]


def _raw(token: str) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {len(BODY)}\r\n\r\n"
    return (head + BODY).encode()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, str | None]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *lines = head.rstrip().split("\r\n")
    headers = dict(one.split(": ", 1) for one in lines)
    await reader.readexactly(int(headers["content-length"]))
    return int(line.split(" ")[1]), headers.get("x-ownkey-provider")
