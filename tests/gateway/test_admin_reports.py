"""What administrators watch: users, health, fallbacks, shared keys and the audit log. Never a secret."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, UsageEvent, new_id
from ownkey.storage.usage import insert_events
from tests.gateway.api_client import ApiClient, administrator, caller, unique
from tests.gateway.conftest import Platform
from tests.gateway.test_settings_api_reports import event

ADMIN_PATHS = (
    ("GET", "/api/admin/users"),
    ("GET", "/api/admin/users.csv"),
    ("GET", "/api/admin/usage"),
    ("GET", "/api/admin/usage.csv"),
    ("GET", "/api/admin/health"),
    ("GET", "/api/admin/fallbacks"),
    ("GET", "/api/admin/shared-users"),
    ("GET", "/api/admin/shared-users.csv"),
    ("GET", "/api/admin/providers"),
    ("POST", "/api/admin/providers"),
    ("PUT", "/api/admin/providers/x"),
    ("DELETE", "/api/admin/providers/x"),
    ("GET", "/api/admin/policy"),
    ("PUT", "/api/admin/policy"),
    ("GET", "/api/admin/audit"),
    ("GET", "/api/admin/audit.csv"),
    ("POST", "/api/admin/audit/verify"),
    ("GET", "/api/admin/encryption"),
)


def now_event(user_id: str, **fields: Any) -> UsageEvent:
    """A call of this moment."""
    return replace(event(user_id), occurred_at=datetime.now(UTC), **fields)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def row_of(root: ApiClient, user_id: str) -> dict[str, Any]:
    """One user, as the list has them."""
    (row,) = (await root.get("/api/admin/users", params={"q": user_id.upper()})).json()
    return dict(row)


@pytest.mark.parametrize(("method", "path"), ADMIN_PATHS)
async def test_ordinary_users_and_weaker_tokens_are_kept_out(platform: Platform, method: str, path: str) -> None:
    async with caller(platform.ok) as ann, administrator(platform.ok) as root:
        assert (await ann.send(method, path, json={})).status_code == 403
        weak = (await platform.ok.tokens.create(root.user_id, "weak", scopes=("gateway", "settings"))).text
        async with ApiClient(platform.ok.asgi(), weak) as weaker:
            assert (await weaker.send(method, path, json={})).status_code == 403


async def test_every_path_of_the_administrators_is_guarded(platform: Platform) -> None:
    """Whatever path there is now or later, an ordinary user gets 403 before anything is looked at."""
    async with caller(platform.ok) as ann:
        schema = (await ann.get("/openapi.json")).json()
        paths = [(method.upper(), path) for path, ones in schema["paths"].items() for method in ones]
        admin = [(method, path) for method, path in paths if path.startswith("/api/admin/")]
        assert len(admin) >= len(ADMIN_PATHS)
        for method, path in admin:
            filled = path.replace("{", "").replace("}", "")
            assert (await ann.send(method, filled, json={})).status_code in (400, 403), (method, path)
            if not (schema["paths"][path][method.lower()].get("requestBody")):
                assert (await ann.send(method, filled)).status_code == 403, (method, path)


async def test_users_come_with_what_they_spent(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        await insert_events(
            platform.ok.database,
            [
                now_event(ann.user_id, payer=Payer.SHARED, cost_microdollars=7),
                now_event(ann.user_id, payer=Payer.OWN, cost_microdollars=5),
                now_event(ann.user_id, payer=Payer.OWN, cost_microdollars=None, model="unknown"),
                now_event(ann.user_id, payer=Payer.OWN, outcome=Outcome.RATE_LIMITED, cost_microdollars=0),
                replace(now_event(ann.user_id), occurred_at=datetime.now(UTC) - timedelta(days=40)),
                now_event(bob.user_id, payer=Payer.OWN, cost_microdollars=None, model="unknown"),
            ],
        )
        row = await row_of(root, ann.user_id)
        assert (row["requests"], row["errors"]) == (4, 1)
        assert (row["own_cost_microdollars"], row["shared_cost_microdollars"]) == (5, 7)
        row = await row_of(root, bob.user_id)
        assert (row["own_cost_microdollars"], row["shared_cost_microdollars"]) == (None, None), "unpriced is not free"
        assert (await root.get("/api/admin/users", params={"q": unique("nobody")})).json() == []
        assert (await root.get("/api/admin/users", params={"q": "%"})).json() == [], "no pattern, a text"
        (line,) = table((await root.get("/api/admin/users.csv", params={"q": ann.user_id})).text)
        assert (line["id"], line["requests"], line["shared_cost_microdollars"]) == (ann.user_id, "4", "7")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d"])
async def test_no_name_of_a_user_is_a_formula(platform: Platform, start: str) -> None:
    user_id = f'{start}HYPERLINK("http://evil.example";"{unique("x")}")'
    await platform.ok.users.create(user_id)
    await insert_events(platform.ok.database, [now_event(user_id)])
    async with administrator(platform.ok) as root:
        (line,) = table((await root.get("/api/admin/users.csv", params={"q": user_id})).text)
        assert line["id"] == "'" + user_id
        lines = table((await root.get("/api/admin/shared-users.csv")).text)
        assert "'" + user_id in {one["user_id"] for one in lines}
        lines = table((await root.get("/api/admin/audit.csv", params={"user_id": user_id})).text)
        assert {one["user_id"] for one in lines} == {"'" + user_id}


async def test_health_shows_errors_and_times_of_the_last_hour(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        user = unique("ann")
        events = [
            now_event(user, provider="xai", duration_ms=ms, first_byte_ms=ms // 10) for ms in range(100, 2100, 100)
        ]
        events += [now_event(user, provider="xai", outcome=Outcome.RATE_LIMITED, duration_ms=9999) for _ in range(3)]
        events += [
            now_event(user, provider="xai", outcome=Outcome.TIMEOUT),
            now_event(user, provider="xai", outcome=Outcome.CLIENT_GONE),
        ]
        events += [replace(now_event(user, provider="xai"), occurred_at=datetime.now(UTC) - timedelta(hours=2))]
        await insert_events(platform.ok.database, events)
        board = {one["provider"]: one for one in (await root.get("/api/admin/health")).json()}
        assert set(board) == set(platform.ok.core.catalog)
        xai = board["xai"]
        assert (xai["requests"], xai["errors"]) == (25, {"rate_limited": 3, "timeout": 1})
        assert (xai["p50_duration_ms"], xai["p95_duration_ms"], xai["p50_first_byte_ms"]) == (1000, 1900, 100)
        quiet = next(one for one in board.values() if not one["requests"])
        assert (quiet["errors"], quiet["p50_duration_ms"]) == ({}, None)


async def test_fallbacks_show_who_fell_to_whom_and_why(platform: Platform) -> None:
    day = datetime(2026, 10, 3, 12, tzinfo=UTC)
    async with administrator(platform.ok) as root:
        user = unique("ann")

        def attempt(request: str, number: int, provider: str, outcome: Outcome, payer: Payer = Payer.OWN) -> UsageEvent:
            return replace(
                event(user), occurred_at=day + timedelta(seconds=number), request_id=request, attempt=number,
                provider=provider, payer=payer, outcome=outcome,
            )  # fmt: skip

        events = []
        for outcome in (Outcome.RATE_LIMITED, Outcome.RATE_LIMITED, Outcome.TIMEOUT):
            request = new_id()
            events += [attempt(request, 1, "groq", outcome), attempt(request, 2, "mistral", Outcome.OK)]
        request = new_id()
        events += [
            attempt(request, 1, "groq", Outcome.OVERLOADED),
            attempt(request, 2, "groq", Outcome.OVERLOADED),
            attempt(request, 3, "groq", Outcome.OVERLOADED, Payer.SHARED),
            attempt(request, 4, "openai", Outcome.TIMEOUT, Payer.SHARED),
        ]
        await insert_events(platform.ok.database, events)
        found = (await root.get("/api/admin/fallbacks", params={"from": "2026-10-03", "to": "2026-10-03"})).json()
        hops = {(one["from_provider"], one["from_payer"], one["to_provider"], one["to_payer"]): one for one in found}
        assert set(hops) == {
            ("groq", "own", "mistral", "own"),
            ("groq", "own", "groq", "shared"),
            ("groq", "shared", "openai", "shared"),
        }
        most = found[0]
        assert (most["requests"], most["answered"]) == (3, 3)
        assert most["errors"] == {"rate_limited": 2, "timeout": 1}
        assert hops["groq", "shared", "openai", "shared"]["answered"] == 0
        assert (await root.get("/api/admin/fallbacks", params={"from": "2026-10-04", "to": "2026-10-05"})).json() == []
        assert (
            await root.get("/api/admin/fallbacks", params={"from": "2026-10-05", "to": "2026-10-04"})
        ).status_code == 400


async def test_a_real_fallback_is_in_the_report(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        ann = await platform.user(groq="gsk_ann_00000000000000001", mistral="mistral-ann-000000000001")
        platform.providers.break_provider("groq", "unavailable")
        await ann.client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "hi"}])
        async with asyncio.timeout(10):  # until the event is written
            while True:
                found = (await root.get("/api/admin/fallbacks")).json()
                seen = [one for one in found if (one["from_provider"], one["to_provider"]) == ("groq", "mistral")]
                if any(one["answered"] and "overloaded" in one["errors"] for one in seen):
                    break


async def test_who_runs_on_shared_keys(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        ann, bob = unique("ann"), unique("bob")
        days = {"from": "2026-11-05", "to": "2026-11-05"}
        events = [event(ann, cost=3), replace(event(ann, cost=None), provider="openai", model="unknown")]
        events += [event(bob, cost=100), replace(event(bob, cost=50), payer=Payer.OWN)]
        await insert_events(platform.ok.database, events)
        rows = (await root.get("/api/admin/shared-users", params=days)).json()
        found = {one["user_id"]: one for one in rows}
        assert (found[ann]["requests"], found[ann]["cost_microdollars"], found[ann]["unpriced_requests"]) == (2, 3, 1)
        assert found[ann]["providers"] == ["groq", "openai"]
        assert (found[bob]["cost_microdollars"], found[bob]["input_tokens"]) == (100, 13)
        assert list(found).index(bob) < list(found).index(ann)


async def test_the_audit_is_filtered_by_who_what_and_when(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        secret = f"gsk_{unique('key')}"
        root.keep_secret(secret)
        await ann.post("/api/credentials", {"provider": "groq", "secret": secret})
        await ann.patch("/api/settings", {"allow_fallback": False})
        mine = {"user_id": ann.user_id}

        async def actions(**query: Any) -> set[str]:
            return {one["action"] for one in (await root.get("/api/admin/audit", params={**mine, **query})).json()}

        assert await actions() >= {"user.created", "credential.added", "settings.updated"}
        assert await actions(action="credential") == {"credential.added"}
        assert await actions(action="credential.added") == {"credential.added"}
        assert await actions(action="token") <= {"token.created"}
        assert await actions(actor=root.user_id) == set()
        assert "credential.added" in await actions(actor=ann.user_id)
        today = datetime.now(UTC).date()
        assert "credential.added" in await actions(
            **{"from": str(today - timedelta(days=1)), "to": str(today + timedelta(days=1))}
        )
        assert await actions(to=str(today - timedelta(days=2))) == set()
        lines = table((await root.get("/api/admin/audit.csv", params=mine)).text)
        assert {"credential.added"} <= {one["action"] for one in lines}
        for wrong in ({"action": "x' or 1=1"}, {"actor": ""}, {"from": "yesterday"}, {"who": "me"}):
            assert (await root.get("/api/admin/audit", params=wrong)).status_code == 400


async def test_the_chain_is_verified(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        found = (await root.post("/api/admin/audit/verify")).json()
        assert found["ok"] is True
        assert found["first_broken"] is None
        assert found["chains"] == 8
        assert found["entries"] > 0
