"""The one place where what PostgreSQL and its driver raise becomes an error of Ownkey."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from ownkey.errors import StorageError

RETRY_AFTER_SECONDS: Final = 2.0

# SQLSTATE classes that mean "not now", whatever was asked: connection, resources, operator intervention, system
# error; and single states: a fail-over that left us with a read-only server, a lock that was not had in time.
_AWAY_CLASSES: Final = ("08", "53", "57", "58")
_AWAY_STATES: Final = frozenset({"25006", "25P03", "55P03", "28000", "28P01", "3D000"})
# A function, table, column or schema that is not there: this version's migrations have not run.
_OUTDATED_STATES: Final = frozenset({"42883", "42P01", "42703", "3F000", "42704"})


@contextmanager
def storage_errors(*, connecting: bool = False) -> Iterator[None]:
    """Turn failures of the driver and the connection into StorageError(database_unavailable, schema_outdated).

    `connecting` also covers what opening a connection raises: no route, refused, timed out. Inside a transaction
    such errors could come from anything that the caller does there, so they pass. Errors that speak of the rows
    themselves (a duplicate, a violated check) pass as well.
    """
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if _hides_cancellation(error):
            raise asyncio.CancelledError from error
        translated = _translate(error, connecting=connecting)
        if translated is error:
            raise
        raise translated from error


def unavailable() -> StorageError:
    """What callers get while PostgreSQL is away."""
    return StorageError(
        "The database cannot be reached. Try again shortly.",
        code="database_unavailable",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def _translate(error: Exception, *, connecting: bool) -> Exception:
    if isinstance(error, asyncpg.PostgresError):
        return _translate_state(error)
    if isinstance(error, asyncpg.InterfaceError):
        return unavailable() if _is_lost_connection(error) else error
    # The driver's own: a connection that was closed while it lay in the pool.
    if isinstance(error, (asyncpg.InternalClientError, ConnectionError)) or connecting:
        return unavailable()
    return error  # an OSError, TimeoutError among them, that may be the caller's own


def _translate_state(error: Exception) -> Exception:
    state = getattr(error, "sqlstate", None) or ""
    if state[:2] in _AWAY_CLASSES or state in _AWAY_STATES:
        return unavailable()
    if state in _OUTDATED_STATES:
        return StorageError(
            "The database's schema is not the one that this version needs. Run `ownkey migrate`.",
            code="schema_outdated",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
    return error


def _hides_cancellation(error: BaseException | None) -> bool:
    """Whether a task was cancelled, and this failed while it was on its way out.

    Then it has to hear of the cancellation alone. A loop in the background that takes it for an outage tries again,
    and whoever ends it waits for ever.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False
    while error is not None:
        if isinstance(error, asyncio.CancelledError):
            return True
        error = error.__context__
    return False


def _is_lost_connection(error: asyncpg.InterfaceError) -> bool:
    """The driver has one class for misuse and for a connection that went away; only the text tells them apart."""
    text = str(error)
    return "connection is closed" in text or "connection was closed" in text or "connection has been released" in text
