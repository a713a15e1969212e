"""The policy in force, for everybody who has to go by it."""

from __future__ import annotations

from collections.abc import Callable

from ownkey.domain.policy import Policy, narrow
from ownkey.storage.policy import StoredPolicy


class PolicyBoard:
    """Holds one frozen `Policy` in `current` and puts another one in its place when administrators decide so.

    `frame` is what the operator's environment allows: whatever is stored only narrows it.
    """

    def __init__(self, frame: Policy) -> None:
        self.frame = self.current = frame
        self.stored = StoredPolicy()
        self._followers: list[Callable[[], None]] = []

    def follow(self, on_change: Callable[[], None]) -> None:
        """Call this after every change, so that nothing that followed from the old policy is kept."""
        self._followers.append(on_change)

    def adopt(self, stored: StoredPolicy) -> None:
        """Go by what is stored from now on. What is not newer changes nothing: a slow read must not bring it back."""
        if stored.generation <= self.stored.generation:
            return
        self.stored = stored
        self.current = narrow(self.frame, stored.document)
        for on_change in self._followers:
            on_change()
