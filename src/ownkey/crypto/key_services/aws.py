"""Wrapping keys in AWS KMS, by boto3 (extra `ownkey[aws]`), which finds its credentials as everywhere in AWS.

The encryption context appears in CloudTrail as it is, so it holds the hash of what a data key is bound to and not the
user's id.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ownkey.crypto.box import unreadable
from ownkey.crypto.key_service import CALL_SECONDS
from ownkey.crypto.wrapping import Complaints
from ownkey.errors import ConfigError, KeyServiceAway

# A ciphertext that KMS did not make with this key and this context.
_FORGED: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})

logger = logging.getLogger(__name__)
_complaints = Complaints()


def open_key(url: str, _token_file: Path | None = None) -> AwsKey:
    """The key at `awskms:///ARN`; a host in front of the ARN is another endpoint. Raises ConfigError."""
    parts = urlsplit(url)
    arn = unquote(parts.path).removeprefix("/")
    pieces = arn.split(":")
    if len(pieces) != 6 or pieces[:1] != ["arn"] or pieces[2] != "kms" or not pieces[3] or parts.query:
        raise ConfigError("A key of AWS KMS is named as awskms:///arn:aws:kms:REGION:ACCOUNT:key/ID.")
    plain = parts.scheme.endswith("+http")
    if plain and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{parts.scheme}:// is for an endpoint on this machine; elsewhere keys go over TLS only.")
    endpoint = f"{'http' if plain else 'https'}://{parts.netloc}" if parts.netloc else None
    return AwsKey(arn, pieces[3], endpoint)


class AwsKey:
    """One key. The client may be used from several threads."""

    def __init__(self, arn: str, region: str, endpoint: str | None) -> None:
        self._arn = arn
        limits = Config(
            connect_timeout=CALL_SECONDS,
            read_timeout=CALL_SECONDS,
            retries={"total_max_attempts": 1},
            max_pool_connections=8,
        )
        # A session of its own: the default one is not safe to make clients with from several threads.
        self._client: Any = boto3.session.Session().client(
            "kms", region_name=region, endpoint_url=endpoint, config=limits
        )

    def encrypt(self, plaintext: bytes, fields: bytes) -> bytes:
        """As `KeyService.encrypt`."""
        answer = self._ask("encrypt", Plaintext=plaintext, EncryptionContext=_context(fields))
        return bytes(answer["CiphertextBlob"])

    def decrypt(self, ciphertext: bytes, fields: bytes) -> bytes:
        """As `KeyService.decrypt`."""
        return bytes(self._ask("decrypt", CiphertextBlob=ciphertext, EncryptionContext=_context(fields))["Plaintext"])

    def _ask(self, verb: str, **asked: Any) -> Any:
        try:
            return getattr(self._client, verb)(KeyId=self._arn, **asked)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "?")
            forged = verb == "decrypt" and code in _FORGED
        except BotoCoreError as error:
            code, forged = type(error).__name__, False
        if forged:
            raise unreadable()
        if _complaints.allow(code):
            logger.error("AWS KMS did not %s with %s: %s", verb, self._arn, code)
        raise KeyServiceAway


def _context(fields: bytes) -> dict[str, str]:
    return {"ownkey-binding": hashlib.sha256(fields).hexdigest()}
