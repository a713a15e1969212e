"""The management API in sequences: what one answer names is asked for, changed and deleted by the next request.

The links between the operations are found by schemathesis from the description. `STATEFUL_EXAMPLES` makes it longer.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from ownkey import Config, Ownkey
from ownkey.domain.user import Role
from ownkey.testing import SimulatedProviders
from tests.gateway.conftest import serve
from tests.gateway.test_settings_api_schema import CHECKS

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "12"))
STEPS = 12
USER = "stateful"
# Who cannot sign in any more has nothing more to try; without keys to wrap with nothing else could be stored.
LEFT_OUT = "^/api/(account|session|sign-in|admin/encryption)"


@pytest.fixture(autouse=True)
def fresh_providers(providers: SimulatedProviders) -> None:
    """This test has a server of its own: it decides for everybody."""
    providers.reset()


async def test_sequences_of_requests_break_nothing(private_dir: Path, providers: SimulatedProviders) -> None:
    config = Config(
        data_dir=private_dir, catalog=providers.write_catalog(private_dir / "catalog.toml"), shared_keys=False
    )
    async with Ownkey.open(config, environ={}) as ok, serve(ok.asgi()) as url:
        await ok.users.create(USER, role=Role.ADMIN)
        token = await ok.tokens.create(USER, "stateful", scopes=("settings", "admin"))
        told: Counter[str] = Counter()
        await asyncio.to_thread(run_machine, url, token.text, {USER, token.token.id}, told)
        assert (await ok.audit.verify()).ok
    print(dict(told.most_common()))
    assert told["followed"] > EXAMPLES, "links must really be followed"
    assert told["2xx"] > EXAMPLES


def run_machine(url: str, token: str, spared: set[str], told: Counter[str]) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path_regex=LEFT_OUT)
    machine: Any = schema.as_state_machine()

    class Requests(machine):  # type: ignore[misc]
        def step(self, input: Any) -> Any:
            told["followed"] += input.transition is not None
            return super().step(input)

        def before_call(self, case: Any) -> None:
            case.headers.clear()
            case.headers["Authorization"] = f"Bearer {token}"
            # Who it is that asks goes on asking.
            parameters = case.path_parameters or {}
            parameters |= {name: "somebody-else" for name, value in parameters.items() if value in spared}

        def after_call(self, response: Any, case: Any) -> None:
            told[f"{response.status_code // 100}xx"] += 1
            assert "Traceback" not in response.text

        def validate_response(self, response: Any, case: Any, **more: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Requests.run(
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
    )
