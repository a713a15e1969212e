"""The deployment's policy: read and decided by administrators, and told to each user as far as it concerns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, structs

from ownkey.domain.budget import Budgets, Limits, check_group
from ownkey.domain.policy import (
    Policy,
    PolicyDefaults,
    PolicyDocument,
    SharedAccess,
    TaskDefault,
    changed_fields,
    is_lock,
    narrow,
)
from ownkey.domain.provider import Provider, Quirk
from ownkey.domain.routing import check_provider
from ownkey.domain.settings import check_model, check_task
from ownkey.domain.user import check_user_id
from ownkey.errors import ChangedElsewhere, RequestError
from ownkey.services.amounts import check_microdollars
from ownkey.services.changes import Changes
from ownkey.services.deployment import Deployment
from ownkey.services.policy_board import PolicyBoard
from ownkey.storage import policy as rows
from ownkey.storage.policy import StoredPolicy

LISTED_USERS_LIMIT: Final = 10_000
TASKS_LIMIT: Final = 100
LOCKS_LIMIT: Final = 100
GROUPS_LIMIT: Final = 1000
RATE_LIMIT: Final = 10**12
_NAMES_IN_AUDIT: Final = 50
_GROUP_BUDGET: Final = "budgets.groups."
_AMOUNTS: Final = (
    "budgets.per_user",
    "budgets.total",
    "budgets.assumed_output_tokens",
    "limits.requests_per_minute",
    "limits.tokens_per_minute",
)


class UserPolicy(Struct, frozen=True, kw_only=True):
    """What the policy says about one user. `allowed_providers` None: all. `locked_by` names who decided the locks."""

    allowed_providers: tuple[str, ...] | None
    shared_providers: tuple[str, ...]
    defaults: PolicyDefaults
    locks: tuple[str, ...]
    locked_by: str | None
    reveal_keys: bool


class PolicyService:
    """Whether somebody may ask or decide is the caller's to check."""

    def __init__(
        self, changes: Changes, board: PolicyBoard, deployment: Deployment, catalog: Mapping[str, Provider]
    ) -> None:
        self._changes, self._board, self._deployment, self._catalog = changes, board, deployment, catalog

    @property
    def frame(self) -> Policy:
        """What the operator's environment allows at most."""
        return self._board.frame

    async def get(self, admin_id: str) -> StoredPolicy:
        """What administrators decided, as it is stored this moment, and which of the listed users nobody is (yet)."""
        async with self._changes.oversee(admin_id) as tx:
            stored = await rows.load_policy(tx)
            listed = stored.document.shared.users
            unknown = await rows.find_unknown_users(tx, listed) if listed else ()
        return structs.replace(stored, unknown_users=unknown)

    async def put(
        self, admin_id: str, document: PolicyDocument, *, expected: int | None = None, actor: str | None = None
    ) -> StoredPolicy:
        """Decide anew. In force in this process when this returns, in the others within the usual moment.

        Raises RequestError(unknown_provider, provider_not_allowed, invalid_request), and
        ChangedElsewhere unless `expected` is None or the stored generation.
        """
        async with self._changes.administer(admin_id) as tx:
            before = await rows.load_policy(tx)
            if expected is not None and expected != before.generation:
                raise changed_elsewhere()
            wanted = self._check(document, before.document)
            changed = changed_fields(before.document, wanted)
            if changed:
                details = _describe_change(before.document, wanted, changed)
                written = await rows.put_policy(
                    tx, wanted, expected=before.generation, actor=actor or admin_id, details=details
                )
                if written is None:
                    raise changed_elsewhere()
        await self._deployment.refresh()
        return await self.get(admin_id)

    def describe(self, user_id: str) -> UserPolicy:
        """What concerns one user. No I/O."""
        policy, stored = self._board.current, self._board.stored
        return UserPolicy(
            allowed_providers=self._in_order(policy.allowed),
            shared_providers=tuple(
                name for name in self._catalog if name in policy.shared_for(user_id) and policy.allows(name)
            ),
            defaults=structs.replace(
                stored.document.defaults,
                tasks={t: one for t, one in stored.document.defaults.tasks.items() if one.provider in self._catalog},
            ),
            locks=stored.document.locks,
            locked_by=stored.updated_by if stored.document.locks else None,
            reveal_keys=policy.reveal_keys,
        )

    def _in_order(self, names: frozenset[str] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(name for name in self._catalog if name in names)

    def _check(self, document: PolicyDocument, before: PolicyDocument) -> PolicyDocument:
        """The document in its one form. Names that are stored already pass: a provider may have gone since."""
        allowed = document.allowed_providers
        if allowed is not None:
            known = set(before.allowed_providers or ())
            for name in allowed:
                if name not in known:
                    self._check_in_frame(name, "allowed_providers")
            allowed = tuple(sorted(set(allowed)))
        checked = structs.replace(
            document,
            allowed_providers=allowed,
            shared=_check_shared(document.shared),
            budgets=_check_budgets(document.budgets),
            limits=_check_limits(document.limits),
            locks=_check_locks(document.locks),
        )
        policy = narrow(self.frame, checked)
        tasks = document.defaults.tasks
        if len(tasks) > TASKS_LIMIT:
            raise RequestError(f"At most {TASKS_LIMIT} tasks can have a default.", param="defaults.tasks")
        kept = before.defaults.tasks
        named = {
            check_task(task): one if kept.get(task) == one else self._check_task_default(task, one, policy)
            for task, one in tasks.items()
        }
        return structs.replace(checked, defaults=structs.replace(document.defaults, tasks=named))

    def _check_task_default(self, task: str, default: TaskDefault, policy: Policy) -> TaskDefault:
        field = "defaults.tasks"
        provider = self._check_in_frame(default.provider, field)
        if not policy.allows(provider.id):
            raise RequestError(f"{provider.label} is not among the allowed providers.", param=field)
        if check_task(task) == "embedding" and Quirk.NO_EMBEDDINGS in provider.quirks:
            raise RequestError(f"{provider.label} has no embeddings.", param=field)
        if default.model is not None:
            check_model(default.model)
        return default

    def _check_in_frame(self, name: str, field: str) -> Provider:
        provider = check_provider(name, self._catalog)
        if not self.frame.allows(name):
            raise RequestError(
                f"OWNKEY_ALLOWED_PROVIDERS does not name {provider.label}: only the operator can allow it.",
                code="provider_not_allowed",
                http_status=403,
                param=field,
            )
        return provider


def changed_elsewhere() -> ChangedElsewhere:
    """Another administrator decided meanwhile."""
    return ChangedElsewhere("Another administrator changed the policy meanwhile. Load it again, then decide.")


def _check_shared(shared: SharedAccess) -> SharedAccess:
    if len(shared.users) > LISTED_USERS_LIMIT:
        raise RequestError(f"At most {LISTED_USERS_LIMIT} users can be listed.", param="shared.users")
    return structs.replace(shared, users=tuple(sorted({check_user_id(user) for user in shared.users})))


def _check_budgets(budgets: Budgets) -> Budgets:
    if len(budgets.groups) > GROUPS_LIMIT:
        raise RequestError(f"At most {GROUPS_LIMIT} groups can have a budget.", param="budgets.groups")
    if budgets.assumed_output_tokens < 1:
        raise RequestError("assumed_output_tokens is at least 1.", param="budgets.assumed_output_tokens")
    groups = {check_group(name): one for name, one in budgets.groups.items()}
    for allowance in (budgets.per_user, budgets.total, *groups.values()):
        for amount in (allowance.day_microdollars, allowance.month_microdollars):
            check_microdollars(amount, "budgets")
    return structs.replace(budgets, groups=dict(sorted(groups.items())))


def _check_limits(limits: Limits) -> Limits:
    for name in ("requests_per_minute", "tokens_per_minute"):
        limit = getattr(limits, name)
        if limit is not None and not 1 <= limit <= RATE_LIMIT:
            raise RequestError(f"{name} lies between 1 and {RATE_LIMIT}.", param=f"limits.{name}")
    return limits


def _check_locks(locks: Sequence[str]) -> tuple[str, ...]:
    if len(locks) > LOCKS_LIMIT:
        raise RequestError(f"At most {LOCKS_LIMIT} things can be locked.", param="locks")
    for name in locks:
        if not is_lock(name):
            raise RequestError("A lock is `payer`, `preferences`, `tasks` or `tasks:<name>`.", param="locks")
    return tuple(sorted(set(locks)))


def _describe_change(before: PolicyDocument, after: PolicyDocument, changed: list[str]) -> dict[str, Any]:
    """What the audit row says: which fields, and the values of those that are short."""
    details: dict[str, Any] = {"changed": changed}
    for name in ("allowed_providers", "locks", "reveal_keys"):
        if name in changed:
            details[name] = getattr(after, name)
    for path in ("shared.access", "shared.consent", "defaults.payer", *_AMOUNTS):
        if path in changed:
            part, _, name = path.partition(".")
            details[path] = getattr(getattr(after, part), name)
    for path in changed:
        if path.startswith(_GROUP_BUDGET) and len(details) < _NAMES_IN_AUDIT:
            details[path] = after.budgets.groups.get(path.removeprefix(_GROUP_BUDGET))
    if "shared.users" in changed:
        old, new = set(before.shared.users), set(after.shared.users)
        details["users_added"] = sorted(new - old)[:_NAMES_IN_AUDIT]
        details["users_removed"] = sorted(old - new)[:_NAMES_IN_AUDIT]
        details["users_listed"] = len(new)
    return details
