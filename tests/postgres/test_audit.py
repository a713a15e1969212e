"""The audit chain only grows, and every change behind its back is found."""

from __future__ import annotations

import asyncio
import hashlib
import random
import struct
from datetime import UTC

import asyncpg
import pytest

from ownkey.domain.audit import AuditAction
from ownkey.storage import audit
from ownkey.storage.database import Database
from tests.postgres.people import Store

FIELDS = ("id", "chain", "position", "occurred_at", "actor", "user_id", "action", "subject", "details")
DAMAGE = {
    "actor": "'somebody else'",
    "user_id": "user_id || 'x'",
    "action": "'user.deleted'",
    "subject": "case when subject is null then '' end",
    "occurred_at": "occurred_at + interval '1 microsecond'",
    "details": "'{\"changed\": true}'",
    "hash": "sha256(hash)",
    "previous_hash": "sha256(previous_hash)",
    "id": "id + 1000000",
}


async def write(db: Database, user_id: str, count: int = 1, **details: object) -> None:
    for number in range(count):
        async with db.transaction(user_id, actor="root") as tx:
            await audit.append(
                tx, actor="root", user_id=user_id, action=AuditAction.SETTINGS_UPDATED,
                subject=None if number % 2 else "default_task", details=details or {"number": number, "Ünï": "💡"},
            )  # fmt: skip


def canonical_hash(row: asyncpg.Record) -> bytes:
    """The documented form, made here by other means than the database's."""
    text = b"ownkey-audit-v1"
    for name in FIELDS:
        value = row[name]
        if name == "occurred_at":
            value = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        data = None if value is None else str(value).encode()
        text += b"\xff\xff\xff\xff" if data is None else struct.pack(">I", len(data)) + data
    return hashlib.sha256(row["previous_hash"] + text).digest()


async def test_the_chain_follows_its_documented_form(store: Store, superuser: asyncpg.Connection) -> None:
    for number in range(20):
        await write(store.db, f"user-{number}", 2)
    rows = await superuser.fetch("select * from ownkey_private.audit_log order by chain, position")
    assert len(rows) == 40
    heads = {f"{chain}": hashlib.sha256(f"ownkey-audit-v1 chain {chain}".encode()).digest() for chain in range(8)}
    for row in rows:
        assert row["previous_hash"] == heads[str(row["chain"])]
        assert row["hash"] == canonical_hash(row)
        heads[str(row["chain"])] = row["hash"]
    assert {str(head.chain): head.hash for head in await audit.list_heads(store.db)} == heads
    assert len({row["chain"] for row in rows}) > 3
    assert await audit.verify(store.db) is None


async def test_entries_are_read_back_page_by_page(store: Store) -> None:
    await write(store.db, "ann", 5, changed=["a", 1, None])
    await write(store.db, "bob", 2)
    async with store.db.transaction("ann") as tx:
        entries = await audit.list_entries(tx, limit=2)
        while page := await audit.list_entries(tx, limit=2, before=entries[-1].id):
            entries += page
    assert [entry.position for entry in entries] == [5, 4, 3, 2, 1]
    assert {(entry.user_id, entry.actor, entry.action) for entry in entries} == {
        ("ann", "root", AuditAction.SETTINGS_UPDATED)
    }
    assert entries[0].details == {"changed": ["a", 1, None]}
    async with store.db.transaction("root", role="ownkey_admin") as tx:
        everybody = await audit.list_entries(tx, limit=100)
    assert [entry.id for entry in everybody] == sorted((entry.id for entry in everybody), reverse=True)
    assert len(everybody) == 7


async def test_writers_at_once_leave_one_unbroken_chain(store: Store, superuser: asyncpg.Connection) -> None:
    await asyncio.gather(*(write(store.db, f"user-{number % 6}", 5) for number in range(24)))
    assert await superuser.fetchval("select count(*) from ownkey_private.audit_log") == 120
    assert await audit.verify(store.db) is None


async def test_an_entry_shares_the_fate_of_its_transaction(store: Store, superuser: asyncpg.Connection) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.db.transaction("ann") as tx:
            await audit.append(
                tx, actor="ann", user_id="ann", action=AuditAction.USER_CREATED, subject=None, details={}
            )
            raise ZeroDivisionError
    assert await superuser.fetchval("select count(*) from ownkey_private.audit_log") == 0
    await write(store.db, "ann")
    assert await audit.verify(store.db) is None


