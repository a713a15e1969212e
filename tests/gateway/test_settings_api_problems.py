"""Errors of the management API, and its description."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ownkey.errors import StorageError
from ownkey.http.api_shell import MAX_BODY_BYTES
from tests.gateway.api_client import ApiClient, caller, unique
from tests.gateway.conftest import Platform

# Whoever signs in has nothing to show yet.
OPEN_PATHS = {"/api/sign-in", "/api/sign-in/link", "/api/sign-in/link/check"}


async def test_unknown_paths_and_methods_are_problems(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        for path in ("/api", "/api/", "/api/nothing", "/api/credentials/", "/api//credentials", "/nothing", "/docs"):
            answer = await ann.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_path"), path
        for method in ("DELETE", "TRACE"):
            answer = await ann.send(method, "/api/credentials")
            assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed"), method
            assert answer.headers["allow"]


async def test_a_body_beyond_the_limit_is_refused_however_it_comes(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        fits = b" " * MAX_BODY_BYTES

        async def chunks() -> Any:
            yield fits
            yield b" "

        for content in (fits + b" ", chunks()):
            answer = await ann.send("POST", "/api/credentials", content=content)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert (await ann.send("POST", "/api/credentials", content=fits)).status_code == 400
        answer = await ann.send("POST", "/api/session", headers={"content-length": "9" * 5000})
        assert answer.status_code == 413


async def test_a_body_that_is_not_json_is_refused(platform: Platform) -> None:
    body = b'{"provider":"groq","secret":"gsk_0123456789abcdef"}'
    async with caller(platform.ok) as ann:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await ann.send("POST", "/api/credentials", content=body, headers={"content-type": kind})
            assert answer.status_code == 400, kind
        assert (await ann.get("/api/credentials")).json() == []


async def test_a_fault_of_ours_is_a_500_without_a_word_about_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with caller(platform.ok) as ann:

        async def fail(*_: object) -> None:
            raise RuntimeError("the secret reason")

        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr("ownkey.storage.settings.get_settings", fail)
            with pytest.raises(AssertionError, match="500") as caught:
                await ann.get("/api/settings")
        text = str(caught.value)
        assert "internal_error" in text
        assert "secret reason" not in text and "Traceback" not in text and "RuntimeError" not in text
        assert "secret reason" in caplog.text, "the operator has to find it"


async def test_a_database_that_is_away_is_a_503_with_a_time(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with caller(platform.ok) as ann:
        assert (await ann.get("/api/session")).status_code == 200

        async def fail(*_: object) -> None:
            raise StorageError("The database cannot be reached. Try again shortly.", retry_after_seconds=1.4)

        monkeypatch.setattr("ownkey.storage.settings.get_settings", fail)
        with pytest.raises(AssertionError, match="503") as caught:
            await ann.get("/api/settings")
        assert "database_unavailable" in str(caught.value)


async def test_a_secret_in_the_wrong_place_is_not_repeated(platform: Platform) -> None:
    """People paste keys into every field; the answer that says so must not hold the key."""
    async with caller(platform.ok) as ann:
        key = f"sk-proj-{unique('key')}"
        ann.keep_secret(key)
        for method, path, body in (
            ("POST", "/api/credentials", {key: 1}),
            ("POST", "/api/credentials", {"provider": key, "secret": "gsk_0123456789"}),
            ("POST", "/api/credentials", {"provider": "groq", "secret": {"value": key}}),
            ("POST", "/api/credentials", {"provider": "groq", "secret": f"{key} {key}"}),
            ("POST", "/api/credentials", {"provider": "groq", "secret": key * 60}),
            ("POST", "/api/credentials", {"provider": "azure_openai", "secret": key, "fields": {key: key}}),
            ("POST", "/api/credentials", {"provider": "groq", "secret": "gsk_0123456789", "base_url": key}),
            ("POST", "/api/credentials", {"provider": "groq", "secret": "gsk_0123456789", "expires_at": key}),
            ("PATCH", "/api/settings", {"payer": key}),
            ("PATCH", "/api/settings", {"default_task": key}),
            ("PUT", "/api/tasks/coding", {"provider": key}),
            ("PUT", "/api/tasks/coding", {"provider": "groq", "model": f"{key}\n"}),
            ("PUT", "/api/tasks/coding", {"provider": "groq", "credential_id": key}),
            ("POST", "/api/tokens", {"name": "x", "scopes": [key]}),
            ("POST", "/api/route/preview", {"model": f"{key}\0"}),
            ("GET", f"/api/usage?group_by={key}", None),
            ("GET", f"/api/usage?{key}=1", None),
            ("GET", f"/api/tasks/{key}.x", None),
        ):
            answer = await ann.send(method, path, json=body)
            assert answer.status_code in (400, 404), (method, path, answer.text)


async def test_the_description_is_openapi_3_1_and_complete(platform: Platform) -> None:
    async with ApiClient(platform.ok.asgi(), None) as anybody:
        schema = (await anybody.get("/openapi.json")).json()
    assert schema["openapi"].startswith("3.1")
    paths = {path: set(methods) for path, methods in schema["paths"].items()}
    assert paths == {
        "/api/sign-in": {"get", "post"},
        "/api/sign-in/link": {"post"},
        "/api/sign-in/link/check": {"post"},
        "/api/settings": {"get", "patch"},
        "/api/credentials": {"get", "post"},
        "/api/credentials/test": {"post"},
        "/api/credentials/order": {"put"},
        "/api/credentials/{credential_id}": {"patch", "delete"},
        "/api/credentials/{credential_id}/models": {"get"},
        "/api/credentials/{credential_id}/test": {"post"},
        "/api/credentials/{credential_id}/replace": {"post"},
        "/api/credentials/{credential_id}/reveal": {"post"},
        "/api/providers": {"get"},
        "/api/preferences": {"get", "put"},
        "/api/preferences/{provider}": {"put"},
        "/api/tasks": {"get"},
        "/api/tasks/{task}": {"get", "put", "delete"},
        "/api/route/preview": {"post"},
        "/api/usage": {"get"},
        "/api/usage.csv": {"get"},
        "/api/usage.json": {"get"},
        "/api/budget": {"get"},
        "/api/requests": {"get"},
        "/api/requests.csv": {"get"},
        "/api/requests.json": {"get"},
        "/api/requests/{request_id}": {"get"},
        "/api/audit": {"get"},
        "/api/tokens": {"get", "post"},
        "/api/tokens/{token_id}": {"delete"},
        "/api/session": {"get", "post", "delete"},
        "/api/session/all": {"delete"},
        "/api/session/confirm": {"post"},
        "/api/sessions": {"get"},
        "/api/sessions/{session_id}": {"delete"},
        "/api/panel-tokens": {"post"},
        "/api/export": {"get"},
        "/api/account": {"delete"},
        "/api/account/password": {"post"},
        "/api/policy": {"get"},
        "/api/admin/policy": {"get", "put"},
        "/api/admin/users": {"get", "post"},
        "/api/admin/users/{user_id}": {"patch", "delete"},
        "/api/admin/users/{user_id}/reset": {"post"},
        "/api/admin/users/{user_id}/sessions": {"delete"},
        "/api/admin/usage": {"get"},
        "/api/admin/usage.csv": {"get"},
        "/api/admin/usage.json": {"get"},
        "/api/admin/budgets": {"get"},
        "/api/admin/health": {"get"},
        "/api/admin/users.csv": {"get"},
        "/api/admin/fallbacks": {"get"},
        "/api/admin/shared-users": {"get"},
        "/api/admin/shared-users.csv": {"get"},
        "/api/admin/audit.csv": {"get"},
        "/api/admin/audit/verify": {"post"},
        "/api/admin/providers": {"get", "post"},
        "/api/admin/providers/{provider_id}": {"put", "delete"},
        "/api/admin/audit": {"get"},
        "/api/admin/encryption": {"get"},
        "/api/admin/encryption/rewrap": {"post"},
        "/api/admin/encryption/keys/{key_id}/promote": {"post"},
        "/api/admin/encryption/keys/{key_id}/retire": {"post"},
        "/api/admin/encryption/keys/{key_id}/destroy": {"post"},
    }
    names = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], (method, path)
            guards = None if path in OPEN_PATHS else [{"gatewayToken": []}]
            assert operation.get("security") == guards, (method, path)
            assert "422" not in operation["responses"]
            for status in ("400", "401", "403", "404", "409", "413", "503"):
                content = operation["responses"][status]["content"]
                assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            names.append(operation["operationId"])
    assert len(names) == len(set(names))
    for name, one in schema["components"]["schemas"].items():
        if name == "RevealedOut":
            continue  # the one answer with a stored key; test_settings_api_reveal says who gets it
        if name.endswith("Out"):
            assert not {"secret", "sealed", "fingerprint", "hash"} & set(one.get("properties", {})), name
        elif name not in ("Problem", "FieldError") and one["type"] == "object":
            assert one["additionalProperties"] is False, name
    secret = schema["components"]["schemas"]["NewCredential"]["properties"]["secret"]
    assert secret["writeOnly"] is True


async def test_every_guarded_path_asks_who_is_there(platform: Platform) -> None:
    async with ApiClient(platform.ok.asgi(), None) as stranger:
        schema = (await stranger.get("/openapi.json")).json()
        for path in schema["paths"].keys() - OPEN_PATHS:
            for method in schema["paths"][path]:
                answer = await stranger.send(method.upper(), path.replace("{", "").replace("}", ""))
                assert (answer.status_code, answer.json()["code"]) == (401, "token_missing"), (method, path)
