"""`GET /api/credentials/{id}/models` over HTTP."""

from __future__ import annotations

from tests.gateway.api_client import caller, unique
from tests.gateway.conftest import Platform


async def test_a_panel_fills_its_picker(platform: Platform) -> None:
    async with caller(platform.ok) as ann, caller(platform.ok) as bob:
        secret = f"gsk_{unique('key')}"
        ann.keep_secret(secret)
        tried = (await ann.post("/api/credentials/test", {"provider": "groq", "secret": secret})).json()
        stored = (await ann.post("/api/credentials", {"provider": "groq", "secret": secret})).json()
        path = f"/api/credentials/{stored['id']}/models"
        found = (await ann.get(path)).json()
        assert found["source"] == "provider" and found["fetched_at"]
        assert [model["id"] for model in found["models"]] == tried["models"]
        known = platform.ok.core.catalog["groq"].models
        for model in found["models"]:
            assert (model["context_tokens"], model["tools"]) == (known[model["id"]].context_tokens, True)
        assert max(model["input_price_microdollars_per_mtok"] or 0 for model in found["models"]) > 0
        assert (await ann.get(path)).json()["fetched_at"] == found["fetched_at"]
        assert (await ann.get(path, params={"refresh": "true"})).json()["fetched_at"] > found["fetched_at"]
        limited = await ann.get(path, params={"refresh": "true"})
        assert (limited.status_code, limited.json()["code"]) == (429, "too_many_refreshes")
        assert int(limited.headers["retry-after"]) >= 1
        assert (await bob.get(path)).status_code == 404


async def test_a_refused_key_is_a_problem_and_not_a_failure_of_ours(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        secret = f"gsk_{unique('key')}"
        ann.keep_secret(secret)
        stored = (await ann.post("/api/credentials", {"provider": "groq", "secret": secret})).json()
        platform.providers.break_provider("groq", "echo_key", key=secret)
        answer = await ann.get(f"/api/credentials/{stored['id']}/models")
        assert (answer.status_code, answer.json()["code"]) == (424, "credential_rejected")
