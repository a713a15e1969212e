"""What can go wrong on the wire, in three outcomes and with messages that are safe to show.

Nothing here repeats a URL's path, a header, or the words of the client library: those can hold secrets.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final

import aiohttp

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome
from ownkey.upstream.address_guard import AddressRefused

_CONNECT_REASONS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ENETUNREACH: "network unreachable",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ETIMEDOUT: "no answer",
    errno.EMFILE: "this machine has no free file descriptors",
    errno.EADDRNOTAVAIL: "this machine has no free ports",
}


class TransportFailure(Exception):
    """An attempt that ended without a whole answer.

    `unsent` is true when the provider cannot have acted on the request, because it never left: trying again
    costs nothing. Otherwise the provider may have done the work and charged for it.
    """

    def __init__(self, outcome: Outcome, message: str, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.failure = Failure(outcome=outcome, message=message)
        self.unsent = unsent


def connect_failure(host: str, error: BaseException, connect_timeout_seconds: float) -> TransportFailure | None:
    """The failure for an error from before the request could leave; None if it came later."""
    if isinstance(error, AddressRefused):
        return _unreachable(error.message)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _unreachable(f"Could not connect to {host} within {connect_timeout_seconds:g} seconds.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _unreachable(f"Could not connect to {host}: {_name_reason(error.os_error)}.")
    if isinstance(error, aiohttp.ClientSSLError):
        return _unreachable(f"Could not connect to {host}: {_tls_reason(error)}.")
    if isinstance(error, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        return _unreachable(f"Could not connect to {host}: the proxy did not let the connection through.")
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = _CONNECT_REASONS.get(error.os_error.errno or 0, "the connection failed")
        return _unreachable(f"Could not connect to {host}: {reason}.")
    if isinstance(error, aiohttp.InvalidURL):
        return _unreachable("The provider's address is not a valid http or https URL.")
    return None


def answer_failure(host: str, error: BaseException, first_byte_timeout_seconds: float) -> TransportFailure:
    """The failure for an error between the request's departure and the answer's headers."""
    if isinstance(error, TimeoutError):
        return TransportFailure(
            Outcome.TIMEOUT, f"{host} did not begin to answer within {first_byte_timeout_seconds:g} seconds."
        )
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportFailure(Outcome.STREAM_BROKEN, f"{host} answered with something that is not HTTP.")
    return TransportFailure(Outcome.UNREACHABLE, f"{host} closed the connection before it answered.")


def body_failure(host: str, error: BaseException, idle_timeout_seconds: float) -> TransportFailure:
    """The failure for an error inside an answer's body."""
    if isinstance(error, aiohttp.SocketTimeoutError):
        return TransportFailure(
            Outcome.TIMEOUT, f"{host} fell silent for {idle_timeout_seconds:g} seconds inside its answer."
        )
    if isinstance(error, TimeoutError):
        return TransportFailure(Outcome.TIMEOUT, f"{host} did not finish its answer in the time allowed.")
    return TransportFailure(Outcome.STREAM_BROKEN, f"{host} broke the connection off inside its answer.")


def _unreachable(message: str) -> TransportFailure:
    return TransportFailure(Outcome.UNREACHABLE, message, unsent=True)


def _name_reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return "the name server did not answer"
    return "name not found"


def _tls_reason(error: aiohttp.ClientSSLError) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        # OpenSSL's own words, which name the certificate's fault and nothing of the request.
        return f"its certificate was not accepted ({cause.verify_message.rstrip('.')})"
    return "the TLS handshake failed"
