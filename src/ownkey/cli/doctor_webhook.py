"""What `ownkey doctor` says about the host's webhook."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from ownkey.cli.check import Check, fail, ok, warn
from ownkey.config import Config
from ownkey.errors import ConfigError
from ownkey.startup import check_webhook
from ownkey.storage import events
from ownkey.storage.database import Database
from ownkey.storage.events import SinkState

_NAME: Final = "webhook"
# Within this the second and the third try of an event have been made.
_LATE: Final = timedelta(minutes=5)


def check_webhook_settings(config: Config) -> Check | None:
    """What is wrong with the settings; None where nothing is, or where there is no webhook."""
    try:
        check_webhook(config)
    except ConfigError as error:
        return fail(_NAME, error.message, "Correct OWNKEY_WEBHOOK_URL and OWNKEY_WEBHOOK_SECRET.")
    return None


async def check_webhook_delivery(config: Config, database: Database) -> list[Check]:
    """Whether events arrive. Nothing where there is no webhook and nothing waits for one, or its settings are wrong."""
    if check_webhook_settings(config) is not None:
        return []
    state = await events.describe_sink(database, "webhook")
    if config.webhook_url is None:
        if not state.waiting:
            return []
        message = f"{_events(state.waiting, 'waits', 'wait')} for a webhook, and OWNKEY_WEBHOOK_URL is not set here."
        return [warn(_NAME, message, "Set it where the server runs, or ignore this where it does not.")]
    return [_judge(state, datetime.now(UTC))]


def _judge(state: SinkState, now: datetime) -> Check:
    trouble = f" Last trouble: {state.last_error}." if state.last_error else ""
    fix = "See to the receiver: docs/reference/webhooks.md. What waits is sent by itself."
    if state.oldest_waiting is not None and now - state.oldest_waiting > _LATE:
        since = f"{state.oldest_waiting:%Y-%m-%d %H:%M} UTC"
        return warn(_NAME, f"{_events(state.waiting, 'waits', 'wait')}, the oldest since {since}.{trouble}", fix)
    if state.given_up:
        lost = _events(state.given_up, "could", "could")
        return warn(_NAME, f"{lost} not be delivered within a week.{trouble}", fix)
    if state.last_delivered_at is not None:
        return ok(_NAME, f"The last event arrived at {state.last_delivered_at:%Y-%m-%d %H:%M} UTC.")
    return ok(_NAME, "Nothing had to be sent yet.")


def _events(count: int, one: str, many: str) -> str:
    return f"{count} event {one}" if count == 1 else f"{count} events {many}"
