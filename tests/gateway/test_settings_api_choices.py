"""`/api/settings`, `/api/preferences`, `/api/tasks` and the route preview."""

from __future__ import annotations

import pytest

from tests.gateway.api_client import ApiClient, caller, unique
from tests.gateway.conftest import Platform


async def hold(client: ApiClient, *providers: str) -> None:
    """Give the caller a key at each provider."""
    for provider in providers:
        answer = await client.post("/api/credentials", {"provider": provider, "secret": f"key-{unique(provider)}"})
        assert answer.status_code == 201


async def test_settings_are_read_and_changed_field_by_field(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        defaults = {
            "payer": "own_then_shared",
            "payer_chosen": False,
            "allow_fallback": True,
            "default_task": None,
            "shared_consent_at": None,
            "shared_consent_needed": False,
            "caps": {"day_microdollars": None, "month_microdollars": None, "action": "stop"},
        }
        assert (await ann.get("/api/settings")).json() == defaults
        chosen = {**defaults, "payer": "own_only", "payer_chosen": True}
        assert (await ann.patch("/api/settings", {"payer": "own_only"})).json() == chosen
        trail = await ann.audit()
        assert (await ann.patch("/api/settings", {"payer": "own_only"})).status_code == 200
        assert (await ann.patch("/api/settings", {})).status_code == 200
        assert await ann.audit() == trail
        assert trail[-1]["details"] == {"payer": "own_only"}


@pytest.mark.parametrize(
    "body",
    [
        {"payer": "nobody"},
        {"payer": 1},
        {"allow_fallback": 1},
        {"default_task": "a b"},
        {"role": "admin"},
        {"shared_consent": None},
        {"shared_consent_at": "2026-11-25T10:00:00Z"},
    ],
)
async def test_wrong_settings_are_refused(platform: Platform, body: dict[str, object]) -> None:
    async with caller(platform.ok) as ann:
        answer = await ann.patch("/api/settings", body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, next(iter(body)))


@pytest.mark.parametrize(
    "caps",
    [None, {"day_microdollars": -1}, {"month_microdollars": 1.5}, {"action": "shout"}, {"day_microdollars": 10**16}],
)
async def test_wrong_caps_are_refused(platform: Platform, caps: object) -> None:
    async with caller(platform.ok) as ann:
        answer = await ann.patch("/api/settings", {"caps": caps})
        assert (answer.status_code, answer.json()["errors"][0]["field"].split(".")[0]) == (400, "caps")


async def test_consent_and_caps_are_kept_dated_and_audited(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        agreed = (await ann.patch("/api/settings", {"shared_consent": True})).json()
        assert agreed["shared_consent_at"] is not None
        again = (await ann.patch("/api/settings", {"shared_consent": True})).json()
        assert again["shared_consent_at"] == agreed["shared_consent_at"], "the first yes is the one that counts"
        caps = {"day_microdollars": 5_000_000, "month_microdollars": None, "action": "warn"}
        assert (await ann.patch("/api/settings", {"caps": caps})).json()["caps"] == caps
        taken_back = (await ann.patch("/api/settings", {"shared_consent": False})).json()
        assert (taken_back["shared_consent_at"], taken_back["caps"]) == (None, caps)
        written = [entry["details"] for entry in await ann.audit() if entry["action"] == "settings.updated"]
        assert [list(details) for details in written] == [["shared_consent_at"], ["caps"], ["shared_consent_at"]]
        assert (written[1], written[2]) == ({"caps": caps}, {"shared_consent_at": None})


async def test_preferences_are_set_one_by_one_or_together(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        one = (await ann.put("/api/preferences/groq", {"priority": 2, "default_model": "llama-3.1-8b-instant"})).json()
        assert one == {
            "provider": "groq",
            "enabled": True,
            "priority": 2,
            "default_model": "llama-3.1-8b-instant",
            "may_fall_back": True,
            "backup_only": False,
        }
        # PUT sets the whole: what is left out takes its default.
        assert (await ann.put("/api/preferences/groq", {"priority": 3})).json()["default_model"] is None
        both = [{"provider": "mistral", "priority": 1}, {"provider": "groq", "priority": 2, "enabled": False}]
        listed = (await ann.put("/api/preferences", both)).json()
        assert [(one["provider"], one["enabled"]) for one in listed] == [("mistral", True), ("groq", False)]
        assert (await ann.get("/api/preferences")).json() == listed
        answer = await ann.put("/api/preferences", [*both, {"provider": "nobody"}])
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_provider")
        assert (await ann.put("/api/preferences", [both[0], both[0]])).status_code == 400
        assert (await ann.get("/api/preferences")).json() == listed


async def test_a_task_of_ones_own_is_set_shown_and_removed(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        await hold(ann, "groq")
        wanted = {"provider": "groq", "model": "llama-3.3-70b-versatile", "payer": "own_only"}
        stored = (await ann.put("/api/tasks/Legal-Review", wanted)).json()
        assert stored == {
            "task": "legal-review",
            "version": stored["version"],
            **wanted,
            "credential_id": None,
            "allow_fallback": None,
        }
        assert (await ann.get("/api/tasks/legal-review")).json() == stored
        assert (await ann.get("/api/tasks")).json() == [stored]
        assert (await ann.delete("/api/tasks/legal-review")).status_code == 204
        for method in ("GET", "DELETE"):
            assert (await ann.send(method, "/api/tasks/legal-review")).status_code == 404


@pytest.mark.parametrize("task", ["a b", "9", "%00", "é", "x" * 41, "%ED%A0%80"])
async def test_an_impossible_task_is_refused_everywhere(platform: Platform, task: str) -> None:
    async with caller(platform.ok) as ann:
        for method, body in (("GET", None), ("PUT", {"provider": "groq"}), ("DELETE", None)):
            answer = await ann.send(method, f"/api/tasks/{task}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), method


async def test_the_preview_says_what_a_request_then_does(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        await hold(ann, "groq", "mistral", "anthropic")
        await ann.put("/api/preferences", [{"provider": "mistral", "priority": 1}, {"provider": "groq", "priority": 2}])
        await ann.put("/api/preferences/anthropic", {"enabled": False})
        await ann.put("/api/tasks/coding", {"provider": "groq", "model": "llama-3.1-8b-instant"})
        route = (await ann.post("/api/route/preview", {"model": "task:coding"})).json()
        own = [(one["provider"], one["payer"]) for one in route["attempts"] if one["payer"] == "own"]
        assert own == [("groq", "own"), ("mistral", "own")]
        assert route["best"] == route["attempts"][0]
        assert route["best"]["model"] == "llama-3.1-8b-instant"
        assert set(route["best"]["credential"]) == {"id", "label", "hint"}
        assert ("anthropic", "disabled") in {(one["provider"], one["reason"]) for one in route["skipped"]}
        reply = await platform.ok.manager.chat(
            ann.user_id, model="task:coding", messages=[{"role": "user", "content": "hi"}]
        )
        assert (reply.provider, reply.model) == (route["best"]["provider"], route["best"]["model"])
        platform.providers.clear_ledger()
        await ann.post("/api/route/preview", {"model": "auto", "task": "research"})
        assert platform.providers.ledger() == [], "a preview sends nothing"


async def test_the_preview_skips_what_a_model_cannot_do(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        await hold(ann, "groq")
        known = platform.ok.core.catalog["groq"].models.values()
        blind = next(model.id for model in known if not model.images and not model.embedding)
        body = {"model": f"groq/{blind}", "needs": {"images": True}, "allow_fallback": False}
        route = (await ann.post("/api/route/preview", body)).json()
        assert ("groq", "lacks_images") in {(one["provider"], one["reason"]) for one in route["skipped"]}
        answer = await ann.post("/api/route/preview", {"model": "auto", "needs": {"input_tokens": -1}})
        assert answer.json()["errors"][0]["field"] == "needs.input_tokens"
