"""Signatures of webhooks by the Standard Webhooks specification: HMAC-SHA256 over id, time and body.

There is a signature for every secret, so that a receiver accepts the old and the new one while it changes over.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from typing import Final

from ownkey.errors import ConfigError

_PREFIX: Final = "whsec_"
_FEWEST_BYTES: Final = 24
_MOST_BYTES: Final = 64
_HOW_TO_MAKE_ONE: Final = 'Make one with: echo "whsec_$(openssl rand -base64 32)"'


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """The secrets in `whsec_<base64>, whsec_<base64>`. Raises ConfigError, which never repeats one."""
    found = []
    for position, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), start=1):
        try:
            secret = base64.b64decode(entry.removeprefix(_PREFIX), validate=True)
        except ValueError:
            secret = b""
        if not entry.startswith(_PREFIX) or not _FEWEST_BYTES <= len(secret) <= _MOST_BYTES:
            raise ConfigError(
                f"Secret {position} of OWNKEY_WEBHOOK_SECRET is not {_PREFIX} and the base64 of {_FEWEST_BYTES} to "
                f"{_MOST_BYTES} random bytes. {_HOW_TO_MAKE_ONE}"
            )
        found.append(secret)
    if not found:
        raise ConfigError(f"OWNKEY_WEBHOOK_URL is set without OWNKEY_WEBHOOK_SECRET. {_HOW_TO_MAKE_ONE}")
    return tuple(found)


def sign(secrets: Sequence[bytes], event_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`. `timestamp` is in seconds since 1970, as in `webhook-timestamp`."""
    content = f"{event_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(secret, content, "sha256")).decode() for secret in secrets)
