"""One change of one user's rows: a single transaction with its audit rows, and the caches told once it is in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, Self

from ownkey.domain.audit import AuditAction
from ownkey.domain.user import check_user_id
from ownkey.services.audit_seals import AuditSeals
from ownkey.services.expectation import Expectation
from ownkey.storage import audit as audit_rows
from ownkey.storage import users as user_rows
from ownkey.storage.database import Database


class Change:
    """An open change. What is recorded here commits or rolls back with the rows that it speaks of."""

    def __init__(self, tx: Any, user_id: str, actor: str) -> None:
        self.tx, self.user_id, self.actor = tx, user_id, actor
        self.recorded = False
        self.unsealed: list[audit_rows.AuditRow] = []

    async def record(self, action: AuditAction, subject: str | None = None, **details: object) -> audit_rows.AuditRow:
        """Append to the audit chain. `details` are chosen field by field by the caller: never a secret."""
        appended = await audit_rows.append(
            self.tx, actor=self.actor, user_id=self.user_id, action=action, subject=subject, details=details
        )
        self.unsealed.append(appended)
        self.recorded = True
        return appended


class Changes:
    """Opens transactions on behalf of users.

    `on_change` is called with the user's id after a commit that recorded something, so that this process
    does not serve one more request with what it had cached; other processes learn it from PostgreSQL. `seals` seal what
    is recorded; without them nothing can be, once an installation has them.
    """

    def __init__(
        self,
        database: Database,
        on_change: Callable[[str], None] | None = None,
        *,
        seals: AuditSeals | None = None,
    ) -> None:
        self._database, self._on_change, self._seals = database, on_change, seals
        self._expectation: Expectation | None = None

    @property
    def database(self) -> Database:
        """The connections, for what concerns no single user."""
        return self._database

    def expecting(self, expectation: Expectation) -> Self:
        """The same, for changes under a condition: they raise ChangedElsewhere where it does not hold."""
        conditional = copy(self)
        conditional._expectation = expectation
        return conditional

    @asynccontextmanager
    async def begin(
        self, user_id: str, actor: str | None = None, *, role: str = "user", create: bool = True
    ) -> AsyncIterator[Change]:
        """A change by `actor` (default: the user) to the rows of `user_id`, who exists from now on.

        `create` false leaves a user who does not exist as they are.
        """
        check_user_id(user_id)
        actor = actor or user_id
        async with self._database.transaction(user_id, actor=actor) as tx:
            change = Change(tx, user_id, actor)
            if create and await user_rows.ensure_user(tx, user_id, role):
                await change.record(AuditAction.USER_CREATED, user_id, **({} if role == "user" else {"role": role}))
            # The user is locked by now, so that what is found here is what the change starts from.
            if self._expectation is not None:
                await self._expectation.check(tx)
            yield change
            if self._expectation is not None:
                await self._expectation.note(tx)
            if self._seals is not None:
                await self._seals.seal(tx, change.unsealed)
        if change.recorded and self._on_change is not None:
            self._on_change(user_id)

    @asynccontextmanager
    async def read(self, user_id: str) -> AsyncIterator[Any]:
        """A transaction that only looks. A user who has no rows yet sees defaults and empty lists."""
        async with self._database.transaction(check_user_id(user_id)) as tx:
            yield tx

    @asynccontextmanager
    async def oversee(self, admin_id: str) -> AsyncIterator[Any]:
        """A transaction that sees everybody's metadata and nobody's secrets. Who may ask is checked by the caller."""
        async with self._database.transaction(check_user_id(admin_id), role="ownkey_admin") as tx:
            yield tx

    @asynccontextmanager
    async def administer(self, admin_id: str) -> AsyncIterator[Any]:
        """The same for a decision that concerns everybody, made and recorded by a function of the database."""
        async with self.oversee(admin_id) as tx:
            yield tx
            if self._seals is not None:
                await self._seals.seal_rest(tx)

    @asynccontextmanager
    async def rotate(self, admin_id: str) -> AsyncIterator[Any]:
        """A transaction that sees wrapped data keys and nothing else."""
        async with self._database.transaction(check_user_id(admin_id), role="ownkey_rotator") as tx:
            yield tx
