"""The error tree. Every error has a stable code and a message that is safe to show.

OwnkeyError
├── ConfigError                          start-up only; the process exits with status 2
├── AuthError                   401      token_missing, token_invalid, session_ended, sign_in_failed, …
│   ├── PermissionDenied        403      permission_denied, cross_site_request, wrong_origin, fresh_sign_in_required
│   └── TooManyAttempts         429      too_many_attempts; carries Retry-After
├── RequestError                400      invalid_request, invalid_secret, invalid_base_url, unknown_provider
│   ├── NotFound                404      not_found
│   ├── Conflict                409      conflict, duplicate_secret
│   ├── ChangedElsewhere        412      changed_elsewhere: what the caller saw is no longer what is stored
│   ├── TooManyAtOnce           429      too_many_at_once: of one user; carries Retry-After
│   └── TooLarge                413      too_large
├── CredentialUnreadable        500      credential_unreadable: the sealed secret does not open; never sent upstream
├── DataKeyClosed               503      wrapping_key_not_loaded: sound, but not to be opened by this process now
│   └── KeyServiceAway          503      key_service_unavailable: the key service does not answer; carries Retry-After
├── RouteExhausted              varies   the attempts of a request all failed; lists each of them
│   └── NoProvider              424      no_provider_available: nothing could even be tried; consent_needed (403)
│       └── LimitReached        429      budget_spent, request_over_budget, own_cap_reached, rate_limited …
├── UpstreamError               502      a provider gave no list of models; the code is that of a failed attempt
├── ServerFull                  503      server_full: too many large bodies at once; carries Retry-After
├── ServerEnding                503      server_ending: it is stopped or started anew; carries Retry-After
├── IdentityProviderAway        503      identity_provider_unavailable: who signed a token cannot be known now
└── StorageError                503      database_unavailable, schema_outdated; carries Retry-After

`message` is public: it never holds a secret, an SQL statement or a stack. What an operator needs beside it
goes to the log, with the request id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class OwnkeyError(Exception):
    """Base of all errors that Ownkey raises on purpose."""

    code: str = "internal_error"
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        http_status: int | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.status = http_status or type(self).http_status
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.extra = extra or {}


class ConfigError(OwnkeyError):
    """The configuration is missing something or is unsafe; nothing was started."""

    code = "config_invalid"


class AuthError(OwnkeyError):
    """Who is asking could not be established."""

    code = "token_invalid"
    http_status = 401


class PermissionDenied(AuthError):
    """The caller is known but may not do this."""

    code = "permission_denied"
    http_status = 403


class IdentityProviderAway(OwnkeyError):
    """The host's or the sign-in page's identity provider does not answer; nobody is refused for that."""

    code = "identity_provider_unavailable"
    http_status = 503

    def __init__(self, *, retry_after_seconds: float | None = None) -> None:
        super().__init__("The identity provider does not answer. Try again.", retry_after_seconds=retry_after_seconds)


class TooManyAttempts(AuthError):
    """So many attempts to sign in that the next one has to wait. Says nothing about whether the account exists."""

    code = "too_many_attempts"
    http_status = 429


class RequestError(OwnkeyError):
    """The request itself is wrong; nothing was changed."""

    code = "invalid_request"
    http_status = 400


class NotFound(RequestError):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    code = "not_found"
    http_status = 404


class ThreadUnsupported(RequestError):
    """A conversation that one provider stores cannot go to another one. The client has to send all of it."""

    code = "thread_unsupported_request"


class Conflict(RequestError):
    """The change contradicts what is already stored."""

    code = "conflict"
    http_status = 409


class ChangedElsewhere(RequestError):
    """The caller changed from something that is not there any more. Load it again, then decide."""

    code = "changed_elsewhere"
    http_status = 412


class TooLarge(RequestError):
    """A body, a field or a header is beyond its limit."""

    code = "too_large"
    http_status = 413


class TooManyAtOnce(RequestError):
    """As many requests of one user as the server takes are under way already."""

    code = "too_many_at_once"
    http_status = 429


class ServerFull(OwnkeyError):
    """Large requests of many clients together are more than this server holds in memory."""

    code = "server_full"
    http_status = 503

    def __init__(self) -> None:
        super().__init__(
            "This server holds as many large requests as it can. Try again in a moment.", retry_after_seconds=1
        )


class ServerEnding(OwnkeyError):
    """The server was told to end, and this request took longer than it could wait. Another server will answer it."""

    code = "server_ending"
    http_status = 503

    def __init__(self) -> None:
        super().__init__(
            "This server is being restarted, and the answer took longer than it could wait. Send the request again.",
            retry_after_seconds=1,
        )


class CredentialUnreadable(OwnkeyError):
    """A stored secret does not open with this wrapping key. The user must enter it again."""

    code = "credential_unreadable"
    http_status = 500


class DataKeyClosed(OwnkeyError):
    """A user's data key cannot be opened here and now. Nothing is wrong with it: it must not be entered again.

    Not a CredentialUnreadable, so that nobody who handles that one takes it for a verdict on the stored key.
    """

    code = "wrapping_key_not_loaded"
    http_status = 503

    def __init__(self, message: str | None = None, *, retry_after_seconds: float = 5) -> None:
        super().__init__(
            message or "This server does not hold the wrapping key of your API keys yet. They are safe: try again.",
            retry_after_seconds=retry_after_seconds,
        )


class KeyServiceAway(DataKeyClosed):
    """The service that holds the wrapping key does not answer, or does not let this server use it."""

    code = "key_service_unavailable"

    def __init__(self, *, retry_after_seconds: float = 2) -> None:
        super().__init__(
            "The service that unlocks stored API keys does not answer. They are safe: try again.",
            retry_after_seconds=retry_after_seconds,
        )


class RouteExhausted(OwnkeyError):
    """Every attempt of a request failed. `extra["attempts"]` lists them in order."""

    code = "all_attempts_failed"
    http_status = 502


class NoProvider(RouteExhausted):
    """Nothing could be tried: no usable credential, own or shared."""

    code = "no_provider_available"
    http_status = 424


class LimitReached(NoProvider):
    """A budget, a cap or a rate leaves no room for the request.

    `counters` are those that were too short (`domain.budget.Counter`). `passing`: trying again shortly may help.
    Without `retry_after_seconds` no waiting helps.
    """

    code = "budget_spent"
    http_status = 429

    def __init__(self, message: str, *, counters: Sequence[Any] = (), passing: bool = False, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.counters, self.passing = tuple(counters), passing


class UpstreamError(OwnkeyError):
    """A provider did not do what it was asked for outside a route. The code says why; the words are ours."""

    code = "provider_unreachable"
    http_status = 502


class StorageError(OwnkeyError):
    """PostgreSQL cannot be reached or its schema is not the one this version needs."""

    code = "database_unavailable"
    http_status = 503
