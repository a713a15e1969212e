"""Errors of the management API, in the form of RFC 9457: `application/problem+json` with a stable `code`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ownkey.errors import AuthError, OwnkeyError, PermissionDenied

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:ownkey:problem:"

# A field name is repeated only when it looks like one: what a person pasted into the wrong place may be a key.
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}", re.ASCII)
_ERRORS_LIMIT: Final = 20

_STATUS_CODES: Final = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str = Field(description="Path of the field: `secret`, `fields.resource`, `query.from`.")
    code: str = Field(description="Stable code of the fault, such as `missing` or `string_too_long`.")
    detail: str


class Problem(BaseModel):
    """An RFC 9457 problem. `code` is stable: programs and translations go by it, not by `detail`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:ownkey:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str
    code: str = Field(examples=["not_found"])
    request_id: str = Field(description="Name it when you report the problem: the log has it too.")
    errors: list[FieldError] = Field(default=[], description="The fields that are wrong.")


def problems_at(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the description of a path: problems that only it answers."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def problem_response(
    request_id: str,
    status: int,
    detail: str,
    *,
    code: str | None = None,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Response:
    """A problem as a response. `detail` is public."""
    code = code or _STATUS_CODES.get(status, "http_error")
    body: dict[str, Any] = {
        **(extra or {}),
        "type": _TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        "errors": list(errors),
    }
    # ASCII with escapes: a lone surrogate in a message must not turn a 400 into a 500.
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


def error_response(request_id: str, error: OwnkeyError) -> Response:
    """What an error of the tree looks like to the caller."""
    headers: dict[str, str] = {}
    if isinstance(error, AuthError) and not isinstance(error, PermissionDenied) and error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="ownkey"'
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, ceil(error.retry_after_seconds)))
    errors = []
    if error.param:
        errors.append({"field": error.param, "code": error.code, "detail": error.message})
    return problem_response(
        request_id,
        error.status,
        error.message,
        code=error.code,
        errors=errors,
        headers=headers,
        extra=error.extra,
    )


def validation_response(request_id: str, faults: Sequence[Mapping[str, Any]]) -> Response:
    """What pydantic found, without the values that it found it in."""
    errors = [
        {"field": _field_path(fault["loc"]), "code": str(fault["type"]), "detail": _describe(fault)}
        for fault in faults[:_ERRORS_LIMIT]
    ]
    first = errors[0] if errors else None
    detail = f"{first['field']}: {first['detail']}" if first else "The request is not valid."
    return problem_response(request_id, 400, detail, errors=errors)


def _field_path(location: Sequence[int | str]) -> str:
    parts = [str(part) for part in location]
    if parts[:1] == ["body"]:
        parts = parts[1:]
    return ".".join(part if part.isdecimal() or _FIELD_NAME.fullmatch(part) else "?" for part in parts) or "body"


def _describe(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "json_invalid":
        return "The body is not valid JSON."
    if fault["type"] == "extra_forbidden":
        return "There is no such field."
    # pydantic's own sentences name the rule ("at most 80 characters"), and those of validators are ours.
    return str(fault["msg"]).removeprefix("Value error, ")
