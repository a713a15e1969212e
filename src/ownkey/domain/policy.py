"""What the operator and the administrators allow: the frame inside which users choose.

The operator's environment is the outer frame. What administrators store (`PolicyDocument`) can only narrow it:
`narrow` makes one `Policy` of both, and that is what routing and the settings of users go by.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, structs

from ownkey.domain.budget import Allowance, Budgets, Ceiling, Limits, shared_ceilings
from ownkey.domain.settings import PayerRule, Preference, TaskOverride
from ownkey.errors import RequestError

LOCK_PAYER: Final = "payer"
LOCK_PREFERENCES: Final = "preferences"
LOCK_TASKS: Final = "tasks"
_UNLIMITED: Final = Allowance()
_NO_LIMITS: Final = Limits()
_LOCK: Final = re.compile(r"payer|preferences|tasks(?::[a-z][a-z0-9_-]{0,39})?")

Access = Literal["everyone", "nobody", "listed"]


class Policy(Struct, frozen=True, kw_only=True):
    """`shared` names the providers for which the operator has a key; `allowed` None means every provider.

    `ultimate` is the provider of last resort, tried with the operator's key after everything else.
    `shared_users` None means that the operator's keys serve everybody. `payer` and `task_defaults` are for users who
    chose nothing of their own; what `locks` names (`payer`, `preferences`, `tasks` or `tasks:<name>`) they cannot
    choose, and what they chose before does not count. `consent`: the operator's keys serve only who has agreed to it.
    """

    shared: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    ultimate: str = "openai"
    shared_users: frozenset[str] | None = None
    consent: bool = False
    budgets: Budgets = Budgets()
    limits: Limits = Limits()
    payer: PayerRule = PayerRule.OWN_THEN_SHARED
    task_defaults: Mapping[str, TaskOverride] = {}
    locks: frozenset[str] = frozenset()
    reveal_keys: bool = False

    def allows(self, provider: str) -> bool:
        """Whether users may use this provider at all."""
        return self.allowed is None or provider in self.allowed

    def shared_for(self, user_id: str) -> frozenset[str]:
        """The providers whose operator's key may serve this user."""
        if self.shared_users is None or user_id in self.shared_users:
            return self.shared
        return frozenset()

    @property
    def is_limited(self) -> bool:
        """Whether anything limits what the operator's keys are used for."""
        budgets = self.budgets
        return bool(
            budgets.groups or budgets.total != _UNLIMITED or budgets.per_user != _UNLIMITED or self.limits != _NO_LIMITS
        )

    def ceilings_for(self, group: str | None) -> tuple[Ceiling, ...]:
        """The limits of a call on the operator's key by a member of this group."""
        return shared_ceilings(self.budgets, self.limits, group)

    def locks_task(self, task: str) -> bool:
        """Whether users may not choose for this task."""
        return LOCK_TASKS in self.locks or f"{LOCK_TASKS}:{task}" in self.locks

    def payer_for(self, chosen: PayerRule | None) -> PayerRule:
        """Who may pay, where a user chose this, or nothing."""
        return self.payer if chosen is None or LOCK_PAYER in self.locks else chosen

    def override_for(
        self, task: str | None, chosen: Mapping[str, TaskOverride], known: Collection[str]
    ) -> TaskOverride | None:
        """The override in force for a task: the user's, else the administrator's; of a provider that is `known`."""
        if task is None:
            return None
        own = None if self.locks and self.locks_task(task) else chosen.get(task)
        for override in (own, self.task_defaults.get(task)):
            if override is not None and override.provider in known:
                return override
        return None

    def preferences_for(self, chosen: Mapping[str, Preference]) -> Mapping[str, Preference]:
        """The preferences in force. Under a lock only a user's "no" to a provider is left: nobody is sent there."""
        if LOCK_PREFERENCES not in self.locks:
            return chosen
        return {name: Preference(provider=name, enabled=False) for name, one in chosen.items() if not one.enabled}


class SharedAccess(Struct, frozen=True, kw_only=True):
    """Whom the operator's keys serve; `users` counts where `access` is "listed". `consent`: once they have agreed."""

    access: Access = "everyone"
    users: tuple[str, ...] = ()
    consent: bool = False


