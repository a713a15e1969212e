"""Writes envelope_v1.json: the published vectors of the sealed form.

It follows docs/reference/envelope.md and shares no code with Ownkey: HKDF is written out with hmac, and only AES-GCM
comes from a library. Run it again and the file stays the same, byte for byte:

    python tests/vectors/generate_envelope_v1.py > tests/vectors/envelope_v1.json
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import zlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def example_bytes(name: str, size: int) -> bytes:
    """Fixed bytes that look random. No key of these vectors may ever serve: they are public."""
    return hashlib.shake_256(f"ownkey published test vector: {name}".encode()).digest(size)


def hkdf(key: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869 with SHA-256."""
    extracted = hmac.digest(salt, key, "sha256")
    block, output = b"", b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        output += block
    return output[:size]


def pack(*fields: str | int) -> bytes:
    packed = [field.encode() if isinstance(field, str) else field.to_bytes(8, "big") for field in fields]
    return b"".join(len(field).to_bytes(4, "big") + field for field in packed)


def seal(magic: bytes, purpose: str, key: bytes, version: int, plaintext: bytes, fields: bytes, name: str) -> bytes:
    salt, nonce = example_bytes(f"{name} salt", 32), example_bytes(f"{name} nonce", 12)
    header = magic + b"\x01\x01" + version.to_bytes(4, "big")
    derived = hkdf(key, salt, f"ownkey/{purpose}/v1".encode(), 64)
    return header + salt + nonce + derived[32:] + AESGCM(derived[:32]).encrypt(nonce, plaintext, fields + header)


def secret_vector(name: str, plaintext: str, version: int = 1, **binding: str | int) -> dict[str, object]:
    bound: dict[str, str | int] = {
        "deployment_id": "default",
        "purpose": "provider-key",
        "user_id": "8a1f0f4e-7a0e-4a55-9d0e-2f1f3f6f7d10",
        "provider": "openai",
        "record_id": "0199c0de-0000-7000-8000-000000000001",
        "generation": 1,
        **binding,
    }
    key = example_bytes(f"{name} data key", 32)
    fields = pack("ownkey", *(bound[part] for part in BINDING_ORDER))
    sealed = seal(b"OK", str(bound["purpose"]), key, version, plaintext.encode(), fields, name)
    return {
        "name": name,
        "data_key": key.hex(),
        "data_key_version": version,
        "binding": bound,
        "plaintext": plaintext,
        "sealed": sealed.hex(),
    }


BINDING_ORDER = ("deployment_id", "purpose", "user_id", "provider", "record_id", "generation")


def wrapped_vector(name: str, key_id: str, user_id: str, version: int) -> dict[str, object]:
    wrapping_key, data_key = example_bytes(f"{name} wrapping key", 32), example_bytes(f"{name} data key", 32)
    fields = pack("ownkey/dek", "default", user_id, key_id, version)
    return {
        "name": name,
        "wrapping_key_id": key_id,
        "wrapping_key": wrapping_key.hex(),
        "deployment_id": "default",
        "user_id": user_id,
        "data_key_version": version,
        "data_key": data_key.hex(),
        "wrapped": seal(b"OW", "dek", wrapping_key, version, data_key, fields, name).hex(),
    }


def fingerprint_vector(name: str, user_id: str, provider: str, plaintext: str) -> dict[str, object]:
    data_key = example_bytes(f"{name} data key", 32)
    subkey = hkdf(data_key, b"", b"ownkey/fingerprint/v1", 32)
    mac = hmac.digest(subkey, pack(user_id, provider) + plaintext.encode(), "sha256")
    return {
        "name": name,
        "data_key": data_key.hex(),
        "user_id": user_id,
        "provider": provider,
        "plaintext": plaintext,
        "fingerprint": mac.hex(),
    }


