"""What is decided while a request runs counts for each call that it has not begun yet, whoever decided it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from ownkey import Ownkey
from ownkey.domain.budget import Allowance, Budgets, CapAction, Caps
from ownkey.domain.policy import PolicyDefaults, PolicyDocument, SharedAccess
from ownkey.domain.settings import PayerRule
from tests.gateway.conftest import Platform, User
from tests.gateway.test_budgets import open_policy as open_policy  # a fixture
from tests.gateway.test_wire import bearer

FIRST, SECOND = "gsk_mid_call_00000000000001", "sk-proj-mid-call-0000000001"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}


async def put_policy(ok: Ownkey, document: PolicyDocument) -> None:
    await ok.policies.put("root", document)


async def answer_late(
    platform: Platform, user: User, change: Callable[[], Awaitable[Any]], status: int | None = 503
) -> httpx2.Response:
    """A request whose first provider is slow, and says this when the change is made and known."""
    platform.providers.break_provider("groq", "hold", status=status, times=1)
    platform.providers.break_provider("groq", "unavailable")
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20, headers=bearer(user.token)) as client:
        asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=BODY))
        assert await asyncio.to_thread(platform.providers.wait_for_requests, 1)
        cache, policies = platform.ok.core.cache, platform.ok.core.router.policies
        before = cache.find(user.id), policies.current
        await change()
        async with asyncio.timeout(5):
            while (cache.find(user.id), policies.current) == before:
                await asyncio.sleep(0)
            while platform.ok.core.completion.running._checks:
                await asyncio.sleep(0)
        platform.providers.release("groq")
        return await asking


Change = Callable[[Ownkey, str], Awaitable[Any]]
CHANGES: dict[str, tuple[Change, str]] = {
    "consent withdrawn": (lambda ok, user: ok.settings.update_settings(user, shared_consent=False), "consent_needed"),
    "own keys only": (lambda ok, user: ok.settings.update_settings(user, payer=PayerRule.OWN_ONLY), "shared_refused"),
    "provider off": (lambda ok, user: ok.settings.put_preference(user, "openai", enabled=False), "disabled"),
    "no fallback": (lambda ok, user: ok.settings.update_settings(user, allow_fallback=False), "fallback_refused"),
    "payer locked": (
        lambda ok, _: put_policy(
            ok, PolicyDocument(defaults=PolicyDefaults(payer=PayerRule.OWN_ONLY), locks=("payer",))
        ),
        "shared_refused",
    ),
    "nobody is lent anything": (
        lambda ok, _: put_policy(ok, PolicyDocument(shared=SharedAccess(access="nobody"))),
        "shared_not_granted",
    ),
    "nothing is left": (
        lambda ok, _: put_policy(
            ok, PolicyDocument(budgets=Budgets(per_user=Allowance(day_microdollars=0)))
        ),
        "budget_spent",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
async def test_the_operators_money_is_not_spent_against_a_newer_decision(platform: Platform, name: str) -> None:
    await put_policy(platform.ok, PolicyDocument(shared=SharedAccess(consent=True)))
    user = await platform.user(groq=FIRST)
    await platform.ok.settings.update_settings(user.id, shared_consent=True)
    await platform.ok.manager.get_snapshot(user.id)
    change, reason = CHANGES[name]
    answer = await answer_late(platform, user, lambda: change(platform.ok, user.id))
    assert answer.status_code == 503, answer.text
    assert {entry.provider for entry in platform.providers.ledger()} == {"groq"}
    skipped = answer.json()["error"]["ownkey"]["skipped"]
    assert ("openai", "shared", reason) in {(hop["provider"], hop["credential"], hop["reason"]) for hop in skipped}


async def test_a_key_that_was_switched_off_is_not_tried(platform: Platform) -> None:
    await put_policy(platform.ok, PolicyDocument(shared=SharedAccess(access="nobody")))
    user = await platform.user(groq=FIRST, openai=SECOND)
    [second] = [one for one in await platform.ok.settings.list_credentials(user.id) if one.provider == "openai"]
    answer = await answer_late(
        platform, user, lambda: platform.ok.settings.update_credential(user.id, second.id, enabled=False)
    )
    assert answer.status_code == 503
    assert SECOND not in {entry.key for entry in platform.providers.ledger()}


async def test_a_cap_that_was_set_meanwhile_stops_the_next_call(platform: Platform) -> None:
    await put_policy(platform.ok, PolicyDocument(shared=SharedAccess(access="nobody")))
    user = await platform.user(groq=FIRST, openai=SECOND)
    caps = Caps(day_microdollars=0, action=CapAction.STOP)
    answer = await answer_late(platform, user, lambda: platform.ok.settings.update_settings(user.id, caps=caps))
    assert SECOND not in {entry.key for entry in platform.providers.ledger()}
    skipped = answer.json()["error"]["ownkey"]["skipped"]
    assert "own_cap_reached" in {hop["reason"] for hop in skipped}


async def test_other_changes_leave_the_way_as_it_is(platform: Platform) -> None:
    user = await platform.user(groq=FIRST)
    answer = await answer_late(
        platform, user, lambda: platform.ok.settings.put_preference(user.id, "mistral", priority=9)
    )
    assert (answer.status_code, answer.headers["x-ownkey-provider"]) == (200, "openai")
    assert answer.headers["x-ownkey-credential"] == "shared"
