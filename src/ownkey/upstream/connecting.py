"""How a connection to a provider comes about: name, address, perhaps a proxy, TLS."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from ownkey.upstream.http1 import Connection, ExchangeBroken

# RFC 8305, section 5: the recommended time before the next address is tried beside the last one.
_NEXT_ADDRESS_SECONDS: Final = 0.25

# What this machine lacks; the other side has no part in it.
LOCAL_ERRORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS})

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Open = Callable[[], Connection]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Destination(Struct, frozen=True):
    """Where connections lead. `proxy` is a URL; `names` knows the addresses that may be connected to."""

    scheme: str
    host: str
    port: int
    names: CachedNames
    proxy: str | None = None

    @property
    def label(self) -> str:
        """The host as people write it, with its port where that is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class ProxyRefused(Exception):
    """The proxy cannot be reached or does not let the connection through."""


async def connect(destination: Destination, tls: ssl.SSLContext, open_connection: Open) -> Connection:
    """A new connection. Raises OSError (ssl.SSLError among them), ProxyRefused, or what `names` raises."""
    if destination.proxy is not None:
        return await _connect_by_proxy(destination, tls, open_connection)
    addresses = await destination.names(destination.host, destination.port)
    context = tls if destination.scheme == "https" else None
    return await _connect_first(addresses, destination.port, destination.host, context, open_connection)


async def _connect_first(
    addresses: Sequence[str], port: int, host: str, context: ssl.SSLContext | None, open_connection: Open
) -> Connection:
    """The first address that answers; each gets a head start over the next one."""
    loop = asyncio.get_running_loop()

    async def connect_to(address: str) -> Connection:
        _, connection = await loop.create_connection(
            open_connection, address, port, ssl=context, server_hostname=host if context else None
        )
        return connection

    if len(addresses) == 1:
        return await connect_to(addresses[0])
    trying: set[asyncio.Task[Connection]] = set()
    failure: BaseException = OSError("no address")
    left = list(reversed(addresses))
    try:
        while trying or left:
            if left:
                trying.add(asyncio.create_task(connect_to(left.pop())))
            done, trying = await asyncio.wait(
                trying, timeout=_NEXT_ADDRESS_SECONDS if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if (error := task.exception()) is None:
                    trying |= done - {task}
                    return task.result()
                failure = error
        raise failure
    finally:
        for task in trying:
            task.add_done_callback(_cut_late_winner)
            task.cancel()


def _cut_late_winner(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().cut()


async def _connect_by_proxy(destination: Destination, tls: ssl.SSLContext, open_connection: Open) -> Connection:
    proxy = urlsplit(destination.proxy or "")
    host, port = proxy.hostname or "", proxy.port or 80
    try:
        addresses = await resolve_by_system(host, port)
        connection = await _connect_first(addresses, port, host, None, open_connection)
        if destination.scheme == "http":
            return connection
        target = f"{destination.host}:{destination.port}"
        if ":" in destination.host:
            target = f"[{destination.host}]:{destination.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}", *proxy_authorization(proxy.geturl())]
        await connection.start(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"), b"")
    except (OSError, ExchangeBroken) as error:
        if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
            raise
        raise ProxyRefused from None
    if connection.status != 200:
        connection.cut()
        raise ProxyRefused
    secured, tunnel = open_connection(), connection.transport
    # Before the handshake: the deadlines of the proxy's answer are not those of the handshake, and would cut it off.
    connection.detach()
    try:
        transport = await asyncio.get_running_loop().start_tls(tunnel, secured, tls, server_hostname=destination.host)
    except BaseException:
        tunnel.abort()
        raise
    if transport is None:
        raise ConnectionResetError("the tunnel was closed as soon as it was secured")
    secured.connection_made(transport)
    return secured


def proxy_authorization(proxy: str) -> list[str]:
    """The header line with the user and password of a proxy's URL, or none."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return []
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return [f"proxy-authorization: Basic {b64encode(pair.encode()).decode()}"]


async def resolve_by_system(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a name, in the system's order of preference. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class CachedNames:
    """Remembers addresses for a while; many requests at once ask the name server once."""

    def __init__(self, resolve: Resolve, seconds: float) -> None:
        self._resolve, self._seconds = resolve, seconds
        self._known: dict[tuple[str, int], tuple[float, asyncio.Future[Sequence[str]]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name. Raises what the resolver raises."""
        now = asyncio.get_running_loop().time()
        key = (host, port)
        until, answer = self._known.get(key, (0.0, None))
        if answer is None or now > until or (answer.done() and (answer.cancelled() or answer.exception())):
            if len(self._known) >= 1000:
                self._known.clear()
            answer = asyncio.ensure_future(self._resolve(host, port))
            answer.add_done_callback(_look_at_exception)
            self._known[key] = now + self._seconds, answer
        # One impatient request must not end the question for the others.
        return await asyncio.shield(answer)

    def forget(self, host: str, port: int) -> None:
        """Ask again next time: a provider may have moved away from an address that does not answer."""
        self._known.pop((host, port), None)


def _look_at_exception(answer: asyncio.Future[Sequence[str]]) -> None:
    if not answer.cancelled():
        answer.exception()
