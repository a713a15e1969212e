"""The audit chain only grows, and every change behind its back is found."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from ownkey.crypto.audit_seal import AUDIT_OWNER, AuditKey
from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.key_ring import KeyRing
from ownkey.crypto.key_text import generate_key_line
from ownkey.domain.audit import AuditAction
from ownkey.domain.audit_chain import first_hash
from ownkey.errors import ConfigError
from ownkey.services import audit_anchors
from ownkey.services.audit_anchors import AnchorFile, AnchorKeeper
from ownkey.services.audit_seals import AuditSeals, open_audit_key, recompute_hash
from ownkey.services.audit_verification import verify_audit
from ownkey.storage import audit
from ownkey.storage.database import Database
from tests.postgres.people import Store

NOW = datetime(2026, 11, 26, tzinfo=UTC)
WRITE = os.write
WRAPPING = generate_key_line()
KEY = AuditKey(b"k" * 32, "test")
LOG, SEALS, HEADS = "ownkey_private.audit_log", "ownkey_private.audit_seals", "ownkey_private.audit_heads"
STARTS = "ownkey_private.audit_starts"
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
    # Times that no client can read.
    "occurred_at for ever": "'infinity'",
    "occurred_at far away": "'294276-12-31'",
    "occurred_at long ago": "'4713-01-01 BC'",
}
# Everything behind a place written anew, as the database's owner can: hashes, links and the head agree again.
REWRITE = f"""
do $$
declare
    entry record;
    before bytea;
begin
    select sha256(convert_to('ownkey-audit-v1 chain ' || min(chain), 'UTF8')) into before from {LOG};
    for entry in select * from {LOG} order by position loop
        before := ownkey_private.audit_hash(before, entry.id, entry.chain, entry.position, entry.occurred_at,
            entry.actor, entry.user_id, entry.action, entry.subject, entry.details::text);
        update {LOG} set hash = before where position = entry.position;
        update {LOG} set previous_hash = before where position = entry.position + 1;
    end loop;
    update {HEADS} h set hash = before, position = (select max(position) from {LOG})
        where h.chain = (select min(chain) from {LOG});
