"""A certificate authority for one test run, and servers' certificates from it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Authority:
    """Issues certificates that only its own `root` vouches for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        builder = self._builder(self._name, self._key.public_key(), datetime.now(UTC) + timedelta(days=2))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.root = builder.sign(self._key, hashes.SHA256()).public_bytes(PEM)

    def server_context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """A server's TLS context for these names and for 127.0.0.1 unless names are given."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = datetime.now(UTC) + timedelta(days=-1 if expired else 1)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test server")])
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        builder = self._builder(subject, key.public_key(), until).add_extension(
            x509.SubjectAlternativeName(alternatives or [x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        path = self._directory / f"{certificate.serial_number}.pem"
        path.write_bytes(
            key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=3))
            .not_valid_after(until)
        )
