"""The connection pool, and the only code path that gives a transaction an identity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import asyncpg
import msgspec

from ownkey.errors import StorageError
from ownkey.storage.failures import storage_errors, unavailable
from ownkey.storage.health_check import Finding, find_faults
from ownkey.storage.sql import query

DatabaseRole = Literal["ownkey_gateway", "ownkey_admin", "ownkey_auditor", "ownkey_rotator"]

_CONNECT_TIMEOUT_SECONDS: Final = 5.0
# Longer than any statement of ours takes, short enough that a hung server does not hold requests for ever.
_COMMAND_TIMEOUT_SECONDS: Final = 15.0
_ACQUIRE_TIMEOUT_SECONDS: Final = 5.0
_CLOSE_TIMEOUT_SECONDS: Final = 5.0
# Nobody minds this, and a database that is there again answers sooner.
_BRIEFLY_SECONDS: Final = 0.05
_CACHED_STATEMENTS: Final = 200


class Database:
    """A pool of connections to PostgreSQL. Open it with `Database.open`."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._in_use: set[Any] = set()
        self._back = asyncio.Event()
        self._back.set()
        self._ask: Callable[[], None] = lambda: None

    @classmethod
    async def open(cls, dsn: str, *, pool_size: int = 8, pooler: bool = False) -> Database:
        """Connect. Raises StorageError(database_unavailable).

        `pooler`: PgBouncer or Supavisor in transaction mode stands in between, which keeps no prepared statements.
        """
        # PgBouncer refuses start-up parameters that it does not track. JIT costs more than queries of ours save.
        settings = {"application_name": "ownkey"} | ({} if pooler else {"jit": "off", "timezone": "UTC"})
        with storage_errors(connecting=True):
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=max(1, pool_size),
                timeout=_CONNECT_TIMEOUT_SECONDS,
                command_timeout=_COMMAND_TIMEOUT_SECONDS,
                max_inactive_connection_lifetime=300,
                statement_cache_size=0 if pooler else _CACHED_STATEMENTS,
                server_settings=settings,
                reset=_keep_session,
            )
        return cls(pool)

    async def close(self) -> None:
        """Close all connections; what is still under way after a few seconds ends with an error."""
        try:
            with storage_errors(connecting=True):
                async with asyncio.timeout(_CLOSE_TIMEOUT_SECONDS):
                    await self._pool.close()
        except StorageError:
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(
        self, user_id: str | None, *, role: DatabaseRole = "ownkey_gateway", actor: str | None = None
    ) -> AsyncIterator[Any]:
        """A transaction in which row-level security sees `user_id`; gives the asyncpg connection.

        Role and identity are transaction-local: nothing of them is left on the connection. `user_id` None is no
        identity, for roles that see several users. `actor` is who acts, where that is somebody else.

        Raises StorageError when the database is away; nothing was committed then, unless the connection broke
        while the commit was under way.
        """
        claims: dict[str, str] = {"role": role}
        if user_id is not None:
            claims |= {"sub": user_id, "ownkey_actor": actor or user_id}
        async with self._connection() as connection:
            with storage_errors():
                async with connection.transaction():
                    await connection.fetchrow(query("set_identity"), role, msgspec.json.encode(claims).decode())
                    yield connection

    async def fetch_value(self, name: str, *arguments: Any) -> Any:
        """The first column of a named query that sets its own identity: one round trip, in no transaction block.

        Behind a pooler it takes two, without a server in between changing: asyncpg ends what it parses with a Flush,
        and only the Sync after the execution lets the pooler give the server to somebody else. Raises StorageError.
        """
        rows = await self.fetch_rows(name, *arguments)
        return rows[0][0] if rows else None

    async def fetch_rows(self, name: str, *arguments: Any, probing: bool = False) -> list[Any]:
        """As `fetch_value`, all rows. Raises StorageError. `probing`: also while the database is known to be away."""
        async with self._connection(probing=probing) as connection:
            with storage_errors():
                return list(await connection.fetch(query(name), *arguments))

    async def ping(self) -> None:
        """Raises StorageError when the database does not answer."""
        await self.fetch_value("ping")

    @property
    def away(self) -> bool:
        """Whether somebody has found that the database does not answer, and nobody that it does again."""
        return not self._back.is_set()

    async def note_away(self, ask: Callable[[], None]) -> None:
        """The database does not answer: who waits for it is told so now, and who comes is not made to wait.

        `ask` is called when somebody comes: whoever looks whether the database is there again is to look now.
        """
        self._ask = ask
        if self.away:
            return
        self._back.clear()
        await self._pool.expire_connections()
        for connection in list(self._in_use):
            connection.terminate()

    def note_back(self) -> None:
        """The database answers."""
        self._back.set()

    async def check(self) -> list[Finding]:
        """What is wrong with the database or with the rights of this login; empty when all is well.

        Raises StorageError(database_unavailable).
        """
        async with self._connection() as connection:
            with storage_errors():
                async with connection.transaction():
                    return await find_faults(connection)

    @asynccontextmanager
    async def _connection(self, *, probing: bool = False) -> AsyncIterator[Any]:
        if not probing and self.away:
            await self._wait_briefly()
        try:
            with storage_errors(connecting=True):
                connection = await self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_SECONDS)
        except asyncpg.InterfaceError as error:  # the pool is closed or closing
            raise unavailable() from error
        self._in_use.add(connection)
        try:
            yield connection
        except StorageError as error:
            if error.code == "database_unavailable":
                with suppress(asyncpg.InterfaceError):  # the pool has dropped it by itself
                    connection.terminate()
            raise
        except asyncio.CancelledError:
            if probing:
                # Otherwise the pool would ask the server to cancel, and wait until that is done.
                connection.terminate()
            raise
        finally:
            self._in_use.discard(connection)
            with storage_errors(connecting=True):
                await self._pool.release(connection)

    async def _wait_briefly(self) -> None:
        """Give the database that was away the moment that it takes to find it again. Raises StorageError."""
        self._ask()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._back.wait(), _BRIEFLY_SECONDS)
        if self.away:
            raise unavailable()


async def _keep_session(_connection: Any) -> None:
    """Instead of RESET ALL, a round trip per use: everything that we set is transaction-local.

    asyncpg has rolled back by now whatever a cancelled owner left open, and with it the identity.
    """
