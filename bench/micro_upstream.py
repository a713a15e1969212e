"""What one upstream call costs with our pool, with pyreqwest and with aiohttp: `python bench/micro_upstream.py`.

nginx answers on another core, in the clear and over TLS. The clients take turns in one process on one core, so that
a change of the machine's mood hits all of them; figures are medians of the rounds. `pip install pyreqwest aiohttp`
brings in the others; one that is missing is left out.

What is timed is a POST of 911 bytes with a bearer token and its whole answer of 678 bytes as `bytes`.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ownkey.domain.credential import Secret
from ownkey.domain.exchange import UpstreamRequest
from ownkey.upstream.pool import UpstreamPool

Ask = Callable[[], Awaitable[None]]
Client = tuple[Ask, Callable[[], Awaitable[None]]]

BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"h" * 856 + b'"}]}'
ANSWER = '{"choices":[{"message":{"content":"' + "a" * 638 + '"}}]}'
TOKEN = "sk-benchmark-0123456789"
HEADERS = [("content-type", "application/json"), ("accept", "application/json"), ("accept-encoding", "identity")]
CONFIGURATION = """
daemon off;
worker_processes 1;
worker_cpu_affinity {affinity};
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.pem;
        default_type application/json;
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


def write_certificates(directory: Path) -> bytes:
    """A root and a server's certificate; returns the root."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("root", "server")]
    now = dt.datetime.now(dt.UTC)
    certificates = []
    for key, name, is_root in ((keys[0], names[0], True), (keys[1], names[1], False)):
        builder = x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(is_root, None), critical=True)
        if not is_root:
            address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
            builder = builder.add_extension(address, critical=False)
        certificates.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key_text = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.pem").write_bytes(key_text + certificates[1])
    return certificates[0]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def run_nginx(directory: Path) -> Iterator[dict[str, str]]:
    """The provider; yields its URLs."""
    ports = {"plain": free_port(), "tls": free_port()}
    affinity = "10" if (os.cpu_count() or 1) > 1 else "1"
    text = CONFIGURATION.format(directory=directory, answer=ANSWER, affinity=affinity, **ports)
    (directory / "nginx.conf").write_text(text)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-c", f"{directory}/nginx.conf", "-p", str(directory)])
    try:
        for port in ports.values():
            wait_for(port)
        yield {name: f"{'https' if name == 'tls' else 'http'}://127.0.0.1:{port}/v1/x" for name, port in ports.items()}
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("nginx does not start")


async def open_ours(url: str, root: bytes) -> Client:
    """`ownkey.upstream`, as the gateway uses it."""
    pool = UpstreamPool(
        connect_timeout_seconds=5,
        first_byte_timeout_seconds=120,
        idle_timeout_seconds=60,
        total_timeout_seconds=900,
        max_answer_bytes=1 << 26,
        trust_roots=root,
    )
    secret = Secret(TOKEN)

    async def ask() -> None:
        response = await pool.send(
            UpstreamRequest("POST", url, tuple(HEADERS[:2]), BODY, ("authorization", "Bearer ")), secret
        )
        check(await response.read())

    return ask, pool.close


async def open_pyreqwest(url: str, root: bytes) -> Client:
    """pyreqwest, a whole answer at once."""
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().follow_redirects(False).referer(False).add_root_certificate_pem(root)
    client = builder.gzip(False).brotli(False).zstd(False).deflate(False).build()

    async def ask() -> None:
        request = client.request("POST", url).header("authorization", f"Bearer {TOKEN}", is_sensitive=True)
        answer = await request.headers(HEADERS).body_bytes(BODY).build().send()
        check((await answer.bytes()).to_bytes())

    return ask, client.close


async def open_pyreqwest_streamed(url: str, root: bytes) -> Client:
    """pyreqwest with a limit on the answer's size, which its whole answers do not have."""
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().follow_redirects(False).referer(False).add_root_certificate_pem(root)
    client = builder.gzip(False).brotli(False).zstd(False).deflate(False).build()

    async def ask() -> None:
        request = client.request("POST", url).header("authorization", f"Bearer {TOKEN}", is_sensitive=True)
        request = request.headers(HEADERS).body_bytes(BODY).streamed_read_buffer_limit(0)
        async with request.build_streamed() as answer:
            chunks = []
            while (chunk := await answer.body_reader.read_chunk()) is not None:
                chunks.append(bytes(chunk))
            check(b"".join(chunks))

    return ask, client.close


async def open_aiohttp(url: str, root: bytes) -> Client:
    """aiohttp with everything off that can be."""
    import aiohttp
    from yarl import URL

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=root.decode()), limit=0),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=900, sock_connect=5, sock_read=120),
    )
    target = URL(url, encoded=True)

    async def ask() -> None:
        headers = [*HEADERS, ("authorization", f"Bearer {TOKEN}")]
        async with session.request("POST", target, data=BODY, headers=headers, allow_redirects=False) as answer:
            check(await answer.read())

    return ask, session.close


def check(answer: bytes) -> None:
    """An answer that is not the whole one would be a wrong figure."""
    if len(answer) != len(ANSWER):
        raise SystemExit(f"an answer of {len(answer)} bytes instead of {len(ANSWER)}")


CLIENTS = {
    "ownkey": ("ownkey", open_ours),
    "pyreqwest, whole": ("pyreqwest", open_pyreqwest),
    "pyreqwest, streamed": ("pyreqwest", open_pyreqwest_streamed),
    "aiohttp": ("aiohttp", open_aiohttp),
}


async def load(ask: Ask, requests: int, at_once: int) -> tuple[float, float]:
    """Microseconds of processor time and of time per request."""
    numbers = iter(range(requests))

    async def work() -> None:
        for _ in numbers:
            await ask()

    processor, clock = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return (time.process_time() - processor) / requests * 1e6, (time.perf_counter() - clock) / requests * 1e6


async def measure(
    url: str, root: bytes, rounds: int, requests: int
) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """Every client in turn, `rounds` times."""
    clients = {name: await make(url, root) for name, (package, make) in CLIENTS.items() if find_spec(package)}
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for ask, _ in clients.values():
        await load(ask, 200, 64)
    for at_once in (1, 64):
        for _ in range(rounds):
            for name, (ask, _) in clients.items():
                found.setdefault((name, at_once), []).append(await load(ask, requests, at_once))
    for _, close in clients.values():
        await close()
    return found


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000, help="per client, round and setting")
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    packages = {package for package, _ in CLIENTS.values() if find_spec(package)}
    versions = ", ".join(f"{package} {version(package)}" for package in (*sorted(packages - {"ownkey"}), "uvloop"))
    sys.stdout.write(f"{versions}; Python {sys.version.split()[0]}; load {os.getloadavg()[0]:.1f}\n")
    sys.stdout.write(
        "| transport | at once | client | processor µs/request (range) | time µs/request |\n|---|---|---|---|---|\n"
    )
    with tempfile.TemporaryDirectory(prefix="ownkey-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        root = write_certificates(directory)
        with run_nginx(directory) as urls:
            for transport, url in urls.items():
                found = uvloop.run(measure(url, root, options.rounds, options.requests))
                for (client, at_once), figures in found.items():
                    processor, clock = zip(*figures, strict=True)
                    sys.stdout.write(
                        f"| {transport} | {at_once} | {client} | {median(processor):.0f} "
                        f"({min(processor):.0f} to {max(processor):.0f}) | {median(clock):.0f} |\n"
                    )


if __name__ == "__main__":
    main()