end
$$
"""


@pytest_asyncio.fixture
async def sealed(store: Store) -> None:
    """Seals have begun."""
    async with store.db.transaction(AUDIT_OWNER) as tx:
        heads = await audit.lock_heads(tx)
        await audit.start_seals(tx, {one.chain: KEY.seal_start(one.chain, one.position, one.hash) for one in heads})


async def write(db: Database, user_id: str, count: int = 1, *, seal: bool = True, **details: object) -> None:
    for number in range(count):
        async with db.transaction(user_id, actor="root") as tx:
            row = await audit.append(
                tx, actor="root", user_id=user_id, action=AuditAction.SETTINGS_UPDATED,
                subject=None if number % 2 else "default_task", details=details or {"number": number, "Ünï": "💡"},
            )  # fmt: skip
            if seal:
                await AuditSeals(KEY).seal(tx, [row])


async def find_fault(db: Database, file: AnchorFile | None = None, key: AuditKey = KEY) -> tuple[int, str] | None:
    fault = (await verify_audit(db, key, file)).first_broken
    return None if fault is None else (fault.position, fault.reason)


async def test_the_chain_follows_its_documented_form(store: Store, sealed: None, superuser: asyncpg.Connection) -> None:
    for number in range(20):
        await write(store.db, f"user-{number}", 2)
    async with store.db.transaction(None, role="ownkey_auditor") as tx:
        rows = [row async for chunk in audit.read_rows(tx, chunk=7) for row in chunk]
    assert len(rows) == 40
    heads = {chain: first_hash(chain) for chain in range(8)}
    for row in rows:
        assert row.previous_hash == heads[row.chain]
        assert row.hash == recompute_hash(row), "the database computes it, and Python once more"
        assert row.seal == KEY.seal(row.chain, row.position, row.hash)
        heads[row.chain] = row.hash
    assert {head.chain: head.hash for head in await audit.list_heads(store.db)} == heads
    assert len({row.chain for row in rows}) > 3
    verified = await verify_audit(store.db, KEY, None)
    assert (verified.ok, verified.entries, verified.unsealed) == (True, 40, 0)


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


async def test_writers_at_once_leave_one_unbroken_chain(
    store: Store, sealed: None, superuser: asyncpg.Connection
) -> None:
    await asyncio.gather(*(write(store.db, f"user-{number % 6}", 5) for number in range(24)))
    assert await superuser.fetchval("select count(*) from ownkey_private.audit_log") == 120
    assert await find_fault(store.db) is None


async def test_an_entry_shares_the_fate_of_its_transaction(
    store: Store, sealed: None, superuser: asyncpg.Connection
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.db.transaction("ann") as tx:
            await audit.append(
                tx, actor="ann", user_id="ann", action=AuditAction.USER_CREATED, subject=None, details={}
            )
            raise ZeroDivisionError
    assert await superuser.fetchval("select count(*) from ownkey_private.audit_log") == 0
    await write(store.db, "ann")
    assert await find_fault(store.db) is None


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
async def test_an_edited_row_is_found(store: Store, sealed: None, superuser: asyncpg.Connection, column: str) -> None:
    await write(store.db, "ann", 6)
    position = random.Random(column).randint(2, 5)
    await tamper(superuser, f"update {LOG} set {column.split()[0]} = {DAMAGE[column]} where position = {position}")
    # A changed hash shows at the row itself or, if the row agrees with it, at the next.
    fault = await find_fault(store.db)
    assert fault is not None
    assert fault[0] == position, fault


CASES: dict[str, tuple[int, str]] = {
    f"delete from {LOG} where position = 3": (4, "rows are missing before this one"),
    f"delete from {LOG} where position >= 5": (6, "the end of the chain is not the row that was written last"),
    f"delete from {LOG}": (6, "the end of the chain is not the row that was written last"),
    f"insert into {LOG} select id + 100, chain, position + 1, occurred_at, actor, user_id, action, subject, details, "
    f"hash, sha256(hash) from {LOG} where position = 6": (7, "the row was changed"),
    f"update {LOG} set position = case position when 2 then 30 when 3 then 2 else position end": (
        2, "the row does not follow the one before it"
    ),
    f"update {HEADS} set position = position - 1 where position > 0": (
        5, "the end of the chain is not the row that was written last"
    ),
    f"delete from {HEADS} where position > 0": (0, "the head of the chain is missing"),
    f"update {LOG} set actor = 'x' where position in (3, 4)": (3, "the row was changed"),
    f"update {LOG} set actor = 'x' where position = 3; {REWRITE}": (3, "the seal of the row is not ours"),
    f"delete from {LOG} where position = 6; {REWRITE}; delete from {SEALS} where position = 6": (0, ""),
    f"delete from {SEALS} where position = 2": (2, "the row was never sealed"),
    f"update {SEALS} set seal = (select seal from {SEALS} where position = 1) where position = 2": (
        2, "the seal of the row is not ours"
    ),
    f"insert into {LOG} select id + 100, 8, 1, occurred_at, actor, user_id, action, subject, details, previous_hash, "
    f"hash from {LOG} where position = 1": (1, "there is no such chain"),
    f"delete from {STARTS}": (0, "the start of the seals is missing"),
    f"delete from {SEALS}; update {STARTS} s set position = h.position, hash = h.hash from {HEADS} h "
    "where h.chain = s.chain": (6, "the start of the seals is not ours"),
}  # fmt: skip


@pytest.mark.parametrize("statement", list(CASES))
async def test_removed_inserted_reordered_and_rewritten_rows_are_found(
    store: Store, sealed: None, superuser: asyncpg.Connection, tmp_path: Path, statement: str
) -> None:
    await write(store.db, "ann", 6)
    file = AnchorFile(tmp_path / "anchors", KEY)
    await AnchorKeeper(store.db, file).anchor()
    assert await find_fault(store.db, file) is None
    await tamper(superuser, statement)
    position, reason = CASES[statement]
    if reason:
        assert await find_fault(store.db) == (position, reason)
    else:
        # The newest entry is cut off, and the database agrees with itself in everything: the anchor alone knows.
        assert await find_fault(store.db) is None
        assert await find_fault(store.db, file) == (5, "entries after this one are gone: an anchor tells of them")


async def test_a_chain_rewritten_with_another_key_is_found(
    store: Store, sealed: None, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await write(store.db, "ann", 3)
    assert await find_fault(store.db, key=AuditKey(b"x" * 32, "test")) == (0, "the start of the seals is not ours")
    assert await find_fault(store.db, key=AuditKey(b"k" * 32, "other")) == (0, "the start of the seals is not ours")


async def test_nothing_is_committed_unsealed_once_seals_have_begun(
    store: Store, superuser: asyncpg.Connection, sealed: None
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="not sealed"):
        await write(store.db, "ann", seal=False)
    assert await superuser.fetchval(f"select count(*) from {LOG}") == 0
    async with store.db.transaction("ann") as tx:
        await audit.append(tx, actor="ann", user_id="ann", action=AuditAction.USER_CREATED, subject=None, details={})
        await AuditSeals(KEY).seal_rest(tx)
    assert await find_fault(store.db) is None
    async with store.db.transaction("ann") as tx:
        with pytest.raises(LookupError):
            await audit.seal(tx, {await superuser.fetchval(f"select id from {LOG}"): bytes(32)})


async def test_older_entries_are_counted_and_may_not_grow(store: Store, superuser: asyncpg.Connection) -> None:
    await write(store.db, "ann", 3, seal=False)
    async with store.db.transaction(AUDIT_OWNER) as tx:
        heads = await audit.lock_heads(tx)
        await audit.start_seals(tx, {one.chain: KEY.seal_start(one.chain, one.position, one.hash) for one in heads})
        assert await audit.lock_heads(tx) == []
    await write(store.db, "ann", 2)
    verified = await verify_audit(store.db, KEY, None)
    assert (verified.ok, verified.entries, verified.unsealed) == (True, 5, 3)
    await tamper(superuser, f"update {LOG} set actor = 'x' where position = 2; {REWRITE}")
    assert await find_fault(store.db) == (3, "the row was changed"), "the start knows the last of them"


def data_keys() -> DataKeys:
    return DataKeys(KeyRing.parse(WRAPPING), "test")


async def test_processes_that_start_at_once_begin_the_seals_once(store: Store) -> None:
    opened = await asyncio.gather(*(open_audit_key(store.db, data_keys(), "test") for _ in range(6)))
    assert len({one.seal(0, 1, bytes(32)) for one in opened}) == 1
    assert await find_fault(store.db, key=opened[0]) is None


async def test_who_takes_the_start_of_the_seals_away_gets_no_new_one(
    store: Store, superuser: asyncpg.Connection
) -> None:
    """With one behind what they have written, all of it would be "older than the seals"."""
    key = await open_audit_key(store.db, data_keys(), "test")
    async with store.db.transaction("ann") as tx:
        row = await audit.append(
            tx, actor="ann", user_id="ann", action=AuditAction.USER_CREATED, subject=None, details={}
        )
        await AuditSeals(key).seal(tx, [row])
    await tamper(superuser, f"update {LOG} set actor = 'x'; {REWRITE}; delete from {STARTS}; delete from {SEALS}")
    await open_audit_key(store.db, data_keys(), "test")
    assert await find_fault(store.db, key=key) == (0, "the start of the seals is missing")


async def test_seals_from_before_the_seals_are_found(store: Store, superuser: asyncpg.Connection) -> None:
    """The key is gone as well, and the next process makes another one."""
    key = await open_audit_key(store.db, data_keys(), "test")
    async with store.db.transaction("ann") as tx:
        row = await audit.append(
            tx, actor="ann", user_id="ann", action=AuditAction.USER_CREATED, subject=None, details={}
        )
        await AuditSeals(key).seal(tx, [row])
    await tamper(superuser, f"delete from {STARTS}; delete from ownkey_private.data_keys")
    later = await open_audit_key(store.db, data_keys(), "test")
    assert await find_fault(store.db, key=later) == (1, "the row has a seal, and is said to be older than all seals")


@pytest.mark.parametrize("kind", ["pipe", "directory", "locked", "full"])
async def test_an_anchor_file_that_is_none_holds_nobody_up(
    store: Store, sealed: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:  # fmt: skip
    path = tmp_path / "anchors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.touch()
    monkeypatch.setattr(audit_anchors, "_LOCK_SECONDS", 0.05)
    if kind == "full":
        monkeypatch.setattr(audit_anchors.os, "write", lambda _, data: WRITE(_, data[:20]))
    await write(store.db, "ann")
    file = AnchorFile(path, KEY)
    with path.open("rb") if kind == "locked" else nullcontext() as held:
        if held is not None:
            fcntl.flock(held, fcntl.LOCK_SH)
        keeper = AnchorKeeper(store.db, file)
        await keeper.start()
        await keeper.close()
    assert str(path) in caplog.text
    if kind in ("pipe", "directory"):
        with pytest.raises(ConfigError, match="cannot be read"):
            await verify_audit(store.db, KEY, file)
        return
    monkeypatch.undo()
    await keeper.anchor()
    assert [one.position for one in await file.read()] == [1], "it is made up for, and nothing is left of the first try"


async def test_only_the_end_of_a_long_file_is_read_at_a_start(store: Store, sealed: None, tmp_path: Path) -> None:
    file = AnchorFile(tmp_path / "anchors", KEY)
    await write(store.db, "ann", 2)
    heads = [one for one in await audit.list_heads(store.db) if one.position]
    for _ in range(400):
        await file.write([audit.AuditHead(chain=heads[0].chain, position=1, hash=bytes(32))], NOW)
    await file.write(heads, NOW)
    last = await file.read_last()
    assert 100 < len(last) < 401
    assert all(one.genuine for one in last)
    size = file.path.stat().st_size
    await AnchorKeeper(store.db, file).anchor()
    assert file.path.stat().st_size == size, "nothing has grown"


async def test_anchors_are_signed_and_survive_a_torn_end(store: Store, sealed: None, tmp_path: Path) -> None:
    path = tmp_path / "kept" / "anchors"
    file, keeper = AnchorFile(path, KEY), AnchorKeeper(store.db, AnchorFile(path, KEY))
    await write(store.db, "ann", 2)
    await keeper.anchor()
    await keeper.anchor()
    assert len(path.read_text().splitlines()) == 1, "where nothing has grown there is nothing to say"
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("ab") as torn:
        torn.write(b'0123 {"at"')
    assert await find_fault(store.db, file) is None
    await write(store.db, "ann")
    await AnchorKeeper(store.db, file).anchor()
    assert [anchor.position for anchor in await file.read()] == [2, 3]
    assert await find_fault(store.db, file) is None
    forged = path.read_text().replace('"heads":[[', '"heads":[[1,99,"00"],[')
    path.write_text(forged)
    fault = await find_fault(store.db, file)
    assert fault is not None
    assert fault[1] == "an anchor is not signed by this installation"


async def test_thousands_of_tamperings_are_found(
    store: Store, sealed: None, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    """Random damage of random rows, each put back before the next; `AUDIT_TAMPERINGS` says how many."""
    count = int(os.environ.get("AUDIT_TAMPERINGS", "40"))
    await write(store.db, "ann", 12)
    file = AnchorFile(tmp_path / "anchors", KEY)
    await AnchorKeeper(store.db, file).anchor()
    seed = random.Random(20261126)
    await superuser.execute(f"create table public.kept as select * from {LOG}")
    try:
        for _ in range(count):
            position = seed.randint(1, 12)
            change, expected = choose_damage(seed, position)
            await tamper(superuser, change)
            fault = await find_fault(store.db, file)
            assert fault is not None, change
            assert fault[0] == expected, (change, fault)
            await tamper(
                superuser,
                f"delete from {LOG}; insert into {LOG} select * from public.kept; "
                f"update {HEADS} h set position = k.position, hash = k.hash from public.kept k "
                "where h.chain = k.chain and k.position = 12",
            )
        assert await find_fault(store.db, file) is None
    finally:
        await superuser.execute("drop table public.kept")


def choose_damage(seed: random.Random, position: int) -> tuple[str, int]:
    """A statement, and the entry at which it must be found."""
    column = seed.choice(sorted(DAMAGE.keys() - {"hash", "previous_hash"}))
    edit = f"update {LOG} set {column.split()[0]} = {DAMAGE[column]} where position = {position}"
    return seed.choice(
        [
            (edit, position),
            (f"{edit}; {REWRITE}", position),
            (f"delete from {LOG} where position = {position}", position + 1 if position < 12 else 12),
            # Without any entry the head is left as it was.
            (f"delete from {LOG} where position >= {position}; {REWRITE}", position - 1 or 12),
        ]
    )


async def tamper(superuser: asyncpg.Connection, statement: str) -> None:
    """As somebody could who owns the machine."""
    async with superuser.transaction():
        await superuser.execute("set local session_replication_role = replica")
        await superuser.execute(statement)
