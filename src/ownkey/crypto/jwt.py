"""Signed tokens (JWT, RFC 7519) in the compact form: read strictly, verified with keys that we hold.

The header only chooses among our own keys and our own algorithms. Where it brings or names a key (`jwk`, `x5c`,
`jku`, `x5u`), that is never read. The claims are parsed after the signature has proved true, not before.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterable
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact
from msgspec import Struct

from ownkey.crypto.key_set import VerificationKey

MAX_TOKEN_BYTES: Final = 8 * 1024
_KID_MAX_LENGTH: Final = 255
_FORM = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# Other kinds of signed tokens are made by the same keys for the same audience: a logout token is no access token.
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})


class JwtRefused(Exception):
    """The token is not what it has to be. The reason is for a log: it holds nothing of the token."""


class JwtHeader(Struct, frozen=True):
    """What the header says, as far as it may say anything."""

    algorithm: str
    kid: str | None


class _Registry(JWSRegistry):
    """One algorithm, chosen by us. The library's own method warns of EdDSA, which providers still write."""

    max_header_length = MAX_TOKEN_BYTES

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise JwtRefused("algorithm")
        return self.algorithms[name]


def read_header(token: bytes, algorithms: Collection[str]) -> JwtHeader:
    """The header of a token whose form is faultless. Nothing of it is verified. Raises JwtRefused.

    Only `algorithms` pass, compared letter by letter.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise JwtRefused("size")
    form = _FORM.fullmatch(token)
    if form is None:
        raise JwtRefused("form")
    header, *_ = [_decode(part) for part in form.groups()]
    fields = _parse_object(header)
    # `crit` lists what must be understood, and nothing that it could list is. `b64` changes what is signed.
    if "crit" in fields or "b64" in fields:
        raise JwtRefused("critical header")
    # A key that comes with the token proves nothing; whoever sends one means no good.
    if "jwk" in fields:
        raise JwtRefused("key in header")
    algorithm, kid, kind = fields.get("alg"), fields.get("kid"), fields.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise JwtRefused("algorithm")
    if not (kid is None or (isinstance(kid, str) and len(kid) <= _KID_MAX_LENGTH)):
        raise JwtRefused("key id")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise JwtRefused("type")
    return JwtHeader(algorithm, kid)


def verify(token: bytes, header: JwtHeader, keys: Iterable[VerificationKey]) -> tuple[dict[str, Any], VerificationKey]:
    """The claims of a token that one of `keys` signed, and that key. Raises JwtRefused.

    `header` is what `read_header` gave for this token; only keys that fit its algorithm are tried.
    """
    registry = _Registry(algorithms=[header.algorithm], strict_check_header=False)
    for key in keys:
        if header.algorithm not in key.algorithms:
            continue
        try:
            signed = deserialize_compact(token, key.key, registry=registry)
        except (JoseError, ValueError, TypeError):
            continue
        return _parse_object(signed.payload), key
    raise JwtRefused("signature")


def _decode(part: bytes) -> bytes:
    """The bytes of one part. Only one text stands for them: a token cannot be varied and stay the same token."""
    try:
        decoded = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise JwtRefused("encoding") from None
    if urlsafe_b64encode(decoded).rstrip(b"=") != part:
        raise JwtRefused("encoding")
    return decoded


def _parse_object(text: bytes | None) -> dict[str, Any]:
    """A JSON object in which every name occurs once and every number is one. Raises JwtRefused."""
    try:
        parsed = json.loads((text or b"").decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise JwtRefused("json") from None
    if not isinstance(parsed, dict):
        raise JwtRefused("json")
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_number(_: str) -> None:
    raise ValueError("not a number")
