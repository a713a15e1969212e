"""Listens for changed users over a connection of its own and connects again when it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import asyncpg

from ownkey.errors import StorageError
from ownkey.storage.failures import storage_errors

_CHANNEL: Final = "ownkey_snapshot"
_DEPLOYMENT_CHANNEL: Final = "ownkey_deployment"
_RECOVERY_CHANNEL: Final = "ownkey_recovery"
_EVENT_CHANNEL: Final = "ownkey_event"
_CONNECT_TIMEOUT_SECONDS: Final = 5.0
# A connection whose other end vanished without a word is found by asking: at most this long goes unnoticed, twice.
_PING_SECONDS: Final = 2.0
_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


async def listen(
    dsn: str,
    on_change: Callable[[str, int], None],
    on_gap: Callable[[], None],
    on_deployment: Callable[[], None] = lambda: None,
    *,
    on_recovery: Callable[[str], None] = lambda _: None,
    on_event: Callable[[], None] = lambda: None,
) -> ChangesFeed:
    """Call `on_change(user_id, generation)` for every change of a snapshot that any process commits.

    `on_gap` is called after the connection was lost and is there again: notifications of the time between are gone,
    so anything may have changed. `on_deployment` is called when administrators changed something for everybody, and
    after a gap too; `on_event` when there is an event for the host, and after a gap. `on_recovery(health_key)` says
    that a secret works again. `dsn` must lead to PostgreSQL itself: PgBouncer's transaction mode delivers nothing.

    Raises StorageError if the first connection fails.
    """
    feed = ChangesFeed(dsn, on_change, on_gap, on_deployment, on_recovery, on_event)
    await feed.start()
    return feed


class ChangesFeed:
    """An open LISTEN. Use `listen` to get one, and `close` it."""

    def __init__(
        self,
        dsn: str,
        on_change: Callable[[str, int], None],
        on_gap: Callable[[], None],
        on_deployment: Callable[[], None],
        on_recovery: Callable[[str], None],
        on_event: Callable[[], None],
    ) -> None:
        self._dsn, self._on_change, self._on_gap, self._on_deployment = dsn, on_change, on_gap, on_deployment
        self._on_recovery, self._on_event = on_recovery, on_event
        self._connection: Any = None
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether notifications arrive, as far as is known."""
        return self._connection is not None and not self._lost.is_set()

    async def start(self) -> None:
        """Connect, then keep the connection in the background. Raises StorageError."""
        await self._connect()
        self._task = asyncio.create_task(self._keep(), name="ownkey-changes-feed")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._drop()

    async def _keep(self) -> None:
        while True:
            await self._watch()
            self._drop()
            await self._reconnect()
            self._on_gap()
            self._on_deployment()
            self._on_event()

    async def _watch(self) -> None:
        """Return when the connection is gone."""
        while not self._lost.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), _PING_SECONDS)
                return
            try:
                with storage_errors(connecting=True):
                    await self._connection.fetchval("select 1", timeout=_PING_SECONDS)
            except (StorageError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return

    async def _reconnect(self) -> None:
        delay = _FIRST_DELAY_SECONDS
        while True:
            # Jitter: all processes lost it at the same moment.
            await asyncio.sleep(delay * (0.5 + random.random()))  # noqa: S311  # no secret depends on it
            try:
                await self._connect()
            except StorageError as error:
                logger.warning("cannot listen for changed settings: %s", error.message)
                delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
            else:
                return

    async def _connect(self) -> None:
        self._lost.clear()
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
                await connection.add_listener(_DEPLOYMENT_CHANNEL, lambda *_: self._on_deployment())
                await connection.add_listener(_RECOVERY_CHANNEL, lambda *told: self._on_recovery(told[-1]))
                await connection.add_listener(_EVENT_CHANNEL, lambda *_: self._on_event())
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
            self._on_gap()
            return
        self._on_change(user_id, int(generation))
