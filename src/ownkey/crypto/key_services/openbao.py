"""Wrapping keys in the transit engine of OpenBao and HashiCorp Vault: two POST requests, by the standard library.

The token comes from a file that an agent renews, which is read anew for every call, or from `VAULT_TOKEN` or
`BAO_TOKEN`. The key must be of a type that takes associated data, such as aes256-gcm96. The engine's own `rewrap` takes
none, so rotation decrypts and encrypts.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import ssl
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ownkey.crypto.box import unreadable
from ownkey.crypto.key_service import CALL_SECONDS
from ownkey.crypto.wrapping import Complaints
from ownkey.errors import ConfigError, KeyServiceAway

_PATH = re.compile(r"/(?P<mount>[A-Za-z0-9_./-]+)/keys/(?P<name>[A-Za-z0-9_.-]+)")
_LARGEST_ANSWER: Final = 64 * 1024
# What Vault says about a ciphertext that is not its own or not of these fields. A key that is gone, a version that is
# no longer allowed, a missing right: all of those are the operator's to mend, and no verdict on what is stored.
_FORGED: Final = ("message authentication failed", "invalid ciphertext", "could not decode")

logger = logging.getLogger(__name__)
_complaints = Complaints()


def open_key(url: str, token_file: Path | None = None) -> TransitKey:
    """The key at `openbao://host[:port]/MOUNT/keys/NAME`. Raises ConfigError."""
    parts = urlsplit(url)
    found = _PATH.fullmatch(unquote(parts.path))
    if not parts.hostname or found is None or parts.username or parts.query or parts.fragment:
        raise ConfigError(f"A key of OpenBao or Vault is named as {parts.scheme}://host:8200/transit/keys/NAME.")
    plain = parts.scheme.endswith("+http")
    if plain and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{parts.scheme}:// is for an agent on this machine; elsewhere keys go over TLS only.")
    return TransitKey(parts.hostname, parts.port or 8200, found["mount"], found["name"], token_file, tls=not plain)


class TransitKey:
    """One key. Connections are kept open, one for each thread."""

    def __init__(self, host: str, port: int, mount: str, name: str, token_file: Path | None, *, tls: bool) -> None:
        self._host, self._port, self._mount, self._name = host, port, mount, name
        self._context = ssl.create_default_context(cafile=os.environ.get("VAULT_CACERT") or None) if tls else None
        self._token_file = token_file
        self._own = threading.local()

    def encrypt(self, plaintext: bytes, fields: bytes) -> bytes:
        """As `KeyService.encrypt`."""
        answer = self._ask("encrypt", {"plaintext": _text(plaintext), "associated_data": _text(fields)})
        ciphertext = answer.get("ciphertext")
        if not isinstance(ciphertext, str) or not ciphertext.startswith("vault:"):
            raise self._away("gave no ciphertext")
        return ciphertext.encode()

    def decrypt(self, ciphertext: bytes, fields: bytes) -> bytes:
        """As `KeyService.decrypt`."""
        asked = {"ciphertext": ciphertext.decode("ascii", "replace"), "associated_data": _text(fields)}
        return base64.b64decode(self._ask("decrypt", asked)["plaintext"])

    def _ask(self, verb: str, asked: dict[str, str]) -> dict[str, Any]:
        status, answer = self._post(f"/v1/{self._mount}/{verb}/{self._name}", json.dumps(asked).encode())
        data, errors = answer.get("data"), answer.get("errors")
        if status == 200 and isinstance(data, dict):
            return data
        said = "; ".join(map(str, errors))[:300] if isinstance(errors, list) else ""
        if status == 400 and verb == "decrypt" and any(words in said for words in _FORGED):
            raise unreadable()
        raise self._away(f"answered {status}: {said}")

    def _post(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = {
            "X-Vault-Token": _read_token(self._token_file),
            "X-Vault-Request": "true",
            "Content-Type": "application/json",
        }
        if namespace := os.environ.get("VAULT_NAMESPACE"):
            headers["X-Vault-Namespace"] = namespace
        kept = getattr(self._own, "connection", None)
        try:
            return self._send(kept or self._connect(), path, body, headers)
        except (OSError, HTTPException, ValueError) as error:
            self._drop()
            if kept is None:
                raise self._away(f"cannot be asked ({type(error).__name__})") from None
        # A kept connection may have been closed meanwhile. To ask twice does no harm.
        try:
            return self._send(self._connect(), path, body, headers)
        except (OSError, HTTPException, ValueError) as error:
            self._drop()
            raise self._away(f"cannot be asked ({type(error).__name__})") from None

    def _send(
        self, connection: HTTPConnection, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        text = response.read(_LARGEST_ANSWER + 1)
        if len(text) > _LARGEST_ANSWER or response.will_close:
            self._drop()
        answer = json.loads(text) if text else {}
        if not isinstance(answer, dict):
            raise ValueError("not an answer of Vault")  # noqa: TRY004  # handled as every other malformed answer
        return response.status, answer

    def _connect(self) -> HTTPConnection:
        connection = (
            HTTPConnection(self._host, self._port, timeout=CALL_SECONDS)
            if self._context is None
            else HTTPSConnection(self._host, self._port, timeout=CALL_SECONDS, context=self._context)
        )
        self._own.connection = connection
        return connection

    def _drop(self) -> None:
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            self._own.connection = None

    def _away(self, why: str) -> KeyServiceAway:
        if _complaints.allow(why):
            logger.error("the key service at %s:%d %s", self._host, self._port, why)
        return KeyServiceAway()


def _read_token(file: Path | None) -> str:
    if file is None:
        return os.environ.get("VAULT_TOKEN") or os.environ.get("BAO_TOKEN") or ""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        if _complaints.allow(str(file)):
            logger.error("the token file of the key service cannot be read: %s", file)  # noqa: TRY400
        raise KeyServiceAway from None


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
