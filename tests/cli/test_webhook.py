"""What the command line says of keys and of the host's webhook."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from ownkey.storage.embedded import EmbeddedPostgres
from tests.cli.shell import Shell, only
from tests.receiver import SECRET, Receiver


def execute(shell: Shell, statement: str) -> None:
    """Change what only a test may change, while a server runs."""

    async def work() -> None:
        postgres = await EmbeddedPostgres.start(shell.data_dir)
        connection = await asyncpg.connect(postgres.migration_dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
            await postgres.stop()

    asyncio.run(work())


def test_the_doctor_tells_of_a_webhook_in_trouble(shell: Shell) -> None:
    with Receiver() as receiver:
        receiver.statuses.extend([500] * 100)
        hooked = shell.with_variables(OWNKEY_WEBHOOK_URL=receiver.url, OWNKEY_WEBHOOK_SECRET=SECRET)
        with hooked.serve():
            assert only(hooked.read_json("doctor"), name="webhook")["message"] == "Nothing had to be sent yet."
            hooked.succeed("user", "create", "alice")
            ends = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S")
            hooked.succeed("credential", "add", "groq", "--user", "alice", "--expires", ends, text="gsk_0123456789abc")
            table = hooked.succeed("credential", "list", "--user", "alice")
            assert f"The key works until {ends[:10]}, the date that you set." in table
            [listed] = hooked.read_json("credential", "list", "--user", "alice")
            assert listed["health"]["code"] == "expires_soon"

            execute(shell, "select ownkey_private.warn_of_expiry(array[14, 3])")
            [told] = asyncio.run(receiver.wait_for(1))
            assert told.event["type"] == "credential.expires_soon"
            assert only(hooked.read_json("doctor"), name="webhook")["level"] == "ok"
            execute(shell, "update ownkey_private.outbox set occurred_at = now() - interval '1 hour'")
            late = only(hooked.read_json("doctor"), name="webhook")
            assert late["level"] == "warn"
            assert late["message"].startswith("1 event waits, the oldest since ")
            assert late["message"].endswith("Last trouble: it answered with status 500.")
            assert only(shell.read_json("doctor"), name="webhook")["message"].endswith(
                "OWNKEY_WEBHOOK_URL is not set here."
            )
            execute(shell, "update ownkey_private.outbox set state = 'given_up'")
            lost = only(hooked.read_json("doctor"), name="webhook")["message"]
            assert lost.startswith("1 event could not be delivered within a week.")
            assert [one for one in shell.read_json("doctor") if one["name"] == "webhook"] == []
        broken = only(shell.with_variables(OWNKEY_WEBHOOK_URL=receiver.url).run_json("doctor"), name="webhook")
        assert broken["level"] == "fail"
        assert "openssl rand -base64 32" in broken["message"]
