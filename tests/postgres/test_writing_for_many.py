"""What is written for many users at once takes as long as these are many, however many more there are.

Behind row-level security the planner believes that next to nothing of a table is to be seen, and gladly reads all of it
for each row of a batch. So the tables are asked whether somebody read them whole.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest_asyncio

from ownkey.domain.usage import UsageEvent, new_id
from ownkey.storage.usage import _write_rows
from tests.postgres.people import usage_event
from tests.servers import PostgresServer

USERS, BATCH = 3_000, 250
# Of one person each there is one row in all of them.
READ_BY_KEY = ("users", "credentials", "gateway_tokens", "usage_daily", "usage_spans", "spend_counters")


class Crowd:
    """Many users, with a credential and a token each."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.credentials = [new_id() for _ in range(USERS)]
        self.tokens = [new_id() for _ in range(USERS)]

    async def move_in(self) -> None:
        names = [f"user-{number:05}" for number in range(USERS)]
        rows: dict[str, tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]] = {
            "users": (("id",), [(name,) for name in names]),
            "credentials": (
                ("user_id", "id", "provider", "label", "hint"),
                [(name, id, "groq", "work", "gsk_…0000") for name, id in zip(names, self.credentials, strict=True)],
            ),
            "gateway_tokens": (
                ("user_id", "id", "name", "hint", "scopes"),
                [(name, id, "laptop", "ok-…abcd", ["gateway"]) for name, id in zip(names, self.tokens, strict=True)],
            ),
        }
        await self.connection.execute("set session_replication_role = replica")
        for table, (columns, records) in rows.items():
            await self.connection.copy_records_to_table(table, schema_name="ownkey", columns=columns, records=records)
        await self.connection.execute("set session_replication_role = origin; analyze")

    def events(self, numbers: Sequence[int]) -> list[UsageEvent]:
        return [
            usage_event(f"user-{number:05}", credential_id=self.credentials[number], cost_microdollars=7)
            for number in numbers
        ]

    async def read_whole(self) -> dict[str, int]:
        """How many rows were read of tables that were read whole, in this transaction."""
        found = await self.connection.fetch(
            "select relname, seq_tup_read from pg_stat_xact_user_tables where relname = any($1)", READ_BY_KEY
        )
        return {row["relname"]: row["seq_tup_read"] for row in found if row["seq_tup_read"]}


@pytest_asyncio.fixture
async def crowd(server: PostgresServer, own_database: str) -> Any:
    connection = await asyncpg.connect(server.dsn(own_database, "postgres"))
    crowd = Crowd(connection)
    await crowd.move_in()
    yield crowd
    await connection.close()


async def test_usage_of_many_users_reads_no_table_whole(crowd: Crowd) -> None:
    numbers = list(range(USERS))
    random.Random(7).shuffle(numbers)
    # The first plans are made for what is asked, the later ones for whatever may be.
    for begin in range(0, 8 * BATCH, BATCH):
        batch = numbers[begin : begin + BATCH]
        for _ in range(2):  # rows that are new, then rows that are there
            async with crowd.connection.transaction():
                await crowd.connection.execute("set local role ownkey_gateway")
                rows = await _write_rows(crowd.events(batch))
                assert await crowd.connection.fetchval("select ownkey_private.record_usage($1)", rows) == BATCH
                assert await crowd.read_whole() == {}
    counts = await crowd.connection.fetch(
        "select request_count, count(*) from ownkey.credentials group by 1 order by 1"
    )
    assert [tuple(row) for row in counts] == [(0, USERS - 8 * BATCH), (2, 8 * BATCH)]


async def test_uses_of_many_tokens_read_no_table_whole(crowd: Crowd) -> None:
    now = datetime.now(UTC)
    for _ in range(8):
        uses = [
            {"user_id": f"user-{number:05}", "id": crowd.tokens[number], "at": now} for number in range(0, USERS, 3)
        ]
        uses.append({"user_id": "user-00001", "id": crowd.tokens[0], "at": now})  # not theirs
        async with crowd.connection.transaction():
            await crowd.connection.execute("set local role ownkey_gateway")
            touched = await crowd.connection.fetchval(
                "select ownkey_private.touch_tokens($1)", msgspec.json.encode(uses).decode()
            )
            assert touched == len(uses) - 1
            assert await crowd.read_whole() == {}
    seen = await crowd.connection.fetchval("select count(*) from ownkey.gateway_tokens where last_used_at = $1", now)
    assert seen == USERS // 3


async def test_the_histograms_are_those_of_the_function_that_reads_them(crowd: Crowd) -> None:
    lengths = [0, 1, 2, 3, 7, 8, 9, 1_000, 65_535, 65_536, 86_400_000, 10**12, None]
    events = crowd.events([5] * len(lengths))
    for event, length in zip(events, lengths, strict=True):
        event.duration_ms, event.first_byte_ms = length or 0, length
    async with crowd.connection.transaction():
        await crowd.connection.execute("set local role ownkey_gateway")
        await crowd.connection.fetchval("select ownkey_private.record_usage($1)", await _write_rows(events))
    [row] = await crowd.connection.fetch(
        "select d.duration_histogram, d.first_byte_histogram, m.* from ownkey.usage_daily d, lateral ("
        "  select sum(ownkey_private.latency_mark(duration_ms)) as durations,"
        "    sum(ownkey_private.latency_mark(first_byte_ms)) as first_bytes from ownkey.usage_events"
        ") m"
    )
    assert row["duration_histogram"] == row["durations"]
    assert row["first_byte_histogram"] == row["first_bytes"]
