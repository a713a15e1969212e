"""The simulated provider on the other core, and its TLS door."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import machine
from bench.cases import Case
from bench.targets import CHAT_PATH, PROVIDER_KEY, Ask, Target, free_port, get, stop, wait_for

SOURCES = Path(__file__).parent
BUILD = SOURCES / ".build"


@dataclass(frozen=True)
class Counts:
    """What the provider has seen so far. `tls_connections` came through the TLS door."""

    requests: int
    events: int
    tls_connections: int


@dataclass(frozen=True)
class Provider:
    """Where it listens, and whose certificates to trust."""

    root: str
    tls_root: str
    authority: Path

    def count(self) -> Counts:
        """The counts at this moment."""
        counts = json.loads(get(f"{self.root}/counts"))
        accepted = int(get(f"{self.tls_root.replace('https', 'http')}/status").split()[7])
        return Counts(counts["answered"], counts["events"], accepted)

    def as_target(self) -> Target:
        """Nothing in between: what is measured is the load itself."""

        def ask(case: Case) -> Ask | None:
            if case.tls or case.fresh or case.users > 1:
                return None
            return Ask(f"{self.root}{CHAT_PATH}", "gpt-4o-mini", PROVIDER_KEY)

        return Target("direct", ask)


@contextmanager
def provider(directory: Path) -> Iterator[Provider]:
    """Compiled and started, on the other core."""
    program = compile_program("upstream")
    process = subprocess.Popen(on_other_core([str(program)]), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = f"127.0.0.1:{int(process.stdout.readline())}"
        with _tls_door(directory, address) as (port, authority):
            yield Provider(f"http://{address}", f"https://127.0.0.1:{port}", authority)
    finally:
        stop(process)


def compile_program(name: str) -> Path:
    """One of the C programs beside this file."""
    BUILD.mkdir(exist_ok=True)
    program = BUILD / name
    subprocess.run(["cc", "-O2", "-o", str(program), str(SOURCES / f"{name}.c")], check=True)
    return program


def on_other_core(command: list[str]) -> list[str]:
    """The command, bound to the core that the gateway does not have."""
    return ["taskset", "-c", str(machine.OTHER_CORE), *command]


@contextmanager
def _tls_door(directory: Path, address: str) -> Iterator[tuple[int, Path]]:
    """nginx, which ends TLS as providers' edges do; plain HTTP on the same port gives its own counts."""
    authority = _write_certificates(directory)
    port = free_port()
    configuration = directory / "tls.conf"
    configuration.write_text(_TLS.format(directory=directory, port=port, address=address))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen(
        on_other_core([nginx, "-p", str(directory), "-c", str(configuration)]), stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/status", process)
        yield port, authority
    finally:
        stop(process)


def _write_certificates(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Benchmark")])
    names = [x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    authority = directory / "tls.pem"
    authority.write_bytes(certificate.public_bytes(pem))
    return authority


_TLS = """
worker_processes 1;
daemon off;
pid {directory}/tls.pid;
error_log {directory}/tls.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/tls-body;
    proxy_temp_path {directory}/tls-proxy;
    fastcgi_temp_path {directory}/tls-fastcgi;
    uwsgi_temp_path {directory}/tls-uwsgi;
    scgi_temp_path {directory}/tls-scgi;
    keepalive_requests 100000000;
    upstream provider {{ server {address}; keepalive 1024; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/tls.pem;
        ssl_certificate_key {directory}/tls.key;
        # Plain HTTP on this port: for the counts alone.
        error_page 497 =200 /status;
        location = /status {{ stub_status; }}
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""
