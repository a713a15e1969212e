"""Rows of `ownkey_private.wrapping_keys` and `live_processes`: the names of keys, never a key."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, Literal

from msgspec import Struct

from ownkey.storage.sql import query

Phase = Literal["known", "primary", "retiring", "retired", "destroyed"]
Step = Literal["promote", "retire", "destroy"]
_STEPS: Final[dict[Step, str]] = {
    "promote": "promote_wrapping_key",
    "retire": "retire_wrapping_key",
    "destroy": "destroy_wrapping_key",
}


class WrappingKeyRow(Struct, frozen=True, kw_only=True):
    """A wrapping key. `keys` counts the data keys under it now, `keys_at_start` those when it began to retire."""

    id: str
    phase: Phase
    keys: int
    keys_at_start: int | None = None
    changed_at: datetime | None = None
    changed_by: str | None = None


class LiveProcess(Struct, frozen=True, kw_only=True):
    """A process that can open data keys, and the wrapping keys that it holds."""

    id: str
    host: str
    pid: int
    wrapping_keys: tuple[str, ...]
    started_at: datetime


async def report_process(
    tx: Any, process_id: str, host: str, pid: int, held: tuple[str, ...], lifetime: timedelta
) -> dict[str, Phase]:
    """Say that a process lives; gives the phase of every key. The first key of the first process becomes primary."""
    rows = await tx.fetch(query("report_process"), process_id, host, pid, list(held), lifetime)
    return {row["id"]: row["phase"] for row in rows}


async def end_process(tx: Any, process_id: str) -> None:
    """Take back what `report_process` said."""
    await tx.execute(query("end_process"), process_id)


async def lock_primary(tx: Any) -> str | None:
    """The key that wraps new data keys, which stays so until the transaction ends; None if none was chosen yet."""
    found: str | None = await tx.fetchval(query("lock_primary_key"))
    return found


async def wait_for_phases(tx: Any) -> None:
    """Let somebody go first who waits to promote a key; the next one waits until this transaction ends."""
    await tx.execute(query("wait_for_phases"))


async def list_wrapping_keys(tx: Any) -> list[WrappingKeyRow]:
    """Every key by its id. `tx` has the role `ownkey_rotator`."""
    return [WrappingKeyRow(**dict(row)) for row in await tx.fetch(query("list_wrapping_keys"))]


async def list_live_processes(tx: Any) -> list[LiveProcess]:
    """Every process that said lately that it lives. `tx` has the role `ownkey_rotator`."""
    rows = await tx.fetch(query("list_live_processes"))
    return [LiveProcess(**{**row, "wrapping_keys": tuple(row["wrapping_keys"])}) for row in rows]


async def take_step(tx: Any, step: Step, key_id: str, actor: str) -> str:
    """Bring a key to its next phase, with the audit row; says `done` or why not. `tx` has the role `ownkey_admin`."""
    return str(await tx.fetchval(query(_STEPS[step]), key_id, actor))
