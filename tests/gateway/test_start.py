"""What a start refuses: an open wall, keys that open nothing, a directory that others may write into."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from msgspec import structs

from ownkey import Config, Ownkey
from ownkey.errors import ConfigError
from ownkey.spool.spool import SEGMENT_BYTES, Spool
from ownkey.storage.embedded import EmbeddedPostgres
from ownkey.testing import SimulatedProviders
from tests.gateway.conftest import serve
from tests.unit.spool.test_frames import call


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


def _line(key: bytes, key_id: str = "k1") -> str:
    return f"{key_id}:{base64.b64encode(key).decode()}"


GOOD = _line(hashlib.sha256(b"a key of this test alone, which no list of words has").digest())
HOST = {"jwt_issuer": "https://app.example.com", "jwt_audience": "ownkey"}
UNSAFE: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"wrapping_keys": "  "}, "No wrapping key is given"),
    "zeros": ({"wrapping_keys": _line(bytes(32))}, "not random"),
    "the hash of a word": ({"wrapping_keys": _line(hashlib.sha256(b"secret").digest())}, "not random"),
    "the hash of a line": ({"wrapping_keys": _line(hashlib.sha256(b"changeme\n").digest())}, "not random"),
    "a passphrase": ({"wrapping_keys": _line(b"correct horse battery staple 123")}, "not random"),
    "the published example": (
        {"wrapping_keys": _line(hashlib.shake_256(b"ownkey published test vector: first wrapping key").digest(32))},
        "not random",
    ),
    "half a key": ({"wrapping_keys": _line(hashlib.sha256(b"x y z").digest()[:16])}, "not the base64 of 32 bytes"),
    "two names for one key": ({"wrapping_keys": f"{GOOD},{GOOD.replace('k1', 'k2')}"}, "the same as another"),
    "a variable and a file": ({"wrapping_keys": GOOD, "wrapping_key_file": Path("/nowhere")}, "both set"),
    "a key service without TLS": ({"wrapping_keys": "k1:openbao+http://kms.example.com/transit/keys/k"}, "TLS only"),
    "host tokens of anybody": ({"jwt_secret": "s" * 40}, "OWNKEY_JWT_AUDIENCE"),
    "a short host secret": ({"jwt_secret": "short", **HOST}, "OWNKEY_JWT_SECRET"),
    "host keys without TLS": ({"jwt_jwks_url": "http://app.example.com/jwks", **HOST}, "https"),
    "an identity provider without TLS": (
        {"oidc_issuer": "http://login.example.com", "oidc_client_id": "ownkey"},
        "https",
    ),
    "unsigned events": ({"webhook_url": "https://app.example.com/events"}, "OWNKEY_WEBHOOK_SECRET"),
    "events signed with a word": (
        {"webhook_url": "https://app.example.com/events", "webhook_secret": "whsec_c2VjcmV0"},
        "OWNKEY_WEBHOOK_SECRET",
    ),
}


@pytest_asyncio.fixture(scope="module")
async def safe_place() -> AsyncIterator[Path]:
    """A database that is up already, so that each refusal costs little."""
    path = Path(tempfile.mkdtemp(prefix="ownkey-unsafe-"))
    path.chmod(0o755)
    server = await EmbeddedPostgres.start(path)
    yield path
    await server.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("name", UNSAFE)
async def test_an_unsafe_configuration_does_not_start(safe_place: Path, name: str) -> None:
    unsafe, said = UNSAFE[name]
    settings = {"data_dir": safe_place, "shared_keys": False, "wrapping_keys": GOOD, **unsafe}
    message = await refusal(Config(**settings))
    assert said in message
    for secret in ("s" * 40, "c2VjcmV0", GOOD.partition(":")[2]):
        assert secret not in message


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
async def test_a_key_file_that_others_may_read_is_refused(safe_place: Path, mode: int) -> None:
    path = safe_place / "open.key"
    path.write_text(GOOD)
    path.chmod(mode)
    config = Config(data_dir=safe_place, shared_keys=False, wrapping_key_file=path)
    assert "chmod 600" in await refusal(config)


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


async def test_a_disk_full_of_what_the_dead_have_left_is_emptied_at_the_start(
    private_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after some that were killed while the database was away: else none could start that might record it."""
    config = Config(data_dir=private_dir, spool_dir=private_dir / "spool", shared_keys=False)
    spool = Spool(private_dir / "spool", max_bytes=4 * SEGMENT_BYTES)
    calls = 0
    while len(spool._segments) < 2 or spool._segments[-1].room > 1024 * 1024:
        one = structs.replace(call(calls), raw_usage=bytes(8000), user_id="ada")
        spool.begin(one, 400)
        spool.finish(one)
        calls += 1
    os.close(spool._lock)  # as the kernel does for who is killed
    allocate = os.posix_fallocate

    def small_disk(fd: int, offset: int, length: int) -> None:
        taken = sum(path.stat().st_size for path in spool.directory.glob("*.spool"))
        if taken + length > 2.5 * SEGMENT_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(fd, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", small_disk)
    async with Ownkey.open(config, environ={}) as ok:
        await ok.manager.load_user_settings("ada")
        usage = await ok.core.usage_report.query("ada", start=date(2026, 11, 26), end=date(2026, 11, 26))
        assert usage.total.requests == calls > 800
        ok.core.metering.check_room()
