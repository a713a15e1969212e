"""Keys that were refused are found to work again without anybody's help: once, by one process, with few questions."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from ownkey import Config, Ownkey
from ownkey.domain.credential import Credential, CredentialStatus
from ownkey.domain.user import UserStatus
from ownkey.errors import RouteExhausted
from ownkey.storage.embedded import EmbeddedPostgres
from ownkey.testing import SimulatedProviders
from tests.gateway.api_client import unique

HELLO = [{"role": "user", "content": "hi"}]
KEY = "gsk_ada_0000000000000001"
MONTH = timedelta(days=32)


@pytest.fixture(autouse=True)
def fresh_providers(providers: SimulatedProviders) -> None:
    """These tests have servers of their own."""
    providers.reset()


class Deployment:
    """Two servers on one database, and a hand on its clock."""

    def __init__(self, first: Ownkey, second: Ownkey, connection: asyncpg.Connection) -> None:
        self.first, self.second, self.connection = first, second, connection
        # Nobody of an earlier test, whom a server may still remember.
        self.ada = unique("ada")

    async def add_key(self, user_id: str = "", secret: str = KEY) -> Credential:
        user_id = user_id or self.ada
        await self.first.manager.load_user_settings(user_id)
        return await self.first.settings.add_credential(user_id, "groq", secret)

    async def look(self, user_id: str = "") -> Credential:
        [credential] = await self.first.settings.list_credentials(user_id or self.ada)
        return credential

    async def use(self, ok: Ownkey) -> None:
        """One request; what it teaches is in the database afterwards."""
        with suppress(RouteExhausted):
            await ok.manager.chat(self.ada, messages=HELLO)
        await ok.core.credential_health.flush()

    async def let_due(self) -> None:
        """As if the time of the next try had come for every key that has one."""
        await self.connection.execute("update ownkey.credentials set probe_at = now() where probe_at is not null")

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Let both servers try until this is so. Their own background tasks may be faster."""
        async with asyncio.timeout(20):
            while not await condition():
                await asyncio.gather(self.first.core.recovery.run_due(), self.second.core.recovery.run_due())

    async def until_status(self, status: CredentialStatus, user_id: str = "") -> Credential:
        async def reached() -> bool:
            return (await self.look(user_id)).status is status

        await self.until(reached)
        return await self.look(user_id)

    async def until_tried(self, credential: Credential) -> Credential:
        """Until the next try is planned anew, whatever it has found."""

        async def planned() -> bool:
            found = await self.connection.fetchrow("select probes, probe_at from ownkey.credentials where id = $1",
                                                   credential.id)  # fmt: skip
            assert found is not None
            lease = datetime.now(UTC) + timedelta(minutes=6)
            return found["probes"] > 0 and (found["probe_at"] is None or found["probe_at"] > lease)

        await self.until(planned)
        return await self.look()


async def let_go(providers: SimulatedProviders) -> None:
    """Let the one request that is held go on; its arrival is known a moment before it waits."""
    async with asyncio.timeout(5):
        while not providers.release("groq"):
            await asyncio.sleep(0)


@pytest_asyncio.fixture(scope="module")
async def servers(providers: SimulatedProviders) -> AsyncIterator[Deployment]:
    data_dir = Path(tempfile.mkdtemp(prefix="ownkey-test-"))
    data_dir.chmod(0o755)
    config = Config(data_dir=data_dir, catalog=providers.write_catalog(data_dir / "catalog.toml"), shared_keys=False)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, data_dir, ignore_errors=True)
        first = await stack.enter_async_context(Ownkey.open(config, environ={}))
        second = await stack.enter_async_context(Ownkey.open(config, environ={}))
        postgres = await EmbeddedPostgres.start(data_dir)
        stack.push_async_callback(postgres.stop)
        connection = await asyncpg.connect(postgres.migration_dsn)
        stack.push_async_callback(connection.close)
        yield Deployment(first, second, connection)


