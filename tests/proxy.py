"""Debian's nginx in front of gateways, configured as docs/how-to/run-in-production.md says, but for uploads: those are
passed on as they come, so that more of what a client sends is seen behind it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

_CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log {place}/access.log;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    upstream ownkey {{
        {servers}
        keepalive 32;
        keepalive_timeout 60s;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 32m;
        location / {{
            proxy_pass http://ownkey;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 1000s;
            proxy_next_upstream error timeout http_503;
        }}
    }}
}}
"""


@contextmanager
def nginx_before(urls: Sequence[str]) -> Iterator[str]:
    """A running nginx that passes requests on to these servers; its URL."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        pytest.skip("nginx is not installed")
    place = Path(tempfile.mkdtemp(prefix="ownkey-nginx-"))
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    servers = " ".join(f"server {urlsplit(url).netloc} max_fails=0;" for url in urls)
    text = _CONFIGURATION.format(
        user="user root;" if os.geteuid() == 0 else "", place=place, servers=servers, port=port
    )
    (place / "nginx.conf").write_text(text)
    process = subprocess.Popen([program, "-p", str(place), "-c", str(place / "nginx.conf")], stderr=subprocess.PIPE)
    try:
        _wait_until_it_listens(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)
        print((place / "error.log").read_text())
        shutil.rmtree(place)


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        else:
            return
