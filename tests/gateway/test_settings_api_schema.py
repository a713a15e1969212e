"""The management API against its own description: nothing that is sent breaks it, every answer is as described."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from ownkey.domain.policy import PolicyDocument
from ownkey.domain.user import Role
from tests.gateway.api_client import ApiClient, unique
from tests.gateway.conftest import Platform

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12


def has_wrong_body(case: Any) -> bool:
    """Whether the body breaks its schema. Elsewhere a wrong value may leave no trace on the wire, or be the token
    that is put in its place here."""
    body = case.meta.components.get(ParameterLocation.BODY)
    return body is not None and body.mode is GenerationMode.NEGATIVE


def shake(operation: Any, token: str, mode: GenerationMode, examples: int) -> None:
    """Send generated requests to one operation."""

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        # A malformed header is answered by the HTTP server, before there is an application to speak of.
        case.headers.clear()
        case.headers["Authorization"] = f"Bearer {token}"
        answer = case.call(timeout=20)
        case.validate_response(answer, checks=[*CHECKS, negative_data_rejection] if has_wrong_body(case) else CHECKS)
        assert "Traceback" not in answer.text

    run()


async def list_operations(platform: Platform) -> dict[str, Any]:
    """Every operation of the running server by "METHOD path"."""
    schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"{platform.url}/openapi.json")
    return {f"{one.method.upper()} {one.path}": one for one in (found.ok() for found in schema.get_all_operations())}


@pytest.mark.parametrize("mode", list(GenerationMode))
async def test_generated_requests_break_nothing(platform: Platform, mode: GenerationMode) -> None:
    user = unique("fuzz")
    await platform.ok.users.create(user, role=Role.ADMIN)
    token = (await platform.ok.tokens.create(user, "fuzz", scopes=("settings", "admin"))).text
    operations = await list_operations(platform)
    assert len(operations) > 30
    try:
        for name, operation in operations.items():
            if name == "GET /api/sign-in" and mode is GenerationMode.NEGATIVE:
                continue  # it takes nothing, not even a token
            await asyncio.to_thread(shake, operation, token, mode, EXAMPLES)
    finally:
        # What was decided for everybody would be in force for the tests that follow.
        await platform.ok.policies.put(user, PolicyDocument())
        for name in set(platform.ok.core.catalog) - set(platform.ok.core.provider_forms.built_in):
            await platform.ok.core.provider_forms.remove(user, name, force=True)
    # It was all somebody's own: the caller is still who they were.
    async with ApiClient(platform.ok.asgi(), token) as fuzz:
        assert (await fuzz.get("/api/session")).json()["user_id"] == user
