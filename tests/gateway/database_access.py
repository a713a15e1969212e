"""What only a test may do to the database of the server under test: turn back its clocks."""

from __future__ import annotations

import asyncpg

from ownkey.storage.embedded import EmbeddedPostgres
from tests.gateway.conftest import Platform


async def execute_on_database(platform: Platform, statement: str, *arguments: object) -> None:
    """Run one statement with the rights of whoever migrates."""
    postgres = await EmbeddedPostgres.start(platform.ok.config.data_dir)
    connection = await asyncpg.connect(postgres.migration_dsn)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
        await postgres.stop()
