"""`/api/credentials` and `/api/providers` as a settings page uses them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.gateway.api_client import ApiClient, caller, unique
from tests.gateway.conftest import Platform


async def add(client: ApiClient, provider: str = "groq", **fields: object) -> dict[str, object]:
    """Store a key; it must be in no later answer."""
    secret = str(fields.pop("secret", f"gsk_{unique('key')}"))
    client.keep_secret(secret)
    answer = await client.post("/api/credentials", {"provider": provider, "secret": secret, **fields})
    assert answer.status_code == 201, answer.text
    stored: dict[str, object] = answer.json()
    return stored


async def test_a_key_is_added_listed_changed_and_removed(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        end = (datetime.now(UTC) + timedelta(days=7)).replace(microsecond=0)
        stored = await add(ann, label="work", expires_at=end.isoformat())
        assert stored["status"] == "unverified"
        assert str(stored["hint"]).startswith("gsk_…")
        assert datetime.fromisoformat(str(stored["expires_at"])) == end
        assert (await ann.get("/api/credentials")).json() == [stored]
        changed = (await ann.patch(f"/api/credentials/{stored['id']}", {"label": "home", "expires_at": None})).json()
        assert (changed["label"], changed["expires_at"], changed["enabled"]) == ("home", None, True)
        assert (await ann.delete(f"/api/credentials/{stored['id']}")).status_code == 204
        assert (await ann.get("/api/credentials")).json() == []
        actions = [entry["action"] for entry in await ann.audit()]
        assert actions[-3:] == ["credential.added", "credential.updated", "credential.removed"]


async def test_a_change_that_changes_nothing_leaves_no_trace(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        stored = await add(ann, label="work")
        trail = await ann.audit()
        for nothing in ({}, {"label": "work"}, {"enabled": True, "expires_at": None, "position": 0}):
            assert (await ann.patch(f"/api/credentials/{stored['id']}", nothing)).json() == stored
        assert await ann.audit() == trail


async def test_the_same_key_twice_is_a_conflict_that_names_the_first(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        secret = f"gsk_{unique('key')}"
        stored = await add(ann, secret=secret)
        answer = await ann.post("/api/credentials", {"provider": "groq", "secret": secret, "label": "again"})
        assert answer.status_code == 409
        assert (answer.json()["code"], answer.json()["credential_id"]) == ("duplicate_secret", stored["id"])


async def test_a_key_is_tried_before_and_after_it_is_saved(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        secret = f"gsk_{unique('key')}"
        ann.keep_secret(secret)
        platform.providers.break_provider("groq", "echo_key", key=secret)
        answer = (await ann.post("/api/credentials/test", {"provider": "groq", "secret": secret})).json()
        assert answer["outcome"] == "wrong_key"
        platform.providers.fix()
        answer = (await ann.post("/api/credentials/test", {"provider": "groq", "secret": secret})).json()
        assert (answer["outcome"], answer["model_count"] > 0) == ("works", True)
        assert (await ann.get("/api/credentials")).json() == []
        stored = await add(ann, secret=secret)
        answer = (await ann.post(f"/api/credentials/{stored['id']}/test")).json()
        assert answer["outcome"] == "works"
        (after,) = (await ann.get("/api/credentials")).json()
        assert (after["status"], after["last_tested_at"] is not None) == ("ok", True)
        assert [entry.key for entry in platform.providers.ledger("groq")] == [secret] * 3


async def test_a_replaced_key_is_the_one_that_serves(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        old, new = f"gsk_{unique('old')}", f"gsk_{unique('new')}"
        stored = await add(ann, secret=old, label="work")
        platform.providers.break_provider("groq", "no_credit", key=old)
        await platform.ok.manager.load_user_settings(ann.user_id)
        await platform.ok.manager.chat(ann.user_id, messages=[{"role": "user", "content": "hi"}])
        ann.keep_secret(new)
        replaced = (await ann.post(f"/api/credentials/{stored['id']}/replace", {"secret": new})).json()
        assert (replaced["id"], replaced["label"], replaced["status"]) == (stored["id"], "work", "unverified")
        platform.providers.clear_ledger()
        reply = await platform.ok.manager.chat(ann.user_id, messages=[{"role": "user", "content": "hi"}])
        assert (reply.provider, reply.credential) == ("groq", "own")
        assert [entry.key for entry in platform.providers.ledger("groq")] == [new]


async def test_keys_are_ordered_and_pinned_keys_are_not_lost_by_accident(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        first, second = await add(ann, label="one"), await add(ann, label="two")
        order = {"provider": "groq", "credential_ids": [second["id"], first["id"]]}
        assert [one["label"] for one in (await ann.put("/api/credentials/order", order)).json()] == ["two", "one"]
        order["credential_ids"] = [second["id"]]
        assert (await ann.put("/api/credentials/order", order)).status_code == 400
        await ann.put("/api/tasks/coding", {"provider": "groq", "credential_id": second["id"]})
        answer = await ann.delete(f"/api/credentials/{second['id']}")
        assert (answer.status_code, answer.json()["code"]) == (409, "credential_in_use")
        assert answer.json()["tasks"] == ["coding"]
        assert (await ann.delete(f"/api/credentials/{second['id']}", params={"force": "true"})).status_code == 204
        assert (await ann.get("/api/tasks/coding")).json()["credential_id"] is None


async def test_there_is_no_base_url_of_ones_own_unless_the_operator_says_so(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        wanted = {"provider": "groq", "secret": f"gsk_{unique('key')}", "base_url": "https://llm.example.com/v1"}
        for path in ("/api/credentials", "/api/credentials/test"):
            answer = await ann.post(path, wanted)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_base_url")
        stored = await add(ann)
        for path, body in (
            (f"/api/credentials/{stored['id']}", {"base_url": "https://llm.example.com/v1"}),
            (f"/api/credentials/{stored['id']}", {"base_url": "http://169.254.169.254/"}),
        ):
            assert (await ann.patch(path, body)).json()["code"] == "invalid_base_url"
        assert (await ann.get("/api/credentials")).json() == [stored]


async def test_the_provider_list_says_what_a_form_needs(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        known = {one["id"]: one for one in (await ann.get("/api/providers")).json()}
    assert list(known) == list(platform.ok.core.catalog)
    assert known["openai"]["shared_key"] and not known["anthropic"]["shared_key"]
    assert known["groq"]["key_prefixes"] == ["gsk_"]
    assert not known["ollama"]["needs_key"]
    assert all(one["allowed"] and not one["custom_base_url"] for one in known.values())
    text = str(known)
    assert "sk-operator" not in text and "gsk_operator" not in text
    assert "127.0.0.1" not in text, "where a provider is reached is the operator's business"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "provider"),
        ({"provider": "groq"}, "secret"),
        ({"provider": "groq", "secret": 5}, "secret"),
        ({"provider": "groq", "secret": "gsk_0123456789", "position": "1"}, "position"),
        ({"provider": "groq", "secret": "gsk_0123456789", "position": 1.5}, "position"),
        ({"provider": "groq", "secret": "gsk_0123456789", "user_id": "bob"}, "user_id"),
        ({"provider": "groq", "secret": "gsk_0123456789", "status": "ok"}, "status"),
        ({"provider": "groq", "secret": "gsk_0123456789", "generation": 7}, "generation"),
        ({"provider": "groq", "secret": "gsk_0123456789", "expires_at": 1893456000}, "expires_at"),
        ({"provider": "groq", "secret": "gsk_0123456789", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"provider": "groq", "secret": "gsk_0123456789", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"provider": "groq", "secret": "gsk_0123456789", "expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"provider": "groq", "secret": "gsk_0123456789", "label": "a\0b"}, "label"),
        ({"provider": "groq\0", "secret": "gsk_0123456789"}, "provider"),
        ({"provider": "groq", "secret": "gsk_\0 0123456789"}, "secret"),
        ({"provider": "groq", "secret": "gsk_0123456789", "fields": {"a\0": "b"}}, "fields.?.?"),
        ([], "body"),
        ("text", "body"),
        (None, "body"),
    ],
)
async def test_a_wrong_body_names_the_field_and_not_the_value(platform: Platform, body: object, field: str) -> None:
    async with caller(platform.ok) as ann:
        ann.keep_secret("gsk_0123456789")
        answer = await ann.post("/api/credentials", body)
        assert answer.status_code == 400
        assert field in [error["field"] for error in answer.json()["errors"]]
        assert (await ann.get("/api/credentials")).json() == []


async def test_half_characters_and_deep_bodies_are_bad_requests(platform: Platform) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    long_number = b'{"provider":"groq","secret":"gsk_0123456789","position":' + b"9" * 5000 + b"}"
    bodies = [
        b'{"provider":"groq","secret":"gsk_0123456789","label":"\\ud800"}',
        b'{"provider":"\\ud800","secret":"gsk_0123456789"}',
        b'{"provider":"groq","secret":"gsk_0123456789\\udfff"}',
        b'{"\\ud800":1}',
        b'{"provider":"groq","secret":"gsk_0123456789","fields":{"\\ud800":"x"}}',
        b'{"provider":"groq","secret":"gsk_0123456789","fields":{"x":"\\ud800"}}',
        b"\xff\xfe\x00",
        b"{",
        b"",
        b'{"position": NaN}',
        deep,
        long_number,
    ]
    async with caller(platform.ok) as ann:
        for body in bodies:
            answer = await ann.send(
                "POST", "/api/credentials", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400, body[:60]
            assert answer.json()["code"] == "invalid_request"


async def test_what_a_worker_stores_every_request_after_it_sees(platform: Platform) -> None:
    """Read your writes: a change over the API counts for the very next request of the same process."""
    async with caller(platform.ok) as ann:
        for number in range(5):
            key = f"gsk_{unique('key')}"
            stored = await add(ann, secret=key)
            await platform.ok.manager.chat(ann.user_id, messages=[{"role": "user", "content": "hi"}])
            assert platform.providers.ledger("groq")[-1].key == key, number
            await ann.delete(f"/api/credentials/{stored['id']}")


async def test_many_at_once_stay_within_the_limit(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        answers = await asyncio.gather(
            *(ann.post("/api/credentials", {"provider": "groq", "secret": f"gsk_{unique('key')}"}) for _ in range(60))
        )
        assert sorted({answer.status_code for answer in answers}) == [201, 400]
        refused = [answer.json()["code"] for answer in answers if answer.status_code == 400]
        assert refused == ["credential_limit"] * 10
        assert len((await ann.get("/api/credentials")).json()) == 50
