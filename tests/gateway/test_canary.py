"""A hundred forced failures with debug logging on: the keys appear in no output, log, answer or database column."""

from __future__ import annotations

import base64
import logging
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx2
import pytest

from ownkey import Config, Ownkey
from ownkey.errors import ConfigError, OwnkeyError
from ownkey.testing import SimulatedProviders
from tests.gateway.conftest import serve
from tests.gateway.ledger_server import LedgerServer

FAULTS: tuple[str, ...] = (
    "bad_key", "no_permission", "no_credit", "rate_limited", "daily_quota", "missing_model", "bad_request",
    "refused_content", "server_error", "unavailable", "overloaded", "echo_key", "not_json", "redirect", "reset",
    "stream_error", "stream_cut", "stream_truncated",
)  # fmt: skip
PROVIDERS = ("groq", "mistral", "anthropic")
# What a provider's wire format never does with a key: a name that does not resolve, TLS that nobody speaks.
DEAD_ENDS = '[nowhere]\nlabel = "Nowhere"\ndialect = "openai_chat"\nbase_url = "https://no-such-host.invalid/v1"\n' + (
    '[nowhere.defaults]\ndefault = "m"\n'
    '[notls]\nlabel = "No TLS"\ndialect = "openai_chat"\nbase_url = "https://127.0.0.1:{port}/v1"\nlocal = true\n'
    '[notls.defaults]\ndefault = "m"\n'
)


@pytest.fixture(autouse=True)
def fresh_providers() -> None:
    """This test has providers of its own."""


def shapes(key: str) -> list[str]:
    """How a key could be written down."""
    raw = key.encode()
    return [key, base64.b64encode(raw).decode().rstrip("=")[:-2], raw.hex(), quote(key, safe="")]


async def test_no_key_shows_whatever_fails(
    private_dir: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.DEBUG)
    keys: dict[str, str] = {}
    answers: list[str] = []
    failures = 0
    with SimulatedProviders() as simulated:
        async with LedgerServer() as plain:
            catalog = private_dir / "catalog.toml"
            catalog.write_text(simulated.catalog_overrides() + "\n" + DEAD_ENDS.replace("{port}", str(plain.port)))
            config = Config(
                data_dir=private_dir, catalog=catalog, shared_keys=True, log_level="debug", retry_wait_seconds=0
            )
            operator = f"sk-operator-{secrets.token_hex(12)}"
            keys["operator"] = operator
            async with Ownkey.open(config, environ={"OPENAI_API_KEY": operator}) as ok, serve(ok.asgi()) as url:
                async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
                    for provider in (*PROVIDERS, "nowhere", "notls"):
                        faults = FAULTS if provider in PROVIDERS else ("-",)
                        for number, fault in enumerate(faults):
                            user = f"{provider}-{number}"
                            keys[user] = f"key-{secrets.token_hex(12)}+/%Z"
                            await ok.manager.load_user_settings(user)
                            await ok.settings.add_credential(user, provider, keys[user])
                            token = keys[f"token of {user}"] = (await ok.tokens.create(user, "t")).text
                            for stream in (False, True):
                                simulated.reset()
                                if fault != "-":
                                    simulated.break_provider(provider, fault)  # type: ignore[arg-type]
                                simulated.break_provider("openai", "echo_key")
                                answers.append(await ask(client, token, stream=stream))
                                failures += '"error"' in answers[-1]
                    answers += await wrong_inputs(client, ok, keys)
                await ok.core.metering.flush()
                await ok.core.credential_health.flush()
                columns = await dump(ok)
            answers.append(await with_another_wrapping_key(config))
    assert failures >= 80, "the failures must really happen"
    output = capfd.readouterr()
    logs = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    # A sign of life: debug logging was on, and the database was really read.
    assert len(caplog.records) > 100 and "groq" in columns
    for place, text in (
        ("answers", "\n".join(answers)),
        ("logs", logs + caplog.text),
        ("output", output.out + output.err),
        ("database", columns),
    ):
        found = [name for name, key in keys.items() for shape in shapes(key) if shape in text]
        assert found == [], f"{place} shows a key of {found[:3]}"


async def ask(client: httpx2.AsyncClient, token: str, *, stream: bool) -> str:
    answer = await client.post(
        "/v1/chat/completions",
        headers={"Authorization": f"Bearer {token}"},
        json={"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": stream},
    )
    return f"{answer.status_code} {dict(answer.headers)} {answer.text}"


async def wrong_inputs(client: httpx2.AsyncClient, ok: Ownkey, keys: dict[str, str]) -> list[str]:
    """Keys that are malformed when they are saved, and tokens that are malformed when they are shown."""
    said = []
    for number, wrong in enumerate(("{}\nX-Evil: 1", "{} {}", "\x00{}", "{}é", "{}" * 40)):
        key = keys[f"malformed {number}"] = f"gsk_{secrets.token_hex(16)}"
        with pytest.raises(OwnkeyError) as caught:
            await ok.settings.add_credential("groq-0", "groq", wrong.replace("{}", key))
        said.append(f"{caught.value.message} {caught.value.extra} {caught.value!r}")
    for number in range(3):
        token = keys[f"wrong token {number}"] = "ok-" + secrets.token_hex(24 + number)[:49]
        answer = await client.post("/v1/chat/completions", headers={"Authorization": f"Bearer {token}"}, json={})
        assert answer.status_code == 401
        said.append(answer.text)
    return said


async def with_another_wrapping_key(config: Config) -> str:
    """The same database under a key that opens nothing: told, not sent, and not served with."""
    line = "other:" + base64.b64encode(secrets.token_bytes(32)).decode()
    wrong = Config(data_dir=config.data_dir, catalog=config.catalog, wrapping_keys=line, shared_keys=False)
    with pytest.raises(ConfigError) as refused:
        async with Ownkey.open(wrong, environ={}):
            pass
    # A key of the right name and the wrong content opens nothing either: not even what seals the audit trail.
    name = (config.data_dir / "wrapping.key").read_text().splitlines()[-1].split(":")[0]
    lying = Config(
        data_dir=config.data_dir,
        catalog=config.catalog,
        wrapping_keys=line.replace("other", name),
        shared_keys=False,
    )
    with pytest.raises(ConfigError) as caught:
        async with Ownkey.open(lying, environ={}):
            pass
    # With the right key back, the same credential opens again.
    async with Ownkey.open(config, environ={}) as ok:
        [credential] = await ok.settings.list_credentials("groq-8")
        assert credential.status != "unreadable"
    return f"{refused.value.message} {caught.value.message}"


async def dump(ok: Ownkey) -> str:
    """Every column of every table, as PostgreSQL's superuser sees it."""
    dsn = await superuser_dsn(ok)
    connection: Any = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables "
            "where schemaname in ('ownkey', 'ownkey_private', 'public')"
        )
        rows: list[str] = []
        for table in tables:
            found = await connection.fetch(f"select t::text as row from {table['name']} t")
            rows += [f"{table['name']} {row['row']}" for row in found]
        return "\n".join(rows)
    finally:
        await connection.close()


async def superuser_dsn(ok: Ownkey) -> str:
    from ownkey.storage.embedded import EmbeddedPostgres

    server = await EmbeddedPostgres.start(ok.config.data_dir)
    try:
        return server.migration_dsn
    finally:
        await server.stop()