def base62(number: int, width: int) -> str:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(alphabet[number // 62**place % 62] for place in reversed(range(width)))


def token_vector(name: str, random_bytes: bytes) -> dict[str, object]:
    body = "ok-" + base62(int.from_bytes(random_bytes, "big"), 43)
    token = body + base62(zlib.crc32(body.encode()), 6)
    return {"name": name, "token": token, "sha256": hashlib.sha256(token.encode()).hexdigest()}


def refused_vectors(good: dict[str, object]) -> list[dict[str, object]]:
    """What must not open, each with the one thing that is wrong with it."""
    sealed = bytes.fromhex(str(good["sealed"]))
    key = bytes.fromhex(str(good["data_key"]))
    binding = dict(good["binding"])  # type: ignore[call-overload]
    # The commitment is right and the tag is not, and the other way round.
    wrong_tag = sealed[:-1] + bytes([sealed[-1] ^ 1])
    wrong_commitment = sealed[:52] + bytes([sealed[52] ^ 1]) + sealed[53:]
    changed = {
        "empty": b"",
        "the plaintext itself": str(good["plaintext"]).encode(),
        "only the header": sealed[:8],
        "cut by one byte": sealed[:-1],
        "one byte longer": sealed + b"\0",
        "another magic": b"OW" + sealed[2:],
        "version 0": sealed[:2] + b"\x00" + sealed[3:],
        "version 2": sealed[:2] + b"\x02" + sealed[3:],
        "algorithm 0": sealed[:3] + b"\x00" + sealed[4:],
        "algorithm 2": sealed[:3] + b"\x02" + sealed[4:],
        "another key version": sealed[:4] + b"\x00\x00\x00\x07" + sealed[8:],
        "a flipped tag": wrong_tag,
        "a flipped commitment": wrong_commitment,
        "no plaintext inside": seal(
            b"OK", "provider-key", key, 1, b"", pack("ownkey", *(binding[part] for part in BINDING_ORDER)), "nothing"
        ),
    }
    vectors = [
        {"name": name, "data_key": key.hex(), "binding": binding, "sealed": value.hex()}
        for name, value in changed.items()
    ]
    for part in BINDING_ORDER:
        other = 2 if part == "generation" else f"{binding[part]}x"
        vectors.append(
            {
                "name": f"another {part}",
                "data_key": key.hex(),
                "binding": {**binding, part: other},
                "sealed": sealed.hex(),
            }
        )
    vectors.append(
        {
            "name": "another data key",
            "data_key": example_bytes("another", 32).hex(),
            "binding": binding,
            "sealed": sealed.hex(),
        }
    )
    return vectors


def main() -> None:
    secrets = [
        secret_vector("plain", "sk-proj-0123456789abcdefABCDEF"),
        secret_vector("one byte", "x"),
        secret_vector("longest", "k" * 512, provider="groq"),
        secret_vector("large numbers", "gsk_abcdefgh", version=2**32 - 1, generation=2**63 - 1),
        secret_vector("not ascii", "sk-…✓", user_id="Ørsted@example.com", deployment_id="prod-€"),
        secret_vector("empty fields", "sk-12345678", user_id="", record_id="", generation=0),
        secret_vector("other purpose", "a note under another purpose", purpose="prompt-log"),
    ]
    document = {
        "format": "Ownkey sealed form, version 1: docs/reference/envelope.md",
        "secrets": secrets,
        "refused": refused_vectors(secrets[0]),
        "wrapped": [wrapped_vector("first", "k1", "alice", 1), wrapped_vector("later", "2026.b_2-x", "Ørsted", 70000)],
        "fingerprints": [
            fingerprint_vector("alice", "alice", "openai", "sk-proj-0123456789abcdefABCDEF"),
            fingerprint_vector("bob", "bob", "openai", "sk-proj-0123456789abcdefABCDEF"),
        ],
        "tokens": [
            token_vector("zeros", bytes(32)),
            token_vector("ones", b"\xff" * 32),
            token_vector("ordinary", example_bytes("token", 32)),
        ],
    }
    json.dump(document, sys.stdout, indent=1, ensure_ascii=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
