"""The chain on the wire: each hop removed, disabled, broken and rate-limited in turn; the providers keep the ledger."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from ownkey.testing import SimulatedProviders
from tests.gateway.api_client import ApiClient
from tests.gateway.conftest import SHARED, Platform, User

HELLO: list[Any] = [{"role": "user", "content": "Say hello"}]
MISTRAL, GROQ = "mistral-own-0000000001", "gsk_own_0000000000000001"
OPERATOR_GROQ, OPERATOR_OPENAI = SHARED["GROQ_API_KEY"], SHARED["OPENAI_API_KEY"]
# mistral (own) -> groq (own) -> groq (operator) -> openai (operator)
CHAIN = [("mistral", MISTRAL), ("groq", GROQ), ("groq", OPERATOR_GROQ), ("openai", OPERATOR_OPENAI)]


@pytest.fixture
async def user(platform: Platform) -> User:
    return await platform.user(mistral=MISTRAL, groq=GROQ)


def called(providers: SimulatedProviders) -> list[tuple[str, str | None]]:
    """Who was called with which key, without repetitions in a row: second tries are no new hop."""
    seen = [(entry.provider, entry.key) for entry in providers.ledger()]
    return [one for position, one in enumerate(seen) if position == 0 or seen[position - 1] != one]


async def ask(user: User, model: str = "auto", **fields: Any) -> Any:
    return await user.client.chat.completions.with_raw_response.create(model=model, messages=HELLO, **fields)


@pytest.mark.parametrize("broken", range(4))
@pytest.mark.parametrize("kind", ["bad_key", "no_credit", "rate_limited", "daily_quota", "missing_model"])
async def test_each_hop_takes_over_from_the_one_before(platform: Platform, user: User, broken: int, kind: Any) -> None:
    for provider, key in CHAIN[:broken]:
        platform.providers.break_provider(
            provider, kind, key=key, retry_after_seconds=30 if kind == "rate_limited" else None
        )
    headers = (await ask(user)).headers
    if kind == "missing_model":
        # The model is missing for everybody at that provider, so its other keys are not even asked.
        expected = {0: CHAIN[:1], 1: CHAIN[:2], 2: [CHAIN[0], CHAIN[1], CHAIN[3]], 3: [CHAIN[0], CHAIN[1], CHAIN[3]]}[
            broken
        ]
    else:
        expected = CHAIN[: broken + 1]
    assert called(platform.providers) == expected
    assert headers["x-ownkey-provider"] == expected[-1][0]
    assert headers["x-ownkey-credential"] == ("own" if expected[-1] in CHAIN[:2] else "shared")
    assert headers["x-ownkey-attempts"] == str(len(expected))


@pytest.mark.parametrize("kind", ["unavailable", "overloaded", "server_error", "reset", "not_json", "redirect"])
async def test_a_provider_in_trouble_is_left_for_the_next(platform: Platform, user: User, kind: Any) -> None:
    platform.providers.break_provider("mistral", kind)
    headers = (await ask(user)).headers
    assert headers["x-ownkey-provider"] == "groq"
    assert called(platform.providers) == [CHAIN[0], CHAIN[1]]


@pytest.mark.parametrize("kind", ["bad_request", "refused_content"])
async def test_a_callers_mistake_is_not_tried_elsewhere(platform: Platform, user: User, kind: Any) -> None:
    platform.providers.break_provider("mistral", kind)
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(user)
    assert caught.value.status_code in (400, 422)
    assert called(platform.providers) == CHAIN[:1]


async def test_with_nothing_left_one_error_names_every_attempt(platform: Platform, user: User) -> None:
    platform.providers.break_provider("mistral", "no_credit")
    platform.providers.break_provider("groq", "bad_key", key=GROQ)
    platform.providers.break_provider("groq", "rate_limited", key=OPERATOR_GROQ, retry_after_seconds=60)
    platform.providers.break_provider("openai", "unavailable")
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(user)
    assert called(platform.providers) == CHAIN
    error: Any = caught.value.body
    attempts = error["ownkey"]["attempts"]
    assert [(one["provider"], one["credential"], one["class"]) for one in attempts][:3] == [
        ("mistral", "own", "credit_exhausted"),
        ("groq", "own", "auth_invalid"),
        ("groq", "shared", "rate_limited"),
    ]
    assert {one["class"] for one in attempts[3:]} == {"overloaded"}
    # The key that its owner can replace is what a person can do most about.
    assert (caught.value.status_code, error["code"]) == (424, "credential_rejected")
    for label in ("Mistral", "Groq", "OpenAI"):
        assert label in error["message"]
    assert error["request_id"] == caught.value.response.headers["x-ownkey-request-id"]
    for _, key in CHAIN:
        assert key not in caught.value.response.text


async def test_with_no_key_at_all_and_the_shared_one_refused(platform: Platform) -> None:
    user = await platform.user()
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(user)
    assert caught.value.status_code == 424
    assert caught.value.code == "no_provider_available"
    assert "openai, shared key: your settings say Only own keys" in caught.value.message
    assert "let shared keys pay" in caught.value.message
    [hop] = caught.value.body["ownkey"]["skipped"]  # type: ignore[index,call-overload]
    assert (hop["provider"], hop["credential"], hop["reason"]) == ("openai", "shared", "shared_refused")
    assert platform.providers.ledger() == []


@pytest.mark.parametrize(
    ("kind", "status", "code", "cure"),
    [
        ("no_credit", 402, "insufficient_quota", "top it up"),
        ("rate_limited", 429, "rate_limit_exceeded", "wait until"),
        ("bad_key", 424, "credential_rejected", "replace it"),
    ],
)
async def test_what_the_first_request_was_told_the_next_ones_are_told_too(
    platform: Platform, kind: Any, status: int, code: str, cure: str
) -> None:
    user = await platform.user(mistral=MISTRAL)
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    wait = 600 if kind == "rate_limited" else None
    platform.providers.break_provider("mistral", kind, key=MISTRAL, retry_after_seconds=wait)
    client = user.client.with_options(max_retries=0)
    # What is learnt of a refused key is written down in the background: until then it is tried again.
    for number in range(100):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="auto", messages=HELLO)
        assert (caught.value.status_code, caught.value.code) == (status, code)
        error: Any = caught.value.body
        if number and not error["ownkey"]["attempts"]:
            break
        await platform.ok.core.credential_health.flush()
        await platform.ok.core.cache.check_generations()
    assert error["ownkey"]["attempts"] == []
    assert cure in error["message"]
    assert error["ownkey"]["skipped"][0]["provider"] == "mistral"
    if kind != "bad_key":
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 3600


async def test_a_user_without_keys_is_served_by_the_operators(platform: Platform) -> None:
    user = await platform.user()
    headers = (await ask(user)).headers
    assert (headers["x-ownkey-provider"], headers["x-ownkey-credential"]) == ("openai", "shared")


async def test_a_removed_key_is_never_used_again(platform: Platform, user: User) -> None:
    await ask(user)
    [credential] = [one for one in await platform.ok.settings.list_credentials(user.id) if one.provider == "mistral"]
    await platform.ok.settings.remove_credential(user.id, credential.id)
    platform.providers.clear_ledger()
    assert (await ask(user)).headers["x-ownkey-provider"] == "groq"
    assert called(platform.providers) == [CHAIN[1]]


async def test_disabled_and_expired_hops_are_left_out(platform: Platform, user: User) -> None:
    await platform.ok.settings.put_preference(user.id, "mistral", enabled=False)
    assert (await ask(user)).headers["x-ownkey-provider"] == "groq"
    [credential] = [one for one in await platform.ok.settings.list_credentials(user.id) if one.provider == "groq"]
    await platform.ok.settings.update_credential(user.id, credential.id, enabled=False)
    headers = (await ask(user)).headers
    assert (headers["x-ownkey-provider"], headers["x-ownkey-credential"]) == ("groq", "shared")


async def test_a_fallback_can_be_refused_for_one_request(platform: Platform, user: User) -> None:
    platform.providers.break_provider("mistral", "unavailable")
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(user, extra_headers={"X-Ownkey-Fallback": "off"})
    assert caught.value.status_code == 503
    assert called(platform.providers) == CHAIN[:1]


async def test_a_refused_key_is_remembered_and_a_replaced_one_is_used(platform: Platform, user: User) -> None:
    platform.providers.accept_keys("mistral", "mistral-new-0000000001")
    await ask(user)
    await platform.ok.core.credential_health.flush()
    [credential] = [one for one in await platform.ok.settings.list_credentials(user.id) if one.provider == "mistral"]
    assert credential.status == "invalid" and credential.status_reason
    platform.providers.clear_ledger()
    await ask(user)
    assert called(platform.providers) == [CHAIN[1]]
    await platform.ok.settings.replace_credential(user.id, credential.id, "mistral-new-0000000001")
    platform.providers.clear_ledger()
    assert (await ask(user)).headers["x-ownkey-provider"] == "mistral"
    assert called(platform.providers) == [("mistral", "mistral-new-0000000001")]


async def test_one_users_bad_key_never_affects_another(platform: Platform) -> None:
    unlucky = await platform.user(mistral="mistral-unlucky-00000001")
    lucky = await platform.user(mistral="mistral-lucky-0000000001")
    platform.providers.break_provider("mistral", "bad_key", key="mistral-unlucky-00000001")
    for _ in range(12):
        assert (await ask(unlucky)).headers["x-ownkey-credential"] == "shared"
        assert (await ask(lucky)).headers["x-ownkey-provider"] == "mistral"


async def test_a_short_retry_after_is_waited_for(platform: Platform, user: User) -> None:
    platform.providers.break_provider("mistral", "rate_limited", times=1, retry_after_seconds=0.05)
    headers = (await ask(user)).headers
    assert (headers["x-ownkey-provider"], headers["x-ownkey-attempts"]) == ("mistral", "2")


@pytest.mark.parametrize("kind", ["stream_error", "stream_cut", "stream_truncated"])
async def test_a_stream_that_breaks_before_its_first_content_moves_on(
    platform: Platform, user: User, kind: Any
) -> None:
    platform.providers.break_provider("mistral", kind, after_events=0)
    raw = await ask(user, stream=True)
    text = "".join([part.choices[0].delta.content or "" async for part in raw.parse() if part.choices])
    assert raw.headers["x-ownkey-provider"] == "groq" and text


@pytest.mark.parametrize("kind", ["stream_error", "stream_cut", "stream_truncated"])
@pytest.mark.parametrize("first", ["mistral", "anthropic"])
async def test_a_stream_that_breaks_later_says_so_and_does_not_end_well(
    platform: Platform, kind: Any, first: str
) -> None:
    user = await platform.user(**{first: f"key-{first}-0000000001", "groq": GROQ})
    platform.providers.pace(first, 0.05)
    platform.providers.break_provider(first, kind, after_events=6)
    async with (
        httpx2.AsyncClient() as client,
        client.stream(
            "POST",
            f"{platform.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {user.token}"},
            json={"model": "auto", "messages": HELLO, "stream": True},
        ) as answer,
    ):
        body = (await answer.aread()).decode()
    assert answer.headers["x-ownkey-provider"] == first
    assert '"content":"' in body
    assert '"error"' in body.rstrip().rsplit("\n\n", 1)[-1]
    assert "[DONE]" not in body
    assert [entry.provider for entry in platform.providers.ledger()] == [first]


async def test_capabilities_decide_before_the_provider_does(platform: Platform) -> None:
    user = await platform.user(groq=GROQ, openai="sk-own-0000000000000001")
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}]
    model = next(
        (name for name, one in platform.ok.core.catalog["groq"].models.items() if not one.images and not one.embedding),
        None,
    )
    assert model is not None
    await platform.ok.settings.put_preference(user.id, "groq", default_model=model)
    answer = await user.client.chat.completions.with_raw_response.create(model="auto", messages=picture)  # type: ignore[arg-type]
    assert answer.headers["x-ownkey-provider"] == "openai"


async def test_requests_at_once_do_not_get_in_each_others_way(platform: Platform) -> None:
    users = [await platform.user(groq=f"gsk_crowd_{number:012d}") for number in range(20)]

    async def work(number: int) -> None:
        user = users[number % len(users)]
        await user.client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": user.id}], user=user.id, stream=False
        )

    await asyncio.gather(*(work(number) for number in range(100)))
    expected = {user.id: f"gsk_crowd_{number:012d}" for number, user in enumerate(users)}
    assert len(platform.providers.ledger()) == 100
    for entry in platform.providers.ledger():
        assert entry.marker is not None
        assert entry.key == expected[entry.marker]


async def test_an_answer_says_what_would_have_come_first_and_why_it_did_not(platform: Platform, user: User) -> None:
    """A model asked for where the user has no key is answered by somebody else, and not silently."""
    asked = await ask(user, "anthropic/claude-sonnet-5-5")
    assert asked.headers["x-ownkey-provider"] == "mistral"
    assert asked.headers["x-ownkey-skipped"] == "anthropic;payer=own;reason=no_credential"
    streamed = await ask(user, "anthropic/claude-sonnet-5-5", stream=True)
    assert streamed.headers["x-ownkey-skipped"] == asked.headers["x-ownkey-skipped"]
    assert "x-ownkey-skipped" not in (await ask(user)).headers
    platform.providers.clear_ledger()
    for word in ("none", "Off"):
        with pytest.raises(openai.APIStatusError) as refused:
            await ask(user, "anthropic/claude-sonnet-5-5", extra_headers={"X-Ownkey-Fallback": word})
        assert (
            refused.value.status_code == 424
            and "anthropic, own key: you have no API key there" in refused.value.message
        )
    assert platform.providers.ledger() == []


async def test_what_comes_after_the_one_that_answers_is_not_told(platform: Platform, user: User) -> None:
    await platform.ok.settings.put_preference(user.id, "gemini", priority=0)
    await platform.ok.settings.put_preference(user.id, "cohere", priority=90)
    assert (await ask(user)).headers["x-ownkey-skipped"] == "gemini;payer=own;reason=no_credential"
    platform.providers.break_provider("mistral", "no_credit")
    platform.providers.break_provider("groq", "no_credit", key=GROQ)
    later = (await ask(user)).headers
    assert later["x-ownkey-credential"] == "shared"
    assert later["x-ownkey-skipped"] == ("gemini;payer=own;reason=no_credential, cohere;payer=own;reason=no_credential")
    # On the books each stands with the call before which it would have been, once.
    await platform.ok.core.metering.flush()
    logged = await platform.ok.core.request_log.get_request(user.id, later["x-ownkey-request-id"])
    told = [[(hop.provider, hop.payer, hop.reason) for hop in one.skipped] for one in logged.attempts]
    assert told == [[("gemini", "own", "no_credential")], [], [("cohere", "own", "no_credential")]]
    async with ApiClient(platform.ok.asgi(), user.token) as client:
        shown = (await client.get(f"/api/requests/{logged.id}")).json()["attempts"]
        assert shown[0]["skipped"] == [{"provider": "gemini", "payer": "own", "reason": "no_credential"}]
        assert shown[1]["skipped"] == []
        file = (await client.get("/api/requests.csv")).text.splitlines()
    assert file[0].endswith(",skipped")
    assert any(line.endswith(",gemini own no_credential") for line in file[1:])
