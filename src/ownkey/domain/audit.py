"""The closed list of what the audit chain records."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct


class AuditAction(StrEnum):
    """What was done. New actions are added, none is renamed: rows outlive versions."""

    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    USER_DELETED = "user.deleted"
    USER_SIGNED_IN = "user.signed_in"
    USER_SIGNED_OUT = "user.signed_out"
    SETTINGS_UPDATED = "settings.updated"
    CREDENTIAL_ADDED = "credential.added"
    CREDENTIAL_UPDATED = "credential.updated"
    CREDENTIAL_REPLACED = "credential.replaced"
    CREDENTIAL_TESTED = "credential.tested"
    CREDENTIAL_REVEALED = "credential.revealed"
    CREDENTIAL_REMOVED = "credential.removed"
    PREFERENCE_UPDATED = "preference.updated"
    TASK_UPDATED = "task.updated"
    TASK_REMOVED = "task.removed"
    POLICY_UPDATED = "policy.updated"
    PROVIDER_ADDED = "provider.added"
    PROVIDER_UPDATED = "provider.updated"
    PROVIDER_REMOVED = "provider.removed"
    WRAPPING_KEY_PROMOTED = "wrapping_key.promoted"
    WRAPPING_KEY_RESTORED = "wrapping_key.restored"
    WRAPPING_KEY_RETIRED = "wrapping_key.retired"
    WRAPPING_KEY_DESTROYED = "wrapping_key.destroyed"
    TOKEN_CREATED = "token.created"  # noqa: S105  # an action's name, not a token
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    SESSION_STARTED = "session.started"
    SESSION_CONFIRMED = "session.confirmed"
    SESSION_ENDED = "session.ended"
    SESSION_ALL_ENDED = "session.all_ended"
    PANEL_OPENED = "panel.opened"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105
    LINK_CREATED = "link.created"
    LINK_USED = "link.used"


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One row of the chain. `details` holds only fields from an allow-list: never a secret."""

    id: int
    chain: int
    position: int
    occurred_at: datetime
    actor: str
    user_id: str
    action: AuditAction
    subject: str | None
    details: dict[str, Any]
