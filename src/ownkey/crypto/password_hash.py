"""Passwords as argon2id hashes. Each call takes some 60 ms of processor time and 46 MiB: run it in a thread."""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# One pass more than OWASP's first choice for argon2id (46 MiB, one pass, one lane). One lane: a second thread per
# password would take the processor from requests.
_HASHER = PasswordHasher(time_cost=2, memory_cost=46 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """The hash to store, with its salt and parameters."""
    return _HASHER.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password is the one of this hash. Without a hash the work is done all the same, and it is not."""
    try:
        _HASHER.verify(stored or _decoy(), password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def needs_rehash(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


@cache
def _decoy() -> str:
    """A hash of nobody's password, made anew in each process."""
    return _HASHER.hash(secrets.token_urlsafe(32))
