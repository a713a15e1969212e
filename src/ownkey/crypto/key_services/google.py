"""Wrapping keys in Google Cloud KMS, by google-cloud-kms (extra `ownkey[gcp]`), with its usual credentials."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from google.api_core.exceptions import BadRequest, GoogleAPIError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud.kms_v1 import KeyManagementServiceClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceRestTransport

from ownkey.crypto.box import unreadable
from ownkey.crypto.key_service import CALL_SECONDS
from ownkey.crypto.wrapping import Complaints
from ownkey.errors import ConfigError, KeyServiceAway

_NAME: Final = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+", re.ASCII)
_FORGED: Final = "decryption failed"

logger = logging.getLogger(__name__)
_complaints = Complaints()


def open_key(url: str, _token_file: Path | None = None) -> GoogleKey:
    """The key at `gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K`.

    `gcpkms+http://127.0.0.1:port/projects/…` asks an emulator on this machine without credentials. Raises ConfigError.
    """
    parts = urlsplit(url)
    plain = parts.scheme.endswith("+http")
    name = parts.path.removeprefix("/") if plain else f"{parts.netloc}{parts.path}"
    if not _NAME.fullmatch(name) or parts.query:
        raise ConfigError(
            "A key of Google Cloud KMS is named as gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K."
        )
    if not plain:
        return GoogleKey(name, KeyManagementServiceClient(transport="rest"))
    if parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{parts.scheme}:// is for an endpoint on this machine; elsewhere keys go over TLS only.")
    transport = KeyManagementServiceRestTransport(
        host=parts.netloc,
        url_scheme="http",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
    )
    return GoogleKey(name, KeyManagementServiceClient(transport=transport))


class GoogleKey:
    """One key. The client may be used from several threads."""

    def __init__(self, name: str, client: Any) -> None:
        self._name, self._client = name, client

    def encrypt(self, plaintext: bytes, fields: bytes) -> bytes:
        """As `KeyService.encrypt`."""
        asked = {"name": self._name, "plaintext": plaintext, "additional_authenticated_data": fields}
        return bytes(self._ask("encrypt", asked).ciphertext)

    def decrypt(self, ciphertext: bytes, fields: bytes) -> bytes:
        """As `KeyService.decrypt`."""
        asked = {"name": self._name, "ciphertext": ciphertext, "additional_authenticated_data": fields}
        return bytes(self._ask("decrypt", asked).plaintext)

    def _ask(self, verb: str, asked: dict[str, Any]) -> Any:
        try:
            return getattr(self._client, verb)(request=asked, timeout=CALL_SECONDS, retry=None)
        except BadRequest as error:
            # A disabled key is a bad request, too: only what KMS calls a failed decryption says something of the row.
            forged, why = verb == "decrypt" and _FORGED in str(error).lower(), type(error).__name__
        except (GoogleAPIError, GoogleAuthError, OSError) as error:
            forged, why = False, type(error).__name__
        if forged:
            raise unreadable()
        if _complaints.allow(why):
            logger.error("Google Cloud KMS did not %s with %s: %s", verb, self._name, why)
        raise KeyServiceAway
