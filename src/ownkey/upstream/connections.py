"""Connections to providers: two corrections to aiohttp's pool, and where a guarded connection may go."""

from __future__ import annotations

import socket
from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ownkey.upstream.address_guard import AddressGuard

# For the request that this task is sending: whether it must not use an idle connection, and whether its
# connection was opened for it.
_wanted_new: Final[ContextVar[bool]] = ContextVar("wanted_new", default=False)
_is_new: Final[ContextVar[bool]] = ContextVar("is_new", default=True)


def prepare_connection(*, new: bool) -> None:
    """To be called before each request; `new` keeps it from using an idle connection."""
    _wanted_new.set(new)
    _is_new.set(False)


def connection_is_new() -> bool:
    """Whether the last request of this task opened its connection, rather than finding it idle in the pool."""
    return _is_new.get()


class PoolConnector(aiohttp.TCPConnector):
    """A connection pool that never answers one request with another's response."""

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        connection = await super()._create_connection(*args, **kwargs)
        _is_new.set(True)
        return connection

    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        """An idle connection on which nothing has arrived since its last answer.

        aiohttp 3.14 keeps bytes that come between two requests and gives them to the next one as its answer,
        and so on, one behind for ever: one user would read another's.
        """
        if _wanted_new.get():
            return None
        while (connection := await super()._get(*args, **kwargs)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None


class GuardedResolver(AbstractResolver):
    """Resolves through the address guard, so that a connection goes to an address that was checked."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The checked addresses of a name. Raises AddressRefused, OSError."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._guard.resolve(host, port)
        ]

    async def close(self) -> None:
        """Nothing to close: the guard belongs to the pool's owner."""
