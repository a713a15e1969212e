"""Events in a sentence, for a host that passes them on to people as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ownkey.domain.credential import CredentialStatus
from ownkey.domain.credential_advice import describe_status
from ownkey.domain.event import EventType

_WHOSE: Final = {
    "user": "the budget of this user",
    "group": "the budget of the group {group}",
    "total": "the budget of all users together",
    "own": "this user's own cap",
}
_VERBS: Final = {EventType.SPENDING_LIMIT_NEAR: "is nearly used up", EventType.SPENDING_LIMIT_REACHED: "is used up"}


def describe_event(type: str, data: Mapping[str, Any]) -> str | None:
    """An English sentence or two; None for what a newer version has told of."""
    if type == EventType.CREDENTIAL_STATUS_CHANGED:
        return f"{_name(data)}: {_status_text(data)}"
    if type == EventType.CREDENTIAL_EXPIRES_SOON:
        days = data["days_left"]
        left = "within a day" if days <= 1 else f"in {days} days"
        return f"{_name(data)}: the date that was set for it passes {left}."
    if type in (EventType.SPENDING_LIMIT_NEAR, EventType.SPENDING_LIMIT_REACHED):
        whose = _WHOSE.get(data["scope"], data["scope"]).format(group=data.get("group"))
        return f"{whose[:1].upper()}{whose[1:]} for the {data['period']} {_VERBS[EventType(type)]}."
    return None


def _name(data: Mapping[str, Any]) -> str:
    return f'The API key "{data["label"]}" for {data.get("provider_label", data["provider"])}'


def _status_text(data: Mapping[str, Any]) -> str:
    known = set(CredentialStatus)
    status = data["status"]
    if status not in known:
        return f"its state is now {status}."
    return describe_status(
        CredentialStatus(status), data.get("reason"), str(data.get("provider_label", data["provider"]))
    )
