"""Hears of changes: by notifications, which come at once, and by asking, which misses nothing.

Neither is enough alone. A notification is gone if nobody listens at the moment of the commit, and asking is as late as
the time between two questions. What was asked last also says how old what is in memory may be: see `Hearer.on_sync`.

The same connection listens and asks, so that one that is dead without saying so is found out. Where it is lost, the
questions go through the pool until there is another one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import asyncpg
from msgspec import Struct

from ownkey.background import end_task
from ownkey.domain.clock import elapsed_seconds
from ownkey.errors import StorageError
from ownkey.patience import attentive_timeout
from ownkey.storage.database import Database
from ownkey.storage.failures import storage_errors, unavailable
from ownkey.storage.sql import query

_CHANNEL: Final = "ownkey_snapshot"
_DEPLOYMENT_CHANNEL: Final = "ownkey_deployment"
_RECOVERY_CHANNEL: Final = "ownkey_recovery"
_EVENT_CHANNEL: Final = "ownkey_event"
_CONNECT_TIMEOUT_SECONDS: Final = 5.0
# How long a question may take. Twice that passes until a database that swallows packets is known to be away.
_ANSWER_SECONDS: Final = 2.0
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 5.0
# While the database is away and people come, it is asked this often.
_SOONEST_SECONDS: Final = 0.02
# After a pause like this nobody knows what became of the rows that tell of changes.
_LONGEST_PAUSE_SECONDS: Final = 3600.0
_SWEEP_SECONDS: Final = 3600.0

logger = logging.getLogger(__name__)


async def _nothing_to_check() -> None:
    pass


class Hearer(Struct, frozen=True, kw_only=True):
    """Who is told of changes.

    `on_change(user_id, generation)`: a user's snapshot is another one from this generation on; some are told twice.
    `on_gap`: notifications of some time are lost, of things that are not asked for: `on_recovery`.
    `on_deployment`: administrators changed something for everybody.
    `on_recovery(health_key)`: a secret works again.
    `on_event`: there is an event for the host.
    `check_all`: what changed cannot be told any more, or was somebody who is gone: look at everything. Raises
    StorageError.
    `on_sync(moment)`: everything that was committed before this moment (`elapsed_seconds`) has been told.
    """

    on_change: Callable[[str, int], None] = lambda *_: None
    on_gap: Callable[[], None] = lambda: None
    on_deployment: Callable[[], None] = lambda: None
    on_recovery: Callable[[str], None] = lambda _: None
    on_event: Callable[[], None] = lambda: None
    check_all: Callable[[], Awaitable[None]] = _nothing_to_check
    on_sync: Callable[[float], None] = lambda _: None


async def listen(
    dsn: str, hearer: Hearer, *, database: Database | None = None, poll_seconds: float = 0.5
) -> ChangesFeed:
    """Tell `hearer` of every change that any process commits, within `poll_seconds` even if its notification is lost.

    `dsn` must lead to PostgreSQL itself: PgBouncer's transaction mode delivers no notifications. `database` is asked
    where that way is closed, and is told whether the database is away.

    Raises StorageError if the first connection fails.
    """
    feed = ChangesFeed(dsn, hearer, database, poll_seconds)
    await feed.start()
    return feed


class ChangesFeed:
    """An open LISTEN, and a question every now and then. Use `listen` to get one, and `close` it."""

    def __init__(self, dsn: str, hearer: Hearer, database: Database | None, poll_seconds: float) -> None:
        self._dsn, self._hearer, self._database, self._poll_seconds = dsn, hearer, database, poll_seconds
        self._connection: Any = None
        self._lost, self._woken = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._position: int | None = None
        self._server_start: datetime | None = None
        # What the last question was answered with: while a long transaction runs anywhere in the cluster, the same
        # rows come again.
        self._told: set[tuple[str, str, str]] = set()
        self._synced_at = self._swept_at = elapsed_seconds()
        self._is_away, self._may_ask = False, True

    @property
    def connected(self) -> bool:
        """Whether notifications arrive, as far as is known."""
        return self._connection is not None and not self._lost.is_set()

    async def start(self) -> None:
        """Connect, then keep the connection and ask in the background. Raises StorageError."""
        await self._connect()
        await self.sync()
        self._tasks = [
            asyncio.create_task(self._keep(), name="ownkey-changes-feed"),
            asyncio.create_task(self._poll(), name="ownkey-changes-poll"),
        ]

    async def close(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            await end_task(task)
        self._drop()

    def wake(self) -> None:
        """Ask soon, without waiting for the next time."""
        self._woken.set()

    async def sync(self) -> None:
        """Ask what changed since the last time, and tell of it. Raises StorageError."""
        asked_at = elapsed_seconds()
        rows = await self._ask()
        self._note_back()
        position, server_start = int(rows[0]["position"]), rows[0]["server_start"]
        if self._position is None:
            pass  # nobody has read anything yet
        elif (
            server_start != self._server_start
            or position < self._position
            or asked_at - self._synced_at > _LONGEST_PAUSE_SECONDS
        ):
            logger.info("the database was started anew, or was not asked for long: checking all that is in memory")
            await self._hearer.check_all()
            self._hearer.on_deployment()
        else:
            await self._tell(rows)
        self._position, self._server_start, self._synced_at = position, server_start, asked_at
        self._hearer.on_sync(asked_at)

    async def _tell(self, rows: list[Any]) -> None:
        found = {(row["xid"], row["kind"], row["subject"]): row for row in rows if row["kind"] is not None}
        news = [row for key, row in found.items() if key not in self._told]
        for row in news:
            if row["kind"] == "user":
                self._hearer.on_change(row["subject"], row["generation"])
        kinds = {row["kind"] for row in news}
        if "deployment" in kinds:
            self._hearer.on_deployment()
        if "deletion" in kinds:
            await self._hearer.check_all()
        self._told = set(found)

    async def _ask(self) -> list[Any]:
        since = None if self._position is None else str(self._position)
        if self.connected:
            name, arguments = ("load_changes", (since,)) if self._may_ask else ("ping", ())
            try:
                with storage_errors(connecting=True):
                    async with attentive_timeout(_ANSWER_SECONDS):
                        rows = await self._connection.fetch(query(name), *arguments)
                if self._may_ask:
                    return list(rows)
            except asyncpg.InsufficientPrivilegeError:
                # A login that only listens will do: the pool's asks.
                self._may_ask = False
            except (StorageError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self._lost.set()
                if self._database is None:
                    raise
        if self._database is None:
            raise unavailable()
        with storage_errors(connecting=True):
            async with attentive_timeout(_ANSWER_SECONDS):
                return await self._database.fetch_rows("load_changes", since, probing=True)

    async def _poll(self) -> None:
        while True:
            # Jitter: many processes may have started, or lost the database, at the same moment.
            with suppress(TimeoutError):
                pause = self._poll_seconds * (0.75 + random.random() / 2)  # noqa: S311  # no secret depends on it
                await asyncio.wait_for(self._woken.wait(), pause)
            self._woken.clear()
            try:
                await self.sync()
            except StorageError as error:
                await self._note_away(error)
                await asyncio.sleep(_SOONEST_SECONDS)
            except Exception:  # whatever it is, without asking nobody may be served before long
                logger.exception("could not ask for changes")
            else:
                await self._sweep()

    async def _note_away(self, error: StorageError) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning("the database is away, so only users in memory are served, for a while: %s", error.message)
        if self._database is not None:
            await self._database.note_away(self.wake)

    def _note_back(self) -> None:
        if self._is_away:
            self._is_away = False
            logger.warning("the database is back")
        if self._database is not None:
            self._database.note_back()

    async def _sweep(self) -> None:
        if self._database is None or elapsed_seconds() - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = elapsed_seconds()
        with suppress(StorageError):
            await self._database.fetch_value("sweep_changes")

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            self._drop()
            await self._reconnect()
            self.wake()
            self._hearer.on_gap()
            self._hearer.on_deployment()
            self._hearer.on_event()

    async def _reconnect(self) -> None:
        delay = _FIRST_DELAY_SECONDS
        while True:
            # Jitter: all processes lost it at the same moment.
            await asyncio.sleep(delay * (0.5 + random.random()))  # noqa: S311  # no secret depends on it
            try:
                await self._connect()
            except StorageError as error:
                logger.info("cannot listen for changed settings: %s", error.message)
                delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
            else:
                return

    async def _connect(self) -> None:
        self._lost.clear()
        hearer = self._hearer
        with storage_errors(connecting=True):
            connection = await asyncpg.connect(
                self._dsn,
                timeout=_CONNECT_TIMEOUT_SECONDS,
                statement_cache_size=0,
                server_settings={"application_name": "ownkey listen"},
            )
            try:
                connection.add_termination_listener(lambda _: self._lost.set())
                await connection.add_listener(_CHANNEL, self._receive)
                await connection.add_listener(_DEPLOYMENT_CHANNEL, lambda *_: hearer.on_deployment())
                await connection.add_listener(_RECOVERY_CHANNEL, lambda *told: hearer.on_recovery(told[-1]))
                await connection.add_listener(_EVENT_CHANNEL, lambda *_: hearer.on_event())
            except BaseException:
                connection.terminate()
                raise
        self._connection = connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _receive(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        generation, _, user_id = payload.partition(" ")
        if not generation.isdigit() or not user_id:
            logger.error("a notification on %s has an unknown form", _CHANNEL)
            self.wake()
            return
        self._hearer.on_change(user_id, int(generation))
