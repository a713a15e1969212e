"""Bytes that two readers could take for two different requests: one answer per request, and no request beside it.

Every case is sent to the real server alone and through a real nginx. What it tries to smuggle in is a call that would
reach a provider, whose own book shows whether it did.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from ownkey.testing import SimulatedProviders
from tests.cli.conftest import make_place
from tests.cli.shell import Shell
from tests.proxy import nginx_before
from tests.raw_http import RawClient, exchange

BODY = b'{"model":"openai/gpt-4o-mini","user":"honest","messages":[{"role":"user","content":"hi"}]}'
EVIL_BODY = BODY.replace(b"honest", b"smuggled")


class Doors(Struct):
    """The server alone and behind nginx, and the book of the providers behind it."""

    alone: str
    behind: str
    providers: SimulatedProviders
    token: bytes

    def call(self, *lines: bytes, body: bytes = BODY, path: bytes = b"/v1/chat/completions") -> bytes:
        """A call with these header lines besides those that say who asks."""
        head = b"POST %b HTTP/1.1\r\nHost: llm.example.com\r\nAuthorization: Bearer %b\r\n" % (path, self.token)
        return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body

    @property
    def evil(self) -> bytes:
        """A whole call that must never be one."""
        return self.call(b"Content-Length: %d" % len(EVIL_BODY), body=EVIL_BODY)


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    with make_place() as place, SimulatedProviders() as providers:
        catalog = providers.write_catalog(Path(place) / "catalog.toml")
        shell = Shell(place / "data", OWNKEY_CATALOG=str(catalog), OPENAI_API_KEY="sk-operator-0123456789")
        with shell.serve() as serving, nginx_before([serving.url]) as behind:
            assert serving.token is not None
            yield Doors(serving.url, behind, providers, serving.token.encode())


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


class Case(Struct):
    """`lines` and `body` of a call; `evil` follows it. `statuses` are what the server alone answers, without the last
    request's 200, which `stays_open` adds; `calls` how many honest calls reach a provider.
    """

    lines: tuple[bytes, ...] = ()
    body: bytes = b""
    statuses: tuple[int, ...] = (400,)
    stays_open: bool = False
    calls: int = 0
    raw: bytes | None = None
    hides_evil: bool = True
    behind: bool = True


OK = {"statuses": (200,), "calls": 1, "stays_open": True}
CASES: dict[str, Case] = {
    "a length and chunks": Case((LENGTH, CHUNKED), CHUNKS),
    "chunks and a length": Case((CHUNKED, LENGTH), CHUNKS),
    "a short length and chunks": Case((b"Content-Length: 4", CHUNKED), CHUNKS),
    "two lengths that differ": Case((b"Content-Length: 0", LENGTH), BODY),
    "two equal lengths": Case((LENGTH, LENGTH), BODY),
    "a list of lengths": Case((b"Content-Length: 5, 5",), BODY),
    "a length with a sign": Case((b"Content-Length: +%d" % len(BODY),), BODY),
    "a negative length": Case((b"Content-Length: -1",), BODY),
    "a length in hexadecimal": Case((b"Content-Length: 0x%x" % len(BODY),), BODY),
    "a length beyond 64 bits": Case((b"Content-Length: 18446744073709551617",), BODY),
    "a length of blanks": Case((b"Content-Length:  ",), BODY),
    "chunked with a capital and a tab": Case((b"Transfer-Encoding:\tchunked", b"X: 1"), CHUNKS, hides_evil=False, **OK),
    "an unknown coding": Case((b"Transfer-Encoding: xchunked",), CHUNKS),
    "chunked, then identity": Case((b"Transfer-Encoding: chunked, identity",), CHUNKS),
    "identity": Case((b"Transfer-Encoding: identity",), CHUNKS),
    "chunked twice": Case((CHUNKED, CHUNKED), CHUNKS),
    "a coding on two lines": Case((b"Transfer-Encoding: identity", CHUNKED, LENGTH), CHUNKS),
    "a blank before the colon": Case((b"Transfer-Encoding : chunked", LENGTH), BODY),
    "a vertical tab in the coding": Case((b"Transfer-Encoding: \x0bchunked",), CHUNKS),
    "a folded coding": Case((b"Transfer-Encoding:\r\n chunked", LENGTH), CHUNKS),
    "a folded header": Case((b"X-Some: a\r\n b", LENGTH), BODY),
    "a line without a colon": Case((b"nonsense", LENGTH), BODY),
    "an empty name": Case((b": value", LENGTH), BODY),
    "a NUL in a header": Case((b"X-Some: a\x00b", LENGTH), BODY),
    "a NUL in a name": Case((b"X-So\x00me: a", LENGTH), BODY),
    "a bare CR in a header": Case((b"X-Some: a\rTransfer-Encoding: chunked", LENGTH), BODY),
    "a bare LF after a header": Case((b"X-Some: a\nTransfer-Encoding: chunked", LENGTH), BODY),
    "no Host": Case(raw=b"GET /healthz HTTP/1.1\r\n\r\n"),
    "two Hosts": Case((b"Host: other.example.com", LENGTH), BODY),
    "the same Host twice": Case((b"Host: llm.example.com", LENGTH), BODY),
    "an absolute URL": Case(raw=b"GET http://evil.example.com/healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an authority": Case(raw=b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an asterisk": Case(raw=b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a chunk size beyond 64 bits": Case((CHUNKED,), b"fffffffffffffffff\r\n" + BODY),
    "a chunk size with a sign": Case((CHUNKED,), b"-1\r\n" + BODY),
    "a chunk size in 0x": Case((CHUNKED,), b"0x10\r\n" + BODY),
    "a chunk longer than its size": Case((CHUNKED,), b"4\r\n" + CHUNKS),
    "a chunk that ends in LF": Case((CHUNKED,), b"%x\n%b\n0\n\n" % (len(BODY), BODY)),
    "a chunk extension": Case(
        (CHUNKED,), b'%x;a="b"\r\n%b\r\n0;c\r\n\r\n' % (len(BODY), BODY), hides_evil=False, **OK
    ),
    "a chunk extension with a bare LF": Case((CHUNKED,), b"%x;a\nb\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a trailer that says who asks": Case(
        (CHUNKED,),
        b"%x\r\n%b\r\n0\r\nX-Api-Key: ok-somebody-else\r\n\r\n" % (len(BODY), BODY),
        hides_evil=False,
        **OK,
    ),
    "HTTP/0.9": Case(raw=b"GET /healthz\r\n", behind=False),
    "HTTP/1.0 that wants to stay": Case(
        raw=b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", statuses=(200,)
    ),
    "HTTP/1.0 with chunks": Case(
        raw=b"POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS
    ),
    "HTTP/1.2": Case(raw=b"GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n"),
    "the beginning of HTTP/2": Case(raw=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a blank in the path": Case(raw=b"GET /healthz x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method in lower case": Case(raw=b"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
    "TLS": Case(raw=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40),
    "a header of 40 KiB": Case((b"X-Some: " + b"a" * 40_000, LENGTH), BODY, (431,)),
    "two hundred headers": Case((*(b"X-%d: a" % number for number in range(200)), LENGTH), BODY, (431,)),
    "a URL of 20 KiB": Case(raw=b"GET /healthz?%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 20_000), statuses=(414,)),
    "an upgrade of a call": Case((b"Connection: Upgrade", b"Upgrade: h2c", LENGTH), BODY),
    "an upgrade with chunks": Case((b"Connection: Upgrade", b"Upgrade: h2c", CHUNKED), CHUNKS),
    "a WebSocket": Case(
        raw=b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        statuses=(200,),
    ),
    "an honest call": Case((LENGTH,), BODY, hides_evil=False, **OK),
    "an honest call that wants to be told to go on": Case(
        (b"Expect: 100-continue", LENGTH), BODY, hides_evil=False, **OK
    ),
    "a body with GET": Case(
        raw=b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET / H", statuses=(200,), stays_open=True,
        hides_evil=False,
    ),
    "two calls and nonsense behind them": Case((LENGTH,), BODY, (200,), calls=1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_answer_per_request_and_nothing_smuggled(doors: Doors, name: str) -> None:
    case = CASES[name]
    sent = case.raw if case.raw is not None else doors.call(*case.lines, body=case.body)
    if name == "two calls and nonsense behind them":
        sent += b"nonsense\r\n\r\n"
    hidden = doors.evil if case.hides_evil else b""
    for url in (doors.alone, doors.behind) if case.behind else (doors.alone,):
        doors.providers.clear_ledger()
        answers = exchange(url, sent + hidden)
        seen = [entry.marker for entry in doors.providers.ledger()]
        if url == doors.alone:
            expected = (*case.statuses, 200) if case.stays_open else case.statuses
            assert tuple(answer.status for answer in answers) == expected
            assert seen == ["honest"] * case.calls
        else:
            # nginx has rules of its own. What it takes for a request is one here, too: neither more nor less.
            served = [answer for answer in answers if "x-ownkey-request-id" in answer.headers and answer.status == 200]
            assert len(seen) == len(served)
        assert all(answer.complete for answer in answers)


def test_an_error_behind_a_running_answer_does_not_end_up_inside_it(doors: Doors) -> None:
    """uvicorn writes its refusal at once, wherever the answer before it stands."""
    doors.providers.clear_ledger()
    doors.providers.break_provider("openai", "stream_hold", after_events=2)
    body = BODY.replace(b'"model"', b'"stream":true,"model"')
    try:
        with RawClient(doors.alone) as client:
            client.send(doors.call(b"Content-Length: %d" % len(body), body=body))
            client.wait_for(b"data: ")
            client.send(b"nonsense\r\n\r\n" + doors.evil)
            release(doors.providers)
            [answer] = client.read_all()
    finally:
        doors.providers.fix("openai")
    assert (answer.status, answer.complete) == (200, True)
    assert b"HTTP/1.1" not in answer.body
    assert b"[DONE]" in answer.body
    assert [entry.marker for entry in doors.providers.ledger()] == ["honest"]


def release(providers: SimulatedProviders) -> None:
    """Let the stream go on that is held, or is about to be."""
    until = time.monotonic() + 20
    while not providers.release("openai"):
        assert time.monotonic() < until
        time.sleep(0.005)


def test_pipelined_requests_are_answered_in_order_and_not_without_end(doors: Doors) -> None:
    asked = [b"GET /v1/nothing-%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(20)]
    answers = exchange(doors.alone, b"".join(asked))
    assert [answer.status for answer in answers] == [*[404] * 20, 200]
    assert [f"/v1/nothing-{number} " in answers[number].body.decode() for number in range(20)] == [True] * 20
    many = exchange(doors.alone, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
    assert 20 < len(many) < 100, "the rest was never read"
    assert {answer.status for answer in many} == {200}


def test_a_client_that_leaves_while_another_request_waits_behind_is_noticed(doors: Doors) -> None:
    doors.providers.clear_ledger()
    doors.providers.break_provider("openai", "hold")
    try:
        with RawClient(doors.alone) as client:
            client.send(doors.call(LENGTH) + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert doors.providers.wait_for_requests(1)
    finally:
        doors.providers.fix("openai")
    assert doors.providers.wait_until_idle()
