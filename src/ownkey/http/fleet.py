"""`/readyz` and `/metrics` of a server of several worker processes, whichever of them is asked.

Every sample gets a label `worker`. A sum instead would fall by one worker's part when that worker is restarted, and
Prometheus, which takes a falling counter for one that began anew at zero, would count all the others' part again.

The workers hear from one another through Unix sockets in a directory that only their account can enter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.http.exchange import Message, Receive, Scope, Send

_SHARED: Final = frozenset(("/readyz", "/metrics"))
# A worker that does not answer in this time is not there.
_ANSWER_SECONDS: Final = 2.0
_PATH_LIMIT: Final = 100

Application = Callable[[Scope, Receive, Send], Any]


class _Told(Struct):
    status: int
    body: bytes


class Fleet:
    """Takes the place of one process's own application for these paths. `number` is of 1 to `count`."""

    def __init__(self, own: Application, directory: Path, *, number: int, count: int) -> None:
        self._own, self._directory, self._number, self._count = own, directory, number, count
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer the other workers."""
        path = _socket_path(self._directory, self._number)
        path.unlink(missing_ok=True)  # of a predecessor that was killed
        self._server = await asyncio.start_unix_server(self._tell, path)

    async def close(self) -> None:
        """Stop answering them."""
        if self._server is not None:
            self._server.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path = scope["path"]
        if path not in _SHARED:
            await self._own(scope, receive, send)
            return
        numbers = range(1, self._count + 1)
        told = dict(zip(numbers, await asyncio.gather(*(self._ask(number, path) for number in numbers)), strict=True))
        status, kind = 200, b"text/plain; version=0.0.4; charset=utf-8"
        if path == "/metrics":
            body = merge_metrics(told)
        else:
            kind, (status, body) = b"application/json", _readiness(told)
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _ask(self, number: int, path: str) -> _Told | None:
        if number == self._number:
            return await self._observe(path)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(_socket_path(self._directory, number))
                try:
                    writer.write(path.encode() + b"\n")
                    return msgspec.msgpack.decode(await reader.read(), type=_Told)
                finally:
                    writer.close()
        except (OSError, msgspec.DecodeError):  # TimeoutError is an OSError
            return None

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                path = (await reader.readline()).decode("ascii", "replace").strip()[:_PATH_LIMIT]
                if path in _SHARED:
                    writer.write(msgspec.msgpack.encode(await self._observe(path)))
                    await writer.drain()
        except OSError:
            pass  # whoever asked has gone
        finally:
            writer.close()

    async def _observe(self, path: str) -> _Told:
        """What this process's own application says."""
        told = _Told(500, b"")

        async def take(message: Message) -> None:
            if message["type"] == "http.response.start":
                told.status = message["status"]
            else:
                told.body += message.get("body", b"")

        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        await self._own({"type": "http", "method": "GET", "path": path, "headers": []}, nothing, take)
        return told


def merge_metrics(told: dict[int, _Told | None]) -> bytes:
    """The samples of all workers under one head for each metric, every one with its worker's number."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for number, one in told.items():
        own = _numbered(("" if one is None else one.body.decode()).splitlines(), number)
        for family, head, lines in own:
            heads.setdefault(family, head)
            samples.setdefault(family, []).extend(lines)
    up = "ownkey_worker_up"
    heads[up] = [f"# HELP {up} Whether this worker process answers.", f"# TYPE {up} gauge"]
    samples[up] = [f'{up}{{worker="{number}"}} {int(one is not None)}' for number, one in told.items()]
    found = [line for family, head in heads.items() for line in (*head, *samples[family])]
    return ("\n".join(found) + "\n").encode()


def _numbered(lines: Iterable[str], number: int) -> list[tuple[str, list[str], list[str]]]:
    """(metric, its head, its samples) in the text of one worker, with that worker's number in each sample."""
    found: list[tuple[str, list[str], list[str]]] = []
    for line in lines:
        if line.startswith("# "):
            name = line.split(" ", 3)[2]
            if not found or found[-1][0] != name:
                found.append((name, [], []))
            found[-1][1].append(line)
        elif line and found:
            name, brace, rest = line.partition("{")
            if brace:
                found[-1][2].append(f'{name}{{worker="{number}",{rest}')
            else:
                name, _, value = line.partition(" ")
                found[-1][2].append(f'{name}{{worker="{number}"}} {value}')
    return found


def _readiness(told: dict[int, _Told | None]) -> tuple[int, bytes]:
    """Ready when all are."""
    for number, one in told.items():
        if one is None:
            return 503, msgspec.json.encode({"status": "unavailable", "code": "worker_missing", "worker": number})
        if one.status != 200:
            return one.status, one.body
    return 200, msgspec.json.encode({"status": "ready", "workers": len(told)})


def _socket_path(directory: Path, number: int) -> Path:
    return directory / f"worker-{number}.sock"
