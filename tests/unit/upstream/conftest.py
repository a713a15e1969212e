from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from certificates import Authority

from ownkey.upstream.pool import UpstreamPool

OpenPool = Callable[..., UpstreamPool]


@pytest.fixture
async def open_pool() -> AsyncIterator[OpenPool]:
    """Opens pools with short deadlines, and closes them after the test."""
    pools: list[UpstreamPool] = []

    def open_pool(**changes: Any) -> UpstreamPool:
        settings: dict[str, Any] = {
            "connect_timeout_seconds": 5.0,
            "first_byte_timeout_seconds": 5.0,
            "idle_timeout_seconds": 5.0,
            "total_timeout_seconds": 10.0,
            "max_answer_bytes": 1_000_000,
        }
        pools.append(UpstreamPool(**(settings | changes)))
        return pools[-1]

    yield open_pool
    for pool in pools:
        await pool.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
