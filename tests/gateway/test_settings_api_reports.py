"""Usage, audit and what administrators see."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime

import pytest
from msgspec import structs

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, Tokens, TokensSource, UsageEvent, new_id
from ownkey.storage.usage import insert_events
from tests.gateway.api_client import administrator, caller, unique
from tests.gateway.conftest import Platform
from tests.gateway.database_access import execute_on_database

DAY = date(2026, 11, 5)


def event(user_id: str, *, day: int = 5, model: str = "llama-3.1-8b-instant", cost: int | None = 7) -> UsageEvent:
    """One finished call."""
    return UsageEvent(
        id=new_id(),
        request_id=new_id(),
        user_id=user_id,
        occurred_at=datetime(2026, 11, day, 12, tzinfo=UTC),
        attempt=1,
        task="coding",
        provider="groq",
        model=model,
        requested_model="auto",
        credential_id=None,
        payer=Payer.SHARED,
        operation="chat",
        streamed=False,
        outcome=Outcome.OK,
        tokens=Tokens(input_uncached=10, cache_read=3, output_text=5, output_reasoning=2),
        tokens_source=TokensSource.REPORTED,
        cost_microdollars=cost,
        duration_ms=200,
        first_byte_ms=100,
    )


async def test_usage_is_summed_as_asked_and_only_ones_own(platform: Platform) -> None:
    async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        events = [event(ann.user_id), event(ann.user_id, cost=None), event(ann.user_id, day=6, model="other")]
        await insert_events(platform.ok.database, [*events, event(bob.user_id)])
        whole = (await ann.get("/api/usage", params={"from": "2026-11-01", "to": "2026-11-30"})).json()
        assert (whole["start"], whole["end"], whole["group_by"]) == ("2026-11-01", "2026-11-30", ["day"])
        assert [(row["day"], row["requests"]) for row in whole["rows"]] == [("2026-11-05", 2), ("2026-11-06", 1)]
        assert whole["total"] == {
            **dict.fromkeys(("user_id", "day", "provider", "model", "task", "credential_id", "payer")),
            "credential_label": None,
            "requests": 3,
            "errors": 0,
            "input_uncached": 30,
            "cache_read": 9,
            "cache_write": 0,
            "output_text": 15,
            "output_reasoning": 6,
            "cost_microdollars": 14,
            "unpriced_requests": 1,
            "mean_duration_ms": 200,
            "mean_first_byte_ms": 100,
            "estimated_requests": 0,
            "fallback_requests": 0,
            "p50_duration_ms": 200,
            "p95_duration_ms": 200,
            "p99_duration_ms": 200,
            "p50_first_byte_ms": 100,
            "p95_first_byte_ms": 100,
            "p99_first_byte_ms": 100,
        }
        query = {"from": "2026-11-06", "to": "2026-11-06", "group_by": "model,payer"}
        (row,) = (await ann.get("/api/usage", params=query)).json()["rows"]
        assert (row["model"], row["payer"], row["day"], row["provider"]) == ("other", "shared", None, None)
        query = {"from": "2026-11-07", "to": "2026-11-30"}
        assert (await ann.get("/api/usage", params=query)).json()["total"]["cost_microdollars"] is None


async def test_nothing_priced_is_not_free(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        await insert_events(platform.ok.database, [event(ann.user_id, cost=None)])
        query = {"from": "2026-11-05", "to": "2026-11-05"}
        (row,) = (await ann.get("/api/usage", params=query)).json()["rows"]
        assert (row["cost_microdollars"], row["unpriced_requests"]) == (None, 1)
        cells = list(csv.DictReader(io.StringIO((await ann.get("/api/usage.csv", params=query)).text)))
        assert cells[0]["cost_microdollars"] == ""


async def test_a_failed_call_does_not_make_an_unpriced_one_free(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        failed = structs.replace(
            event(ann.user_id, cost=None), outcome=Outcome.TIMEOUT, tokens=None, tokens_source=TokensSource.NONE
        )
        await insert_events(platform.ok.database, [event(ann.user_id, cost=None), failed])
        query = {"from": "2026-11-05", "to": "2026-11-05"}
        (row,) = (await ann.get("/api/usage", params=query)).json()["rows"]
        assert (row["requests"], row["unpriced_requests"], row["cost_microdollars"]) == (2, 1, None)


async def test_usage_says_how_slow_and_how_often_another_took_over(platform: Platform) -> None:
    async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        calls = [structs.replace(event(ann.user_id), duration_ms=10 * n) for n in range(1, 101)]
        first = structs.replace(event(ann.user_id, day=6), outcome=Outcome.OVERLOADED, duration_ms=5)
        again = structs.replace(first, id=new_id(), attempt=2)
        other = structs.replace(
            first, id=new_id(), attempt=3, provider="openai", outcome=Outcome.OK, fallback=True, first_byte_ms=None
        )
        strange = structs.replace(first, id=new_id(), user_id=bob.user_id, attempt=2, provider="mistral")
        await insert_events(platform.ok.database, [*calls, first, again, other, strange])
        query = {"from": "2026-11-01", "to": "2026-11-30", "group_by": "day,provider"}
        usage = (await ann.get("/api/usage", params=query)).json()
        found = {(row["day"], row["provider"]): row for row in usage["rows"]}
        numbers = ("fallback_requests", "p50_duration_ms", "p95_duration_ms", "p99_duration_ms", "p50_first_byte_ms")
        assert usage["exact"]
        assert [found["2026-11-05", "groq"][name] for name in numbers] == [0, 500, 950, 990, 100]
        assert [found["2026-11-06", "groq"][name] for name in numbers] == [0, 5, 5, 5, 100]
        assert [found["2026-11-06", "openai"][name] for name in numbers] == [1, 5, 5, 5, None]
        assert [usage["total"][name] for name in numbers] == [1, 490, 950, 990, 100]


async def test_of_days_whose_events_are_gone_the_histograms_still_tell(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        model = unique("measured")
        calls = [
            structs.replace(event(ann.user_id, model=model), duration_ms=10 * n, first_byte_ms=n) for n in range(1, 101)
        ]
        await insert_events(platform.ok.database, [*calls, structs.replace(event(ann.user_id), duration_ms=0)])
        query = {"from": "2026-11-05", "to": "2026-11-05", "group_by": "model"}
        measured = {row["model"]: row for row in (await ann.get("/api/usage", params=query)).json()["rows"]}
        # As retention would.
        await execute_on_database(platform, "delete from ownkey.usage_events where user_id = $1", ann.user_id)
        usage = (await ann.get("/api/usage", params=query)).json()
        assert not usage["exact"] and usage["total"]["requests"] == 101
        told = {row["model"]: row for row in usage["rows"]}
        quantiles = ("p50_duration_ms", "p95_duration_ms", "p99_duration_ms", "p50_first_byte_ms", "p99_first_byte_ms")
        for name in quantiles:
            assert told[model][name] == pytest.approx(measured[model][name], rel=0.045, abs=1), name
            assert measured[model][name] > 0
        assert told["llama-3.1-8b-instant"]["p50_duration_ms"] == 0
        # Administrators see the same from the sums of everybody, and of this user alone.
        for of_whom in ({}, {"user_id": ann.user_id}):
            seen = (await root.get("/api/admin/usage", params=query | of_whom | {"model": model})).json()
            assert [row["requests"] for row in seen["rows"]] == [100]
            assert [seen["rows"][0][name] for name in quantiles] == [told[model][name] for name in quantiles]


async def test_usage_is_of_what_was_chosen_and_so_are_its_files(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        key = (await ann.post("/api/credentials", {"provider": "groq", "secret": f"gsk_{unique('key')}"})).json()
        own = structs.replace(event(ann.user_id), payer=Payer.OWN, credential_id=key["id"])
        gone = structs.replace(own, id=new_id(), credential_id=new_id(), task=None, provider="mistral")
        await insert_events(platform.ok.database, [own, gone, event(ann.user_id), event(ann.user_id, model="other")])
        days = {"from": "2026-11-05", "to": "2026-11-05"}
        for choice, requests in (
            ({}, 4),
            ({"provider": "groq"}, 3),
            ({"model": "other"}, 1),
            ({"task": "coding"}, 3),
            ({"payer": "own"}, 2),
            ({"payer": "own", "provider": "groq"}, 1),
            ({"credential_id": key["id"]}, 1),
            ({"credential_id": new_id()}, 0),
        ):
            usage = (await ann.get("/api/usage", params=days | choice)).json()
            assert usage["total"]["requests"] == requests, choice
            whole = (await ann.get("/api/usage.json", params=days | choice)).json()
            assert whole == usage
            cells = list(csv.DictReader(io.StringIO((await ann.get("/api/usage.csv", params=days | choice)).text)))
            assert [row["requests"] for row in cells] == [str(row["requests"]) for row in usage["rows"]]
            assert [row["p99_duration_ms"] for row in cells] == [str(row["p99_duration_ms"]) for row in usage["rows"]]
            ofall = (await root.get("/api/admin/usage", params=days | choice | {"user_id": ann.user_id})).json()
            assert ofall["total"]["requests"] == requests, choice
        by_key = (await ann.get("/api/usage", params=days | {"group_by": "credential"})).json()["rows"]
        labels = {row["credential_id"]: row["credential_label"] for row in by_key}
        assert labels == {key["id"]: key["label"], gone.credential_id: None, None: None}
        text = (await ann.get("/api/usage.csv", params=days | {"group_by": "credential"})).text
        assert key["label"] in text.splitlines()[0] + text and "credential_label" in text.splitlines()[0]
        assert "json" in (await ann.get("/api/usage.json", params=days)).headers["content-disposition"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
async def test_no_cell_of_the_csv_is_a_formula(platform: Platform, start: str) -> None:
    async with caller(platform.ok) as ann:
        model = f'{start}HYPERLINK("http://evil.example","x")'
        await insert_events(platform.ok.database, [event(ann.user_id, model=model)])
        query = {"from": "2026-11-05", "to": "2026-11-05", "group_by": "model"}
        answer = await ann.get("/api/usage.csv", params=query)
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer.headers["content-disposition"]
        (row,) = csv.DictReader(io.StringIO(answer.text, newline=""))
        assert row["model"] == "'" + model
        assert row["requests"] == "1"


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-11-06", "to": "2026-11-05"},
        {"from": "2020-01-01", "to": "2026-11-05"},
        {"from": "yesterday"},
        {"from": "1730764800"},
        {"from": "2026-02-30"},
        {"from": "2026-11-05T00:00:00"},
        {"group_by": "user"},
        {"group_by": "credential_id"},
        {"group_by": ""},
        {"form": "2026-11-05"},
        {"payer": "somebody"},
        {"credential_id": "mine"},
        {"user_id": "bob"},
    ],
)
@pytest.mark.parametrize("path", ["/api/usage", "/api/usage.csv", "/api/usage.json"])
async def test_a_wrong_question_about_usage_is_refused(platform: Platform, path: str, query: dict[str, str]) -> None:
    async with caller(platform.ok) as ann:
        assert (await ann.get(path, params=query)).status_code == 400


@pytest.mark.parametrize("query", [{"from": "9999-12-31"}, {"to": "0001-01-01"}, {}])
async def test_the_edges_of_time_are_no_errors(platform: Platform, query: dict[str, str]) -> None:
    async with caller(platform.ok) as ann:
        assert (await ann.get("/api/usage", params=query)).json()["rows"] == []


async def test_the_audit_comes_in_pages_and_holds_no_secret(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        secret = f"gsk_{unique('key')}"
        ann.keep_secret(secret)
        stored = (await ann.post("/api/credentials", {"provider": "groq", "secret": secret})).json()
        for number in range(5):
            await ann.patch(f"/api/credentials/{stored['id']}", {"label": f"label {number}"})
        whole = (await ann.get("/api/audit")).json()
        pages, before = [], None
        while page := (
            await ann.get("/api/audit", params={"limit": 2} | ({"before": before} if before else {}))
        ).json():
            pages += page
            before = page[-1]["id"]
        assert pages == whole
        assert {entry["user_id"] for entry in whole} == {ann.user_id}
        for wrong in ({"limit": 0}, {"limit": 501}, {"before": 0}, {"before": "x"}, {"before": 2**63}, {"page": 2}):
            assert (await ann.get("/api/audit", params=wrong)).status_code == 400


async def test_an_administrator_watches_everybody_and_no_secret(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        secret = f"gsk_{unique('key')}"
        root.keep_secret(secret)
        await ann.post("/api/credentials", {"provider": "groq", "secret": secret})
        await insert_events(platform.ok.database, [event(ann.user_id)])
        page = (await root.get("/api/admin/users", params={"after": ann.user_id[:-1], "limit": 1})).json()
        assert [(one["id"], one["role"], one["status"]) for one in page] == [(ann.user_id, "user", "active")]
        assert page[0]["credentials"] == [{"provider": "groq", "status": "unverified", "count": 1}]
        query = {"from": "2026-11-05", "to": "2026-11-05", "group_by": "user"}
        rows = (await root.get("/api/admin/usage", params=query)).json()["rows"]
        assert {row["user_id"]: row["requests"] for row in rows}[ann.user_id] == 1
        assert ann.user_id in (await root.get("/api/admin/usage.csv", params=query)).text
        trail = (await root.get("/api/admin/audit", params={"user_id": ann.user_id})).json()
        assert {entry["user_id"] for entry in trail} == {ann.user_id}
        assert any(entry["user_id"] != ann.user_id for entry in (await root.get("/api/admin/audit")).json())
        encryption = (await root.get("/api/admin/encryption")).json()
        keys = {one["id"]: one for one in encryption["keys"]}
        assert keys[encryption["primary_key"]]["keys"] >= 1
        assert keys[encryption["primary_key"]]["phase"] == "primary"
        assert encryption["primary_key"] in encryption["processes"][0]["wrapping_keys"]
        assert encryption["missing"] == []
        health = {one["provider"]: one for one in (await root.get("/api/admin/health")).json()}
        assert health["openai"]["shared_key"] and health["groq"]["down_until"] is None
        providers = {one["id"]: one for one in (await root.get("/api/admin/providers")).json()}
        assert providers["groq"]["environment"] == "GROQ_API_KEY"
        assert providers["groq"]["base_url"].startswith("http://127.0.0.1:")
        assert "gsk_operator" not in str(providers)
