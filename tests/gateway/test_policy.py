"""What administrators decide holds for everybody, in every process, at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ownkey import Config, Ownkey
from ownkey.domain.policy import PolicyDocument, SharedAccess
from ownkey.testing import SimulatedProviders
from tests.gateway.api_client import ApiClient, administrator, caller
from tests.gateway.conftest import SHARED, Platform
from tests.gateway.test_replicas import until

HELLO = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
OPEN: dict[str, Any] = {}
DECIDED = ("allowed_providers", "shared", "budgets", "limits", "defaults", "locks", "reveal_keys")


@pytest.fixture(autouse=True)
async def open_policy(platform: Platform) -> AsyncIterator[None]:
    """Every test leaves the deployment as it found it: nothing decided."""
    yield
    async with administrator(platform.ok) as root:
        assert (await root.put("/api/admin/policy?reset=true", OPEN)).status_code == 200


async def chat(client: ApiClient, model: str = "auto", **fields: Any) -> tuple[int, str, str]:
    """Status, provider and payer of one chat."""
    answer = await client._client.post("/v1/chat/completions", json={**HELLO, "model": model, **fields})
    headers = answer.headers
    return answer.status_code, headers.get("x-ownkey-provider", ""), headers.get("x-ownkey-credential", "")


def operator_calls(providers: SimulatedProviders) -> int:
    """How often a provider saw one of the operator's keys."""
    return sum(entry.key in SHARED.values() for entry in providers.ledger())