class TaskDefault(Struct, frozen=True, kw_only=True):
    """Where a task goes for users who chose nothing; `model` None is the provider's default for the task."""

    provider: str
    model: str | None = None


class PolicyDefaults(Struct, frozen=True, kw_only=True):
    """What holds for users who chose nothing."""

    payer: PayerRule = PayerRule.OWN_THEN_SHARED
    tasks: dict[str, TaskDefault] = {}


class PolicyDocument(Struct, frozen=True, kw_only=True):
    """What administrators decided, as it is stored. Without one, the operator's environment alone decides."""

    allowed_providers: tuple[str, ...] | None = None
    shared: SharedAccess = SharedAccess()
    budgets: Budgets = Budgets()
    limits: Limits = Limits()
    defaults: PolicyDefaults = PolicyDefaults()
    locks: tuple[str, ...] = ()
    reveal_keys: bool = False


def narrow(frame: Policy, document: PolicyDocument) -> Policy:
    """The policy in force: nothing that the frame does not allow is allowed by the document."""
    allowed = frame.allowed
    if document.allowed_providers is not None:
        named = frozenset(document.allowed_providers)
        allowed = named if allowed is None else allowed & named
    listed: frozenset[str] | None = None
    if document.shared.access != "everyone":
        listed = frozenset(document.shared.users) if document.shared.access == "listed" else frozenset()
    if frame.shared_users is not None:
        listed = frame.shared_users if listed is None else frame.shared_users & listed
    return structs.replace(
        frame,
        allowed=allowed,
        shared_users=listed,
        consent=document.shared.consent,
        budgets=document.budgets,
        limits=document.limits,
        payer=document.defaults.payer,
        task_defaults={
            task: TaskOverride(task=task, provider=one.provider, model=one.model)
            for task, one in document.defaults.tasks.items()
        },
        locks=frozenset(document.locks),
        reveal_keys=document.reveal_keys,
    )


def find_left_out(given: Mapping[str, Any]) -> list[str]:
    """The parts of a document that are not given, such as `limits` or `budgets.groups`: they take their defaults.

    The amounts of one budget, and what is kept by name (groups, tasks), are left out at will.
    """
    found = []
    for name, default in msgspec.to_builtins(PolicyDocument()).items():
        if name not in given:
            found.append(name)
        elif isinstance(default, dict):
            part = given[name]
            found += [f"{name}.{one}" for one in default if isinstance(part, Mapping) and one not in part]
    return found


def check_nothing_left_out(given: Mapping[str, Any], way_out: str) -> None:
    """Raises RequestError; `way_out` says how to mean it."""
    left_out = find_left_out(given)
    if left_out:
        raise RequestError(
            f"A policy is replaced as a whole, and this one leaves out {', '.join(left_out)}: that would go back to "
            f"its default, and a budget or a limit to none. {way_out}",
            param=left_out[0],
        )


def is_lock(name: str) -> bool:
    """Whether this names something that can be locked."""
    return _LOCK.fullmatch(name) is not None


def changed_fields(before: PolicyDocument, after: PolicyDocument) -> list[str]:
    """The paths that differ, such as `shared.users` and `defaults.tasks.coding`."""
    found = [name for name in ("allowed_providers", "locks", "reveal_keys") if _differ(before, after, name)]
    found += [f"shared.{name}" for name in ("access", "users", "consent") if _differ(before.shared, after.shared, name)]
    found += [
        f"budgets.{name}"
        for name in ("per_user", "total", "assumed_output_tokens")
        if _differ(before.budgets, after.budgets, name)
    ]
    groups = before.budgets.groups, after.budgets.groups
    found += [
        f"budgets.groups.{one}" for one in sorted({*groups[0], *groups[1]}) if groups[0].get(one) != groups[1].get(one)
    ]
    found += [
        f"limits.{name}"
        for name in ("requests_per_minute", "tokens_per_minute")
        if _differ(before.limits, after.limits, name)
    ]
    if before.defaults.payer != after.defaults.payer:
        found.append("defaults.payer")
    old, new = before.defaults.tasks, after.defaults.tasks
    found += [f"defaults.tasks.{task}" for task in sorted({*old, *new}) if old.get(task) != new.get(task)]
    return found


def _differ(before: object, after: object, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))