async def test_nobody_writes_into_the_trail_of_another(store: Store) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with store.db.transaction("ann") as tx:
            await audit.append(
                tx, actor="ann", user_id="bob", action=AuditAction.USER_CREATED, subject=None, details={}
            )


@pytest.mark.parametrize("table", ["audit_log", "audit_heads"])
@pytest.mark.parametrize("role", ["ownkey_gateway", "ownkey_admin", "ownkey_auditor", "ownkey_owner", "postgres"])
async def test_rows_cannot_be_changed_or_removed(
    store: Store, superuser: asyncpg.Connection, role: str, table: str
) -> None:
    """The owner's own functions, and even a superuser, meet the trigger; all others do not get that far."""
    await write(store.db, "ann")
    statements = [f"delete from ownkey_private.{table}", f"truncate ownkey_private.{table}"]
    if table == "audit_log":
        statements += ["update ownkey_private.audit_log set actor = 'x'"]
    before = await superuser.fetch(f"select * from ownkey_private.{table}")
    for statement in statements:
        transaction = superuser.transaction()
        await transaction.start()
        await superuser.execute(f"set local role {role}")
        await superuser.execute("select set_config('request.jwt.claims', '{\"sub\": \"ann\"}', true)")
        try:
            async with superuser.transaction():
                assert (await superuser.execute(statement)).endswith(" 0"), "no policy lets the owner at a row"
        except asyncpg.InsufficientPrivilegeError:
            pass
        await transaction.rollback()
    assert await superuser.fetch(f"select * from ownkey_private.{table}") == before


@pytest.mark.parametrize("column", sorted(DAMAGE))
async def test_an_edited_row_is_found(store: Store, superuser: asyncpg.Connection, column: str) -> None:
    await write(store.db, "ann", 6)
    chain = await superuser.fetchval("select distinct chain from ownkey_private.audit_log")
    seed = random.Random(column)
    for position in seed.sample(range(1, 7), 3):
        transaction = superuser.transaction()
        await transaction.start()
        await tamper(
            superuser, f"update ownkey_private.audit_log set {column} = {DAMAGE[column]} where position = {position}"
        )
        fault = await first_fault(superuser)
        # A changed hash shows at the row itself or, if the row agrees with it, at the next.
        assert fault == (chain, position)
        await transaction.rollback()
    assert await audit.verify(store.db) is None


async def test_removed_inserted_and_reordered_rows_are_found(store: Store, superuser: asyncpg.Connection) -> None:
    await write(store.db, "ann", 6)
    chain = await superuser.fetchval("select distinct chain from ownkey_private.audit_log")
    log = "ownkey_private.audit_log"
    cases = {
        f"delete from {log} where position = 3": 4,
        f"delete from {log} where position >= 5": 6,
        f"delete from {log}": 6,
        f"insert into {log} select id + 100, chain, position + 1, occurred_at, actor, user_id, action, subject, "
        f"details, hash, sha256(hash) from {log} where position = 6": 6,
        f"update {log} set position = case position when 2 then 30 when 3 then 2 else position end": 2,
        "update ownkey_private.audit_heads set position = position - 1": 5,
        f"delete from ownkey_private.audit_heads where chain = {chain}": 0,
    }
    for statement, position in cases.items():
        transaction = superuser.transaction()
        await transaction.start()
        await tamper(superuser, statement)
        assert await first_fault(superuser) == (chain, position), statement
        await transaction.rollback()


async def test_verify_names_the_first_fault(store: Store, superuser: asyncpg.Connection) -> None:
    await write(store.db, "ann", 4)
    async with superuser.transaction():
        await tamper(superuser, "update ownkey_private.audit_log set actor = 'x' where position in (2, 3)")
    fault = await audit.verify(store.db)
    assert fault is not None
    assert fault.position == 2
    assert "changed" in fault.reason


async def tamper(superuser: asyncpg.Connection, statement: str) -> None:
    """As somebody could who owns the machine."""
    await superuser.execute("set local session_replication_role = replica")
    await superuser.execute(statement)
    await superuser.execute("set local session_replication_role = origin")


async def first_fault(superuser: asyncpg.Connection) -> tuple[int, int] | None:
    row = await superuser.fetchrow("select chain, position from ownkey_private.verify_audit()")
    return None if row is None else (row["chain"], row["position"])