@pytest_asyncio.fixture
async def deployment(servers: Deployment, providers: SimulatedProviders) -> AsyncIterator[Deployment]:
    """With nobody in it."""
    yield Deployment(servers.first, servers.second, servers.connection)
    providers.reset()
    for ok in (servers.first, servers.second):
        await ok.core.credential_health.flush()
        await ok.core.metering.flush()
    await servers.connection.execute("delete from ownkey.users")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("bad_key", CredentialStatus.INVALID),
        ("no_credit", CredentialStatus.OUT_OF_CREDIT),
        ("daily_quota", CredentialStatus.RATE_LIMITED),
    ],
)
async def test_a_key_that_works_again_is_used_again_in_every_process(
    deployment: Deployment, providers: SimulatedProviders, kind: str, status: CredentialStatus
) -> None:
    await deployment.add_key()
    providers.break_provider("groq", kind)  # type: ignore[arg-type]
    for ok in (deployment.first, deployment.second):
        await deployment.use(ok)
    refused = await deployment.look()
    assert refused.status is status
    assert refused.probe_at is not None and refused.probe_at > datetime.now(UTC) + timedelta(seconds=30)

    await deployment.let_due()
    later = await deployment.until_tried(refused)
    assert later.status is status
    providers.fix("groq")
    await deployment.let_due()
    recovered = await deployment.until_status(CredentialStatus.OK)
    assert (recovered.probe_at, recovered.status_reason, recovered.status_until) == (None, None, None)

    # Neither server goes on leaving it alone for what it had learnt itself.
    for ok in (deployment.first, deployment.second):
        async with asyncio.timeout(5):
            while True:
                try:
                    await ok.manager.chat(deployment.ada, messages=HELLO)
                except RouteExhausted:
                    await asyncio.sleep(0)
                else:
                    break


async def test_a_key_that_is_refused_again_right_after_a_test_is_shown_so(
    deployment: Deployment, providers: SimulatedProviders
) -> None:
    credential = await deployment.add_key()
    for tester in (deployment.first, deployment.second):
        providers.break_provider("groq", "daily_quota")
        await deployment.use(deployment.first)
        assert (await deployment.look()).status is CredentialStatus.RATE_LIMITED
        providers.fix("groq")
        await tester.settings.test_credential(deployment.ada, credential.id)
        assert (await deployment.look()).status is CredentialStatus.OK
        providers.break_provider("groq", "daily_quota")
        # Until this server has heard of the test it leaves the key alone.
        providers.clear_ledger()
        async with asyncio.timeout(5):
            while not providers.ledger("groq"):
                await deployment.use(deployment.first)
        assert (await deployment.look()).status is CredentialStatus.RATE_LIMITED
        await tester.settings.test_credential(deployment.ada, credential.id)


async def test_one_process_tries_a_key_at_a_time(deployment: Deployment, providers: SimulatedProviders) -> None:
    users = [unique("user") for _ in range(12)]
    for number, user_id in enumerate(users):
        await deployment.add_key(user_id, f"gsk_of_{number:020d}")
        await deployment.connection.execute(
            "update ownkey.credentials set status = 'invalid', probe_at = now() where user_id = $1", user_id
        )
    providers.clear_ledger()

    async def all_work() -> bool:
        found = await deployment.connection.fetchval("select count(*) from ownkey.credentials where status = 'ok'")
        return bool(found == len(users))

    await deployment.until(all_work)
    tried = [entry.key for entry in providers.ledger("groq")]
    assert sorted(tried) == sorted(f"gsk_of_{number:020d}" for number in range(12))


