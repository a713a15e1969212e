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
        whose = _whose(data)
        return f"{whose[:1].upper()}{whose[1:]} for the {data['period']} {_VERBS[EventType(type)]}."
    if type == EventType.SPENDING_REQUEST_REFUSED:
        return (
            f"A request was refused: it may cost up to {_dollars(data['needed_microdollars'])}. "
            f"{_dollars(data['spent_microdollars'])} is spent of {_whose(data)} for the {data['period']} "
            f"({_dollars(data['limit_microdollars'])}); smaller requests may still fit."
        )
    return None


def _whose(data: Mapping[str, Any]) -> str:
    return _WHOSE.get(data["scope"], str(data["scope"])).format(group=data.get("group"))


def _dollars(microdollars: int) -> str:
    """To the cent; what is less than one, to the last digit."""
    return f"${microdollars / 1_000_000:,.{2 if microdollars == 0 or microdollars >= 10_000 else 6}f}"


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
