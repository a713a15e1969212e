"""One PostgreSQL for all of these tests. `REPLICAS_LONG=1` makes them the long proof of `make replicas`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers import PostgresServer, start_wheel_postgres

LONG = os.environ.get("REPLICAS_LONG", "") not in ("", "0")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with start_wheel_postgres() as running:
        yield running
