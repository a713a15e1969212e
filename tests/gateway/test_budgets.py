"""Budgets of the operator's money, consent to it, caps on one's own, and calls per minute, at the gateway."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai
import pytest

from ownkey.domain.budget import Period
from ownkey.domain.event import Event
from ownkey.testing import SimulatedProviders
from tests.gateway.api_client import ApiClient, administrator, caller
from tests.gateway.conftest import Platform

# gpt-4o-mini: 15 cents and 60 cents a million. A body of 200 bytes, a thousand tokens that a provider may put in front
# of it unseen, and an answer of 100 tokens: 180 + 60 micro-dollars.
SIZE, TAKEN, ANSWER, COST = 200, 1_200, 100, 240
OWN_KEY = "gsk_ann_00000000000000001"


@pytest.fixture(autouse=True)
async def open_policy(platform: Platform) -> AsyncIterator[None]:
    """Every test leaves the deployment as it found it: nothing decided."""
    yield
    async with administrator(platform.ok) as root:
        assert (await root.put("/api/admin/policy?reset=true", {})).status_code == 200


@pytest.fixture(autouse=True)
def costly(platform: Platform) -> SimulatedProviders:
    """Every call uses exactly what it may."""
    for provider in ("openai", "groq"):
        report(platform, provider, TAKEN, ANSWER)
    return platform.providers


def report(platform: Platform, provider: str, taken: int, given: int) -> None:
    """What a provider says of every call from now on."""
    platform.providers.set_usage(provider, prompt_tokens=taken, completion_tokens=given, total_tokens=taken + given)


def body(model: str = "openai/gpt-4o-mini", size: int = SIZE, **fields: Any) -> bytes:
    """A request of exactly this size."""
    content = {"model": model, "max_tokens": ANSWER, **fields, "messages": [{"role": "user", "content": ""}]}
    content["messages"][0]["content"] = "x" * (size - len(json.dumps(content)))
    return json.dumps(content).encode()


async def send(client: ApiClient, content: bytes | None = None) -> httpx2.Response:
    headers = {"content-type": "application/json"}
    return await client._client.post("/v1/chat/completions", content=content or body(), headers=headers)


async def decide(platform: Platform, **policy: Any) -> None:
    async with administrator(platform.ok) as root:
        answer = await root.put("/api/admin/policy?reset=true", policy)
        assert answer.status_code == 200, answer.text


async def budget_of(platform: Platform, client: ApiClient) -> dict[str, Any]:
    """What a user has left, once everything that has ended is counted."""
    await platform.ok.core.metering.flush()
    found: dict[str, Any] = (await client.get("/api/budget")).json()
    return found


def line(found: dict[str, Any], scope: str, period: str = "day") -> dict[str, Any]:
    return next(one for one in (*found["shared"], *found["own"]) if (one["scope"], one["period"]) == (scope, period))


async def test_nobody_is_served_by_shared_money_before_they_agree(platform: Platform) -> None:
    await decide(platform, shared={"consent": True})
    async with caller(platform.ok) as ann:
        refused = await send(ann)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "consent_needed")
        assert platform.providers.ledger() == []
        assert (await ann.get("/api/settings")).json()["shared_consent_needed"] is True
        assert (await ann.get("/api/budget")).json()["shared_consent_needed"] is True
        preview = (await ann.post("/api/route/preview", {"model": "openai/gpt-4o-mini"})).json()
        assert [(one["payer"], one["reason"]) for one in preview["skipped"]] == [
            ("own", "no_credential"), ("shared", "consent_needed"),
        ]  # fmt: skip
        assert (await ann.patch("/api/settings", {"shared_consent": True})).json()["shared_consent_needed"] is False
        assert (await send(ann)).headers["x-ownkey-credential"] == "shared"
        await ann.patch("/api/settings", {"shared_consent": False})
        assert (await send(ann)).status_code == 403
        await ann.post("/api/credentials", {"provider": "groq", "secret": OWN_KEY})
        assert (await send(ann, body("auto"))).headers["x-ownkey-credential"] == "own"
        await decide(platform)
        assert (await send(ann)).status_code == 200, "where nobody asks, nobody has to agree"


async def test_a_budget_is_spent_to_the_last_microdollar_and_then_refuses(platform: Platform) -> None:
    await decide(platform, budgets={"per_user": {"day_microdollars": 2 * COST, "month_microdollars": 10 * COST}})
    async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        answers = [await send(ann) for _ in range(3)]
        assert [one.status_code for one in answers] == [200, 200, 429]
        first, refused = answers[0], answers[2]
        window = round((Period.MONTH.end(datetime.now(UTC)) - Period.MONTH.start(datetime.now(UTC))).total_seconds())
        assert first.headers["ratelimit-policy"] == (
            f'"user-day";q={2 * COST};qu="microdollars";w=86400, '
            f'"user-month";q={10 * COST};qu="microdollars";w={window}'
        )
        day, month = first.headers["ratelimit"].split(", ")
        assert day.startswith(f'"user-day";r={COST};t=')
        assert month.startswith(f'"user-month";r={9 * COST};t=')
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota", "budget_spent")
        assert "used up until" in error["message"]
        wait = (Period.DAY.end(datetime.now(UTC)) - datetime.now(UTC)).total_seconds()
        assert abs(int(refused.headers["retry-after"]) - wait) < 30
        assert refused.headers["x-should-retry"] == "false"
        assert refused.headers["ratelimit"].startswith('"user-day";r=0;t=')
        [own, shared] = error["ownkey"]["skipped"]
        assert (own["reason"], shared["reason"]) == ("no_credential", "budget_spent")
        assert datetime.fromisoformat(shared["until"]) == Period.DAY.end(datetime.now(UTC))
        thought = {"model": "openai/gpt-4o-mini", "max_output_tokens": ANSWER, "needs": {"input_tokens": SIZE}}
        preview = (await ann.post("/api/route/preview", thought)).json()
        assert (preview["attempts"], preview["skipped"][-1]["reason"]) == ([], "budget_spent")
        found = await budget_of(platform, ann)
        assert line(found, "user") == {
            "scope": "user", "period": "day", "action": "stop", "limit_microdollars": 2 * COST,
            "spent_microdollars": 2 * COST, "reserved_microdollars": 0, "left_microdollars": 0, "reached": True,
            "resets_at": Period.DAY.end(datetime.now(UTC)).isoformat().replace("+00:00", "Z"),
        }  # fmt: skip
        assert line(found, "user", "month")["left_microdollars"] == 8 * COST
        assert (await send(bob)).status_code == 200, "everybody has their own"
        assert len(platform.providers.ledger()) == 3


async def test_the_official_client_takes_it_for_what_it_is(platform: Platform) -> None:
    await decide(platform, budgets={"per_user": {"month_microdollars": 0}})
    user = await platform.user()
    patient = user.client.with_options(max_retries=2)
    with pytest.raises(openai.RateLimitError) as raised:
        await patient.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    assert (raised.value.type, raised.value.code) == ("insufficient_quota", "budget_spent")
    assert platform.providers.ledger() == []


async def test_a_request_that_is_larger_than_the_whole_budget_is_not_told_to_wait(platform: Platform) -> None:
    platform.providers.set_usage("openai", prompt_tokens=1, completion_tokens=1, total_tokens=2)
    await decide(platform, budgets={"per_user": {"day_microdollars": 5_000}})
    async with caller(platform.ok) as ann:
        refused = await send(ann, body(max_tokens=10_000))
        error = refused.json()["error"]
        assert (refused.status_code, error["type"]) == (429, "insufficient_quota")
        assert error["code"] == "request_over_budget"
        assert "retry-after" not in refused.headers
        assert refused.headers["x-should-retry"] == "false"
        assert error["ownkey"]["skipped"][-1]["reason"] == "request_over_budget"
        assert error["ownkey"]["skipped"][-1]["until"] is None
        assert "may cost up to $0.00618." in error["message"]
        assert "$0.005: waiting does not help" in error["message"].replace("$0.00500", "$0.005")
        [fitting] = re.findall(r"at most ([\d,]+) tokens \(`max_tokens`\) would fit", error["message"])
        asked = {"model": "openai/gpt-4o-mini", "max_tokens": 10_000}
        route = (await ann.post("/api/route/preview", {"model": asked["model"], "max_output_tokens": 10_000})).json()
        assert (route["skipped"][-1]["reason"], route["skipped"][-1]["until"]) == ("request_over_budget", None)
        assert "more than a whole budget" in route["skipped"][-1]["explanation"]
        longest = int(fitting.replace(",", ""))
        assert 8_000 < longest < 8_300, "4,970 micro-dollars at 60 cents a million"
        assert (await send(ann, body(max_tokens=longest))).status_code == 200


async def test_a_request_that_is_larger_than_the_whole_cap_is_not_told_to_wait(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        await ann.post("/api/credentials", {"provider": "groq", "secret": OWN_KEY})
        await ann.patch("/api/settings", {"payer": "own_only", "caps": {"day_microdollars": 10}})
        refused = await send(ann, body("groq/llama-3.3-70b-versatile"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "request_over_cap")
        assert "retry-after" not in refused.headers
        assert refused.headers["x-should-retry"] == "false"


async def test_a_budget_of_nothing_promises_no_better_day(platform: Platform) -> None:
    await decide(platform, budgets={"per_user": {"day_microdollars": 0}})
    async with caller(platform.ok) as ann:
        refused = await send(ann)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_spent")
        assert "pays for no request" in refused.json()["error"]["message"]
        assert "retry-after" not in refused.headers


async def test_requests_on_own_keys_go_on_when_the_shared_budget_is_spent(platform: Platform) -> None:
    await decide(platform, budgets={"total": {"day_microdollars": 0}, "per_user": {"day_microdollars": 0}})
    async with caller(platform.ok) as ann:
        assert (await send(ann, body("auto"))).status_code == 429
        await ann.post("/api/credentials", {"provider": "groq", "secret": OWN_KEY})
        served = [await send(ann, body("auto")) for _ in range(3)]
        assert {(one.status_code, one.headers["x-ownkey-credential"]) for one in served} == {(200, "own")}
        assert "ratelimit" not in served[0].headers
        platform.providers.break_provider("groq")
        failed = await send(ann, body("auto"))
        assert failed.status_code == 503, "what can be done about the own key comes first"
        reasons = {(one["provider"], one["reason"]) for one in failed.json()["error"]["ownkey"]["skipped"]}
        assert ("openai", "budget_spent") in reasons


async def test_a_group_and_everybody_share_what_is_theirs(platform: Platform) -> None:
    budgets = {"groups": {"research": {"day_microdollars": COST}}, "total": {"month_microdollars": 10**9}}
    await decide(platform, budgets=budgets)
    async with (
        administrator(platform.ok) as root,
        caller(platform.ok) as ann,
        caller(platform.ok, "bob") as bob,
        caller(platform.ok, "cid") as cid,
    ):
        for member in (ann, bob):
            changed = await root.patch(f"/api/admin/users/{member.user_id}", {"group": " Research "})
            assert (changed.status_code, changed.json()["group"]) == (200, "research")
        assert (await send(ann)).status_code == 200
        assert (await send(bob)).status_code == 429
        assert (await send(cid)).status_code == 200
        found = await budget_of(platform, bob)
        assert (found["group"], line(found, "group")["spent_microdollars"]) == ("research", COST)
        total = line(found, "total", "month")
        assert {total[name] for name in total if name.endswith("_microdollars")} == {None}, "the operator's business"
        assert total["reached"] is False
        overview = (await root.get("/api/admin/budgets", params={"limit": 1000})).json()
        [group] = [one for one in overview["groups"] if one["name"] == "research"]
        assert (group["members"], group["pots"][0]["limit_microdollars"]) == (2, COST)
        assert group["pots"][0]["spent_microdollars"] == COST
        assert overview["total"][1]["limit_microdollars"] == 10**9
        assert overview["total"][1]["spent_microdollars"] >= 2 * COST
        spent = {one["user_id"]: one["month_spent_microdollars"] for one in overview["users"]}
        assert (spent[ann.user_id], spent[cid.user_id]) == (COST, COST)
        assert bob.user_id not in spent
        assert (
            next(one for one in (await root.get("/api/admin/users", params={"q": ann.user_id})).json())["group"]
            == "research"
        )
        out = await root.patch(f"/api/admin/users/{bob.user_id}", {"group": None})
        assert out.json()["group"] is None
        assert (await send(bob)).status_code == 200
        assert (await root.patch(f"/api/admin/users/{bob.user_id}", {"group": "not a group"})).status_code == 400
        assert (await cid.get("/api/admin/budgets")).status_code == 403
        audited = [one["details"] for one in await bob.audit() if one["action"] == "user.updated"]
        assert audited == [{"group": "research"}, {"group": None}]


async def test_a_spent_total_names_no_amount(platform: Platform) -> None:
    await decide(platform, budgets={"total": {"day_microdollars": 1}})
    async with caller(platform.ok) as ann:
        refused = await send(ann)
        assert (refused.status_code, "ratelimit" in refused.headers) == (429, False)
        assert "$" not in refused.json()["error"]["message"].replace(f"${COST / 10**6:.6f}".rstrip("0"), "")


async def test_of_many_at_once_exactly_as_many_as_the_budget_has_room_for(platform: Platform) -> None:
    await decide(platform, budgets={"per_user": {"month_microdollars": 7 * COST + COST - 1}})
    async with caller(platform.ok) as ann:
        answers = await asyncio.gather(*(send(ann) for _ in range(30)))
        assert sorted(one.status_code for one in answers) == [200] * 7 + [429] * 23
        found = line(await budget_of(platform, ann), "user", "month")
        assert (found["spent_microdollars"], found["left_microdollars"]) == (7 * COST, COST - 1)
        assert len(platform.providers.ledger()) == 7


async def test_a_call_that_has_just_ended_is_in_nobodys_way(platform: Platform) -> None:
    """The bound is promised while a call is under way; the next one is judged by what the last one really cost."""
    report(platform, "openai", 10, 1)
    await decide(platform, budgets={"per_user": {"day_microdollars": COST + COST // 2}})
    async with caller(platform.ok) as ann:
        assert [(await send(ann)).status_code for _ in range(6)] == [200] * 6
        assert line(await budget_of(platform, ann), "user")["spent_microdollars"] == 6 * 2


async def test_a_request_that_could_cost_too_much_is_told_so(platform: Platform) -> None:
    await decide(platform, budgets={"per_user": {"day_microdollars": 6_250}})
    async with caller(platform.ok) as ann:
        await send(ann)
        await budget_of(platform, ann)
        refused = await send(ann, body(max_tokens=10_000))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_spent")
        message = refused.json()["error"]["message"]
        assert "may cost up to $0.00618" in message
        assert "$0.00601 is left" in message
        assert "would fit" in message
        assert (await send(ann, body(max_completion_tokens=ANSWER))).status_code == 200


async def test_what_fails_costs_nothing_and_a_retry_finds_its_money(platform: Platform) -> None:
    await decide(platform, budgets={"per_user": {"day_microdollars": COST}})
    async with caller(platform.ok) as ann:
        platform.providers.break_provider("openai", "overloaded", times=1)
        assert (await send(ann)).status_code == 200, "the second try, on the promise of the first"
        assert line(await budget_of(platform, ann), "user")["spent_microdollars"] == COST
        assert (await send(ann)).status_code == 429


async def test_streams_are_counted_by_what_they_report(platform: Platform) -> None:
    await decide(platform, budgets={"per_user": {"day_microdollars": 2 * COST}})
    async with caller(platform.ok) as ann:
        answer = await send(ann, body(stream=True))
        assert (answer.status_code, b"[DONE]" in answer.content) == (200, True)
        assert answer.headers["ratelimit"].startswith(f'"user-day";r={COST}')
        assert line(await budget_of(platform, ann), "user")["spent_microdollars"] == COST


async def test_embeddings_have_no_answer_to_pay_for(platform: Platform) -> None:
    # text-embedding-3-small: 2 cents a million.
    report(platform, "openai", 500, 0)
    content = {"model": "openai/text-embedding-3-small", "input": "", "encoding_format": "float"}
    content["input"] = "x" * (500 - len(json.dumps(content)))
    await decide(platform, budgets={"per_user": {"day_microdollars": 20}})
    async with caller(platform.ok) as ann:
        answers = [await ann._client.post("/v1/embeddings", content=json.dumps(content).encode()) for _ in range(3)]
        assert [one.status_code for one in answers] == [200, 200, 429]


async def test_speech_is_paid_for_by_its_letters(platform: Platform) -> None:
    # tts-1: 15 dollars for a million of them.
    await decide(platform, budgets={"per_user": {"day_microdollars": 2 * 1_500}})
    content = {"model": "openai/tts-1", "voice": "alloy", "input": "ä" * 100}
    async with caller(platform.ok) as ann:
        for status in (200, 200, 429):
            assert (await ann._client.post("/v1/audio/speech", json=content)).status_code == status
            left = line(await budget_of(platform, ann), "user")
            assert left["reserved_microdollars"] == 0
        assert left["spent_microdollars"] == 2 * 1_500


async def test_a_recording_that_lies_elsewhere_may_be_a_long_one(platform: Platform) -> None:
    """An address has a few bytes, and Groq fetches a hundred megabytes from it."""
    await decide(platform, budgets={"per_user": {"day_microdollars": 1_000_000}})
    fields = {"model": "groq/whisper-large-v3-turbo"}
    async with caller(platform.ok) as ann:
        sent = await ann._client.post("/v1/audio/transcriptions", data=fields, files={"file": ("a.wav", b"RIFF")})
        assert sent.status_code == 200, sent.text
        named = {"url": (None, "https://recordings.example/two-days.ogg")}
        refused = await ann._client.post("/v1/audio/transcriptions", data=fields, files=named)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "request_over_budget")


async def in_one_minute(attempt: Callable[[], Awaitable[None]]) -> None:
    """Again, if a new minute began meanwhile: its counters begin at nothing."""
    while True:
        before = Period.MINUTE.start(datetime.now(UTC))
        try:
            await attempt()
        except AssertionError:
            if Period.MINUTE.start(datetime.now(UTC)) == before:
                raise
        else:
            return


async def test_calls_and_tokens_per_minute(platform: Platform) -> None:
    async def calls() -> None:
        await decide(platform, limits={"requests_per_minute": 2})
        async with caller(platform.ok) as ann:
            answers = [await send(ann) for _ in range(3)]
            assert [one.status_code for one in answers] == [200, 200, 429]
            assert answers[0].headers["ratelimit-policy"] == '"requests";q=2;w=60'
            assert answers[1].headers["ratelimit"].startswith('"requests";r=0;t=')
            error = answers[2].json()["error"]
            assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limited")
            assert 1 <= int(answers[2].headers["retry-after"]) <= 60
            assert "x-should-retry" not in answers[2].headers
            await ann.post("/api/credentials", {"provider": "groq", "secret": OWN_KEY})
            assert (await send(ann, body("auto"))).status_code == 200

    async def tokens() -> None:
        await decide(platform, limits={"tokens_per_minute": 2_650})
        async with caller(platform.ok) as ann:
            assert [(await send(ann)).status_code for _ in range(3)] == [200, 200, 429]
            await budget_of(platform, ann)
            [rate] = (await ann.get("/api/budget")).json()["rates"]
            assert (rate["unit"], rate["limit_per_minute"], rate["used"], rate["left"]) == ("tokens", 2_650, 2_600, 50)

    await in_one_minute(calls)
    await in_one_minute(tokens)


async def test_a_users_own_cap_stops_or_warns(platform: Platform) -> None:
    report(platform, "groq", 1_000_000, 0)
    async with caller(platform.ok) as ann:
        await ann.post("/api/credentials", {"provider": "groq", "secret": OWN_KEY})
        await ann.patch("/api/settings", {"payer": "own_only", "caps": {"day_microdollars": 100_000}})
        asked = body("groq/llama-3.3-70b-versatile")
        first = await send(ann, asked)
        assert (first.status_code, first.headers.get("x-ownkey-warning")) == (200, None)
        await budget_of(platform, ann)  # the provider charged more than anybody could foresee
        refused = await send(ann, asked)
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota", "own_cap_reached")
        preview = (await ann.post("/api/route/preview", {"model": "groq/llama-3.3-70b-versatile"})).json()
        assert (preview["skipped"][0]["payer"], preview["skipped"][0]["reason"]) == ("own", "own_cap_reached")
        found = line(await budget_of(platform, ann), "own")
        assert (found["reached"], found["action"], found["limit_microdollars"]) == (True, "stop", 100_000)
        await ann.patch("/api/settings", {"caps": {"day_microdollars": 100_000, "action": "warn"}})
        warned = await send(ann, asked)
        assert (warned.status_code, warned.headers["x-ownkey-warning"]) == (200, "own_cap_reached;period=day")
        await budget_of(platform, ann)
        await ann.patch("/api/settings", {"caps": {"month_microdollars": 1_400_000, "action": "warn"}})
        near = await send(ann, asked)
        assert (near.status_code, near.headers["x-ownkey-warning"]) == (200, "own_cap_near;period=month")
        await budget_of(platform, ann)
        messages = [{"role": "user", "content": "hi"}]
        reply = await platform.ok.manager.chat(ann.user_id, model="groq/llama-3.3-70b-versatile", messages=messages)
        assert reply.warnings == ("own_cap_reached;period=month",)


async def test_behind_an_own_cap_the_operators_key_may_take_over(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        await ann.post("/api/credentials", {"provider": "groq", "secret": OWN_KEY})
        await ann.patch("/api/settings", {"caps": {"day_microdollars": 0}})
        answer = await send(ann, body("auto"))
        assert (answer.status_code, answer.headers["x-ownkey-credential"]) == (200, "shared")


@pytest.mark.parametrize(
    "wrong",
    [
        {"budgets": {"per_user": {"day_microdollars": -1}}},
        {"budgets": {"per_user": {"day_microdollars": 1.5}}},
        {"budgets": {"total": {"week_microdollars": 5}}},
        {"budgets": {"groups": {"not a group": {}}}},
        {"budgets": {"assumed_output_tokens": 0}},
        {"limits": {"requests_per_minute": 0}},
        {"limits": {"tokens_per_minute": "many"}},
        {"shared": {"consent": "yes"}},
    ],
)
async def test_budgets_that_make_no_sense_are_refused(platform: Platform, wrong: dict[str, Any]) -> None:
    async with administrator(platform.ok) as root:
        assert (await root.put("/api/admin/policy?reset=true", wrong)).status_code == 400


async def test_what_administrators_decide_of_money_is_audited(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        wanted = {
            "shared": {"consent": True},
            "budgets": {"per_user": {"day_microdollars": 5}, "groups": {"Sales": {"month_microdollars": 7}}},
            "limits": {"requests_per_minute": 60},
        }
        stored = (await root.put("/api/admin/policy?reset=true", wanted)).json()
        assert stored["budgets"]["groups"] == {"sales": {"day_microdollars": None, "month_microdollars": 7}}
        details = (await root.audit())[-1]["details"]
        assert details["changed"] == [
            "shared.consent", "budgets.per_user", "budgets.groups.sales", "limits.requests_per_minute",
        ]  # fmt: skip
        assert details["budgets.per_user"] == {"day_microdollars": 5, "month_microdollars": None}
        assert details["budgets.groups.sales"] == {"day_microdollars": None, "month_microdollars": 7}
        assert (details["shared.consent"], details["limits.requests_per_minute"]) == (True, 60)


async def test_a_host_is_told_once_of_a_limit_that_is_near_and_of_one_that_is_reached(platform: Platform) -> None:
    heard: list[Event] = []
    stop = platform.ok.on_event(heard.append)
    deliver = platform.ok.core.events.callback_delivery
    await deliver.tend()
    try:
        await decide(platform, budgets={"per_user": {"month_microdollars": 5 * COST}})
        async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
            await bob.post("/api/credentials", {"provider": "groq", "secret": OWN_KEY})
            report(platform, "groq", 1_000_000, 0)
            await bob.patch("/api/settings", {"caps": {"day_microdollars": 1, "action": "warn"}})
            for client in (ann, bob):
                content = body() if client is ann else body("auto")
                for _ in range(7):
                    await send(client, content)
                    await platform.ok.core.metering.flush()
            async with asyncio.timeout(10):
                while len(heard) < 3:
                    await deliver.run_due()
        about = {ann.user_id: [], bob.user_id: []}
        for event in heard:
            about[event.user_id or ""].append((event.type, event.data["scope"], event.data["period"]))
        assert sorted(about[ann.user_id]) == [
            ("spending.limit_near", "user", "month"),
            ("spending.limit_reached", "user", "month"),
        ]
        assert about[bob.user_id] == [("spending.limit_reached", "own", "day")]
        near = next(event for event in heard if event.type == "spending.limit_near")
        assert near.data["message"] == "The budget of this user for the month is nearly used up."
        assert (near.data["limit_microdollars"], near.data["spent_microdollars"]) == (5 * COST, 4 * COST)
        assert (near.data["action"], near.data["group"]) == ("stop", None)
    finally:
        stop()


async def test_a_request_that_was_too_large_is_not_told_as_a_budget_that_is_used_up(platform: Platform) -> None:
    heard: list[Event] = []
    stop = platform.ok.on_event(heard.append)
    deliver = platform.ok.core.events.callback_delivery
    await deliver.tend()

    async def hear(number: int) -> list[str]:
        async with asyncio.timeout(10):
            while len(heard) < number:
                await deliver.run_due()
        return [event.type for event in heard]

    try:
        await decide(platform, budgets={"per_user": {"month_microdollars": 5 * COST}})
        async with caller(platform.ok) as ann:
            for _ in range(2):
                refused = await send(ann, body(max_tokens=1_000_000))
                assert refused.json()["error"]["code"] == "request_over_budget"
            assert await hear(1) == ["spending.request_refused"]
            data = heard[0].data
            assert (heard[0].user_id, data["scope"], data["spent_microdollars"]) == (ann.user_id, "user", 0)
            assert data["needed_microdollars"] == 10_011, (
                "the catalogue's 16,384 tokens at most, the body and what the provider adds to it"
            )
            assert data["message"] == (
                "A request was refused: it may cost up to $0.01. $0.00 is spent of the budget of this user for the "
                "month ($0.001200); smaller requests may still fit."
            )
            for _ in range(6):
                await send(ann)
                await platform.ok.core.metering.flush()
            told = await hear(3)
            assert told == ["spending.request_refused", "spending.limit_near", "spending.limit_reached"]
            assert heard[-1].data["spent_microdollars"] == 5 * COST
    finally:
        stop()
