"""The route preview: what is shown is what is done, with who pays, what it may cost, and why others are left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ownkey.domain.policy import PolicyDocument, SharedAccess
from ownkey.domain.routing import Skipped, SkipReason
from ownkey.domain.settings import Payer
from ownkey.services.route_preview import explain_skip
from tests.gateway.api_client import ApiClient
from tests.gateway.conftest import Platform, User


@pytest.fixture
async def user(platform: Platform) -> User:
    return await platform.user(groq="gsk_preview_000000000001", anthropic="sk-ant-preview-00000001")


async def preview(platform: Platform, user: User, **asked: Any) -> dict[str, Any]:
    """As the panel asks."""
    async with ApiClient(platform.ok.asgi(), user.token) as client:
        answer = await client.post("/api/route/preview", asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def hops(route: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["provider"], one["model"], one["payer"]) for one in route["attempts"]]


async def test_what_is_shown_is_what_is_done(platform: Platform, user: User) -> None:
    """Each hop fails in turn: the providers see the chain that was shown, with its models."""
    route = await preview(platform, user)
    for provider, key in (("groq", None), ("anthropic", None), ("openai", None)):
        platform.providers.break_provider(provider, "no_credit", key=key)
    with pytest.raises(Exception, match="No provider could answer"):
        await user.client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "hello"}])
    seen = [(entry.provider, entry.model) for entry in platform.providers.ledger()]
    assert seen == [(provider, model) for provider, model, _ in hops(route)]
    assert [payer for *_, payer in hops(route)] == ["own", "own", "shared", "shared"]
    assert route["best"] == route["attempts"][0]


async def test_each_hop_has_its_price(platform: Platform, user: User) -> None:
    asked = {"needs": {"input_tokens": 2000}, "max_output_tokens": 500}
    route = await preview(platform, user, model="anthropic/claude-sonnet-4-5", **asked)
    price = route["best"]["price"]
    assert route["best"]["provider"] == "anthropic"
    # $3 and $15 a million; at its dearest input is written to the cache for an hour, at $6.
    assert price == {
        "lowest": 2000 * 3,
        "highest": 2000 * 6 + 500 * 15,
        "output_tokens": 500,
        "input_price": 3_000_000,
        "output_price": 15_000_000,
    }
    for hop in route["attempts"]:
        assert hop["price"] is None or 0 <= hop["price"]["lowest"] <= hop["price"]["highest"]
    longer = await preview(platform, user, model="anthropic/claude-sonnet-4-5", needs={"input_tokens": 2000})
    assert longer["best"]["price"]["output_tokens"] > 500
    assert longer["best"]["price"]["highest"] > price["highest"]
    unheard = await preview(platform, user, model="groq/unheard-of-model")
    assert unheard["best"]["model"] == "unheard-of-model" and unheard["best"]["price"] is None


async def test_what_a_request_cost_lies_in_what_was_shown(platform: Platform, user: User) -> None:
    for model in ("groq/llama-3.3-70b-versatile", "anthropic/claude-sonnet-4-5"):
        content = "Say something of the sea. " * 40
        shown = (await preview(platform, user, model=model, needs={"input_tokens": 300}, max_output_tokens=4000))[
            "best"
        ]
        await user.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": content}], max_tokens=4000
        )
        await platform.ok.core.metering.flush()
        logged = (await platform.ok.core.request_log.list_requests(user.id, limit=1))[0]
        assert (logged.provider, logged.model, logged.payer) == (shown["provider"], shown["model"], shown["payer"])
        assert logged.cost_microdollars is not None and logged.cost_microdollars <= shown["price"]["highest"]


async def test_every_candidate_that_is_left_out_says_why(platform: Platform, user: User) -> None:
    await platform.ok.settings.put_preference(user.id, "mistral", priority=3)
    await platform.ok.settings.put_preference(user.id, "xai", enabled=False)
    [key] = [one for one in await platform.ok.settings.list_credentials(user.id) if one.provider == "anthropic"]
    await platform.ok.settings.update_credential(user.id, key.id, enabled=False, label="spare")
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    route = await preview(platform, user)
    told = {(one["provider"], one["payer"]): (one["reason"], one["explanation"]) for one in route["skipped"]}
    assert told["mistral", "own"] == ("no_credential", "Mistral, the user's own key: the user has no API key there.")
    assert told["xai", "own"][0] == "disabled"
    assert told["anthropic", "own"] == (
        "credential_disabled",
        'Anthropic, the user\'s own key "spare": this API key is switched off.',
    )
    assert told["groq", "shared"][0] == "shared_refused"
    assert [(provider, payer) for provider, _, payer in hops(route)] == [("groq", "own")]


async def test_budgets_and_consent_are_shown_as_reasons(platform: Platform, user: User) -> None:
    before = await platform.ok.policies.get("root")
    consent = PolicyDocument(shared=SharedAccess(consent=True))
    try:
        await platform.ok.policies.put("root", consent)
        route = await preview(platform, user)
        reasons = {one["reason"] for one in route["skipped"] if one["payer"] == "shared"}
        assert reasons == {"consent_needed"}
        assert all(hop["payer"] == "own" for hop in route["attempts"])
    finally:
        await platform.ok.policies.put("root", before.document)


@pytest.mark.parametrize("asked", [{"max_output_tokens": 0}, {"max_output_tokens": "9"}, {"max_output": 5}])
async def test_a_wrong_question_is_refused(platform: Platform, user: User, asked: dict[str, Any]) -> None:
    async with ApiClient(platform.ok.asgi(), user.token) as client:
        assert (await client.post("/api/route/preview", asked)).status_code == 400


def reasons() -> Iterator[str]:
    yield from (value for name, value in vars(SkipReason).items() if name.isupper())


@pytest.mark.parametrize("reason", sorted(reasons()))
def test_every_reason_has_words(platform: Platform, reason: str) -> None:
    until = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(hours=2)
    hop = Skipped("groq", "m", Payer.SHARED, reason, None, until)
    told = explain_skip(hop, platform.ok.core.catalog)
    assert told.startswith("Groq, the operator's key: ") and told.endswith(", until 2026-12-01 02:00 UTC.")
    assert told.count(" ") > 8, "the code alone explains nothing"
    assert explain_skip(Skipped("gone", None, Payer.OWN, reason), platform.ok.core.catalog).startswith(
        "gone, the user's"
    )
