"""The management API under `/api`: built here, described at `/openapi.json` as OpenAPI 3.1."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from ownkey.errors import OwnkeyError
from ownkey.http import (
    account_api,
    admin_api,
    admin_users_api,
    budget_api,
    choices_api,
    credentials_api,
    encryption_api,
    oidc_api,
    panel_tokens_api,
    policy_api,
    provider_forms_api,
    sessions_api,
    sign_in_api,
    tokens_api,
    usage_api,
)
from ownkey.http.api_shell import ApiShell, Authenticator
from ownkey.http.origins import Origins
from ownkey.http.problems import MEDIA_TYPE, Problem, error_response, problem_response, validation_response
from ownkey.services.core import Core

_DESCRIPTION: Final = """\
Every user manages their own API keys, preferences, task overrides, gateway tokens and usage here.

Show a gateway token: `Authorization: Bearer ok-…`. All answers are about the user whose token it is. Pages of this
server show the cookie of a session instead; their changes need the header `X-Ownkey-Panel: 1` as well.
Errors are problems (RFC 9457) with a stable `code`. A stored API key is in no
answer but that of `reveal`, which is off unless the administrators allow it.
"""
_PROBLEMS: Final = {
    400: "The request is not valid; `errors` names the fields. Nothing was changed.",
    401: "The token is missing, unknown, revoked or expired.",
    403: "The token or the deployment does not allow this.",
    404: "There is no such thing, or it is somebody else's.",
    409: "The change contradicts what is stored.",
    412: "What `If-Match` names was changed elsewhere. Nothing was changed.",
    413: "The body is larger than 256 KiB.",
    424: "The stored key cannot be opened any more: enter it again.",
    429: "Too many attempts or tests at once; `Retry-After` says when to try again.",
    503: "The database is away; `Retry-After` says when to try again.",
}


def create_settings_api(core: Core, identity: Authenticator, origins: Origins) -> FastAPI:
    """The ASGI application for `/api` and `/openapi.json`; every other path is a 404 problem."""
    app = FastAPI(
        title="Ownkey management API",
        version=version("ownkey"),
        description=_DESCRIPTION,
        openapi_url="/openapi.json",
        # Both pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_name_operation,
    )
    app.state.core, app.state.origins = core, origins
    for module in (
        sign_in_api,
        oidc_api,
        sessions_api,
        credentials_api,
        choices_api,
        policy_api,
        budget_api,
        usage_api,
        tokens_api,
        account_api,
        panel_tokens_api,
        admin_api,
        encryption_api,
        admin_users_api,
        provider_forms_api,
    ):
        app.include_router(module.router)
    app.add_exception_handler(OwnkeyError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_middleware(ApiShell, identity=identity, origins=origins)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _name_operation(route: APIRoute) -> str:
    return route.name


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OwnkeyError)  # noqa: S101  # registered for this class only
    return error_response(request.state.request_id, error)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this class only
    return validation_response(request.state.request_id, error.errors())


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this class only
    details = {
        404: ("unknown_path", "There is nothing under this path. /openapi.json lists the paths."),
        405: ("method_not_allowed", "This path has other methods."),
    }
    code, detail = details.get(error.status_code, (None, "The request could not be read."))
    return problem_response(request.state.request_id, error.status_code, detail, code=code, headers=error.headers)


def _describe(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the problems that every path can answer in place of its own 422."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        openapi_version="3.1.0",
        separate_input_output_schemas=False,
    )
    schemas = schema["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            for status, text in _PROBLEMS.items():
                operation["responses"].setdefault(str(status), {"description": text, "content": content})
    app.openapi_schema = schema
    return schema