async def test_without_a_decision_the_environment_decides(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        whole = (await root.get("/api/admin/policy")).json()
        assert whole["allowed_providers"] is None
        assert whole["shared"] == {"access": "everyone", "users": [], "consent": False}
        unlimited = {"day_microdollars": None, "month_microdollars": None}
        assert whole["budgets"] == {
            "per_user": unlimited,
            "groups": {},
            "total": unlimited,
            "assumed_output_tokens": 16384,
        }
        assert whole["limits"] == {"requests_per_minute": None, "tokens_per_minute": None}
        assert whole["defaults"] == {"payer": "own_then_shared", "tasks": {}}
        assert (whole["locks"], whole["reveal_keys"]) == ([], False)
        assert whole["frame"] == {"allowed_providers": None, "shared_providers": ["openai", "groq"]}
        assert (await ann.get("/api/policy")).json() == {
            "allowed_providers": None,
            "shared_providers": ["openai", "groq"],
            "defaults": {"payer": "own_then_shared", "tasks": {}},
            "locks": [],
            "locked_by": None,
            "reveal_keys": False,
            "custom_base_urls": False,
        }


async def test_a_change_is_versioned_and_audited(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        seen = await root.get("/api/admin/policy")
        assert seen.headers["etag"] == f'"{seen.json()["generation"]}"'
        wanted = {"shared": {"access": "listed", "users": ["zoe", "ann", "ann"]}, "reveal_keys": True}
        match = {"if-match": seen.headers["etag"]}
        changed = await root.put("/api/admin/policy?reset=true", wanted, headers=match)
        assert changed.status_code == 200
        assert changed.json()["shared"] == {"access": "listed", "users": ["ann", "zoe"], "consent": False}
        assert changed.json()["updated_by"] == root.user_id
        assert changed.headers["etag"] != seen.headers["etag"]
        refused = await root.put("/api/admin/policy?reset=true", OPEN, headers=match)
        assert (refused.status_code, refused.json()["code"]) == (412, "changed_elsewhere")
        assert (
            await root.put("/api/admin/policy?reset=true", OPEN, headers={"if-match": "garbage"})
        ).status_code == 412
        again = await root.put("/api/admin/policy?reset=true", wanted)
        assert again.headers["etag"] == changed.headers["etag"], "nothing changed, nothing is written"
        entry = (await root.audit())[-1]
        assert (entry["action"], entry["actor"]) == ("policy.updated", root.user_id)
        assert entry["details"]["changed"] == ["reveal_keys", "shared.access", "shared.users"]
        assert entry["details"]["users_added"] == ["ann", "zoe"]


async def test_what_is_left_out_is_not_lost_unawares(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        await root.put(
            "/api/admin/policy?reset=true", {"budgets": {"groups": {"sales": {"day_microdollars": 7}}, "total": {}}}
        )
        kept = (await root.get("/api/admin/policy")).json()
        refused = await root.put("/api/admin/policy", {})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
        assert "leaves out allowed_providers, shared, budgets, limits, " in refused.json()["detail"]
        document = {name: kept[name] for name in DECIDED}
        without_groups = {name: one for name, one in kept["budgets"].items() if name != "groups"}
        refused = await root.put("/api/admin/policy", {**document, "budgets": without_groups})
        assert "leaves out budgets.groups:" in refused.json()["detail"]
        assert "?reset=true" in refused.json()["detail"]
        assert (await root.get("/api/admin/policy")).json() == kept
        budgets = {**kept["budgets"], "groups": {}, "per_user": {"month_microdollars": 9}}
        changed = (await root.put("/api/admin/policy", {**document, "budgets": budgets})).json()
        assert changed["budgets"]["per_user"] == {"day_microdollars": None, "month_microdollars": 9}
        assert changed["budgets"]["groups"] == {}


async def test_names_that_nobody_has_are_told(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        shared = {"access": "listed", "users": [ann.user_id, "alcie", "zoe"]}
        stored = await root.put("/api/admin/policy?reset=true", {"shared": shared})
        assert stored.json()["unknown_users"] == ["alcie", "zoe"]
        assert (await root.get("/api/admin/policy")).json()["unknown_users"] == ["alcie", "zoe"]
        await platform.ok.manager.load_user_settings("zoe")
        assert (await root.get("/api/admin/policy")).json()["unknown_users"] == ["alcie"]
        await root.put("/api/admin/policy?reset=true", OPEN)
        assert (await root.get("/api/admin/policy")).json()["unknown_users"] == []


async def test_of_two_who_decide_at_once_one_is_told(platform: Platform) -> None:
    async with administrator(platform.ok) as root, administrator(platform.ok) as eve:
        etag = (await root.get("/api/admin/policy")).headers["etag"]
        answers = await asyncio.gather(
            *(
                one.put("/api/admin/policy?reset=true", {"locks": [lock]}, headers={"if-match": etag})
                for one, lock in ((root, "payer"), (eve, "preferences"))
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412]


@pytest.mark.parametrize(
    "wrong",
    [
        {"allowed_providers": ["nobody"]},
        {"shared": {"access": "some"}},
        {"shared": {"access": "listed", "users": ["a\nb"]}},
        {"shared": {"access": "listed", "users": [""]}},
        {"defaults": {"payer": "me"}},
        {"defaults": {"tasks": {"Not A Task": {"provider": "groq"}}}},
        {"defaults": {"tasks": {"coding": {"provider": "nobody"}}}},
        {"defaults": {"tasks": {"coding": {"provider": "groq", "model": "../x"}}}},
        {"defaults": {"tasks": {"embedding": {"provider": "anthropic"}}}},
        {"defaults": {"tasks": {"coding": {"provider": "groq"}}}, "allowed_providers": ["openai"]},
        {"locks": ["everything"]},
        {"locks": ["tasks:"]},
        {"reveal_keys": "yes"},
        {"generation": 4},
    ],
)
async def test_a_policy_that_makes_no_sense_is_refused(platform: Platform, wrong: dict[str, Any]) -> None:
    async with administrator(platform.ok) as root:
        before = (await root.get("/api/admin/policy")).json()
        assert (await root.put("/api/admin/policy?reset=true", wrong)).status_code == 400
        assert (await root.get("/api/admin/policy")).json() == before


async def test_only_administrators_decide(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        assert (await ann.get("/api/admin/policy")).status_code == 403
        assert (await ann.put("/api/admin/policy?reset=true", OPEN)).status_code == 403


async def test_who_is_not_listed_gets_no_shared_key(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        assert (await chat(bob))[0] == 200
        platform.providers.clear_ledger()
        await root.put("/api/admin/policy?reset=true", {"shared": {"access": "listed", "users": [ann.user_id]}})
        refused = await bob._client.post("/v1/chat/completions", json=HELLO)
        assert refused.status_code == 424
        assert "the administrator does not lend you this key" in refused.json()["error"]["message"]
        assert platform.providers.ledger() == [], "no provider has heard of it"
        assert await chat(ann) == (200, "openai", "shared")
        assert operator_calls(platform.providers) == 1
        preview = (await bob.post("/api/route/preview", {})).json()
        assert {(one["provider"], one["reason"]) for one in preview["skipped"]} == {("openai", "shared_not_granted")}
        assert "the administrator does not lend this user the operator's key" in preview["skipped"][0]["explanation"]
        assert (await bob.get("/api/policy")).json()["shared_providers"] == []
        assert not [one for one in (await bob.get("/api/providers")).json() if one["shared_key"]]
        models = (await bob._client.get("/v1/models")).json()["data"]
        assert {one["owned_by"] for one in models} == {"ownkey"}
        await root.put("/api/admin/policy?reset=true", {"shared": {"access": "nobody", "users": [ann.user_id]}})
        assert (await chat(ann))[0] == 424
        await root.put("/api/admin/policy?reset=true", OPEN)
        assert await chat(bob) == (200, "openai", "shared")


async def test_own_keys_work_without_the_shared_ones(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        await ann.post("/api/credentials", {"provider": "groq", "secret": "gsk_ann_00000000000000001"})
        await root.put("/api/admin/policy?reset=true", {"shared": {"access": "nobody"}})
        assert await chat(ann) == (200, "groq", "own")
        platform.providers.break_provider("groq")
        assert (await chat(ann))[0] == 503
        assert operator_calls(platform.providers) == 0


async def test_a_provider_that_is_no_longer_allowed_is_not_called(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        secret = "gsk_ann_00000000000000001"
        await ann.post("/api/credentials", {"provider": "groq", "secret": secret})
        assert await chat(ann) == (200, "groq", "own")
        await root.put("/api/admin/policy?reset=true", {"allowed_providers": ["openai", "mistral"]})
        assert await chat(ann) == (200, "openai", "shared")
        refused = await ann.post("/api/credentials", {"provider": "groq", "secret": secret + "2"})
        assert refused.json()["code"] == "provider_not_allowed"
        assert (await ann.get("/api/policy")).json()["allowed_providers"] == ["openai", "mistral"]
        allowed = {one["id"] for one in (await ann.get("/api/providers")).json() if one["allowed"]}
        assert allowed == {"openai", "mistral"}


async def test_defaults_hold_until_a_user_chooses(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        for provider in ("groq", "mistral"):
            await ann.post("/api/credentials", {"provider": provider, "secret": f"{provider}-key-00000000000001"})
        tasks = {"coding": {"provider": "mistral", "model": "codestral-latest"}}
        await root.put("/api/admin/policy?reset=true", {"defaults": {"payer": "own_only", "tasks": tasks}})
        assert await chat(ann, "task:coding") == (200, "mistral", "own")
        assert platform.providers.ledger("mistral")[-1].model == "codestral-latest"
        assert (await ann.get("/api/settings")).json()["payer"] == "own_only"
        preview = (await ann.post("/api/route/preview", {})).json()
        assert {one["payer"] for one in preview["attempts"]} == {"own"}
        await ann.put("/api/tasks/coding", {"provider": "groq"})
        assert await chat(ann, "task:coding") == (200, "groq", "own")
        await ann.patch("/api/settings", {"payer": "own_then_shared"})
        preview = (await ann.post("/api/route/preview", {})).json()
        assert {one["payer"] for one in preview["attempts"]} == {"own", "shared"}
        await ann.patch("/api/settings", {"payer": None})
        assert (await ann.get("/api/settings")).json()["payer"] == "own_only"


async def test_what_is_locked_is_the_administrators(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        for provider in ("groq", "mistral"):
            await ann.post("/api/credentials", {"provider": provider, "secret": f"{provider}-key-00000000000001"})
        await ann.put("/api/tasks/coding", {"provider": "groq", "payer": "shared_only"})
        await ann.put("/api/tasks/writing", {"provider": "groq", "payer": "shared_only"})
        await ann.patch("/api/settings", {"payer": "shared_only"})
        await ann.put("/api/preferences/mistral", {"priority": 1, "default_model": "mistral-mine"})
        defaults = {"payer": "own_only", "tasks": {"coding": {"provider": "mistral"}}}
        locks = ["tasks:coding", "payer", "preferences"]
        await root.put("/api/admin/policy?reset=true", {"defaults": defaults, "locks": locks})
        platform.providers.clear_ledger()
        assert await chat(ann, "task:coding") == (200, "mistral", "own")
        assert await chat(ann, "task:writing") == (200, "groq", "own"), "the provider is theirs, who pays is not"
        assert await chat(ann) == (200, "groq", "own"), "by the catalogue's order: the preference does not count"
        assert operator_calls(platform.providers) == 0
        told = (await ann.get("/api/policy")).json()
        assert (told["locks"], told["locked_by"]) == (sorted(locks), root.user_id)
        for method, path, body, locked in (
            ("PUT", "/api/tasks/coding", {"provider": "openai"}, "tasks:coding"),
            ("DELETE", "/api/tasks/coding", None, "tasks:coding"),
            ("PUT", "/api/tasks/chat", {"provider": "groq", "payer": "shared_only"}, "payer"),
            ("PATCH", "/api/settings", {"payer": "own_then_shared"}, "payer"),
            ("PUT", "/api/preferences/groq", {"priority": 1}, "preferences"),
            ("PUT", "/api/preferences", [{"provider": "groq", "priority": 1}], "preferences"),
        ):
            refused = await ann.send(method, path, json=body)
            assert (refused.status_code, refused.json()["code"]) == (403, "locked_by_administrator"), path
            assert refused.json()["locked"] == [locked]
        assert (await ann.patch("/api/settings", {"payer": "own_only", "allow_fallback": False})).status_code == 200
        assert (await ann.put("/api/tasks/chat", {"provider": "groq"})).status_code == 200
        await root.put("/api/admin/policy?reset=true", OPEN)
        assert await chat(ann, "task:coding") == (200, "groq", "shared"), "what they had chosen is theirs again"


async def test_a_disabled_provider_stays_disabled_under_a_lock(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        for provider in ("groq", "mistral"):
            await ann.post("/api/credentials", {"provider": provider, "secret": f"{provider}-key-00000000000001"})
        await ann.put("/api/preferences/groq", {"enabled": False})
        await root.put("/api/admin/policy?reset=true", {"locks": ["preferences"]})
        assert await chat(ann) == (200, "mistral", "own")


@pytest.fixture
async def pair(private_dir: Path, providers: SimulatedProviders) -> AsyncIterator[tuple[Ownkey, Ownkey]]:
    """Two processes' worth on one database; the environment allows three providers. Polling is out of the way."""
    config = Config(
        data_dir=private_dir,
        catalog=providers.write_catalog(private_dir / "catalog.toml"),
        allowed_providers=("openai", "groq", "mistral"),
        snapshot_max_age_seconds=3600,
    )
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Ownkey.open(config, environ=SHARED))
        second = await stack.enter_async_context(Ownkey.open(config, environ=SHARED))
        yield first, second


async def test_the_other_process_follows(pair: tuple[Ownkey, Ownkey], providers: SimulatedProviders) -> None:
    first, second = pair
    messages = [{"role": "user", "content": "hi"}]
    await second.manager.load_user_settings("ada")
    assert (await second.manager.chat("ada", messages=messages)).credential == "shared"
    providers.clear_ledger()
    nobody = PolicyDocument(shared=SharedAccess(access="nobody"))
    await first.policies.put("root", nobody)
    await until(lambda: second.core.router.policy.shared_users == frozenset())
    with pytest.raises(Exception, match="API key"):
        await second.manager.chat("ada", messages=messages)
    assert providers.ledger() == []
    assert first.core.router.policy == second.core.router.policy


async def test_a_lost_notification_is_made_up_for(pair: tuple[Ownkey, Ownkey]) -> None:
    """Nobody told the second process; its poll, here by hand, finds it."""
    first, second = pair
    second.core.policies._deployment.wake = lambda: None  # type: ignore[method-assign]
    await first.policies.put("root", PolicyDocument(reveal_keys=True))
    await second.core.policies._deployment.refresh()
    assert second.core.router.policy.reveal_keys


async def test_a_process_that_starts_later_knows(private_dir: Path, pair: tuple[Ownkey, Ownkey]) -> None:
    first, _ = pair
    await first.policies.put("root", PolicyDocument(allowed_providers=("groq",)))
    async with Ownkey.open(first.config, environ=SHARED) as third:
        assert third.core.router.policy.allowed == frozenset({"groq"})


async def test_the_environment_is_the_outer_frame(pair: tuple[Ownkey, Ownkey]) -> None:
    first, _ = pair
    async with administrator(first) as root:
        refused = await root.put("/api/admin/policy?reset=true", {"allowed_providers": ["groq", "anthropic"]})
        assert (refused.status_code, refused.json()["code"]) == (403, "provider_not_allowed")
        default = {"defaults": {"tasks": {"coding": {"provider": "anthropic"}}}}
        assert (await root.put("/api/admin/policy?reset=true", default)).status_code == 403
        frame = (await root.get("/api/admin/policy")).json()["frame"]
        assert frame == {"allowed_providers": ["groq", "mistral", "openai"], "shared_providers": ["openai", "groq"]}
        await root.put("/api/admin/policy?reset=true", OPEN)
        assert first.core.router.policy.allowed == {"openai", "groq", "mistral"}
