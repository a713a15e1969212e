"""atheris feeds the readers of what strangers send, guided by the branches that they take.

`python -m judges.fuzz TARGET [SECONDS]` in the judges' environment; what broke a reader is kept in `build/fuzz/TARGET`.
Each target says what must hold for any input; an error that is not among those that its reader documents is a find.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import atheris

with atheris.instrument_imports(include=["ownkey"]):
    from ownkey.crypto.envelope import Binding, open_secret, seal_secret
    from ownkey.domain.credential import Secret
    from ownkey.domain.provider import Dialect
    from ownkey.domain.settings import Payer
    from ownkey.domain.usage import UsageEvent
    from ownkey.errors import CredentialUnreadable, OwnkeyError
    from ownkey.http.doors import find_door
    from ownkey.providers.failures import read_failure
    from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
    from ownkey.services.client_request import Asked, read_request
    from ownkey.spool.frames import HEAD, Damage, Frame, encode_final, encode_intent, read_frames
    from ownkey.upstream.address_guard import AddressRefused, check_base_url
    from ownkey.upstream.http1 import Connection, Deadlines, ExchangeBroken

_HOST = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9._-]+", re.ASCII | re.IGNORECASE)
_KEY = bytes(range(32))
_BINDING = Binding(deployment_id="d", user_id="ada", provider="groq", record_id="r", generation=1)
_SEALED = seal_secret(_KEY, Secret("gsk_0000000000000001"), _BINDING)
_EVENT = UsageEvent(
    id="01900000-0000-7000-8000-000000000001", request_id="01900000-0000-7000-8000-000000000002", user_id="ada",
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC), attempt=1, task="chat", provider="groq", model="m",
    requested_model="auto", credential_id=None, payer=Payer.OWN, operation="chat", streamed=False,
)  # fmt: skip
_DIALECTS = (
    (Dialect.OPENAI_CHAT, "chat"),
    (Dialect.OPENAI_RESPONSES, "chat"),
    (Dialect.ANTHROPIC_MESSAGES, "chat"),
    (Dialect.GEMINI, "chat"),
    (Dialect.OPENAI_CHAT, "embeddings"),
    (Dialect.OPENAI_CHAT, "images"),
    (Dialect.OPENAI_CHAT, "moderations"),
)
_TARGETS: dict[str, Callable[[bytes], None]] = {}


def target(reader: Callable[[bytes], None]) -> Callable[[bytes], None]:
    _TARGETS[reader.__name__] = reader
    return reader


@target
def events(data: bytes) -> None:
    """However the network cuts a stream: no byte is lost, and the events are the same."""
    given = atheris.FuzzedDataProvider(data)
    cuts = given.ConsumeIntListInRange(given.ConsumeIntInRange(0, 8), 0, 200)
    stream = given.ConsumeBytes(len(data))
    splitter, begin, blocks = EventSplitter(), 0, []
    try:
        for cut in sorted(cuts):
            blocks.append(splitter.feed(stream[begin:cut]))
            begin = max(begin, cut)
        blocks.append(splitter.feed(stream[begin:]))
    except EventTooLong:
        return
    rest = splitter.finish()
    assert b"".join(blocks) + rest == stream
    found = [event for block in blocks for event in split_events(block)]
    assert b"".join(found) + rest == stream
    for event in found:
        read_event(event)


@target
def requests(data: bytes) -> None:
    """A client's body is read or refused."""
    dialect, operation = _DIALECTS[data[0] % len(_DIALECTS)] if data else _DIALECTS[0]
    try:
        read_request(data[1:], operation, Asked(dialect=dialect))  # type: ignore[arg-type]
    except OwnkeyError as error:
        assert 400 <= error.status < 500


@target
def failures(data: bytes) -> None:
    """Whatever a provider says of its failure becomes one, with words of a size that people read."""
    given = atheris.FuzzedDataProvider(data)
    status, after = given.ConsumeIntInRange(300, 599), given.ConsumeUnicodeNoSurrogates(20)
    failure = read_failure(status, {"retry-after": after}, given.ConsumeBytes(len(data)))
    assert failure.message
    assert failure.retry_after_seconds is None or failure.retry_after_seconds >= 0


@target
def answers(data: bytes) -> None:
    """Whatever comes back on a connection is an answer or the end of it."""
    asyncio.run(_exchange(data))


