"""No user reaches another user's rows, in any table, by any command, as any role that serves users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ownkey.domain.policy import PolicyDocument
from ownkey.errors import StorageError
from ownkey.storage import policy, snapshots, users
from ownkey.storage.database import Database
from tests.postgres.people import Store
from tests.servers import LOGIN

TABLES = """
    select c.oid::regclass::text as name, c.relname, n.nspname, c.relispartition,
        (select a.attname from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            and a.attname = case when c.relname = 'users' then 'id' else 'user_id' end) as owner_column
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('ownkey', 'ownkey_private') and c.relkind in ('r', 'p', 'v', 'm', 'f')
    order by 1
"""
ROLES = ("ownkey_gateway", "authenticated")


async def list_tables(superuser: asyncpg.Connection) -> list[asyncpg.Record]:
    tables = await superuser.fetch(TABLES)
    assert len(tables) >= 15
    return tables


async def test_every_table_has_forced_security_a_floor_and_policies_by_command(superuser: asyncpg.Connection) -> None:
    policies = await superuser.fetch("select * from pg_policies where schemaname in ('ownkey', 'ownkey_private')")
    for table in await list_tables(superuser):
        flags = await superuser.fetchrow(
            "select relrowsecurity, relforcerowsecurity, relowner::regrole::text as owner, relkind "
            "from pg_class where oid = $1::text::regclass",
            table["name"],
        )
        assert tuple(flags)[:3] == (True, True, "ownkey_owner"), table["name"]
        assert flags["relkind"] in (b"r", b"p"), (
            "a view would need security_invoker, a materialized one has no policies"
        )
        own = [p for p in policies if (p["schemaname"], p["tablename"]) == (table["nspname"], table["relname"])]
        restrictive = {p["policyname"]: p for p in own if p["permissive"] == "RESTRICTIVE"}
        assert all(p["cmd"] == "ALL" for p in restrictive.values()), table["name"]
        assert restrictive["roles"]["roles"] == ["public"], table["name"]
        assert "CURRENT_USER" in restrictive["roles"]["qual"], table["name"]
        serves_users = table["owner_column"] is not None and not table["relispartition"]
        assert set(restrictive) == ({"roles", "floor"} if serves_users else {"roles"}), table["name"]
        if serves_users:
            users = {role for p in own if p["policyname"].startswith("own_") for role in p["roles"]}
            assert set(restrictive["floor"]["roles"]) == users, table["name"]
            assert "current_user_id()" in restrictive["floor"]["qual"], table["name"]
        permissive = [(role, p["cmd"]) for p in own if p["permissive"] == "PERMISSIVE" for role in p["roles"]]
        assert permissive, table["name"]
        assert len(set(permissive)) == len(permissive), f"two policies for one role and command on {table['name']}"
        assert not [cmd for _, cmd in permissive if cmd == "ALL"], table["name"]


async def test_every_privilege_has_a_policy_and_no_role_of_ours_can_pass_by(superuser: asyncpg.Connection) -> None:
    roles = await superuser.fetch("select * from pg_roles where rolname like 'ownkey%'")
    assert {role["rolname"] for role in roles} >= {
        "ownkey_owner", "ownkey_gateway", "ownkey_admin", "ownkey_auditor", "ownkey_rotator", LOGIN,
    }  # fmt: skip
    for role in roles:
        assert not role["rolsuper"]
        assert not role["rolbypassrls"]
        assert not role["rolcreaterole"]
        assert not role["rolcreatedb"]
        assert role["rolcanlogin"] == (role["rolname"] == LOGIN)
    assert not await superuser.fetchval("select pg_has_role($1, 'ownkey_owner', 'member')", LOGIN)


async def test_a_user_sees_and_changes_nothing_of_another(
    store: Store, superuser: asyncpg.Connection, supabase: None
) -> None:
    """Every statement is tried as both roles; whatever is granted hits no row of the other user."""
    await store.add_person("ann")
    await store.add_person("bob")
    readable: set[tuple[str, str]] = set()
    for table in await list_tables(superuser):
        name, column = table["name"], table["owner_column"]
        if column is None or table["relispartition"]:
            continue
        before = await superuser.fetch(f"select * from {name} where {column} = 'bob'")
        assert before, f"add_person leaves {name} empty: this test would prove nothing"
        for role in ROLES:
            updatable = await granted_columns(superuser, name, role, "UPDATE")
            async with as_user(superuser, role, "ann") as ann:
                seen = {row[0] for row in await attempt(ann, f"select {column} from {name}")}
                assert seen <= {"ann"}, f"{role} reads {name}"
                if seen:
                    readable.add((role, name))
                statements = [f"select {column} from {name} where {column} = 'bob'"]
                statements += [f"delete from {name} where {column} = 'bob' returning {column}"]
                statements += [
                    f"update {name} set {one} = {one} where {column} = 'bob' returning {column}" for one in updatable
                ]
                for statement in statements:
                    assert await attempt(ann, statement) == [], f"{role}: {statement}"
        assert await superuser.fetch(f"select * from {name} where {column} = 'bob'") == before
    visible = {name for role, name in readable if role == "authenticated"}
    assert visible == {
        "ownkey.users", "ownkey.user_llm_settings", "ownkey.provider_preferences", "ownkey.task_overrides",
        "ownkey.credentials", "ownkey.gateway_tokens", "ownkey.usage_events", "ownkey.usage_daily",
    }  # fmt: skip
    assert {name for role, name in readable if role == "ownkey_gateway"} == visible | {
        "ownkey_private.audit_log", "ownkey_private.credential_secrets", "ownkey_private.data_keys",
        "ownkey_private.accounts", "ownkey_private.one_time_links", "ownkey_private.sessions",
    }  # fmt: skip


async def test_a_user_cannot_insert_a_row_for_another_or_give_one_away(
    store: Store, superuser: asyncpg.Connection, supabase: None
) -> None:
    await store.add_person("ann")
    await store.add_person("bob")
    tried = 0
    for table in await list_tables(superuser):
        name, column = table["name"], table["owner_column"]
        if column is None or table["relispartition"]:
            continue
        for role in ROLES:
            assert column not in await granted_columns(superuser, name, role, "UPDATE"), f"rows of {name} change hands"
            columns = await granted_columns(superuser, name, role, "INSERT")
            if column not in columns:
                continue
            tried += 1
            values = ", ".join("'bob'" if one == column else one for one in columns)
            statement = f"insert into {name} ({', '.join(columns)}) select {values} from copied limit 1"
            async with superuser.transaction():
                await superuser.execute(f"create temp table copied on commit drop as select * from {name}")
                await superuser.execute("grant select on copied to public")
                await become(superuser, role, "ann")
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                    async with superuser.transaction():
                        await superuser.execute(statement)
    assert tried >= 9


async def test_a_supabase_client_reads_and_does_not_write(superuser: asyncpg.Connection, supabase: None) -> None:
    """Checks and audit rows are the management API's; a direct write would have neither."""
    for table in await list_tables(superuser):
        writes = [await granted_columns(superuser, table["name"], "authenticated", one) for one in ("INSERT", "UPDATE")]
        assert writes == [[], []], table["name"]
        assert not await superuser.fetchval(
            "select has_table_privilege('authenticated', $1, 'DELETE, TRUNCATE, TRIGGER')", table["name"]
        )