async def test_what_would_outlast_its_claim_is_left_to_others(
    deployment: Deployment, providers: SimulatedProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a provider that hangs, each key of a batch takes minutes: the claims of the last would be over."""
    users = [unique("user") for _ in range(4)]
    for number, user_id in enumerate(users):
        await deployment.add_key(user_id, f"gsk_of_{number:020d}")
    await deployment.connection.execute("update ownkey.credentials set status = 'invalid', probe_at = now()")
    providers.clear_ledger()
    passed = iter(range(0, 10_000, 80))
    monkeypatch.setattr("ownkey.services.recovery.elapsed_seconds", lambda: next(passed))
    assert await deployment.first.core.recovery.run_due() == 4
    assert len(providers.ledger("groq")) == 2, "a third would begin 240 seconds into a claim of 300"
    assert await deployment.second.core.recovery.run_due() == 0


async def test_a_try_whose_process_died_is_made_by_another(
    deployment: Deployment, providers: SimulatedProviders
) -> None:
    await deployment.add_key()
    await deployment.connection.execute("update ownkey.credentials set status = 'invalid', probe_at = now()")
    providers.break_provider("groq", "hold")
    dying = asyncio.create_task(deployment.first.core.recovery.run_due())
    assert await asyncio.to_thread(providers.wait_for_requests, 1)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    providers.fix("groq")
    assert (await deployment.look()).status is CredentialStatus.INVALID
    assert await deployment.second.core.recovery.run_due() == 0  # claimed until the lease ends
    await deployment.let_due()
    await deployment.until_status(CredentialStatus.OK)


async def test_what_is_learnt_meanwhile_counts_for_more_than_a_try(
    deployment: Deployment, providers: SimulatedProviders
) -> None:
    credential = await deployment.add_key()
    await deployment.connection.execute("update ownkey.credentials set status = 'invalid', probe_at = now()")
    providers.break_provider("groq", "hold", times=1)
    slow = asyncio.create_task(deployment.first.core.recovery.run_due())
    assert await asyncio.to_thread(providers.wait_for_requests, 1)
    await deployment.second.settings.replace_credential(deployment.ada, credential.id, "gsk_ada_0000000000000002")
    await let_go(providers)
    await slow
    assert (await deployment.look()).status is CredentialStatus.UNVERIFIED


async def test_what_is_off_or_past_or_of_somebody_suspended_is_left_alone(
    deployment: Deployment, providers: SimulatedProviders
) -> None:
    users = {name: unique(name) for name in ("off", "past", "kept_out", "erased")}
    keys = {name: await deployment.add_key(user, f"gsk_{user}") for name, user in users.items()}
    await deployment.first.settings.update_credential(users["off"], keys["off"].id, enabled=False)
    await deployment.first.users.set_status(users["kept_out"], UserStatus.SUSPENDED)
    await deployment.connection.execute(
        "update ownkey.credentials set expires_at = now() where user_id = $1", users["past"]
    )
    await deployment.connection.execute(
        "update ownkey_private.credential_secrets set sealed = null, fingerprint = null where credential_id = $1",
        keys["erased"].id,
    )
    await deployment.connection.execute("update ownkey.credentials set status = 'invalid', probe_at = now()")
    providers.clear_ledger()

    async def erased_is_given_up() -> bool:
        return (await deployment.look(users["erased"])).probe_at is None

    await deployment.until(erased_is_given_up)
    assert providers.ledger("groq") == []
    assert (await deployment.look(users["off"])).probe_at is None  # what is switched off is not said to be tried
    await deployment.first.settings.update_credential(users["off"], keys["off"].id, enabled=True)
    await deployment.until_status(CredentialStatus.OK, users["off"])


async def test_tries_end_after_some_weeks(deployment: Deployment, providers: SimulatedProviders) -> None:
    credential = await deployment.add_key()
    providers.break_provider("groq", "bad_key")
    await deployment.use(deployment.first)
    await deployment.connection.execute("update ownkey.credentials set status_since = now() - $1::interval", MONTH)
    await deployment.let_due()
    assert (await deployment.until_tried(credential)).probe_at is None


async def test_an_account_is_asked_for_credit_by_the_smallest_request_and_its_owner_sees_it(
    deployment: Deployment, providers: SimulatedProviders
) -> None:
    """A list of models is given to accounts without credit as well: it is no proof, and no status follows from it."""
    credential = await deployment.add_key()
    providers.break_provider("groq", "no_credit")
    await deployment.use(deployment.first)
    providers.fix("groq")
    # The list of models works, the request behind it does not.
    providers.break_provider("groq", "hold", times=1)
    providers.clear_ledger()
    await deployment.let_due()
    trying = asyncio.create_task(deployment.until_tried(credential))
    assert await asyncio.to_thread(providers.wait_for_requests, 1)
    providers.break_provider("groq", "no_credit", times=1)
    await let_go(providers)
    assert (await trying).status is CredentialStatus.OUT_OF_CREDIT
    await deployment.let_due()
    await deployment.until_status(CredentialStatus.OK)
    asked = [(entry.method, entry.path.rsplit("/", 1)[-1], (entry.body or {}).get("max_completion_tokens"))
             for entry in providers.ledger("groq")]  # fmt: skip
    assert asked == [("GET", "models", None), ("POST", "completions", 16)] * 2

    for ok in (deployment.first, deployment.second):
        await ok.core.metering.flush()
    requests = await deployment.connection.fetch(
        "select task, payer, outcome from ownkey.usage_events where user_id = $1 order by id", deployment.ada
    )
    assert [tuple(row) for row in requests] == [
        (None, "own", "credit_exhausted"),
        ("credit-probe", "own", "credit_exhausted"),
        ("credit-probe", "own", "ok"),
    ]


async def test_a_cap_on_ones_own_money_is_not_spent_on_questions(
    deployment: Deployment, providers: SimulatedProviders
) -> None:
    credential = await deployment.add_key()
    providers.break_provider("groq", "no_credit")
    await deployment.use(deployment.first)
    providers.fix("groq")
    await deployment.connection.execute(
        "insert into ownkey.user_llm_settings (user_id, cap_month_microdollars) values ($1, 1000)", deployment.ada
    )
    providers.clear_ledger()
    await deployment.let_due()
    assert (await deployment.until_tried(credential)).status is CredentialStatus.OUT_OF_CREDIT
    assert [entry.method for entry in providers.ledger("groq")] == ["GET"]


async def test_a_test_by_hand_says_what_it_proves(deployment: Deployment, providers: SimulatedProviders) -> None:
    credential = await deployment.add_key()
    providers.break_provider("groq", "no_credit")
    await deployment.use(deployment.first)
    providers.fix("groq")
    result = await deployment.first.settings.test_credential(deployment.ada, credential.id)
    assert result.outcome == "works"
    tested = await deployment.look()
    assert (tested.status, tested.status_reason) == (CredentialStatus.UNVERIFIED, "credit_unproved")
    await deployment.use(deployment.second)
    assert (await deployment.look()).status is CredentialStatus.OK
    entries = await deployment.first.audit.list_entries(deployment.ada)
    [entry] = [entry for entry in entries if entry.action == "credential.tested"]
    assert entry.details == {"provider": "groq", "outcome": "works", "status": "unverified"}


async def test_a_test_by_hand_ends_what_another_process_has_not_yet_stored(
    deployment: Deployment, providers: SimulatedProviders
) -> None:
    """Nothing stored changes by it, and the failure that waits to be stored is older than the test."""
    added = await deployment.add_key()
    await deployment.first.settings.test_credential(deployment.ada, added.id)
    health, waiting = deployment.second.core.router.health, deployment.second.core.credential_health
    key = f"{added.id}/1"
    async with waiting._writing:
        providers.break_provider("groq", "rate_limited", retry_after_seconds=600)
        with pytest.raises(RouteExhausted):
            await deployment.second.manager.chat(deployment.ada, messages=HELLO)
        assert health.credential_blocked_until(key) is not None
        providers.fix("groq")
        tested = await deployment.first.settings.test_credential(deployment.ada, added.id)
        assert tested.status is CredentialStatus.OK
        async with asyncio.timeout(10):
            while health.credential_blocked_until(key) is not None:
                await asyncio.sleep(0.01)
    await waiting.flush()
    assert (await deployment.look()).status is CredentialStatus.OK
    assert await deployment.second.manager.chat(deployment.ada, messages=HELLO)
