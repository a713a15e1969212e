"""What is measured: the provider itself, nginx in front of it, Ownkey in front of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import machine

SOURCE = Path(__file__).parent / "upstream.c"
BUILD = Path(__file__).parent / ".build"
PROVIDER_KEY = "sk-bench-provider-key-000000000000"
_PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Counts:
    """What the provider has answered so far."""

    requests: int
    events: int


@dataclass(frozen=True)
class Target:
    """Something to put load on. `pids` are the processes whose CPU time counts.

    A paced stream is asked for by another path, or from Ownkey by the model of another provider.
    """

    name: str
    url: str
    paced_url: str
    token: str
    pids: list[int]
    count: Callable[[], Counts]
    # How many requests are in the usage of the benchmark's user, for a target that keeps books.
    count_metered: Callable[[], int] | None = None
    paced_model: str = "gpt-4o-mini"
    start_seconds: float = 0.0


@contextmanager
def provider() -> Iterator[Target]:
    """The C upstream on the other core; also what `direct` is measured with."""
    BUILD.mkdir(exist_ok=True)
    program = BUILD / "upstream"
    subprocess.run(["cc", "-O2", "-o", str(program), str(SOURCE)], check=True)
    command = ["taskset", "-c", str(machine.OTHER_CORE), str(program)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        root = f"http://127.0.0.1:{int(process.stdout.readline())}"

        def count() -> Counts:
            counts = json.loads(_get(f"{root}/counts"))
            return Counts(requests=counts["answered"], events=counts["events"])

        yield Target("direct", f"{root}{_PATH}", f"{root}/paced{_PATH}", PROVIDER_KEY, [], count)
    finally:
        _stop(process)


@contextmanager
def nginx(upstream: Target, directory: Path) -> Iterator[Target]:
    """nginx with one worker, connections to the upstream kept alive, a map from token to provider key."""
    port = _free_port()
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    address = upstream.url.removeprefix("http://").split("/")[0]
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=directory, port=port, address=address, key=PROVIDER_KEY))
    command = ["taskset", "-c", str(machine.GATEWAY_CORE), program, "-p", str(directory), "-c", str(configuration)]
    begin = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        root = f"http://127.0.0.1:{port}"
        _wait(f"{root}/ready", process)
        started = time.monotonic() - begin
        pids = [process.pid, *machine.children(process.pid)]
        yield Target(
            "nginx",
            f"{root}{_PATH}",
            f"{root}/paced{_PATH}",
            "ok-bench",
            pids,
            upstream.count,
            start_seconds=started,
        )
    finally:
        _stop(process)


@contextmanager
def ownkey(upstream: Target, directory: Path) -> Iterator[Target]:
    """`ownkey serve` with one worker on an embedded PostgreSQL, with a real user, token and credentials.

    The gateway's own process is pinned to its core; PostgreSQL works on the other one.
    """
    port = _free_port()
    root = upstream.url.removesuffix(_PATH)
    catalog = directory / "catalog.toml"
    # Two providers, one of which sends its streams slowly; no other table is changed.
    catalog.write_text(
        f'[openai]\nbase_url = "{root}/v1"\nlocal = true\n\n[groq]\nbase_url = "{root}/paced/v1"\nlocal = true\n'
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OWNKEY_")}
    environment |= {
        "OWNKEY_DATA_DIR": str(directory / "data"),
        "OWNKEY_CATALOG": str(catalog),
        "OWNKEY_PORT": str(port),
        "OWNKEY_LOG_LEVEL": "warning",
    }
    prepared = subprocess.run(
        [sys.executable, "-m", "bench.prepare"], env=environment, capture_output=True, text=True, check=False
    )
    if prepared.returncode:
        raise RuntimeError(f"the benchmark's user could not be set up:\n{prepared.stderr[-3000:]}")
    token = prepared.stdout.splitlines()[-1]
    begin = time.monotonic()
    log = (directory / "serve.log").open("w")
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "ownkey"), "serve"], env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        base = f"http://127.0.0.1:{port}"
        _wait(f"{base}/readyz", process, log=directory / "serve.log")
        started = time.monotonic() - begin
        machine.pin(process.pid, machine.GATEWAY_CORE)
        # PostgreSQL detaches itself, so it is no child; its later processes inherit the core.
        (postmaster,) = (directory / "data").rglob("postmaster.pid")
        postgres = int(postmaster.read_text().splitlines()[0])
        for pid in (postgres, *machine.children(postgres)):
            machine.pin(pid, machine.OTHER_CORE)
        yield Target(
            "ownkey",
            f"{base}{_PATH}",
            f"{base}{_PATH}",
            token,
            [process.pid],
            upstream.count,
            count_metered=lambda: int(json.loads(_get(f"{base}/api/usage", token))["total"]["requests"]),
            paced_model="groq/llama-3.3-70b-versatile",
            start_seconds=started,
        )
    finally:
        _stop(process)
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes] | subprocess.Popen[str], log: Path | None = None) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ended at start:\n{log.read_text()[-3000:] if log else ''}")
        try:
            _get(url)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(url)


def _get(url: str, token: str = "") -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=5) as answer:
        content: bytes = answer.read()
        return content


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _stop(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_NGINX = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000000;
    map $http_authorization $provider_key {{ "Bearer ok-bench" "Bearer {key}"; default ""; }}
    upstream provider {{ server {address}; keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        location = /ready {{ return 204; }}
        location / {{
            if ($provider_key = "") {{ return 401; }}
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization $provider_key;
            proxy_buffering off;
        }}
    }}
}}
"""
