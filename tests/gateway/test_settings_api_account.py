"""Taking one's data away, and erasing oneself."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ownkey import Config, Ownkey
from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, UsageEvent, new_id
from ownkey.storage.usage import insert_events
from tests.gateway.api_client import ApiClient, administrator, caller, unique
from tests.gateway.browser import PASSWORD, grow_stale, person, problem
from tests.gateway.conftest import Platform

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)


def event(user_id: str, **fields: Any) -> UsageEvent:
    values: dict[str, Any] = {
        "id": new_id(),
        "request_id": new_id(),
        "user_id": user_id,
        "occurred_at": NOON,
        "attempt": 1,
        "task": None,
        "provider": "groq",
        "model": "m",
        "requested_model": "auto",
        "credential_id": None,
        "payer": Payer.OWN,
        "operation": "chat",
        "streamed": False,
        "outcome": Outcome.OK,
        "duration_ms": 500,
    }
    return UsageEvent(**(values | fields))


async def fill(platform: Platform, client: ApiClient) -> str:
    """Something of everything; gives the id of the key."""
    secret = f"gsk_{unique('key')}"
    client.keep_secret(secret)
    stored = (await client.post("/api/credentials", {"provider": "groq", "secret": secret, "label": "work"})).json()
    await client.patch("/api/settings", {"payer": "own_only"})
    await client.put("/api/preferences/groq", {"priority": 1})
    await client.put("/api/tasks/coding", {"provider": "groq", "credential_id": stored["id"]})
    await insert_events(platform.ok.database, [event(client.user_id, credential_id=stored["id"], task="coding")])
    identifier: str = stored["id"]
    return identifier


async def test_the_export_holds_everything_but_secrets(platform: Platform) -> None:
    async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        credential = await fill(platform, ann)
        await fill(platform, bob)
        answer = await ann.get("/api/export")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-disposition"].startswith('attachment; filename="ownkey-export-2')
        whole = answer.json()
        assert (whole["format"], whole["version"]) == ("ownkey-export", 1)
        assert (whole["user"]["id"], whole["user"]["role"]) == (ann.user_id, "user")
        assert whole["settings"]["payer"] == "own_only"
        assert [one["provider"] for one in whole["preferences"]] == ["groq"]
        assert [one["task"] for one in whole["tasks"]] == ["coding"]
        assert [(one["id"], one["label"]) for one in whole["credentials"]] == [(credential, "work")]
        assert [one["name"] for one in whole["tokens"]] == ["test"]
        [day] = whole["usage_daily"]
        assert (day["day"], day["task"], day["credential_id"], day["requests"]) == (
            "2026-11-05",
            "coding",
            credential,
            1,
        )
        assert [one["action"] for one in whole["audit"]][-1] == "user.created"
        assert len(whole["audit"]) == len(await ann.audit())
        assert {one["user_id"] for one in whole["audit"]} == {ann.user_id}
        # Not a secret, not a hash, not somebody else's.
        assert ann.token is not None and ann.token not in answer.text
        assert bob.user_id not in answer.text
        for word in ("sealed", "fingerprint", "wrapped", "password"):
            assert word not in answer.text
        async with caller(platform.ok, scopes=("gateway",)) as app:
            assert (await app.get("/api/export")).status_code == 403


async def test_a_long_history_is_complete(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        days = [NOON + timedelta(days=n) for n in range(-260, 0)]
        keys = [{"occurred_at": day, "task": task} for day in days for task in (None, "coding", "writing", "é")]
        await insert_events(platform.ok.database, [event(ann.user_id, **key) for key in keys])
        for n in range(520):
            await platform.ok.settings.update_settings(ann.user_id, allow_fallback=bool(n % 2))
        whole = (await ann.get("/api/export")).json()
        assert (
            len({(row["day"], row["task"]) for row in whole["usage_daily"]}) == len(whole["usage_daily"]) == len(keys)
        )
        positions = [entry["id"] for entry in whole["audit"]]
        assert len(positions) > 520 and positions == sorted(set(positions), reverse=True)


async def test_the_export_of_somebody_new_is_valid_too(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        whole = json.loads((await ann.get("/api/export")).text)
        assert whole["usage_daily"] == [] and whole["credentials"] == []


async def test_what_one_signs_in_with_is_in_the_export_and_what_proves_it_is_not(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann:
        whole = await ann.get("/api/export")
        assert whole.json()["account"]["login"] == ann.user_id
        assert [one["method"] for one in whole.json()["sessions"]] == ["link"]
        assert "argon2" not in whole.text


async def test_erased_is_erased(platform: Platform) -> None:
    async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        await fill(platform, ann)
        theirs = await fill(platform, bob)
        for wrong in ("", bob.user_id, ann.user_id.upper(), f" {ann.user_id}"):
            answer = await ann.send("DELETE", "/api/account", json={"confirm": wrong})
            assert answer.status_code == 400
        assert answer.json()["code"] == "confirmation_mismatch"
        assert (await ann.send("DELETE", "/api/account")).status_code == 400
        assert len((await ann.get("/api/credentials")).json()) == 1
        answer = await ann.send("DELETE", "/api/account", json={"confirm": ann.user_id})
        assert answer.status_code == 200
        receipt = answer.json()
        gone = await ann.get("/api/credentials")
        assert (gone.status_code, gone.json()["code"]) == (401, "token_invalid")
        async with platform.ok.database.transaction(ann.user_id) as tx:
            for table in ("users", "credentials", "gateway_tokens", "usage_events", "usage_daily", "task_overrides"):
                assert await tx.fetchval(f"select count(*) from ownkey.{table}") == 0
        trail = await platform.ok.audit.list_entries(ann.user_id)
        assert trail[0].action == "user.deleted"
        assert (receipt["credentials"], receipt["gateway_tokens"], receipt["data_key"]) == (1, 1, True)
        assert (receipt["audit_id"], receipt["erased_by"]) == (trail[0].id, ann.user_id)
        async with platform.ok.database.transaction(None, role="ownkey_auditor") as tx:
            hash_of = "select encode(hash, 'hex') from ownkey_private.audit_log where id = $1"
            assert receipt["audit_hash"] == await tx.fetchval(hash_of, trail[0].id)
        assert [one["id"] for one in (await bob.get("/api/credentials")).json()] == [theirs]


async def test_the_last_administrator_stays(platform: Platform, private_dir: Path) -> None:
    config = Config(data_dir=private_dir, shared_keys=False)
    async with Ownkey.open(config, environ={}) as ok, administrator(ok) as root:
        refused = await root.send("DELETE", "/api/account", json={"confirm": root.user_id})
        assert (refused.status_code, refused.json()["code"]) == (409, "last_administrator")
        assert (await root.get("/api/session")).status_code == 200
        async with administrator(ok) as second:
            # Both at once: one has to stay.
            answers = await asyncio.gather(
                *(one.send("DELETE", "/api/account", json={"confirm": one.user_id}) for one in (root, second))
            )
            assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_whoever_is_signed_in_confirms_it_first(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, ann.copy() as thief:
        await grow_stale(platform, ann)
        body = {"confirm": ann.user_id}
        assert problem(await thief.delete("/api/account", json=body)) == (403, "fresh_sign_in_required")
        assert (await ann.post("/api/session/confirm", {"password": PASSWORD})).status_code == 200
        assert (await ann.delete("/api/account", json=body)).status_code == 200
        assert ann.session is None, "the browser forgets the cookie"
        assert (await ann.sign_in(body["confirm"])).status_code == 401
