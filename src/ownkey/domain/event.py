"""What the host application is told: by a webhook, or by a callback inside its own process."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct

Sink = Literal["webhook", "callback"]


class EventType(StrEnum):
    """The closed list. New types are added, none is renamed: receivers outlive versions."""

    CREDENTIAL_STATUS_CHANGED = "credential.status_changed"
    CREDENTIAL_EXPIRES_SOON = "credential.expires_soon"
    SPENDING_LIMIT_NEAR = "spending.limit_near"
    SPENDING_LIMIT_REACHED = "spending.limit_reached"
    SPENDING_REQUEST_REFUSED = "spending.request_refused"


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened. `id` is the same at every try to deliver it; `data` never holds a secret.

    `user_id` is whom it is about, None where it is about nobody alone. `type` is one of `EventType`, or of a newer
    version's.
    """

    id: str
    type: str
    user_id: str | None
    occurred_at: datetime
    data: dict[str, Any]
