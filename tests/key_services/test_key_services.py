"""Wrapping keys at key services: bound wraps, outages, moves to a service and away from it while requests go on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ownkey import Config, Ownkey
from ownkey.crypto.key_calls import KeyCalls
from ownkey.crypto.key_ring import KeyRing
from ownkey.crypto.key_text import generate_key_line
from ownkey.errors import ConfigError, CredentialUnreadable, DataKeyClosed, KeyServiceAway
from ownkey.startup import open_database
from tests.gateway.conftest import serve
from tests.gateway.ledger_server import LedgerServer
from tests.key_services.servers import TOKEN, Cable, GoogleWire, Moto, OpenBao
from tests.replicas.bare_client import BareClient

SERVICES = {"openbao": OpenBao, "aws": Moto, "google": GoogleWire}
BOUND = {"user_id": "alice", "deployment_id": "prod", "version": 1}


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAULT_TOKEN", TOKEN)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        running = SERVICES[request.param]()
        yield running
        running.end()


@pytest.fixture
def cable(service: Any) -> Iterator[Cable]:
    running = Cable(service.port)
    yield running
    running.end()


def test_what_was_wrapped_unwraps_for_its_user_deployment_version_and_key_only(service: Any, cable: Cable) -> None:
    ring = KeyRing.parse(f"a:{service.url(cable.port)},b:{service.url(cable.port, 'second')}")
    data_key = secrets.token_bytes(32)
    key_id, wrapped = ring.wrap(data_key, **BOUND)  # type: ignore[arg-type]
    assert key_id == "a"
    assert data_key not in wrapped
    assert not ring.is_local("a")
    assert ring.unwrap("a", wrapped, **BOUND) == data_key  # type: ignore[arg-type]
    for wrong in ({"user_id": "bob"}, {"deployment_id": "staging"}, {"version": 2}, {"user_id": "\ud800"}):
        with pytest.raises(CredentialUnreadable):
            ring.unwrap("a", wrapped, **{**BOUND, **wrong})  # type: ignore[arg-type]
    with pytest.raises(CredentialUnreadable):
        ring.unwrap("b", wrapped, **BOUND)  # type: ignore[arg-type]
    with pytest.raises(DataKeyClosed):
        ring.unwrap("c", wrapped, **BOUND)  # type: ignore[arg-type]
    middle = len(wrapped) * 3 // 4
    for forged in (
        wrapped[:middle] + bytes([wrapped[middle] ^ 1]) + wrapped[middle + 1 :],
        wrapped[4:],
        b"OW" + wrapped[2:],
    ):
        with pytest.raises(CredentialUnreadable):
            ring.unwrap("a", forged, **BOUND)  # type: ignore[arg-type]


def test_an_outage_is_no_verdict_on_what_is_stored_and_passes(service: Any, cable: Cable) -> None:
    ring = KeyRing.parse(f"a:{service.url(cable.port)}")
    _, wrapped = ring.wrap(data_key := secrets.token_bytes(32), **BOUND)  # type: ignore[arg-type]
    cable.cut()
    for _ in range(2):
        with pytest.raises(KeyServiceAway):
            ring.unwrap("a", wrapped, **BOUND)  # type: ignore[arg-type]
        with pytest.raises(KeyServiceAway):
            ring.wrap(data_key, **BOUND)  # type: ignore[arg-type]
    cable.heal()
    assert ring.unwrap("a", wrapped, **BOUND) == data_key  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="module")
async def database(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The data directory of an embedded PostgreSQL, which stays up between the processes of one test and the next."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="ownkey-services-"))
    path.chmod(0o755)
    async with AsyncExitStack() as stack:
        await open_database(Config(data_dir=path), stack)
        yield path
    shutil.rmtree(path, ignore_errors=True)


async def test_users_move_from_a_local_key_to_a_service_and_on_while_it_fails(
    service: Any, cable: Cable, database: Path, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["service"]
    local, later = f"local-{kind}:{generate_key_line()[10:]}", f"later-{kind}:{generate_key_line()[10:]}"
    far = f"far-{kind}"
    key_file = database / "wrapping.key"
    ended = key_file.read_text() if key_file.exists() else ""
    key_file.write_text(f"{ended}{local}\n{far}:{service.url(cable.port)}\n{later}\n")
    key_file.chmod(0o600)
    async with LedgerServer() as provider:
        catalog = database / "catalog.toml"
        catalog.write_text(f'[groq]\nbase_url = "{provider.base_url}"\nlocal = true\n')
        config = Config(data_dir=database, catalog=catalog, shared_keys=False)
        users = {f"{kind}-{number}": f"gsk_{kind}_{number:016d}" for number in range(10)}
        async with Ownkey.open(config, environ={}) as ok:
            rotation = ok.core.rotation
            await rotation.promote("cli:tester", f"local-{kind}")
            tokens = {}
            for user, key in users.items():
                await ok.manager.load_user_settings(user)
                await ok.settings.add_credential(user, "groq", key)
                tokens[user] = (await ok.tokens.create(user, "test")).text
            await rotation.promote("cli:tester", far)
            done = await rotation.rewrap_all()
            assert (done.left, done.unreadable) == (0, 0)
            assert done.moved >= len(users)
        async with Ownkey.open(config, environ={}) as ok, serve(ok.asgi()) as url:
            names = list(users)
            warm, cold = names[0], names[1:9]

            async def ask(user: str) -> tuple[int, bytes]:
                client = BareClient(url)
                try:
                    return await client.post(tokens[user], f'{{"model":"groq/m","user":"{users[user]}","messages":[]}}')
                finally:
                    client.hang_up()

            assert (await ask(warm))[0] == 200
            cable.cut()
            assert (await ask(warm))[0] == 200, "an outage serves whose data key is in memory"
            for status, text in await asyncio.gather(*map(ask, cold)):
                assert (status, b"key_service_unavailable" in text) == (503, True), text
            for user in cold[:2]:
                [held] = await ok.settings.list_credentials(user)
                assert held.status != "unreadable"
                with pytest.raises(KeyServiceAway):
                    await ok.settings.test_credential(user, held.id)
            cable.heal()
            async with asyncio.timeout(10):
                while (await ask(cold[0]))[0] != 200:
                    await asyncio.sleep(0.05)
            assert {status for status, _ in await asyncio.gather(*map(ask, users))} == {200}
            assert all(key == user for key, user in provider.keys)
            # And away from the service again.
            await ok.core.rotation.promote("cli:tester", f"later-{kind}")
            assert (await ok.core.rotation.rewrap_all()).left == 0
            await ok.core.rotation.retire("cli:tester", far)
            # Warm users have the old form in memory. It is looked up anew once the key that opens it is gone from here.
            key_file.write_text(f"{ended}{later}\n")
            assert await ok.core.key_watch.reload()
            for user in users:
                ok.core.completion._data_keys.forget(user)
            assert {status for status, _ in await asyncio.gather(*map(ask, users))} == {200}


async def test_a_process_does_not_start_on_a_primary_key_that_does_not_work(service: Any, cable: Cable) -> None:
    ring = KeyRing.parse(f"a:{service.url(cable.port)}")
    calls = KeyCalls()
    cable.cut()

    class NoDatabase:
        """Nothing of it is needed for what is looked at here."""

    from ownkey.services.key_watch import KeyWatch

    watch = KeyWatch(NoDatabase(), ring, calls)  # type: ignore[arg-type]
    watch.phases = {"a": "primary"}
    with pytest.raises(ConfigError, match="key service of wrapping key a"):
        await watch.check()
    calls.close()


def test_what_openbao_refuses_by_policy_is_the_operators_to_mend() -> None:
    """A version that is no longer allowed, a token without rights, a sealed server: nothing is wrong with the rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAULT_TOKEN", TOKEN)
        service = OpenBao()
        try:
            ring = KeyRing.parse(f"a:{service.url(service.port)}")
            _, wrapped = ring.wrap(secrets.token_bytes(32), **BOUND)  # type: ignore[arg-type]
            patch.setenv("VAULT_TOKEN", "another")
            with pytest.raises(KeyServiceAway):
                ring.unwrap("a", wrapped, **BOUND)  # type: ignore[arg-type]
            patch.setenv("VAULT_TOKEN", TOKEN)
            service.call("transit/keys/first/rotate", {})
            assert len(ring.unwrap("a", wrapped, **BOUND)) == 32, "the service's own versions may go on"  # type: ignore[arg-type]
            service.call("transit/keys/first/config", {"min_decryption_version": 2})
            with pytest.raises(KeyServiceAway):
                ring.unwrap("a", wrapped, **BOUND)  # type: ignore[arg-type]
            service.call("transit/keys/first/config", {"min_decryption_version": 1})
            service.call("sys/seal", {})
            with pytest.raises(KeyServiceAway):
                ring.unwrap("a", wrapped, **BOUND)  # type: ignore[arg-type]
        finally:
            service.end()


@pytest.mark.parametrize(
    "url",
    [
        "openbao://",
        "openbao://host/transit/key/name",
        "openbao://user:password@host/transit/keys/name",
        "openbao://host/transit/keys/name?token=x",
        "openbao+http://vault.example.com/transit/keys/name",
        "vault+http://10.0.0.1:8200/transit/keys/name",
    ],
)
def test_an_address_that_is_not_understood_or_not_safe_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KeyRing.parse(f"a:{url}")
    assert "password" not in caught.value.message
