"""Other gateways for LLMs, each installed from the package indexes and set as its makers advise for production.

They check one token and hold one provider key; none has users' own keys on this path. What could not be had like for
like is said in each target's note, which stands beside the figures.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.cases import COMMON, Case
from bench.provider import BUILD, Provider
from bench.targets import PROVIDER_KEY, Ask, Target, free_port, stop, wait_for

_TOKEN = "sk-bench-client"  # a made-up token
_VERSIONS = {
    "ferrogw": "1.5.10",
    "tensorzero": "2026.6.0",
    "portkey": "1.15.2",
    "litellm": "1.106.2",
}


@dataclass(frozen=True)
class Peer:
    """How to install and start one; `path` is where it takes chat completions."""

    packages: tuple[str, ...]
    command: Callable[[Path, Path, Provider, int], list[str]]
    environment: Mapping[str, str]
    note: str
    path: str = "/v1/chat/completions"
    model: str = "gpt-4o-mini"
    npm: bool = False
    streams: bool = True
    headers: Callable[[Provider], tuple[tuple[str, str], ...]] = lambda _: ()
    ready: str = "/"


def _ferrogw(home: Path, place: Path, upstream: Provider, port: int) -> list[str]:
    (place / "config.yaml").write_text("strategy:\n  mode: single\ntargets:\n  - virtual_key: openai\n")
    return [
        "env",
        f"PORT={port}",
        f"GATEWAY_CONFIG={place / 'config.yaml'}",
        f"OPENAI_BASE_URL={upstream.root}/v1",
        str(home / "bin" / "ferrogw"),
        "serve",
    ]


def _tensorzero(home: Path, place: Path, upstream: Provider, port: int) -> list[str]:
    (place / "tensorzero.toml").write_text(
        f'[gateway]\nbind_address = "127.0.0.1:{port}"\nobservability.enabled = false\n'
        '[models.gpt-4o-mini]\nrouting = ["bench"]\n'
        '[models.gpt-4o-mini.providers.bench]\ntype = "openai"\nmodel_name = "gpt-4o-mini"\n'
        f'api_base = "{upstream.root}/v1/"\napi_key_location = "env::OPENAI_API_KEY"\n'
    )
    # The Python package holds the gateway itself, and takes a free port.
    start = (
        "import signal, sys; from tensorzero import _start_http_gateway as start; "
        "gateway = start(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, "
        "async_setup=False); print(gateway.base_url, flush=True); signal.pause()"
    )
    return [str(home / "bin" / "python"), "-c", start, str(place / "tensorzero.toml")]


def _portkey(home: Path, place: Path, upstream: Provider, port: int) -> list[str]:
    return [
        "node",
        str(home / "node_modules/@portkey-ai/gateway/build/start-server.js"),
        f"--port={port}",
        "--headless",
    ]


def _litellm(home: Path, place: Path, upstream: Provider, port: int) -> list[str]:
    (place / "config.yaml").write_text(
        "model_list:\n  - model_name: gpt-4o-mini\n    litellm_params:\n      model: openai/gpt-4o-mini\n"
        f"      api_base: {upstream.root}/v1\n      api_key: {PROVIDER_KEY}\n"
        f"general_settings:\n  master_key: {_TOKEN}\nlitellm_settings:\n  set_verbose: false\n"
    )
    program = str(home / "bin" / "litellm")
    return [program, "--config", str(place / "config.yaml"), "--port", str(port), "--num_workers", "1"]


PEERS = {
    "ferrogw": Peer(
        ("ferrogw=={version}",),
        _ferrogw,
        {"MASTER_KEY": _TOKEN, "OPENAI_API_KEY": PROVIDER_KEY, "RATE_LIMIT_RPS": "0", "LOG_LEVEL": "warn"},
        "no rate limit, no plugins, no database",
    ),
    "tensorzero": Peer(
        ("tensorzero=={version}",),
        _tensorzero,
        {"OPENAI_API_KEY": PROVIDER_KEY},
        "no token check, no database: its observability is off",
        path="",
        model="tensorzero::model_name::gpt-4o-mini",
    ),
    "portkey": Peer(
        ("@portkey-ai/gateway@{version}",),
        _portkey,
        {"NODE_ENV": "production"},
        "no token check; the provider's key comes with the request; streams fail as installed",
        npm=True,
        streams=False,
        headers=lambda upstream: (
            ("x-portkey-provider", "openai"),
            ("x-portkey-custom-host", f"{upstream.root}/v1"),
        ),
    ),
    "litellm": Peer(
        # OpenTelemetry's absence would be looked for on every request.
        ("litellm[proxy]=={version}", "opentelemetry-api", "opentelemetry-sdk", "uvloop==0.22.1", "httptools"),
        _litellm,
        {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"},
        "one master key; with its database engine not measured, since that is downloaded at run time",
        ready="/health/liveliness",
    ),
}


def open_peer(name: str, upstream: Provider, place: Path) -> AbstractContextManager[Target]:
    """A target of this name, installed where it is not yet. Raises KeyError."""
    return _start(name, PEERS[name], upstream, place)


def _install(name: str, peer: Peer) -> Path:
    """Its own environment below the build directory, made once for each version."""
    home = BUILD / "peers" / f"{name}-{_VERSIONS[name]}"
    done = home / ".installed"
    if done.exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    packages = [package.format(version=_VERSIONS[name]) for package in peer.packages]
    if peer.npm:
        command = ["npm", "install", "--prefix", str(home), "--no-audit", "--no-fund", "--loglevel=error", *packages]
        subprocess.run(command, check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True, stderr=subprocess.DEVNULL)
    done.touch()
    return home


@contextmanager
def _start(name: str, peer: Peer, upstream: Provider, place: Path) -> Iterator[Target]:
    home, port = _install(name, peer), free_port()
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    log_path = place / "log"
    begin = time.monotonic()
    with log_path.open("w") as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(machine.GATEWAY_CORE), *peer.command(home, place, upstream, port)],
            env=environment | dict(peer.environment),
            cwd=place,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            base = f"http://127.0.0.1:{port}{peer.path}"
            if name == "tensorzero":
                base = _read_address(process, log_path) + "/chat/completions"
            else:
                wait_for(f"http://127.0.0.1:{port}{peer.ready}", process, log=log_path)
            started = time.monotonic() - begin
            headers = peer.headers(upstream)
            token = _TOKEN if not headers else PROVIDER_KEY

            def ask(case: Case) -> Ask | None:
                if case.name not in COMMON or (case.stream and not peer.streams):
                    return None
                return Ask(base, peer.model, token, headers=headers)

            pids = [process.pid, *machine.children(process.pid)]
            note = f"{_VERSIONS[name]}; {peer.note}"
            yield Target(name, ask, pids, start_seconds=started, note=note)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            stop(process)


def _read_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What it prints as its base URL once it listens."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("http://"):
                return line.strip()
        time.sleep(0.01)
    raise RuntimeError(f"did not start:\n{log.read_text()[-3000:]}")
