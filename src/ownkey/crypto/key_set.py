"""Keys that verify signatures: read from an identity provider's key set (RFC 7517) or from one shared secret.

A key is good for the algorithms of its own kind and for no other, and a key set yields no symmetric key at all. So
nobody can present a public key, which is no secret, as the secret of an HMAC.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping
from typing import Any, Final

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from msgspec import Struct

SECRET_ALGORITHMS: Final = ("HS256", "HS384", "HS512")
RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVE_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
# RFC 9864 gave EdDSA with this curve a name of its own; identity providers still write the old one.
ED25519_ALGORITHMS: Final = ("EdDSA", "Ed25519")
PUBLIC_KEY_ALGORITHMS: Final = (*RSA_ALGORITHMS, *CURVE_ALGORITHMS.values(), *ED25519_ALGORITHMS)

SHORTEST_SECRET_BYTES: Final = 32
KEYS_LIMIT: Final = 32
_RSA_BITS: Final = (2048, 8192)
_PUBLIC_MEMBERS: Final = ("kty", "n", "e", "crv", "x", "y")


class VerificationKey(Struct, frozen=True, kw_only=True):
    """A key, and the algorithms it may be used with. `id` is its thumbprint: the same key has it in every set."""

    id: str
    kid: str | None
    algorithms: frozenset[str]
    key: Any


def read_secret(secret: bytes, algorithms: Collection[str]) -> VerificationKey:
    """The key that a shared secret is. Raises ValueError when it is shorter than the HMAC's security."""
    if len(secret) < SHORTEST_SECRET_BYTES:
        raise ValueError(f"a shared secret has at least {SHORTEST_SECRET_BYTES} bytes")
    key = OctKey.import_key(secret)
    return VerificationKey(
        id=key.thumbprint(), kid=None, algorithms=frozenset(SECRET_ALGORITHMS) & frozenset(algorithms), key=key
    )


def read_key_set(document: bytes, algorithms: Collection[str]) -> tuple[VerificationKey, ...]:
    """The usable keys of a JSON Web Key Set, at most `KEYS_LIMIT`. Raises ValueError for anything that is no such set.

    Keys for encryption, of another kind or of another algorithm are left out, and so is what is malformed or weak.
    """
    try:
        parsed = json.loads(document)
    except RecursionError:
        raise ValueError("the key set is nested too deeply") from None
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the document is not a key set")  # noqa: TRY004  # it is the document that is wrong
    found: list[VerificationKey] = []
    for entry in entries:
        key = _read_key(entry, frozenset(algorithms)) if isinstance(entry, dict) else None
        if key is not None and len(found) < KEYS_LIMIT:
            found.append(key)
    return tuple(found)


def _read_key(entry: Mapping[str, Any], algorithms: frozenset[str]) -> VerificationKey | None:
    operations = entry.get("key_ops")
    if entry.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        return None
    kid = entry.get("kid")
    # Nothing but the public half is read, whatever else a careless provider may have published.
    public = {name: entry[name] for name in _PUBLIC_MEMBERS if isinstance(entry.get(name), str)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # a weak key is refused below
            key, usable = _import(public)
            thumbprint = key.thumbprint() if usable else ""
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if "alg" in entry:
        usable = usable & {entry["alg"]} if isinstance(entry["alg"], str) else frozenset()
    usable &= algorithms
    if not usable or not (kid is None or isinstance(kid, str)):
        return None
    return VerificationKey(id=thumbprint, kid=kid, algorithms=usable, key=key)


def _import(public: dict[str, str]) -> tuple[Key, frozenset[str]]:
    """The key and what its kind can do. Raises what the library raises for a malformed one."""
    kind, curve = public.get("kty"), public.get("crv")
    data: Any = public
    if kind == "RSA":
        rsa = RSAKey.import_key(data)
        strong = _RSA_BITS[0] <= rsa.raw_value.key_size <= _RSA_BITS[1]
        return rsa, frozenset(RSA_ALGORITHMS) if strong else frozenset()
    if kind == "EC" and curve in CURVE_ALGORITHMS:
        return ECKey.import_key(data), frozenset((CURVE_ALGORITHMS[curve],))
    if kind == "OKP" and curve == "Ed25519":
        return OKPKey.import_key(data), frozenset(ED25519_ALGORITHMS)
    raise ValueError("a kind of key that verifies nothing here")
