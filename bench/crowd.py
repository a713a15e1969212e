"""Many users in the gateway's database: one to begin with, then as many as are asked for.

    python -m bench.crowd USERS TOKENS_FILE

Run as a process before the gateway, with the gateway's configuration in the environment. The first user is made as a
host would make them. The others go straight into the tables, sealed and hashed as the real ones are: through the
public functions 100,000 of them would take an hour. Their keys are known to work: they have been here before, and the
first success of a key, which is written down, is behind them.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from bench.targets import PROVIDER_KEY
from ownkey import Ownkey
from ownkey.config import Config
from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.envelope import Binding, fingerprint, seal_secret
from ownkey.crypto.tokens import mint_token
from ownkey.domain.credential import Secret
from ownkey.startup import load_wrapping_keys
from ownkey.storage.embedded import EmbeddedPostgres

USER = "bench"
PROVIDERS = ("openai", "groq", "together")
_BATCH = 10_000
_TABLES = {
    "ownkey.users": ("id",),
    "ownkey.user_llm_settings": ("user_id",),
    "ownkey_private.data_keys": ("user_id", "wrapped", "wrapping_key_id", "version"),
    "ownkey.credentials": ("user_id", "id", "provider", "label", "hint", "status"),
    "ownkey_private.credential_secrets": ("user_id", "credential_id", "sealed", "fingerprint", "generation"),
    "ownkey.gateway_tokens": ("user_id", "id", "name", "hint", "scopes"),
    "ownkey_private.token_hashes": ("user_id", "token_id", "hash"),
}


async def prepare(users: int, tokens_file: Path) -> None:
    """Make them, and write the tokens, the first user's first."""
    async with Ownkey.open() as ok:
        await ok.manager.load_user_settings(USER)
        for provider in PROVIDERS:
            await ok.settings.add_credential(USER, provider, PROVIDER_KEY)
        tokens = [(await ok.tokens.create(USER, "bench")).text]
        if users:
            tokens += await _fill(Config.from_env(), users)
    tokens_file.write_text("\n".join(tokens) + "\n")


async def _fill(config: Config, users: int) -> list[str]:
    data_keys = DataKeys(load_wrapping_keys(config), config.deployment_id)
    postgres = await EmbeddedPostgres.start(config.data_dir)
    connection = await asyncpg.connect(postgres.migration_dsn)
    tokens: list[str] = []
    try:
        await connection.execute("set session_replication_role = replica")
        for begin in range(0, users, _BATCH):
            rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _TABLES}
            for number in range(begin, min(begin + _BATCH, users)):
                tokens.append(_add_user(rows, f"crowd-{number}", data_keys, config.deployment_id))
            for table, columns in _TABLES.items():
                schema, name = table.split(".")
                await connection.copy_records_to_table(name, schema_name=schema, columns=columns, records=rows[table])
        await connection.execute("analyze")
    finally:
        await connection.close()
        await postgres.stop()
    return tokens


def _add_user(rows: dict[str, list[tuple[Any, ...]]], user_id: str, data_keys: DataKeys, deployment_id: str) -> str:
    """Their rows; returns their token."""
    key = data_keys.new(user_id)
    data_key = data_keys.open(user_id, key.wrapped, key.wrapping_key_id, key.version)
    rows["ownkey.users"].append((user_id,))
    rows["ownkey.user_llm_settings"].append((user_id,))
    rows["ownkey_private.data_keys"].append((user_id, key.wrapped, key.wrapping_key_id, key.version))
    for credential_id, provider, secret in _secrets():
        binding = Binding(
            deployment_id=deployment_id, user_id=user_id, provider=provider, record_id=str(credential_id), generation=1
        )
        sealed = seal_secret(data_key, secret, binding, data_key_version=key.version)
        mark = fingerprint(data_key, user_id, provider, secret)
        rows["ownkey.credentials"].append((user_id, credential_id, provider, "work", "sk-…0000", "ok"))
        rows["ownkey_private.credential_secrets"].append((user_id, credential_id, sealed, mark, 1))
    token, token_hash = mint_token()
    token_id = uuid.uuid4()
    rows["ownkey.gateway_tokens"].append((user_id, token_id, "laptop", "ok-…abcd", ["gateway"]))
    rows["ownkey_private.token_hashes"].append((user_id, token_id, token_hash))
    return token


def _secrets() -> Iterator[tuple[uuid.UUID, str, Secret]]:
    for provider in PROVIDERS:
        yield uuid.uuid4(), provider, Secret(PROVIDER_KEY)


if __name__ == "__main__":
    asyncio.run(prepare(int(sys.argv[1]), Path(sys.argv[2])))
