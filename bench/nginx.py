"""nginx as a reverse proxy: what a gateway could cost at best."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import machine
from bench.cases import Case
from bench.provider import Provider
from bench.targets import CHAT_PATH, PROVIDER_KEY, Ask, Target, free_port, stop, wait_for


@contextmanager
def nginx(upstream: Provider, directory: Path) -> Iterator[Target]:
    """One worker, connections to the provider kept alive, a map from the client's token to the provider's key."""
    port = free_port()
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            directory=directory,
            port=port,
            plain=upstream.root.removeprefix("http://"),
            tls=upstream.tls_root.removeprefix("https://"),
            authority=upstream.authority,
            key=PROVIDER_KEY,
        )
    )
    command = ["taskset", "-c", str(machine.GATEWAY_CORE), program, "-p", str(directory), "-c", str(configuration)]
    begin = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        root = f"http://127.0.0.1:{port}"
        wait_for(f"{root}/ready", process)
        started = time.monotonic() - begin

        def ask(case: Case) -> Ask | None:
            if case.fresh or case.users > 1:
                return None  # it knows one token
            return Ask(f"{root}{'/tls' if case.tls else ''}{CHAT_PATH}", "gpt-4o-mini", "ok-bench")

        yield Target("nginx", ask, [process.pid, *machine.children(process.pid)], start_seconds=started)
    finally:
        stop(process)


_NGINX = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_body_buffer_size 512k;
    keepalive_requests 100000000;
    map $http_authorization $provider_key {{ "Bearer ok-bench" "Bearer {key}"; default ""; }}
    upstream provider {{ server {plain}; keepalive 1024; keepalive_requests 100000000; }}
    upstream provider_tls {{ server {tls}; keepalive 1024; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Authorization $provider_key;
        proxy_buffering off;
        proxy_ssl_trusted_certificate {authority};
        proxy_ssl_verify on;
        proxy_ssl_name localhost;
        location = /ready {{ return 204; }}
        location /tls/ {{
            if ($provider_key = "") {{ return 401; }}
            rewrite ^/tls(/.*)$ $1 break;
            proxy_pass https://provider_tls;
        }}
        location / {{
            if ($provider_key = "") {{ return 401; }}
            proxy_pass http://provider;
        }}
    }}
}}
"""