@pytest.mark.parametrize("claims", ["", "{}", '{"role": "ownkey_gateway"}', '{"sub": ""}', '{"sub": null}'])
async def test_without_an_identity_nothing_is_seen(
    store: Store, superuser: asyncpg.Connection, supabase: None, claims: str
) -> None:
    await store.add_person("ann")
    for table in await list_tables(superuser):
        if table["owner_column"] is None:
            continue
        # The login inherits all its roles, the administrator's and the rotator's too, until it has switched.
        for role in (*ROLES, LOGIN):
            async with as_user(superuser, role, "") as nobody:
                await nobody.fetchval("select set_config('request.jwt.claims', $1, true)", claims)
                assert await attempt(nobody, f"select 1 from {table['name']}") == [], f"{role} reads {table['name']}"


async def test_the_administrator_sees_everybody_and_no_secret(store: Store, superuser: asyncpg.Connection) -> None:
    await store.add_person("ann")
    await store.add_person("bob")
    seen: dict[str, set[str]] = {}
    for table in await list_tables(superuser):
        for command in ("INSERT", "UPDATE"):
            assert await granted_columns(superuser, table["name"], "ownkey_admin", command) == [], table["name"]
        assert not await superuser.fetchval(
            "select has_table_privilege('ownkey_admin', $1, 'DELETE, TRUNCATE')", table["name"]
        )
        if table["owner_column"] is None:
            continue
        async with store.db.transaction("root", role="ownkey_admin") as tx:
            rows = await attempt(tx, f"select {table['owner_column']} from {table['name']}")
        if rows:
            seen[table["name"]] = {row[0] for row in rows}
    assert set(seen) == {
        "ownkey.users", "ownkey.user_llm_settings", "ownkey.provider_preferences", "ownkey.task_overrides",
        "ownkey.credentials", "ownkey.gateway_tokens", "ownkey.usage_events", "ownkey.usage_daily",
        "ownkey_private.audit_log", "ownkey_private.accounts",
    }  # fmt: skip
    assert all(people == {"ann", "bob"} for people in seen.values())


