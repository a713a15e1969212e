"""pgrls tries to prove from the policies alone that no row reaches whom it does not belong to.

It decides a fragment of SQL: a policy that asks for a role or calls a function of its own is "unverified" to it,
whatever it lets through. So the promise here is that it finds no leak, and proves the tables that hold secrets. That
every table shows each user their own rows alone is tested with real sessions in `tests/postgres/test_isolation.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.servers import PostgresServer

from judges.conftest import PROGRAMS, ask

# Which tables it proves. Who presents a token sees the row of its hash, whosever it is: that is how its owner is found.
_PROVEN = {
    "anon": {"ownkey_private.credential_secrets", "ownkey_private.token_hashes"},
    "cross-tenant": {"ownkey_private.credential_secrets"},
    "write": {
        "ownkey.user_llm_settings",
        "ownkey_private.accounts",
        "ownkey_private.credential_secrets",
        "ownkey_private.one_time_links",
        "ownkey_private.sessions",
        "ownkey_private.token_hashes",
    },
}


def judge(dsn: str, mode: str) -> dict[str, str]:
    """The verdict on each table."""
    options = ("--mode", mode, "--auth-function", "ownkey.current_user_id", "--format", "json")
    verdict = ask(PROGRAMS / "pgrls", "verify", *options, "--database-url", dsn, "--schemas", "ownkey,ownkey_private")
    tables = cast("dict[str, Any]", verdict.found)["tables"]
    return {one["table"]: one["verdict"] for one in tables}


@pytest.mark.parametrize("mode", list(_PROVEN))
def test_no_table_leaks(server: PostgresServer, database: str, mode: str) -> None:
    verdicts = judge(server.dsn(database, "postgres"), mode)
    assert len(verdicts) > 30
    assert [table for table, verdict in verdicts.items() if verdict == "leak"] == []
    assert {verdicts[table] for table in _PROVEN[mode]} == {"isolated"}


@pytest.mark.parametrize("mode", list(_PROVEN))
def test_a_leak_would_be_found(server: PostgresServer, database: str, spoil: Callable[[str], None], mode: str) -> None:
    spoil("""
        create table ownkey.leaky (user_id text not null, secret text);
        alter table ownkey.leaky enable row level security, force row level security;
        create policy everybody on ownkey.leaky using (user_id = ownkey.current_user_id() or secret is not null);
    """)
    assert judge(server.dsn(database, "postgres"), mode)["ownkey.leaky"] == "leak"
