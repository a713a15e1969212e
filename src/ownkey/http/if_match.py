"""`ETag` and `If-Match`: a change is refused when what its author saw was changed elsewhere meanwhile."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Response

from ownkey.services.expectation import Edited, Expectation

_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')
_DESCRIPTION: Final = (
    "The `ETag` of the list that you changed from, or the `version` of the one entry, in quotes. When it was changed "
    "since, the answer is 412 `changed_elsewhere` and nothing is changed. Without it, the change is made anyway."
)

Shown = Annotated[str | None, Header(alias="If-Match", description=_DESCRIPTION, max_length=2000)]

ETAG: Final[dict[str, Any]] = {
    "ETag": {
        "description": "The version of all that is listed here, for `If-Match`. Other people's changes and yours "
        "elsewhere give another one; use, tests and the state of a key do not.",
        "schema": {"type": "string"},
    }
}
VERSIONED: Final[dict[int | str, dict[str, Any]]] = {200: {"headers": ETAG}}
VERSIONED_NEW: Final[dict[int | str, dict[str, Any]]] = {201: {"headers": ETAG}}
VERSIONED_GONE: Final[dict[int | str, dict[str, Any]]] = {204: {"headers": ETAG}}


def _expect_settings(if_match: Shown = None) -> Expectation:
    return _expect("settings", None, if_match)


def _expect_preferences(if_match: Shown = None) -> Expectation:
    return _expect("preferences", None, if_match)


def _expect_task(task: str, if_match: Shown = None) -> Expectation:
    return _expect("tasks", task, if_match)


def _expect_credentials(if_match: Shown = None) -> Expectation:
    return _expect("credentials", None, if_match)


def _expect_credential(credential_id: str, if_match: Shown = None) -> Expectation:
    return _expect("credentials", credential_id, if_match)


def _expect(edited: Edited, item: str | None, if_match: str | None) -> Expectation:
    if if_match is None or if_match.strip() == "*":
        return Expectation(edited, item)
    # A proxy that compresses answers makes a strong tag weak; the choices behind it are the same.
    return Expectation(edited, item, seen=frozenset(_TAG.findall(if_match)))


SeenSettings = Annotated[Expectation, Depends(_expect_settings)]
SeenPreferences = Annotated[Expectation, Depends(_expect_preferences)]
SeenTask = Annotated[Expectation, Depends(_expect_task)]
SeenCredentials = Annotated[Expectation, Depends(_expect_credentials)]
SeenCredential = Annotated[Expectation, Depends(_expect_credential)]


def put_etag(response: Response, version: str) -> None:
    """Add the version to an answer, as a strong tag."""
    response.headers["etag"] = f'"{version}"'
