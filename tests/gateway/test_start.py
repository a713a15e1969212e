"""What a start refuses: an open wall, keys that open nothing, a directory that others may write into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from ownkey import Config, Ownkey
from ownkey.errors import ConfigError
from ownkey.storage.embedded import EmbeddedPostgres
from ownkey.testing import SimulatedProviders
from tests.gateway.conftest import serve


@pytest.fixture(autouse=True)
def fresh_providers(providers: SimulatedProviders) -> None:
    """These tests have servers of their own."""
    providers.reset()


async def refusal(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        async with Ownkey.open(config, environ={}):
            pass
    return caught.value.message


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("alter role ownkey_gateway bypassrls", "ownkey_gateway"),
        ("alter table ownkey_private.credential_secrets disable row level security", "credential_secrets"),
        ("alter table ownkey.users no force row level security", "users"),
    ],
)
async def test_an_open_wall_is_not_served_behind(private_dir: Path, damage: str, named: str) -> None:
    config = Config(data_dir=private_dir, shared_keys=False)
    async with Ownkey.open(config, environ={}) as ok:
        await ok.manager.load_user_settings("ada")
    server = await EmbeddedPostgres.start(private_dir)
    try:
        connection: Any = await asyncpg.connect(server.migration_dsn)
        await connection.execute(damage)
        await connection.close()
    finally:
        await server.stop()
    message = await refusal(config)
    assert named in message and "doctor" in message


async def test_another_database_needs_a_key_that_somebody_keeps() -> None:
    message = await refusal(Config(database_url="postgresql://nobody@127.0.0.1:1/none"))
    assert "ownkey keygen" in message and "OWNKEY_WRAPPING_KEYS" in message


async def test_a_directory_that_others_may_write_into_is_refused(private_dir: Path) -> None:
    shared = private_dir / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    message = await refusal(Config(data_dir=shared))
    assert "chmod go-w" in message and not list(shared.iterdir())


async def test_a_misspelt_provider_is_named(private_dir: Path) -> None:
    assert "groqq" in await refusal(Config(data_dir=private_dir, allowed_providers=("groqq",)))


async def test_the_last_use_of_a_token_shows(private_dir: Path, providers: SimulatedProviders) -> None:
    config = Config(data_dir=private_dir, catalog=providers.write_catalog(private_dir / "catalog.toml"))
    async with Ownkey.open(config, environ={}) as ok:
        await ok.manager.load_user_settings("ada")
        token = await ok.tokens.create("ada", "laptop")
        async with serve(ok.asgi()) as url, httpx2.AsyncClient(base_url=url) as client:
            await client.get("/v1/models", headers={"Authorization": f"Bearer {token.text}"})
        await ok.core.token_uses.flush()
        [listed] = await ok.tokens.list_tokens("ada")
        assert listed.last_used_at is not None
