"""What a user chose: general settings, preferences by provider, overrides by task.

All rows are those of the transaction's user; the user exists already (`users.ensure_user`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from ownkey.domain.budget import CapAction, Caps
from ownkey.domain.settings import PayerRule, Preference, Settings, TaskOverride
from ownkey.storage.sql import query


async def get_settings(tx: Any) -> Settings:
    """The user's general settings; the defaults where they chose nothing."""
    row = await tx.fetchrow(query("get_settings"))
    if row is None:
        return Settings()
    return Settings(
        payer=_payer(row["payer"]),
        allow_fallback=row["allow_fallback"],
        default_task=row["default_task"],
        shared_consent_at=row["shared_consent_at"],
        caps=Caps(
            day_microdollars=row["cap_day_microdollars"],
            month_microdollars=row["cap_month_microdollars"],
            action=CapAction(row["cap_action"]),
        ),
    )


async def update_settings(tx: Any, changes: Mapping[str, Any]) -> Settings:
    """Change the named settings and give all of them; without a difference nothing is written.

    Raises TypeError for a name that is no setting.
    """
    before = await get_settings(tx)
    after = msgspec.structs.replace(before, **changes)
    if after != before:
        payer = str(after.payer) if after.payer is not None else None
        await tx.execute(
            query("put_settings"),
            payer,
            after.allow_fallback,
            after.default_task,
            after.shared_consent_at,
            after.caps.day_microdollars,
            after.caps.month_microdollars,
            str(after.caps.action),
        )
    return after


async def list_preferences(tx: Any) -> list[Preference]:
    """The user's preferences by priority; a provider without a row has the defaults."""
    return [Preference(**row) for row in await tx.fetch(query("list_preferences"))]


async def put_preference(tx: Any, preference: Preference) -> None:
    """Store the wish for one provider; an unchanged one does not touch the row."""
    await tx.execute(
        query("put_preference"),
        preference.provider,
        preference.enabled,
        preference.priority,
        preference.default_model,
        preference.may_fall_back,
        preference.backup_only,
    )


async def delete_preference(tx: Any, provider: str) -> bool:
    """Back to the defaults for one provider; says whether there was a row."""
    return await tx.fetchval(query("delete_preference"), provider) is not None


async def list_task_overrides(tx: Any) -> list[TaskOverride]:
    """The user's overrides by task."""
    return [_override(row) for row in await tx.fetch(query("list_task_overrides"))]


async def put_task_override(tx: Any, override: TaskOverride) -> None:
    """Store the override of one task; an unchanged one does not touch the row.

    A pinned credential that is not the user's violates a foreign key: callers look first.
    """
    await tx.execute(
        query("put_task_override"),
        override.task,
        override.provider,
        override.model,
        UUID(override.credential_id) if override.credential_id is not None else None,
        str(override.payer) if override.payer is not None else None,
        override.allow_fallback,
    )


async def delete_task_override(tx: Any, task: str) -> bool:
    """Let the task follow the preferences again; says whether there was an override."""
    return await tx.fetchval(query("delete_task_override"), task) is not None


def _override(row: Any) -> TaskOverride:
    return TaskOverride(**{**row, "payer": _payer(row["payer"])})


def _payer(name: str | None) -> PayerRule | None:
    return PayerRule(name) if name is not None else None
