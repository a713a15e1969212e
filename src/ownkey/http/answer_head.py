"""The headers of an answer that a provider made: who made it, at whose expense, and how the limits stand now.

They are written as lines, which is how our own server sends them; another server is given them one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ownkey.domain.provider import Dialect
from ownkey.domain.routing import Attempt, Skipped
from ownkey.http.limit_headers import hold_headers
from ownkey.services.answer import Answer

Header = tuple[bytes, bytes]

# An answer is one person's: no cache between here and there may keep it. And it is what it says that it is.
PRIVATE: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-store"),
    (b"vary", b"authorization"),
    (b"x-content-type-options", b"nosniff"),
)
# Where each dialect's own library looks for the name of a request.
ID_HEADERS: Final = {
    Dialect.OPENAI_CHAT: b"x-request-id",
    Dialect.OPENAI_RESPONSES: b"x-request-id",
    Dialect.ANTHROPIC_MESSAGES: b"request-id",
}
# As many as a person reads; a header has to fit into every proxy between here and there.
_SKIPPED_LIMIT: Final = 16
# What answers of one provider, model and payer have in common, and what stands before their id once more.
_KEPT_LIMIT: Final = 1024
_kept: Final[dict[tuple[str, str, str, Dialect], tuple[bytes, bytes]]] = {}


def attempt_headers(attempt: Attempt) -> list[Header]:
    """Who answers, and on whose key."""
    return [
        (b"x-ownkey-provider", attempt.provider.id.encode()),
        (b"x-ownkey-model", attempt.model.encode()),
        (b"x-ownkey-credential", attempt.payer.encode()),
    ]


def write_head(answer: Answer, dialect: Dialect, first: bytes) -> bytes:
    """The lines of an answer's headers, after those in `first`. Raises ValueError for what would end its line."""
    attempt, number = answer.attempt, answer.request_id.encode()
    kind = (attempt.provider.id, attempt.model, attempt.payer, dialect)
    common, name = _kept.get(kind) or _keep(kind, attempt)
    rest = b"" if answer.hold is None and not answer.skipped else _write_lines(_limits(answer))
    again = name + number + b"\r\n" if name else b""
    return b"%b%b%bx-ownkey-attempts: %d\r\nx-ownkey-request-id: %b\r\n%b" % (
        first,
        rest,
        common,
        answer.attempts,
        number,
        again,
    )


def read_head(lines: bytes) -> list[Header]:
    """The headers in such lines, one by one."""
    found = []
    for line in lines.splitlines():
        name, _, value = line.partition(b": ")
        found.append((name, value))
    return found


def _keep(kind: tuple[str, str, str, Dialect], attempt: Attempt) -> tuple[bytes, bytes]:
    name = ID_HEADERS.get(kind[3])
    kept = _write_lines([*PRIVATE, *attempt_headers(attempt)]), b"" if name is None else name + b": "
    if len(_kept) >= _KEPT_LIMIT:
        _kept.clear()
    _kept[kind] = kept
    return kept


def _write_lines(headers: list[Header]) -> bytes:
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    # There would be more ends than lines.
    if not lines.count(b"\n") == lines.count(b"\r") == len(headers):
        raise ValueError("a header of this answer does not fit into one line")
    return lines


def _limits(answer: Answer) -> list[Header]:
    headers = [] if answer.hold is None else hold_headers(answer.hold)
    if answer.skipped:
        headers.append((b"x-ownkey-skipped", _name_skipped(answer.skipped)))
    return headers


def _name_skipped(skipped: Sequence[Skipped]) -> bytes:
    """Structured as RFC 9651 has it: `groq;payer=own;reason=no_credential, …`."""
    hops = [f"{hop.provider};payer={hop.payer};reason={hop.reason}" for hop in skipped[:_SKIPPED_LIMIT]]
    return ", ".join(dict.fromkeys(hops)).encode()
