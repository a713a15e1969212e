"""Wrapping keys that never leave a key service, and the URLs by which they are configured.

openbao://host:8200/transit/keys/NAME      HashiCorp Vault and OpenBao, over TLS; also vault://
openbao+http://127.0.0.1:8200/…            the same without TLS, for an agent on this machine
awskms:///arn:aws:kms:eu-west-1:1234:key/… AWS KMS; awskms://endpoint:port/… asks another endpoint
gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from ownkey.errors import ConfigError

# Each call's own limit. A healthy service answers within some ten milliseconds.
CALL_SECONDS: Final = 3.0

_MODULES: Final = {
    "openbao": ("openbao", None),
    "openbao+http": ("openbao", None),
    "vault": ("openbao", None),
    "vault+http": ("openbao", None),
    "awskms": ("aws", "aws"),
    "awskms+http": ("aws", "aws"),
    "gcpkms": ("google", "gcp"),
    "gcpkms+http": ("google", "gcp"),
}


class KeyService(Protocol):
    """One wrapping key at a service. The calls block and may come from several threads at once."""

    def encrypt(self, plaintext: bytes, fields: bytes) -> bytes:
        """The ciphertext, bound to `fields`. Raises KeyServiceAway."""
        ...

    def decrypt(self, ciphertext: bytes, fields: bytes) -> bytes:
        """The plaintext. Raises KeyServiceAway, CredentialUnreadable for what was not encrypted so."""
        ...


def open_service(url: str, token_file: Path | None = None) -> KeyService:
    """The key at this URL; nothing is asked yet. Raises ConfigError, whose message holds no part of the URL's query.

    `token_file` holds the token for OpenBao and Vault; None leaves it to their variables.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _MODULES:
        raise ConfigError(f"{scheme}:// is no key service that Ownkey knows. It knows {', '.join(_MODULES)}.")
    module, extra = _MODULES[scheme]
    try:
        opener = import_module(f"ownkey.crypto.key_services.{module}")
    except ModuleNotFoundError:
        raise ConfigError(f"The client for {scheme}:// is not installed: pip install 'ownkey[{extra}]'.") from None
    service: KeyService = opener.open_key(url, token_file)
    return service
