"""One PostgreSQL and one set of simulated providers per worker; users are never shared between tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from ownkey.config import Config
from ownkey.crypto.key_text import generate_key_line
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.policy import Policy
from ownkey.domain.provider import Provider
from ownkey.providers.catalog import load_catalog
from ownkey.startup import open_database
from ownkey.storage.database import Database
from ownkey.testing import SimulatedProviders
from ownkey.upstream.pool import UpstreamPool
from tests.services.stand import Stand, point_at


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """Outside pytest's own directories: PostgreSQL runs as another user when we are root."""
    path = Path(tempfile.mkdtemp(prefix="ownkey-services-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture(scope="session")
async def database(data_dir: Path) -> AsyncIterator[Database]:
    """An empty database with this version's schema."""
    async with AsyncExitStack() as stack:
        yield (await open_database(Config(data_dir=data_dir), stack)).pool


@pytest.fixture(scope="session")
def simulation() -> Iterator[SimulatedProviders]:
    with SimulatedProviders() as simulated:
        yield simulated


@pytest.fixture
def providers(simulation: SimulatedProviders) -> SimulatedProviders:
    """Healthy providers with an empty ledger."""
    simulation.reset()
    return simulation


@pytest.fixture(scope="session")
def catalog(simulation: SimulatedProviders) -> dict[str, Provider]:
    known = load_catalog()
    return point_at(known, {name: simulation.base_url(name) for name in known})


@pytest_asyncio.fixture(scope="session")
async def pool() -> AsyncIterator[UpstreamPool]:
    pool = UpstreamPool(
        connect_timeout_seconds=5,
        first_byte_timeout_seconds=10,
        idle_timeout_seconds=10,
        total_timeout_seconds=30,
        max_answer_bytes=1_000_000,
    )
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def wrapping() -> LocalWrappingKeys:
    return LocalWrappingKeys.parse(generate_key_line())


@pytest.fixture
def stand(database: Database, pool: UpstreamPool, catalog: dict[str, Provider], wrapping: LocalWrappingKeys) -> Stand:
    """The services with the operator's OpenAI key behind them."""
    return Stand(database, pool, catalog, wrapping)


@pytest.fixture
def narrow_stand(
    database: Database, pool: UpstreamPool, catalog: dict[str, Provider], wrapping: LocalWrappingKeys
) -> Stand:
    """Only Groq and Mistral are allowed."""
    return Stand(database, pool, catalog, wrapping, policy=Policy(allowed=frozenset({"groq", "mistral"})))


@pytest.fixture
def custom_stand(
    database: Database, pool: UpstreamPool, catalog: dict[str, Provider], wrapping: LocalWrappingKeys
) -> Stand:
    """Users may set base URLs of their own, as long as those are public."""
    return Stand(database, pool, catalog, wrapping, custom_base_urls=True)


@pytest.fixture
def impostor_stand(
    database: Database, pool: UpstreamPool, catalog: dict[str, Provider], wrapping: LocalWrappingKeys
) -> Stand:
    """The same database, served with a wrapping key of the same name and other content."""
    line = generate_key_line().partition(":")[2]
    return Stand(database, pool, catalog, LocalWrappingKeys.parse(f"{wrapping.primary_id}:{line}"))


@pytest.fixture
def stranger_stand(database: Database, pool: UpstreamPool, catalog: dict[str, Provider]) -> Stand:
    """The same database, served with another wrapping key."""
    return Stand(database, pool, catalog, LocalWrappingKeys.parse(generate_key_line()))
