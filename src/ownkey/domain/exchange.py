"""One exchange with a provider: what goes out, what comes back, how it failed, and what follows from that."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ownkey.domain.credential import CredentialStatus
from ownkey.domain.usage import Outcome


class UpstreamRequest(Struct, frozen=True):
    """A request without its secret: the pool adds that to `auth_header` at the last moment.

    `auth_header` is the header's name and what stands before the secret: ("authorization", "Bearer "). A body may come
    in pieces, so that a large one need not be copied to change a word in it.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | tuple[bytes | memoryview, ...]
    auth_header: tuple[str, str] | None

    @property
    def body_bytes(self) -> int:
        """The length of the body."""
        return len(self.body) if isinstance(self.body, bytes) else sum(len(piece) for piece in self.body)


class Failure(Struct, frozen=True, kw_only=True):
    """Why an attempt failed. `message` is safe to show: the secret is scrubbed from it and it is cut short."""

    outcome: Outcome
    message: str
    http_status: int | None = None
    provider_code: str | None = None
    retry_after_seconds: float | None = None
    provider_request_id: str | None = None


class Consequence(Struct, frozen=True, kw_only=True):
    """What an outcome means for the rest of the chain and for the credential.

    `next_credential`: try the user's other credentials at this provider. `next_provider`: go on to another
    provider. `status`: what the credential is from now on. `cool_down_seconds`: how long to leave it alone
    when the provider does not say. `provider_fault`: counts against the provider's host, not the credential.
    """

    retry_same: bool = False
    next_credential: bool = False
    next_provider: bool = False
    status: CredentialStatus | None = None
    cool_down_seconds: float = 0
    provider_fault: bool = False


CONSEQUENCES: Final[dict[Outcome, Consequence]] = {
    Outcome.OK: Consequence(),
    Outcome.AUTH_INVALID: Consequence(next_credential=True, next_provider=True, status=CredentialStatus.INVALID),
    Outcome.AUTH_SCOPE: Consequence(next_credential=True, next_provider=True, status=CredentialStatus.LIMITED),
    Outcome.CREDIT_EXHAUSTED: Consequence(
        next_credential=True, next_provider=True, status=CredentialStatus.OUT_OF_CREDIT, cool_down_seconds=3600
    ),
    Outcome.QUOTA_DAILY: Consequence(
        next_credential=True, next_provider=True, status=CredentialStatus.RATE_LIMITED, cool_down_seconds=3600
    ),
    Outcome.RATE_LIMITED: Consequence(
        retry_same=True,
        next_credential=True,
        next_provider=True,
        status=CredentialStatus.RATE_LIMITED,
        cool_down_seconds=10,
    ),
    Outcome.OVERLOADED: Consequence(retry_same=True, next_provider=True, provider_fault=True),
    Outcome.UNREACHABLE: Consequence(next_provider=True, provider_fault=True),
    Outcome.TIMEOUT: Consequence(next_provider=True, provider_fault=True),
    Outcome.MODEL_UNAVAILABLE: Consequence(next_provider=True),
    Outcome.BAD_REQUEST: Consequence(),
    Outcome.CANNOT_CARRY: Consequence(next_provider=True),
    Outcome.CONTENT_REFUSED: Consequence(),
    Outcome.STREAM_BROKEN: Consequence(next_provider=True, provider_fault=True),
    # The client may have asked for too much: that must not close the provider to everybody else.
    Outcome.ANSWER_TOO_LARGE: Consequence(next_provider=True),
    Outcome.CLIENT_GONE: Consequence(),
    Outcome.ACCESS_WITHDRAWN: Consequence(),
    # Nothing is written down: with the right wrapping key back, the same credential opens again.
    Outcome.UNREADABLE: Consequence(next_credential=True, next_provider=True),
    Outcome.INTERNAL: Consequence(),
}

# Which failure a person can do most about, when every attempt failed: that one sets the answer's status.
MOST_ACTIONABLE: Final = (
    Outcome.UNREADABLE,
    Outcome.AUTH_INVALID,
    Outcome.CREDIT_EXHAUSTED,
    Outcome.AUTH_SCOPE,
    Outcome.BAD_REQUEST,
    Outcome.ANSWER_TOO_LARGE,
    Outcome.CANNOT_CARRY,
    Outcome.CONTENT_REFUSED,
    Outcome.MODEL_UNAVAILABLE,
    Outcome.QUOTA_DAILY,
    Outcome.RATE_LIMITED,
    Outcome.OVERLOADED,
    Outcome.TIMEOUT,
    Outcome.UNREACHABLE,
    Outcome.STREAM_BROKEN,
    Outcome.INTERNAL,
    Outcome.ACCESS_WITHDRAWN,
    Outcome.CLIENT_GONE,
)
