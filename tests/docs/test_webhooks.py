"""What the page on webhooks shows receivers is true."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any

from ownkey.crypto.webhook_signature import parse_secrets, sign
from ownkey.domain.credential import CredentialStatus
from ownkey.domain.event import EventType

PAGE = (Path(__file__).parents[2] / "docs/reference/webhooks.md").read_text()
OLD, NEW = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def test_the_shown_check_takes_genuine_webhooks_and_no_others() -> None:
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "is_genuine" in block]
    shown: dict[str, Any] = {}
    exec(code, shown)
    now, body = int(time.time()), b'{"id": "1"}'

    def headers(timestamp: int = now, secrets: str = OLD) -> dict[str, str]:
        signature = sign(parse_secrets(secrets), "1", timestamp, body)
        return {"webhook-id": "1", "webhook-timestamp": str(timestamp), "webhook-signature": signature}

    is_genuine = shown["is_genuine"]
    assert is_genuine(headers(), body, OLD)
    assert is_genuine(headers(secrets=f"{NEW},{OLD}"), body, OLD)
    assert is_genuine(headers(secrets=f"{NEW},{OLD}"), body, NEW)
    assert not is_genuine(headers(), body, NEW)
    assert not is_genuine(headers(), body + b" ", OLD)
    assert not is_genuine(headers() | {"webhook-id": "2"}, body, OLD)
    assert not is_genuine(headers(timestamp=now - 400), body, OLD)


def test_every_event_and_every_status_is_written_down() -> None:
    for name in (*EventType, *CredentialStatus):
        assert f"`{name.value}`" in PAGE