async def test_only_the_administrators_role_decides_for_everybody(
    store: Store, superuser: asyncpg.Connection, supabase: None
) -> None:
    """The login inherits the right to call; the function looks at who it has switched to, and for whom."""
    await store.add_person("ann")
    for statement in (
        "select ownkey_private.put_policy('{}', 0, 'ann', '{}')",
        "select ownkey_private.put_provider('evil', '{}', true, 'ann', '{}')",
        "select ownkey_private.delete_provider('evil', 'ann', '{}')",
    ):
        for role in ("ownkey_gateway", "ownkey_auditor", "ownkey_rotator", "authenticated", LOGIN):
            async with as_user(superuser, role, "ann") as somebody:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await somebody.execute(statement)
        async with as_user(superuser, "ownkey_admin", "") as nobody:
            await nobody.fetchval("select set_config('request.jwt.claims', '', true)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await nobody.execute(statement)
    for table in ("deployment_policy", "catalog_providers"):
        async with as_user(superuser, "authenticated", "ann") as client:
            assert await attempt(client, f"select 1 from ownkey_private.{table}") == []
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await client.execute(f"select 1 from ownkey_private.{table}")
    async with store.db.transaction("root", role="ownkey_admin") as tx:
        document = PolicyDocument(reveal_keys=True)
        generation = await policy.put_policy(tx, document, expected=0, actor="root", details={})
        assert generation
        assert await policy.put_policy(tx, document, expected=0, actor="root", details={}) is None
        for write in ("delete from", "update"):
            rest = " set document = '{}'" if write == "update" else ""
            assert await attempt(tx, f"{write} ownkey_private.deployment_policy{rest} returning 1") == []
    async with store.db.transaction("ann") as tx:
        assert (await policy.load_policy(tx)).document == document
    entries = await superuser.fetch("select actor, user_id, action from ownkey_private.audit_log where actor = 'root'")
    assert [tuple(entry) for entry in entries] == [("root", "root", "policy.updated")]


async def test_functions_are_closed_to_the_public_and_have_no_search_path(superuser: asyncpg.Connection) -> None:
    functions = await superuser.fetch(
        "select p.oid::regprocedure::text as name, p.proconfig, p.prosecdef, p.proowner::regrole::text as owner, "
        "exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g where g.grantee = 0) "
        "as public "
        "from pg_proc p where p.pronamespace in ('ownkey'::regnamespace, 'ownkey_private'::regnamespace)"
    )
    assert len(functions) >= 20
    for function in functions:
        assert not function["public"], function["name"]
        path = "pg_catalog, pg_temp" if function["prosecdef"] else '""'
        assert f"search_path={path}" in (function["proconfig"] or []), function["name"]
        assert function["owner"] == "ownkey_owner", function["name"]


async def test_foreign_keys_are_indexed(superuser: asyncpg.Connection) -> None:
    missing = await superuser.fetch(
        """
        select con.conname from pg_constraint con
        where con.contype = 'f'
            and con.connamespace in ('ownkey'::regnamespace, 'ownkey_private'::regnamespace)
            and not exists (
                select from pg_index i
                where i.indrelid = con.conrelid
                    and (i.indkey::int2[])[0:cardinality(con.conkey) - 1] operator(pg_catalog.@>) con.conkey
            )
        """
    )
    assert missing == []


async def test_identity_does_not_outlive_its_transaction(dsn: str, store: Store) -> None:
    ann = await store.add_person("ann")
    db = await Database.open(dsn, pool_size=1)

    async def check_nobody() -> None:
        async with db._connection() as connection:
            left = await connection.fetchrow(
                "select current_user, nullif(current_setting('request.jwt.claims', true), ''), "
                "nullif(current_setting('ownkey.token_hash', true), ''), ownkey.current_user_id()"
            )
            assert tuple(left) == (LOGIN, None, None, None)

    async with db.transaction("ann") as tx:
        assert await users.find_user(tx, "ann") is not None
    await check_nobody()
    assert await snapshots.load_snapshot(db, "ann") is not None
    await check_nobody()
    assert await snapshots.load_by_token(db, ann.token_hash) is not None
    await check_nobody()
    with pytest.raises(ZeroDivisionError):
        async with db.transaction("ann"):
            raise ZeroDivisionError
    await check_nobody()
    async with db.transaction(None) as tx:
        assert await tx.fetchval("select count(*) from ownkey.users") == 0
    await db.close()


async def test_a_statement_that_leaves_the_role_gains_nothing(store: Store) -> None:
    """A forged RESET ROLE inside a transaction ends at the login, which has no rights but its roles'."""
    await store.add_person("ann")
    await store.add_person("bob")
    async with store.db.transaction("ann") as tx:
        await tx.execute("reset role")
        assert await tx.fetchval("select current_user") == LOGIN
        assert await tx.fetch("select id from ownkey.users") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tx.execute("set local role ownkey_owner")


async def test_unknown_roles_are_refused(db: Database) -> None:
    with pytest.raises((asyncpg.PostgresError, StorageError)):
        async with db.transaction("ann", role="postgres"):  # type: ignore[arg-type]
            pass


async def become(connection: asyncpg.Connection, role: str, user_id: str) -> None:
    await connection.execute(f"set local role {role}")
    await connection.fetchval(
        "select set_config('request.jwt.claims', json_build_object('sub', $1::text)::text, true)", user_id
    )


@asynccontextmanager
async def as_user(superuser: asyncpg.Connection, role: str, user_id: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction with this role and identity that is rolled back."""
    transaction = superuser.transaction()
    await transaction.start()
    try:
        await become(superuser, role, user_id)
        yield superuser
    finally:
        await transaction.rollback()


async def attempt(connection: asyncpg.Connection, statement: str) -> list[asyncpg.Record]:
    """The rows, or none where the privilege is missing altogether."""
    try:
        async with connection.transaction():
            return list(await connection.fetch(statement))
    except asyncpg.InsufficientPrivilegeError:
        return []


async def granted_columns(connection: asyncpg.Connection, table: str, role: str, command: str) -> list[str]:
    rows = await connection.fetch(
        "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and not attisdropped "
        "and has_column_privilege($2, attrelid, attnum, $3) order by attnum",
        table,
        role,
        command,
    )
    return [row["attname"] for row in rows]
