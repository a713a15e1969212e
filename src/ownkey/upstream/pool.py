"""The connections to all providers: one pool for all users, and each request brings its own key.

The pool is aiohttp's. pyreqwest 0.15.1 takes half the processor time, but a cancelled task leaves its request
running until the provider answers: the user would go on paying for an answer that nobody reads.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from io import BytesIO
from time import monotonic
from typing import Final
from weakref import WeakSet

import aiohttp
from msgspec import Struct
from yarl import URL

from ownkey.domain.credential import Secret
from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.usage import Outcome
from ownkey.upstream.address_guard import AddressGuard, AddressRefused, check_base_url
from ownkey.upstream.connections import GuardedResolver, PoolConnector, connection_is_new, prepare_connection
from ownkey.upstream.failures import TransportFailure, answer_failure, connect_failure
from ownkey.upstream.proxies import Proxies
from ownkey.upstream.response import ReadLimits, UpstreamResponse

__all__ = ["TransportFailure", "UpstreamPool", "UpstreamResponse"]

# Below the 60 seconds after which AWS load balancers, the shortest of the common ones, close an idle connection.
_KEEP_ALIVE_SECONDS: Final = 50.0
_DNS_CACHE_SECONDS: Final = 30
# A connection that the other side closed while it lay idle fails within a round trip. A failure after longer than
# this may come from a provider that worked on the request.
_STALE_WITHIN_SECONDS: Final = 1.0
# From here on a body is written piece by piece, so that other requests are served in between.
_LARGE_BODY_BYTES: Final = 512 * 1024
_MAX_HEADER_BYTES: Final = 16 * 1024
_MAX_TARGETS: Final = 4096


class _Target(Struct, frozen=True):
    """A URL, read once: where it leads and over which connections."""

    url: URL
    host: str
    session: aiohttp.ClientSession
    proxy: str | None


class UpstreamPool:
    """Sends requests to providers. Create and use it inside one event loop.

    URLs outside `trusted_base_urls` are reached through `guard` only, without a proxy. Without a guard, every URL
    is trusted. `trust_roots` are certificates in PEM form, accepted besides the system's.
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
        self._timeout = aiohttp.ClientTimeout(
            total=total_timeout_seconds, connect=connect_timeout_seconds, sock_read=first_byte_timeout_seconds
        )
        self._connect_timeout_seconds = connect_timeout_seconds
        self._first_byte_timeout_seconds = first_byte_timeout_seconds
        self._limits = ReadLimits(idle_timeout_seconds=idle_timeout_seconds, max_answer_bytes=max_answer_bytes)
        self._trust_roots = trust_roots
        self._guard = guard
        self._trusted_origins = {URL(url).origin() for url in trusted_base_urls if "{" not in url}
        self._proxies = Proxies()
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._targets: dict[str, _Target] = {}
        self._open_responses: WeakSet[UpstreamResponse] = WeakSet()
        self._closed = False

    async def send(self, request: UpstreamRequest, secret: Secret | None = None) -> UpstreamResponse:
        """Send a request and wait for the answer's status and headers. Raises TransportFailure.

        Any status is an answer; redirects are not followed. Cancelling cuts the connection.
        """
        answer = await self._try(request, secret)
        if isinstance(answer, TransportFailure):
            # Raised here, and without the way it came: there a local variable holds the secret.
            raise answer.with_traceback(None)
        return answer

    async def close(self) -> None:
        """Cut all connections. May be called again."""
        self._closed = True
        sessions = list(self._sessions.values())
        self._sessions.clear()
        self._targets.clear()
        for response in list(self._open_responses):
            # aiohttp would leave whoever reads it waiting.
            await response.close()
        for session in sessions:
            await session.close()
        if self._guard is not None:
            self._guard.close()

    async def _try(self, request: UpstreamRequest, secret: Secret | None) -> UpstreamResponse | TransportFailure:
        try:
            target = self._targets.get(request.url) or self._add_target(request.url)
            headers = _build_headers(request, secret)
        except TransportFailure as failure:
            return failure
        answer, stale = await self._try_once(request, target, headers, new_connection=False)
        if stale:
            answer, _ = await self._try_once(request, target, headers, new_connection=True)
        return answer

    async def _try_once(
        self, request: UpstreamRequest, target: _Target, headers: list[tuple[str, str]], *, new_connection: bool
    ) -> tuple[UpstreamResponse | TransportFailure, bool]:
        """The answer or the failure, and whether the failure is that of a connection that had died in the pool."""
        prepare_connection(new=new_connection)
        started = monotonic()
        try:
            answer = await target.session.request(
                request.method,
                target.url,
                headers=headers,
                data=BytesIO(request.body) if len(request.body) > _LARGE_BODY_BYTES else request.body or None,
                allow_redirects=False,
                proxy=target.proxy,
            )
            response = UpstreamResponse(answer, target.host, self._limits)
            self._open_responses.add(response)
            return response, False
        except TransportFailure as failure:
            return failure, False
        except (aiohttp.ClientError, AddressRefused, OSError, TimeoutError) as error:
            failure_before = connect_failure(target.host, error, self._connect_timeout_seconds)
            if failure_before is not None:
                return failure_before, False
            stale = (
                isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError))
                and not connection_is_new()
                and monotonic() - started < _STALE_WITHIN_SECONDS
            )
            return answer_failure(target.host, error, self._first_byte_timeout_seconds), stale
        except ValueError:
            return TransportFailure(Outcome.INTERNAL, "The request does not fit into HTTP.", unsent=True), False

    def _add_target(self, text: str) -> _Target:
        """Read a URL. Raises TransportFailure for one that must not or cannot be reached."""
        if self._closed:
            raise TransportFailure(Outcome.INTERNAL, "The gateway is shutting down.", unsent=True)
        url = _read_url(text)
        host, port = url.host, url.port
        if host is None or port is None or url.scheme not in ("http", "https"):
            raise TransportFailure(
                Outcome.UNREACHABLE, "The provider's address is not a valid http or https URL.", unsent=True
            )
        guarded = self._guard is not None and url.origin() not in self._trusted_origins
        if guarded and self._guard is not None:
            try:
                check_base_url(str(url.origin()), allow_private=self._guard.allow_private)
            except AddressRefused as error:
                raise TransportFailure(Outcome.UNREACHABLE, error.message, unsent=True) from None
        label = host if url.is_default_port() else f"{host}:{port}"
        proxy = None if guarded else self._proxies.find(url.scheme, host, port)
        target = _Target(url, label, self._session(guarded=guarded), proxy)
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        self._targets[text] = target
        return target

    def _session(self, *, guarded: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(guarded)
        if session is None:
            session = self._sessions[guarded] = self._open_session(guarded=guarded)
        return session

    def _open_session(self, *, guarded: bool) -> aiohttp.ClientSession:
        connector = PoolConnector(
            limit=0,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            ttl_dns_cache=_DNS_CACHE_SECONDS,
            ssl=_tls_context(self._trust_roots),
            resolver=GuardedResolver(self._guard) if guarded and self._guard is not None else None,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )


def _read_url(text: str) -> URL:
    try:
        return URL(text, encoded=True)
    except ValueError:
        return URL()


def _build_headers(request: UpstreamRequest, secret: Secret | None) -> list[tuple[str, str]]:
    headers = [("accept-encoding", "identity"), ("user-agent", "ownkey"), *request.headers]
    if request.auth_header is not None and secret is not None:
        name, prefix = request.auth_header
        value = secret.reveal()
        if not (value.isascii() and value.isprintable()):
            raise TransportFailure(
                Outcome.UNREADABLE, "The stored key holds a character that no header may hold.", unsent=True
            )
        headers.append((name, prefix + value))
    return headers


def _tls_context(trust_roots: bytes | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if trust_roots is not None:
        context.load_verify_locations(cadata=trust_roots.decode("ascii"))
    return context
