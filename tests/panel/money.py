"""Calls that cost something, for tests of what is spent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, Tokens, TokensSource, UsageEvent, new_id
from tests.panel.site import Person, Site

DOLLAR: Final = 1_000_000


async def spend(site: Site, person: Person, *costs: int, payer: Payer = Payer.OWN, **fields: Any) -> None:
    """Calls that cost so much, through the real metering, until they are in the database."""
    for cost in costs:
        values: dict[str, Any] = {
            "id": new_id(),
            "request_id": new_id(),
            "user_id": person.id,
            "occurred_at": datetime.now(UTC),
            "attempt": 1,
            "task": "chat",
            "provider": "groq",
            "model": "openai/gpt-oss-20b",
            "requested_model": "auto",
            "credential_id": None,
            "payer": payer,
            "operation": "chat",
            "streamed": False,
            "outcome": Outcome.OK,
            "http_status": 200,
            "tokens": Tokens(input_uncached=100, output_text=50),
            "tokens_source": TokensSource.REPORTED,
            "cost_microdollars": cost,
            "cost_source": CostSource.COMPUTED,
            "price_version": "test",
            "duration_ms": 800,
            "first_byte_ms": 200,
        }
        site.ok.core.metering.record(UsageEvent(**(values | fields)))
    await site.ok.core.metering.flush()
