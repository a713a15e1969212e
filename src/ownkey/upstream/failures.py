"""What can go wrong on the wire, in three outcomes and with messages that are safe to show.

Nothing here repeats a URL's path, a header or what a provider sent.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome
from ownkey.upstream.address_guard import AddressRefused
from ownkey.upstream.connecting import LOCAL_ERRORS, ProxyRefused
from ownkey.upstream.http1 import Fault

_CONNECT_REASONS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ENETUNREACH: "network unreachable",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ETIMEDOUT: "no answer",
    errno.EMFILE: "this machine has no free file descriptors",
    errno.ENFILE: "this machine has no free file descriptors",
    errno.EADDRNOTAVAIL: "this machine has no free ports",
    errno.ENOBUFS: "this machine has no memory for connections",
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


def connect_failure(host: str, error: BaseException, timeout_seconds: float) -> TransportFailure:
    """The failure for an error on the way to a connection."""
    ours = isinstance(error, OSError) and error.errno in LOCAL_ERRORS
    outcome = Outcome.INTERNAL if ours else Outcome.UNREACHABLE
    return TransportFailure(outcome, _connect_message(host, error, timeout_seconds), unsent=True)


def head_failure(host: str, fault: Fault, timeout_seconds: float) -> TransportFailure:
    """The failure for an exchange that broke before the answer's status and headers were there."""
    if fault is Fault.TIMEOUT:
        return TransportFailure(Outcome.TIMEOUT, f"{host} did not begin to answer within {timeout_seconds:g} seconds.")
    if fault is Fault.NOT_HTTP:
        return TransportFailure(Outcome.STREAM_BROKEN, f"{host} answered with something that is not HTTP.")
    return TransportFailure(Outcome.UNREACHABLE, f"{host} closed the connection before it answered.")


def body_failure(host: str, fault: Fault) -> TransportFailure:
    """The failure for an exchange that broke inside the answer's body."""
    if fault is Fault.TIMEOUT:
        return TransportFailure(Outcome.TIMEOUT, f"{host} fell silent or took too long inside its answer.")
    if fault is Fault.NOT_HTTP:
        return TransportFailure(Outcome.STREAM_BROKEN, f"{host} sent an answer that is not HTTP to its end.")
    return TransportFailure(Outcome.STREAM_BROKEN, f"{host} broke the connection off inside its answer.")


def _connect_message(host: str, error: BaseException, timeout_seconds: float) -> str:
    if isinstance(error, AddressRefused):
        return error.message
    return f"Could not connect to {host}{_connect_reason(error, timeout_seconds)}."


def _connect_reason(error: BaseException, timeout_seconds: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # OpenSSL's own words, which name the certificate's fault and nothing of the request.
        return f": its certificate was not accepted ({error.verify_message.rstrip('.')})"
    if isinstance(error, (ssl.SSLError, ssl.CertificateError)):
        return ": the TLS handshake failed"
    if isinstance(error, socket.gaierror):
        return ": the name server did not answer" if error.errno == socket.EAI_AGAIN else ": name not found"
    if isinstance(error, ProxyRefused):
        return ": the proxy did not let the connection through"
    if isinstance(error, TimeoutError):
        return f" within {timeout_seconds:g} seconds"
    number = error.errno if isinstance(error, OSError) else None
    return f": {_CONNECT_REASONS.get(number or 0, 'the connection failed')}"