async def _exchange(data: bytes) -> None:
    state = SimpleNamespace(closed=False)
    transport = SimpleNamespace(
        write=lambda _: None,
        is_closing=lambda: state.closed,
        abort=lambda: setattr(state, "closed", True),
        close=lambda: setattr(state, "closed", True),
        pause_reading=lambda: None,
        resume_reading=lambda: None,
        get_extra_info=lambda *_: None,
    )
    connection = Connection(Deadlines(first_byte=9, idle=9, total=9, keep_alive=9), set())
    connection.connection_made(transport)  # type: ignore[arg-type]
    asked = asyncio.ensure_future(connection.start(b"POST / HTTP/1.1\r\n\r\n", b""))
    await asyncio.sleep(0)
    given = atheris.FuzzedDataProvider(data)
    while given.remaining_bytes() and not state.closed:
        connection.data_received(given.ConsumeBytes(given.ConsumeIntInRange(1, 64)))
    connection.connection_lost(None)
    try:
        await asked
        assert 200 <= connection.status <= 999
        while await connection.read():
            pass
        assert connection.complete
    except ExchangeBroken:
        pass


@target
def envelopes(data: bytes) -> None:
    """Only what was sealed opens: anything else is unreadable."""
    given = atheris.FuzzedDataProvider(data)
    sealed = bytearray(_SEALED)
    for _ in range(given.ConsumeIntInRange(0, 3)):
        sealed[given.ConsumeIntInRange(0, len(sealed) - 1)] ^= given.ConsumeIntInRange(0, 255)
    forged = bytes(sealed) if given.ConsumeBool() else given.ConsumeBytes(len(data))
    try:
        open_secret(_KEY, forged, _BINDING)
    except CredentialUnreadable:
        return
    assert forged == _SEALED


@target
def frames(data: bytes) -> None:
    """A damaged spool gives whole frames and tells of the rest; it is never read past its end."""
    position = len(HEAD)
    for found in read_frames(HEAD + data):
        if isinstance(found, Damage):
            assert position <= found.offset
            assert found.offset + found.length <= len(HEAD) + len(data)
            position = found.offset + found.length
        else:
            assert isinstance(found, Frame)


@target
def base_urls(data: bytes) -> None:
    """Of a base URL that is let through, another parser sees the same host and nothing else."""
    url = atheris.FuzzedDataProvider(data).ConsumeUnicode(200)
    url = url if data[:1] < b"\x80" else "https://" + url
    try:
        check_base_url(url)
    except AddressRefused:
        return
    seen = urlsplit(url)
    assert seen.scheme == "https"
    assert seen.username is seen.password is None
    assert not seen.query
    assert not seen.fragment
    assert seen.port in (None, 443)
    assert _HOST.fullmatch(seen.netloc.removesuffix(":443"))


@target
def doors(data: bytes) -> None:
    """Any method, path and query leads to a door or to an answer that says why not."""
    given = atheris.FuzzedDataProvider(data)
    method = given.PickValueInList(["GET", "POST", "PUT", "OPTIONS"])
    start = given.PickValueInList(["/v1/", "/v1beta/models/", "/v1/v1/", "/", ""])
    query = given.ConsumeBytes(20)
    try:
        find_door(method, start + given.ConsumeUnicodeNoSurrogates(100), query, [(b"x-api-key", given.ConsumeBytes(9))])
    except OwnkeyError as error:
        assert 400 <= error.status < 500


def _write_seeds(name: str, directory: Path) -> None:
    """What the readers meet in ordinary life, to begin with."""
    wire = Path(__file__).parent.parent / "tests" / "wire"
    samples = {
        "events": [path.read_bytes() for path in wire.rglob("*.sse")],
        "failures": [path.read_bytes() for path in wire.glob("errors/**/*") if path.is_file()],
        "requests": [b"\0" + path.read_bytes() for path in wire.glob("requests/**/*") if path.is_file()],
        "answers": [
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: y\r\n\r\n",
            b"HTTP/1.0 503 Away\r\nretry-after: 1\r\n\r\nlater",
        ],
        "frames": [
            encode_intent(_EVENT, 9) + encode_final(_EVENT),
            encode_final(_EVENT)[:-3] + encode_intent(_EVENT, 1),
        ],
        "base_urls": [b"\0https://api.example.com/v1", b"\0https://[2001:db8::1]:443/x", b"\0https://1.1.1.1"],
        "doors": [b"/chat/completions", b"/gemini-2.5-pro:streamGenerateContent?alt=sse"],
    }
    directory.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples.get(name, [])):
        (directory / f"seed-{number}").write_bytes(sample[:4096])


def main() -> None:
    """Ends with another status than 0 at the first find."""
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
    kept = Path("build") / "fuzz" / name
    _write_seeds(name, kept / "corpus")
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=2048", "-timeout=10"]
    report = ["-print_final_stats=1", f"-artifact_prefix={kept}/"]
    atheris.Setup([sys.argv[0], *limits, *report, str(kept / "corpus")], _TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
