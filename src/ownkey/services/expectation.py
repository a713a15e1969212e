"""What somebody saw when they began to edit: a change is made only if it is still so."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from ownkey.domain.settings import check_task
from ownkey.domain.version import (
    credential_version,
    credentials_version,
    preferences_version,
    settings_version,
    task_version,
    tasks_version,
)
from ownkey.errors import ChangedElsewhere
from ownkey.storage import credentials as credential_rows
from ownkey.storage import settings as choice_rows

Edited = Literal["settings", "preferences", "tasks", "credentials"]


class Expectation:
    """One change's condition, and the version that the change led to.

    `seen` are the versions of which one must still hold, None for a change without a condition: the version of the
    whole list, or that of the one `item` (a task's name, a credential's id) that is edited. `Changes.begin` asks
    inside its transaction, after it has locked the user: of two changes that saw the same, one is made.
    """

    def __init__(self, edited: Edited, item: str | None = None, *, seen: Collection[str] | None = None) -> None:
        self._edited, self._item, self._seen = edited, item, seen
        self.version = ""

    async def check(self, tx: Any) -> None:
        """Raises ChangedElsewhere unless what was seen is what is stored."""
        if self._seen is None:
            return
        whole, item = await self._read(tx)
        if whole not in self._seen and item not in self._seen:
            raise ChangedElsewhere("This was changed elsewhere meanwhile. Load it again, then make your change.")

    async def note(self, tx: Any) -> None:
        """Keep the version that the open change leads to: what is committed later by others is not part of it."""
        self.version, _ = await self._read(tx)

    async def _read(self, tx: Any) -> tuple[str, str | None]:
        """The stored version of the whole, and of the item where there is one."""
        if self._edited == "settings":
            return settings_version(await choice_rows.get_settings(tx)), None
        if self._edited == "preferences":
            return preferences_version(await choice_rows.list_preferences(tx)), None
        if self._edited == "tasks":
            overrides = await choice_rows.list_task_overrides(tx)
            name = None if self._item is None else check_task(self._item)
            return tasks_version(overrides), next((task_version(one) for one in overrides if one.task == name), None)
        held = await credential_rows.list_credentials(tx)
        return credentials_version(held), next((credential_version(one) for one in held if one.id == self._item), None)
