"""Three hundred forced failures with debug logging on: keys appear nowhere, not even in the database's raw files."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from itertools import product
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from ownkey import Config, Ownkey
from ownkey.errors import ConfigError, OwnkeyError
from ownkey.testing import SimulatedProviders
from tests.gateway.canary import Canaries, dump, write_with_variables
from tests.gateway.conftest import serve
from tests.gateway.ledger_server import LedgerServer
from tests.receiver import SECRET, Receiver

FAULTS: tuple[str, ...] = (
    "bad_key", "no_permission", "no_credit", "rate_limited", "daily_quota", "missing_model", "bad_request",
    "refused_content", "server_error", "unavailable", "overloaded", "echo_key", "not_json", "redirect", "reset",
    "stream_error", "stream_cut", "stream_truncated",
)  # fmt: skip
DOORS: dict[str, dict[str, int]] = {"/v1/chat/completions": {}, "/v1/responses": {}, "/v1/messages": {"max_tokens": 9}}
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


async def test_no_key_shows_whatever_fails(
    private_dir: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.DEBUG)
    canaries = Canaries()
    operator = canaries.make_key("sk-operator-{}")
    answers: list[str] = []
    with SimulatedProviders() as simulated, Receiver() as receiver:
        async with LedgerServer() as plain:
            catalog = private_dir / "catalog.toml"
            catalog.write_text(simulated.catalog_overrides() + "\n" + DEAD_ENDS.replace("{port}", str(plain.port)))
            config = Config(
                data_dir=private_dir, catalog=catalog, shared_keys=True, log_level="debug", retry_wait_seconds=0,
                webhook_url=receiver.url, webhook_secret=SECRET, connect_timeout_seconds=0.2,
            )  # fmt: skip
            async with Ownkey.open(config, environ={"OPENAI_API_KEY": operator}) as ok, serve(ok.asgi()) as url:
                async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
                    said, calls = await fail_in_every_way(client, ok, simulated, canaries)
                    answers += said
                    answers += await wrong_inputs(client, ok, canaries)
                    answers += [(await client.get(path)).text for path in ("/metrics", "/readyz")]
                await ok.core.metering.flush()
                await ok.core.credential_health.flush()
                columns = await dump(ok)
            answers.append(await with_another_wrapping_key(config))
    assert calls >= 300, "the failures must really happen"
    output = capfd.readouterr()
    logs = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    events = "\n".join(f"{one.headers} {one.body.decode()}" for one in receiver.arrivals)
    # A sign of life: debug logging was on, the database was really read, and the host heard of refused keys.
    assert len(caplog.records) > 100 and "groq" in columns and "credential" in events
    for place, text in (
        ("answers", "\n".join(answers)),
        ("logs", logs + caplog.text),
        ("variables in logged exceptions", write_with_variables(caplog.records)),
        ("output", output.out + output.err),
        ("database", columns),
        ("events", events),
    ):
        assert canaries.find(text.encode()) == [], place
    # PostgreSQL has ended by now, so its files hold all that it ever wrote, write-ahead log and own log included.
    found, size = await asyncio.to_thread(canaries.find_in_files, private_dir)
    assert size > 30_000_000, "its files were really read"
    assert found == []


async def fail_in_every_way(
    client: httpx2.AsyncClient, ok: Ownkey, simulated: SimulatedProviders, canaries: Canaries
) -> tuple[list[str], int]:
    """Each fault of each provider, through each door for text, streamed and whole; the key is tested afterwards.

    Every call has a user of its own, since a key that was refused is not tried again soon. Also how many calls failed
    at the provider.
    """
    answers, calls = [], 0
    tried = [(provider, fault) for provider in PROVIDERS for fault in FAULTS] + [("nowhere", None), ("notls", None)]
    for (provider, fault), path, stream in product(tried, DOORS, (False, True)):
        user, key = f"{provider}-{len(answers)}", canaries.make_key()
        await ok.manager.load_user_settings(user)
        stored = await ok.settings.add_credential(user, provider, key)
        token = canaries.add_token((await ok.tokens.create(user, "t", scopes=("gateway", "settings"))).text)
        simulated.reset()
        if fault is not None:
            simulated.break_provider(provider, fault)  # type: ignore[arg-type]
        simulated.break_provider("openai", "echo_key")
        # After so many failures it would be left alone.
        ok.core.router.health.note_success(ok.core.catalog[provider].base_url, stored.id)
        answers.append(await ask(client, path, token, stream=stream))
        reached = fault is None or any(call.key == key for call in simulated.ledger(provider))
        calls += reached
        headers = {"Authorization": f"Bearer {token}"}
        tested = await client.post(f"/api/credentials/{stored.id}/test", headers=headers)
        answers.append(f"{tested.status_code} {tested.headers} {tested.text}")
    return answers, calls


async def ask(client: httpx2.AsyncClient, path: str, token: str, *, stream: bool) -> str:
    said = "input" if path == "/v1/responses" else "messages"
    answer = await client.post(
        path,
        headers={"Authorization": f"Bearer {token}"},
        json={"model": "auto", said: [{"role": "user", "content": "hi"}], "stream": stream, **DOORS[path]},
    )
    return f"{answer.status_code} {dict(answer.headers)} {answer.text}"


async def wrong_inputs(client: httpx2.AsyncClient, ok: Ownkey, canaries: Canaries) -> list[str]:
    """Keys that are malformed when they are saved, and tokens that are malformed when they are shown."""
    said = []
    for wrong in ("{}\nX-Evil: 1", "{} x", "\x00{}", "{}é", "{}" + "x" * 2000):
        with pytest.raises(OwnkeyError) as caught:
            await ok.settings.add_credential("groq-0", "groq", canaries.make_key(wrong))
        said.append(f"{caught.value.message} {caught.value.extra} {caught.value!r}")
    for number in range(3):
        token = canaries.add_token("ok-" + secrets.token_hex(24 + number)[:49])
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
        [credential] = await ok.settings.list_credentials("groq-2")
        assert credential.status != "unreadable"
    return f"{refused.value.message} {caught.value.message}"


@pytest.mark.parametrize("around", ["", "x", "xy", "Bearer "])
def test_a_canary_is_found_however_it_is_written(around: str) -> None:
    canaries = Canaries()
    key = canaries.make_key()
    token = canaries.add_token("ok-" + secrets.token_urlsafe(32))
    written = (around + key).encode()
    for form in (written, written.hex().encode(), base64.b64encode(written), quote(written).encode()):
        assert len(canaries.find(b"before " + form + b" behind")) == 1
    assert canaries.find(f"{around} {token}.".encode()) == [token.encode()]
    assert canaries.find(Canaries().make_key().encode()) == []
