"""The published vectors open here and with Node's own crypto, and what Ownkey seals opens there too."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ownkey.crypto.envelope import Binding, fingerprint, open_secret, read_data_key_version, seal_secret
from ownkey.crypto.tokens import hash_token, mint_token
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.credential import Secret
from ownkey.errors import ConfigError, CredentialUnreadable

VECTORS = Path(__file__).parents[2] / "vectors"
DOCUMENT: dict[str, Any] = json.loads((VECTORS / "envelope_v1.json").read_bytes())


def of_kind(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", DOCUMENT[kind], ids=lambda vector: vector["name"])


def binding_of(vector: dict[str, Any]) -> Binding:
    return msgspec.convert(vector["binding"], Binding)


@of_kind("secrets")
def test_a_published_secret_opens(vector: dict[str, Any]) -> None:
    sealed = bytes.fromhex(vector["sealed"])
    assert open_secret(bytes.fromhex(vector["data_key"]), sealed, binding_of(vector)).reveal() == vector["plaintext"]
    assert read_data_key_version(sealed) == vector["data_key_version"]


@of_kind("refused")
def test_a_published_forgery_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(CredentialUnreadable):
        open_secret(bytes.fromhex(vector["data_key"]), bytes.fromhex(vector["sealed"]), binding_of(vector))


@of_kind("wrapped")
def test_a_published_data_key_unwraps(vector: dict[str, Any]) -> None:
    keys = LocalWrappingKeys({vector["wrapping_key_id"]: bytes.fromhex(vector["wrapping_key"])})
    data_key = keys.unwrap(
        vector["wrapping_key_id"],
        bytes.fromhex(vector["wrapped"]),
        user_id=vector["user_id"],
        deployment_id=vector["deployment_id"],
        version=vector["data_key_version"],
    )
    assert data_key.hex() == vector["data_key"]


@of_kind("wrapped")
def test_a_published_wrapping_key_may_not_serve(vector: dict[str, Any]) -> None:
    encoded = base64.b64encode(bytes.fromhex(vector["wrapping_key"])).decode()
    with pytest.raises(ConfigError, match="not random"):
        LocalWrappingKeys.parse(f"k1:{encoded}")


@of_kind("fingerprints")
def test_a_published_fingerprint_is_ours(vector: dict[str, Any]) -> None:
    secret = Secret(vector["plaintext"])
    ours = fingerprint(bytes.fromhex(vector["data_key"]), vector["user_id"], vector["provider"], secret)
    assert ours.hex() == vector["fingerprint"]


@of_kind("tokens")
def test_a_published_token_has_its_hash(vector: dict[str, Any]) -> None:
    digest = hash_token(vector["token"])
    assert digest is not None
    assert digest.hex() == vector["sha256"]


def test_the_generator_still_writes_the_published_file() -> None:
    generated = subprocess.run(
        [sys.executable, VECTORS / "generate_envelope_v1.py"], check=True, capture_output=True, timeout=60
    )
    assert generated.stdout == (VECTORS / "envelope_v1.json").read_bytes()


def run_node(document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    # Node is required: a second implementation that is skipped proves nothing.
    return subprocess.run(
        ["node", VECTORS / "open.mjs"],
        input=json.dumps(document),
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_node_agrees_with_every_published_vector() -> None:
    result = run_node(DOCUMENT)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {kind: len(DOCUMENT[kind]) for kind in DOCUMENT if kind != "format"}


def test_node_disagrees_when_a_vector_is_wrong() -> None:
    secret = {**DOCUMENT["secrets"][0], "plaintext": "something else"}
    assert run_node({"secrets": [secret]}).returncode == 1
    assert run_node({"refused": [DOCUMENT["secrets"][0]]}).returncode == 1


def test_node_opens_what_ownkey_seals_now() -> None:
    wrapping_key, data_key = os.urandom(32), os.urandom(32)
    key_id, wrapped = LocalWrappingKeys({"now": wrapping_key}).wrap(
        data_key, user_id="ålice", deployment_id="prod", version=9
    )
    binding = Binding(deployment_id="prod", user_id="ålice", provider="groq", record_id="r", generation=2**60 + 1)
    secret = Secret("gsk_sealed_by_python")
    token, digest = mint_token()
    document = {
        "secrets": [
            {
                "data_key": data_key.hex(),
                "binding": msgspec.to_builtins(binding),
                "plaintext": secret.reveal(),
                "sealed": seal_secret(data_key, secret, binding, data_key_version=9).hex(),
            }
        ],
        "wrapped": [
            {
                "wrapping_key_id": key_id,
                "wrapping_key": wrapping_key.hex(),
                "deployment_id": "prod",
                "user_id": "ålice",
                "data_key_version": 9,
                "data_key": data_key.hex(),
                "wrapped": wrapped.hex(),
            }
        ],
        "fingerprints": [
            {
                "data_key": data_key.hex(),
                "user_id": "ålice",
                "provider": "groq",
                "plaintext": secret.reveal(),
                "fingerprint": fingerprint(data_key, "ålice", "groq", secret).hex(),
            }
        ],
        "tokens": [{"token": token, "sha256": digest.hex()}],
    }
    result = run_node(document)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["wrapped"] == 1
