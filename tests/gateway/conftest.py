"""One gateway per worker: embedded PostgreSQL, simulated providers, and our own server on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import uvicorn
from msgspec import Struct
from openai import AsyncOpenAI

from ownkey import Config, Ownkey
from ownkey.cli.gateway_server import GatewayServer
from ownkey.domain.routing import shared_credential_id
from ownkey.http.server import Server
from ownkey.services.address_limit import AddressLimit
from ownkey.testing import SimulatedProviders
from tests.listening import bind_loopback

SHARED = {"OPENAI_API_KEY": "sk-operator-openai-0001", "GROQ_API_KEY": "gsk_operator-groq-0001"}
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """Outside pytest's own directories: PostgreSQL runs as another user when we are root."""
    path = Path(tempfile.mkdtemp(prefix="ownkey-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def private_dir() -> Iterator[Path]:
    """A data directory of this test alone."""
    path = Path(tempfile.mkdtemp(prefix="ownkey-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def providers() -> Iterator[SimulatedProviders]:
    with SimulatedProviders() as simulated:
        yield simulated


class User(Struct):
    """A signed-in user: their name, their gateway token and an OpenAI client that shows it."""

    id: str
    token: str
    client: AsyncOpenAI


class Platform(Struct):
    """The server under test and what stands around it."""

    ok: Ownkey
    url: str
    providers: SimulatedProviders

    async def user(self, **keys: str) -> User:
        """A new user with these provider keys, in this order of preference."""
        user_id = f"user-{next(_numbers)}"
        await self.ok.manager.load_user_settings(user_id)
        for priority, (provider, secret) in enumerate(keys.items(), start=1):
            await self.ok.settings.add_credential(user_id, provider, secret)
            await self.ok.settings.put_preference(user_id, provider, priority=priority)
        token = (await self.ok.tokens.create(user_id, "test")).text
        # Its own five seconds to connect are too few where hundreds of clients share this process.
        client = AsyncOpenAI(base_url=f"{self.url}/v1", api_key=token, max_retries=0, timeout=60)
        return User(user_id, token, client)


@contextlib.asynccontextmanager
async def serve(application: object) -> AsyncIterator[str]:
    """An ASGI application on a free loopback port: ours under our own server, as `ownkey serve` has it, others under
    uvicorn.
    """
    listener = bind_loopback()
    server: uvicorn.Server
    if isinstance(application, Server):
        server = GatewayServer(application, Config(shutdown_grace_seconds=1), log_level="warning")
        listener.listen(2048)
    else:
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))  # type: ignore[arg-type]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest_asyncio.fixture(scope="session")
async def platform(data_dir: Path, providers: SimulatedProviders) -> AsyncIterator[Platform]:
    """The whole product on loopback, with an OpenAI and a Groq key of the operator."""
    config = Config(
        data_dir=data_dir,
        catalog=providers.write_catalog(data_dir / "catalog.toml"),
        usage_flush_seconds=0.05,
        # Hundreds of clients share this loop: on a busy machine five seconds pass before a connection is looked at.
        connect_timeout_seconds=60,
    )
    async with Ownkey.open(config, environ=SHARED) as ok, serve(ok.asgi()) as url:
        # Its tries with the keys of the tests before would stand in the ledgers of those that follow.
        await ok.core.recovery.close()
        yield Platform(ok, url, providers)


@pytest.fixture(autouse=True)
def fresh_providers(platform: Platform) -> None:
    """Every test starts with healthy providers, an empty ledger, and nothing learnt from the test before."""
    platform.providers.reset()
    for provider in platform.ok.core.catalog.values():
        platform.ok.core.router.health.note_success(provider.base_url, shared_credential_id(provider.id))
    # All tests come from one address: none pays for the wrong passwords of the one before.
    platform.ok.core.sign_in._addresses = AddressLimit()
