"""Taking one's data away, and erasing oneself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, UsageEvent, new_id
from ownkey.storage.usage import insert_events
from tests.gateway.api_client import ApiClient, caller, unique
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
