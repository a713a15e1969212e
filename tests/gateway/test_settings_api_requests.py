"""`GET /api/requests`: each request with what was tried for it, in order, in pages that neither skip nor repeat."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, TokensSource, UsageEvent, new_id
from ownkey.storage.usage import insert_events
from tests.gateway.api_client import ApiClient, caller, unique
from tests.gateway.conftest import Platform

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)


def event(user_id: str, request_id: str, attempt: int = 1, **fields: Any) -> UsageEvent:
    """One call of a request; the attempts of one follow each other by a second."""
    values: dict[str, Any] = {
        "id": new_id(),
        "request_id": request_id,
        "user_id": user_id,
        "occurred_at": NOON + timedelta(seconds=attempt),
        "attempt": attempt,
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


async def ids(client: ApiClient, **params: Any) -> list[str]:
    return [one["id"] for one in (await client.get("/api/requests", params=params)).json()]


async def test_a_request_that_moved_on_shows_both_attempts(platform: Platform) -> None:
    secrets = {"groq": f"gsk_{unique('groq')}", "openai": f"sk-{unique('openai')}"}
    user = await platform.user(**secrets)
    platform.providers.break_provider("groq", "no_credit", key=secrets["groq"])
    async with httpx2.AsyncClient(base_url=platform.url) as plain:
        prompt = f"words-{unique('prompt')}"
        body = {"model": "task:coding", "messages": [{"role": "user", "content": prompt}]}
        answer = await plain.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {user.token}"})
        assert answer.status_code == 200, answer.text
    await platform.ok.core.metering.flush()
    async with ApiClient(platform.ok.asgi(), user.token, secrets=(*secrets.values(), prompt)) as client:
        [logged] = (await client.get("/api/requests")).json()
        labels = {one["id"]: one["label"] for one in (await client.get("/api/credentials")).json()}
    assert logged["id"] == answer.headers["x-ownkey-request-id"]
    assert (logged["task"], logged["requested_model"], logged["operation"]) == ("coding", "task:coding", "chat")
    assert (logged["provider"], logged["outcome"], logged["payer"]) == ("openai", "ok", "own")
    first, second = logged["attempts"]
    assert (first["provider"], first["outcome"], first["http_status"]) == ("groq", "credit_exhausted", 429)
    assert (second["provider"], second["outcome"], second["http_status"]) == ("openai", "ok", 200)
    assert [first["attempt"], second["attempt"]] == [1, 2]
    for attempt in (first, second):
        assert labels[attempt["credential_id"]] == attempt["credential_label"] == "default"
    assert (first["tokens_source"], second["tokens_source"]) == ("none", "reported")
    assert second["input_uncached"] > 0 and second["output_text"] > 0
    assert second["cost_microdollars"] == logged["cost_microdollars"]
    assert logged["duration_ms"] >= second["duration_ms"]
    assert second["first_byte_ms"] is not None and second["finish_reason"] == "stop"


async def test_pages_neither_skip_nor_repeat(platform: Platform) -> None:
    async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        requests = [new_id() for _ in range(23)]
        events = [event(ann.user_id, one, attempt) for one in requests for attempt in (1, 2, 3)]
        await insert_events(platform.ok.database, [*events, event(bob.user_id, new_id())])
        newest_first = sorted(requests, reverse=True)
        assert await ids(ann) == newest_first
        walked: list[str] = []
        while page := await ids(ann, limit=5, **({"before": walked[-1]} if walked else {})):
            walked += page
        assert walked == newest_first
        # What arrives meanwhile moves no page.
        before = newest_first[4]
        await insert_events(platform.ok.database, [event(ann.user_id, new_id())])
        assert await ids(ann, limit=5, before=before) == newest_first[5:10]
        for one in (await ann.get("/api/requests", params={"limit": 3})).json()[1:]:
            assert [attempt["attempt"] for attempt in one["attempts"]] == [1, 2, 3]
        assert len(await ids(bob)) == 1


async def test_filters_choose_requests_and_show_them_whole(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        moved, plain, left = new_id(NOON), new_id(NOON), new_id(NOON)
        priced = {"tokens_source": TokensSource.REPORTED, "cost_microdollars": 7, "price_version": "p"}
        await insert_events(
            platform.ok.database,
            [
                event(ann.user_id, moved, 1, provider="mistral", outcome=Outcome.RATE_LIMITED, task="coding"),
                event(ann.user_id, moved, 2, task="coding", payer=Payer.SHARED, credential_id=new_id(), **priced),
                event(ann.user_id, plain, task="research"),
                event(ann.user_id, left, outcome=Outcome.CLIENT_GONE),
            ],
        )
        assert await ids(ann, provider="mistral") == [moved]
        assert sorted(await ids(ann, provider="groq")) == sorted([moved, plain, left])
        assert await ids(ann, task="coding") == [moved]
        assert await ids(ann, outcome="rate_limited") == [moved]
        assert await ids(ann, outcome="error") == [moved]
        assert await ids(ann, outcome="client_gone") == [left]
        assert await ids(ann, provider="mistral", outcome="ok") == []
        [whole] = (await ann.get("/api/requests", params={"provider": "mistral"})).json()
        assert [one["provider"] for one in whole["attempts"]] == ["mistral", "groq"]
        assert (whole["cost_microdollars"], whole["payer"], whole["duration_ms"]) == (7, "shared", 1500)
        assert whole["attempts"][1]["credential_label"] is None, "that key was removed"
        assert whole["attempts"][0]["cost_microdollars"] is None


async def test_requests_of_days_and_of_what_else_was_chosen(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        key = (await ann.post("/api/credentials", {"provider": "groq", "secret": f"gsk_{unique('key')}"})).json()
        midnight = datetime(2026, 11, 6, tzinfo=UTC)
        second = timedelta(seconds=1)
        early, late = new_id(NOON), new_id(midnight + second)
        # Begun before midnight, and answered after it by another key.
        between = new_id(midnight - second)
        await insert_events(
            platform.ok.database,
            [
                event(ann.user_id, early, credential_id=key["id"], model="special"),
                event(ann.user_id, between, 1, occurred_at=midnight - second, outcome=Outcome.TIMEOUT),
                event(ann.user_id, between, 2, occurred_at=midnight, payer=Payer.SHARED, fallback=True),
                event(ann.user_id, late, occurred_at=midnight + second),
            ],
        )
        assert await ids(ann, **{"from": "2026-11-05", "to": "2026-11-05"}) == [between, early]
        assert await ids(ann, **{"from": "2026-11-06", "to": "2026-11-30"}) == [late, between]
        assert await ids(ann, to="2026-11-04") == []
        assert await ids(ann, model="special") == [early]
        assert await ids(ann, credential_id=key["id"]) == [early]
        assert await ids(ann, payer="shared") == [between]
        assert await ids(ann, payer="shared", **{"from": "2026-11-05", "to": "2026-11-05"}) == []
        assert await ids(ann, before=between, to="2026-11-30") == [early]
        [whole] = (await ann.get("/api/requests", params={"payer": "shared"})).json()
        assert [one["fallback"] for one in whole["attempts"]] == [False, True]


async def test_one_request_is_shown_to_whom_it_belongs(platform: Platform) -> None:
    async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        mine = new_id()
        priced = {"tokens_source": TokensSource.REPORTED, "cost_microdollars": 7, "cost_source": CostSource.COMPUTED}
        guessed = {**priced, "tokens_source": TokensSource.ESTIMATED, "cost_source": CostSource.ESTIMATED}
        await insert_events(
            platform.ok.database,
            [event(ann.user_id, mine, 2, **guessed), event(ann.user_id, mine, 1, service_tier="flex", **priced)],
        )
        shown = (await ann.get(f"/api/requests/{mine}")).json()
        assert [one["attempt"] for one in shown["attempts"]] == [1, 2]
        assert (shown["cost_microdollars"], shown["cost_source"]) == (14, "estimated")
        assert [one["cost_source"] for one in shown["attempts"]] == ["computed", "estimated"]
        assert shown["attempts"][0]["service_tier"] == "flex"
        assert [shown] == (await ann.get("/api/requests")).json()
        for client, path in ((bob, mine), (ann, new_id()), (ann, "x'or'1"), (ann, "a%00b")):
            answer = await client.get(f"/api/requests/{path}")
            assert answer.status_code == 404, path


async def test_the_files_hold_what_the_list_shows(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        formula, newest = '=HYPERLINK("http://evil.example","x")', new_id(NOON + timedelta(seconds=1))
        requests = [new_id(NOON) for _ in range(230)]
        events = [event(ann.user_id, one, attempt) for one in requests for attempt in (1, 2)]
        await insert_events(platform.ok.database, [*events, event(ann.user_id, newest, model=formula, task="chat")])
        whole = (await ann.get("/api/requests.json")).json()
        assert len(whole) == 231 and [one["id"] for one in whole[1:]] == sorted(requests, reverse=True)
        assert whole[:200] == (await ann.get("/api/requests", params={"limit": 200})).json()
        chosen = {"task": "chat"}
        [only] = (await ann.get("/api/requests.json", params=chosen)).json()
        assert [only] == (await ann.get("/api/requests", params=chosen)).json()
        answer = await ann.get("/api/requests.csv")
        lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert len(lines) == 461
        assert [line["request_id"] for line in lines[1::2]] == [one["id"] for one in whole[1:]]
        assert lines[0]["model"] == "'" + formula
        assert set(only["attempts"][0]) - set(lines[0]) == set()
        for path in ("/api/requests.csv", "/api/requests.json"):
            assert "attachment" in (await ann.get(path)).headers["content-disposition"]
            assert (await ann.get(path, params={"limit": 5})).status_code == 400


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 201},
        {"before": "x"},
        {"outcome": "bad"},
        {"provider": ""},
        {"user_id": "bob"},
        {"credential_id": "x"},
        {"from": "2026-11-06", "to": "2026-11-05"},
    ],
)
async def test_a_wrong_question_is_refused(platform: Platform, params: dict[str, Any]) -> None:
    async with caller(platform.ok) as ann:
        assert (await ann.get("/api/requests", params=params)).status_code == 400


async def test_a_key_shows_what_it_cost_this_month(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        body = {"provider": "groq", "secret": f"gsk_{unique('key')}"}
        stored = (await ann.post("/api/credentials", body)).json()
        months = ("requests_month", "errors_month", "cost_microdollars_month")
        assert [stored[name] for name in months] == [0, 0, 0]
        now = datetime.now(UTC)
        reported = {"credential_id": stored["id"], "tokens_source": TokensSource.REPORTED}
        used = {"occurred_at": now, **reported}
        failed = {**used, "outcome": Outcome.RATE_LIMITED, "tokens_source": TokensSource.NONE}
        calls = [event(ann.user_id, new_id(), **used), event(ann.user_id, new_id(), **failed)]
        await insert_events(platform.ok.database, calls)
        [listed] = (await ann.get("/api/credentials")).json()
        assert [listed[name] for name in months] == [2, 1, None], "unpriced is not free"
        last_month = {**reported, "occurred_at": now.replace(day=1) - timedelta(days=1), "cost_microdollars": 1000}
        priced = [{**used, "cost_microdollars": 5}, {**used, "cost_microdollars": 7, "model": "n"}, last_month]
        await insert_events(platform.ok.database, [event(ann.user_id, new_id(), **one) for one in priced])
        [listed] = (await ann.get("/api/credentials")).json()
        assert [listed[name] for name in months] == [4, 1, 12]
        changed = (await ann.patch(f"/api/credentials/{stored['id']}", {"label": "new"})).json()
        assert [changed[name] for name in months] == [4, 1, 12]
