"""Posts events to the host's URL, signed by the Standard Webhooks specification.

The URL is the operator's own setting, as the addresses of the catalogue are: it may lead into the operator's network,
where hosts usually are, and no address guard stands in between. The connections are its own, so that this leave does
not open the same address to what users set.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ownkey.crypto.webhook_signature import sign
from ownkey.domain.event import Event
from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.retry_after import parse_retry_after
from ownkey.errors import ConfigError
from ownkey.services.event_delivery import DELIVERY_SECONDS, DeliveryFailed
from ownkey.services.expiry import utc_now
from ownkey.upstream.pool import TransportFailure, UpstreamPool

# An answer says nothing but its status.
_ANSWER_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 5.0


class Webhook:
    """The host's receiver. Create and use it inside one event loop."""

    def __init__(self, url: str, secrets: Sequence[bytes]) -> None:
        self._url, self._secrets = url, secrets
        self._pool = UpstreamPool(
            connect_timeout_seconds=_CONNECT_SECONDS,
            first_byte_timeout_seconds=DELIVERY_SECONDS,
            idle_timeout_seconds=DELIVERY_SECONDS,
            total_timeout_seconds=DELIVERY_SECONDS,
            max_answer_bytes=_ANSWER_BYTES,
        )

    async def deliver(self, event: Event) -> None:
        """Post an event; any 2xx status means that it has arrived. No redirect is followed. Raises DeliveryFailed."""
        body = msgspec.json.encode(
            {
                "id": event.id,
                "type": event.type,
                "timestamp": event.occurred_at,
                "data": {"user_id": event.user_id, **event.data},
            }
        )
        timestamp = int(time.time())
        headers = (
            ("content-type", "application/json"),
            ("webhook-id", event.id),
            ("webhook-timestamp", str(timestamp)),
            ("webhook-signature", sign(self._secrets, event.id, timestamp, body)),
        )
        try:
            response = await self._pool.send(UpstreamRequest("POST", self._url, headers, body, None))
        except TransportFailure as error:
            raise DeliveryFailed(error.failure.message) from None
        status, told = response.status, dict(response.headers)
        try:
            # To its end, so that the connection can be kept.
            await response.read()
        except TransportFailure:
            await response.close()
        if not 200 <= status < 300:
            hint = ", a redirect, which is not followed" if 300 <= status < 400 else ""
            raise DeliveryFailed(
                f"it answered with status {status}{hint}", wait_seconds=parse_retry_after(told, utc_now())
            )

    async def close(self) -> None:
        """Cut the connections."""
        await self._pool.close()


def check_webhook_url(url: str) -> str:
    """The URL, if it can be posted to. Raises ConfigError, which does not repeat it: it may hold a token."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in url or not (url.isascii() and url.isprintable()) or " " in url:
        raise ConfigError("OWNKEY_WEBHOOK_URL must be an http or https URL in ASCII, without a user name.")
    return url
