"""The connections to all providers: one pool for all users, and each request brings its own key.

It speaks HTTP/1.1 itself (`http1`), because neither client library held:

- pyreqwest 0.15.1 leaves the request of a cancelled task running until the provider answers, so that a user goes
  on paying for an answer that nobody reads;
- aiohttp 3.14.5 gives bytes that arrive on an idle connection to the next request as its answer, and aborts the
  process when connections are cancelled while they open under uvloop 0.22.1 (libuv issue 5130).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from ownkey.domain.credential import Secret
from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.usage import Outcome
from ownkey.upstream.address_guard import AddressGuard, AddressRefused, check_base_url
from ownkey.upstream.connecting import (
    DEFAULT_PORTS,
    CachedNames,
    Destination,
    ProxyRefused,
    connect,
    proxy_authorization,
    resolve_by_system,
)
from ownkey.upstream.failures import TransportFailure, connect_failure, head_failure
from ownkey.upstream.http1 import Connection, Deadlines, ExchangeBroken, Fault
from ownkey.upstream.proxies import Proxies
from ownkey.upstream.response import UpstreamResponse

__all__ = ["TransportFailure", "UpstreamPool", "UpstreamResponse"]

# Below the 60 seconds after which AWS load balancers, the shortest of the common ones, close an idle connection.
_KEEP_ALIVE_SECONDS: Final = 50.0
_NAMES_SECONDS: Final = 30.0
_MAX_IDLE_PER_HOST: Final = 512
_MAX_TARGETS: Final = 4096
_MAX_OPENINGS: Final = 1024
# Set here and nowhere else: two of a kind would let a request be read in two ways.
_OWN_HEADERS: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*", re.ASCII)
_NO_URL: Final = "The provider's address is not a valid http or https URL."


class _Target(Struct, frozen=True):
    """A URL, read once. `lines` is what every request to it begins with, after the method."""

    destination: Destination
    label: str
    lines: tuple[str, ...]
    idle: deque[Connection]


class _Opening(Struct, frozen=True):
    """What requests of one kind have in common: where they go, and their heads up to the secret."""

    target: _Target
    head: str


# Method, URL, headers, and the header for the secret where there is one.
_Kind = tuple[str, str, tuple[tuple[str, str], ...], tuple[str, str] | None]


class UpstreamPool:
    """Sends requests to providers. Create and use it inside one event loop.

    URLs outside `trusted_base_urls` are reached through `guard` only, and never by a proxy. Without a guard, every
    URL is trusted. `trust_roots` are certificates in PEM form, accepted besides the system's.
    """

    def __init__(
        self,
        *,
        connect_timeout_seconds: float,
        first_byte_timeout_seconds: float,
        idle_timeout_seconds: float,
        total_timeout_seconds: float,
        max_answer_bytes: int,
        trust_roots: bytes | None = None,
        guard: AddressGuard | None = None,
        trusted_base_urls: Iterable[str] = (),
    ) -> None:
        self._connect_timeout_seconds = connect_timeout_seconds
        self._deadlines = Deadlines(
            first_byte=first_byte_timeout_seconds,
            idle=idle_timeout_seconds,
            total=total_timeout_seconds,
            keep_alive=_KEEP_ALIVE_SECONDS,
        )
        self._max_answer_bytes = max_answer_bytes
        self._tls = _tls_context(trust_roots)
        self._guard = guard
        self._trusted = {_origin(parts) for url in trusted_base_urls if (parts := _read_url(url)) is not None}
        self._proxies = Proxies()
        self._names = CachedNames(resolve_by_system, _NAMES_SECONDS)
        self._guarded_names = CachedNames(guard.resolve, _NAMES_SECONDS) if guard is not None else None
        self._targets: dict[str, _Target] = {}
        self._openings: dict[_Kind, _Opening] = {}
        self._idle: dict[Destination, deque[Connection]] = {}
        self._connections: set[Connection] = set()
        self._closed = False

    async def send(self, request: UpstreamRequest, secret: Secret | None = None) -> UpstreamResponse:
        """Send a request and wait for the answer's status and headers. Raises TransportFailure.

        Any status is an answer; redirects are not followed. Cancelling cuts the connection.
        """
        answer = await self._try(request, secret)
        if isinstance(answer, TransportFailure):
            try:
                # Raised here, and without the way it came: there a local variable holds the secret.
                raise answer.with_traceback(None)
            finally:
                del answer  # or it would hold this frame, which holds it
        return answer

    async def close(self) -> None:
        """Cut all connections. May be called again."""
        self._closed = True
        self._targets.clear()
        self._openings.clear()
        for connection in list(self._connections):
            connection.cut()
        if self._guard is not None:
            self._guard.close()

    async def _try(self, request: UpstreamRequest, secret: Secret | None) -> UpstreamResponse | TransportFailure:
        kind = (request.method, request.url, request.headers, request.auth_header if secret is not None else None)
        try:
            opening = self._openings.get(kind) or self._open(kind)
            head = _build_head(opening.head, request, secret)
        except TransportFailure as failure:
            return failure
        target = opening.target
        while target.idle:
            connection = target.idle.pop()
            connection.parked_in = None
            if not connection.is_usable():
                connection.cut()
                continue
            answer = await self._exchange(connection, target, head, request)
            if answer is not None:
                return answer
            # It had died while it lay idle, and the others probably with it.
            break
        try:
            async with asyncio.timeout(self._connect_timeout_seconds):
                connection = await connect(target.destination, self._tls, self._open_connection)
        except (OSError, UnicodeError, AddressRefused, ProxyRefused) as error:
            target.destination.names.forget(target.destination.host, target.destination.port)
            return connect_failure(target.label, error, self._connect_timeout_seconds)
        if self._closed:
            connection.cut()
        answer = await self._exchange(connection, target, head, request)
        return answer or head_failure(target.label, Fault.CLOSED, self._deadlines.first_byte)

    async def _exchange(
        self, connection: Connection, target: _Target, head: bytes, request: UpstreamRequest
    ) -> UpstreamResponse | TransportFailure | None:
        """The answer or the failure; None when the request may be sent again over a new connection.

        A kept connection may be closed just as it is used, and nobody can tell whether the provider has read the
        request, worked on it and charged for it. So it is sent again only if nothing left, or if it asks for nothing
        but to read.
        """
        try:
            await connection.start(head, request.body)
            return UpstreamResponse(
                connection, target.label, self._max_answer_bytes, lambda done: _put_back(done, target.idle)
            )
        except TransportFailure as failure:
            return failure
        except ExchangeBroken as error:
            again = connection.unsent or (request.method == "GET" and not connection.heard)
            if again and error.fault is Fault.CLOSED and not self._closed:
                return None
            return head_failure(target.label, error.fault, self._deadlines.first_byte)

    def _open(self, kind: _Kind) -> _Opening:
        """What requests of this kind begin with. Raises TransportFailure for what cannot be reached or said."""
        method, url, headers, auth_header = kind
        target = self._targets.get(url) or self._add_target(url)
        opening = _Opening(target, _begin_head(method, headers, auth_header, target.lines))
        if len(self._openings) >= _MAX_OPENINGS:
            self._openings.clear()
        self._openings[kind] = opening
        return opening

    def _open_connection(self) -> Connection:
        return Connection(self._deadlines, self._connections)

    def _add_target(self, url: str) -> _Target:
        """Read a URL. Raises TransportFailure for one that must not or cannot be reached."""
        if self._closed:
            raise TransportFailure(Outcome.INTERNAL, "The gateway is shutting down.", unsent=True)
        parts = _read_url(url)
        if parts is None:
            raise TransportFailure(Outcome.UNREACHABLE, _NO_URL, unsent=True)
        scheme, host, port = _origin(parts)
        if self._guard is not None and self._guarded_names is not None and (scheme, host, port) not in self._trusted:
            try:
                check_base_url(f"{scheme}://{parts.netloc}", allow_private=self._guard.allow_private)
            except AddressRefused as error:
                raise TransportFailure(Outcome.UNREACHABLE, error.message, unsent=True) from None
            destination = Destination(scheme, host, port, self._guarded_names)
        else:
            destination = Destination(scheme, host, port, self._names, self._proxies.find(scheme, host, port))
        return self._keep_target(url, parts, destination)

    def _keep_target(self, url: str, parts: SplitResult, destination: Destination) -> _Target:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f" {path} HTTP/1.1", f"host: {destination.label}", "accept-encoding: identity", "user-agent: ownkey"]
        if destination.proxy is not None and destination.scheme == "http":
            lines[0] = f" http://{destination.label}{path} HTTP/1.1"
            lines += proxy_authorization(destination.proxy)
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
            self._openings.clear()
            self._idle = {where: idle for where, idle in self._idle.items() if idle}
        idle = self._idle.setdefault(destination, deque())
        target = self._targets[url] = _Target(destination, destination.label, tuple(lines), idle)
        return target


def _put_back(connection: Connection, idle: deque[Connection]) -> None:
    if connection.finish():
        # The last one in is the first one out: it is the least likely to have been closed meanwhile.
        idle.append(connection)
        connection.parked_in = idle
        if len(idle) > _MAX_IDLE_PER_HOST:
            oldest = idle.popleft()
            oldest.parked_in = None
            oldest.cut()


def _begin_head(
    method: str, headers: Iterable[tuple[str, str]], auth_header: tuple[str, str] | None, target: tuple[str, ...]
) -> str:
    """A head up to the secret. Raises TransportFailure for what cannot be put into one."""
    lines = [method + target[0], *target[1:]]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _OWN_HEADERS]
    if auth_header is not None:
        lines.append(f"{auth_header[0]}: {auth_header[1]}")
    # Nothing in a header may end its line.
    if any("\r" in line or "\n" in line or "\0" in line or not line.isascii() for line in lines):
        raise TransportFailure(Outcome.INTERNAL, "The request does not fit into HTTP.", unsent=True)
    return "\r\n".join(lines)


def _build_head(begin: str, request: UpstreamRequest, secret: Secret | None) -> bytes:
    """The request's head. Raises TransportFailure for a secret that cannot be put into one."""
    value = ""
    if request.auth_header is not None and secret is not None:
        value = secret.reveal()
        if not (value.isascii() and value.isprintable()):
            raise TransportFailure(
                Outcome.UNREADABLE, "The stored key holds a character that no header may hold.", unsent=True
            )
    if request.body or request.method not in ("GET", "DELETE"):
        return f"{begin}{value}\r\ncontent-length: {request.body_bytes}\r\n\r\n".encode("ascii")
    return f"{begin}{value}\r\n\r\n".encode("ascii")


def _read_url(url: str) -> SplitResult | None:
    """The parts of an http or https URL in ASCII, or None."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        return None
    return parts if usable and _HOST.fullmatch(parts.hostname or "") and "@" not in parts.netloc else None


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


def _tls_context(trust_roots: bytes | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if trust_roots is not None:
        context.load_verify_locations(cadata=trust_roots.decode("ascii"))
    return context
