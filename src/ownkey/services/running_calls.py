"""Requests that are being answered, so that a right that is withdrawn ends them too, and not only the next one.

Beginning and ending a request costs an insertion into a set. What a change means for those that run is found out when
their user's snapshot changes, by looking at what is true then: whether what let each of them in still lets in, and
whether the key that it runs on is still the user's. A change of anything else ends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final, Protocol

from msgspec import Struct

from ownkey.background import end_task
from ownkey.domain.credential import Secret
from ownkey.domain.policy import Policy
from ownkey.domain.settings import Snapshot
from ownkey.domain.user import UserStatus
from ownkey.errors import AuthError, PermissionDenied, StorageError
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.snapshot_cache import SnapshotCache

REVOKED: Final = "The gateway token was revoked while this request was being answered."
SUSPENDED: Final = "This user was suspended while this request was being answered."
SIGNED_OUT: Final = "This user has signed out everywhere while this request was being answered."
WITHDRAWN_KEY: Final = "The API key was deleted or replaced while this request was being answered."
FORBIDDEN_PROVIDER: Final = "An administrator has withdrawn the provider while this request was being answered."


class Access(Struct, frozen=True):
    """What let a request in: a gateway token, or a host's token of that moment; neither: the host itself."""

    token_hash: bytes | None = None
    issued_at: float | None = None


HOST: Final = Access()


class RunningCall(Protocol):
    """A request from when it is let in until its last byte."""

    user_id: str
    access: Access

    def withdraw(self, message: str) -> None:
        """It may not go on."""
        ...

    def find_secret(self) -> Secret | None:
        """The key that it runs on at this moment."""
        ...

    def adopt(self, snapshot: Snapshot) -> None:
        """These are the user's settings now."""
        ...

    def obey(self, policy: Policy) -> None:
        """This is the policy now."""
        ...


def withdrawn(message: str) -> AuthError:
    """What a client is told whose request may not go on, as long as nothing was answered."""
    return AuthError(message, code="access_withdrawn", http_status=401 if message == REVOKED else 403)


class RunningCalls:
    """All of this process. `cache.drop` is to call `note_change`, and `note_sync` is to follow its own."""

    def __init__(self, policies: PolicyBoard) -> None:
        self._policies = policies
        self._cache: SnapshotCache | None = None
        self._calls: dict[str, set[RunningCall]] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}
        # Users who changed again while they were looked at, and those whom the database could say nothing about.
        self._again: set[str] = set()
        self._unknown: set[str] = set()
        policies.follow(self._obey_policy)

    def watch(self, cache: SnapshotCache) -> None:
        """Ask this cache from now on."""
        self._cache = cache

    async def close(self) -> None:
        """Stop looking."""
        for task in list(self._checks.values()):
            await end_task(task)

    def __len__(self) -> int:
        return sum(len(calls) for calls in self._calls.values())

    @property
    def users(self) -> Collection[str]:
        """Whose requests are running."""
        return self._calls.keys()

    def list_secrets(self) -> list[Secret]:
        """The keys that are in use at this moment. May be asked from any thread: whoever logs asks."""
        found = (call.find_secret() for calls in list(self._calls.values()) for call in list(calls))
        return [secret for secret in found if secret is not None]

    def begin(self, call: RunningCall) -> None:
        """From now on it is told what it has to know."""
        calls = self._calls.get(call.user_id)
        if calls is None:
            self._calls[call.user_id] = {call}
        else:
            calls.add(call)

    def end(self, call: RunningCall) -> None:
        """It is over. May be called again."""
        calls = self._calls.get(call.user_id)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._calls[call.user_id]

    def note_change(self, user_id: str) -> None:
        """Something of this user has changed."""
        if user_id not in self._calls:
            return
        if user_id in self._checks:
            self._again.add(user_id)
            return
        task = self._checks[user_id] = asyncio.create_task(self._check(user_id), name="ownkey-check-running")
        task.add_done_callback(lambda _: self._checks.pop(user_id))

    def note_sync(self) -> None:
        """The database answers: those about whom it could say nothing are looked at now."""
        if self._unknown:
            unknown, self._unknown = self._unknown, set()
            for user_id in unknown:
                self.note_change(user_id)

    async def _check(self, user_id: str) -> None:
        while True:
            self._again.discard(user_id)
            try:
                for access, calls in self._by_access(user_id).items():
                    await self._judge(user_id, access, calls)
            except StorageError:
                self._unknown.add(user_id)
            if user_id not in self._again:
                return

    def _by_access(self, user_id: str) -> dict[Access, list[RunningCall]]:
        found: dict[Access, list[RunningCall]] = {}
        for call in self._calls.get(user_id, ()):
            found.setdefault(call.access, []).append(call)
        return found

    async def _judge(self, user_id: str, access: Access, calls: Iterable[RunningCall]) -> None:
        """Raises StorageError."""
        verdict = await self._look_up(user_id, access)
        for call in calls:
            if isinstance(verdict, str):
                call.withdraw(verdict)
            elif verdict is not None:
                call.adopt(verdict)

    async def _look_up(self, user_id: str, access: Access) -> Snapshot | str | None:
        """The user's settings if they may still come in like this, else why not. None: their token has run out."""
        cache = self._cache
        if cache is None:
            return None
        if access.token_hash is not None:
            owner = await cache.load_owner(access.token_hash)
            if owner is None or owner.state == "revoked":
                return REVOKED
            if owner.state == "suspended":
                return SUSPENDED
            # What was let in before the end may come to its own.
            return owner.snapshot if owner.state == "active" else None
        if access.issued_at is not None:
            standing = await cache.load_standing(user_id)
            if standing is None or standing.status is not UserStatus.ACTIVE:
                return SUSPENDED
            signed_out_at = standing.signed_out_at
            if signed_out_at is not None and access.issued_at <= signed_out_at.timestamp():
                return SIGNED_OUT
            return standing.snapshot
        try:
            return await cache.load(user_id) or SUSPENDED
        except PermissionDenied:
            return SUSPENDED

    def _obey_policy(self) -> None:
        policy = self._policies.current
        for calls in list(self._calls.values()):
            for call in list(calls):
                call.obey(policy)
