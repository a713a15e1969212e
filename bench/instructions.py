"""`make bench-instructions`: how many instructions the gateway executes for one request, as Valgrind counts them.

Time depends on who else is on the machine; this does not, to some two percent, so that a change of a hundredth can be
seen on a busy one. What it leaves out: the kernel's part, and how well the processor likes the instructions. Between
two states of the code it says which one does less; it says nothing about other programs.

Needs Debian's package `valgrind`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from bench.cases import EVENTS_PER_STREAM, Case, build_body, find_cases
from bench.gateway import ownkey
from bench.provider import provider
from bench.targets import Ask

_CONNECTIONS = 8
# Code paths are warm, and the price table is loaded, which takes its time under Valgrind.
_WARM_ROUNDS, _WARM_SECONDS = 10, 15.0
# Until the usage of the last request is written.
_FLUSH_SECONDS = 2.0
_CASES = ("c64", "20kb", "streams", "paced")


def main() -> int:
    """Count, and print a line for each case."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--cases", default="c64,paced", help=f"of {', '.join(_CASES)}, with commas")
    parser.add_argument("--rounds", type=int, default=75, help=f"of {_CONNECTIONS} requests each (default 75)")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        parser.error("valgrind is not installed: apt-get install valgrind")
    for case in find_cases(options.cases.split(",")):
        count = _count(case, options.rounds if not case.stream else max(1, options.rounds // 8))
        each = f", {count / EVENTS_PER_STREAM:,.0f} an event" if case.stream else ""
        print(f"{case.name:<8}{count:>12,} instructions a request{each}", flush=True)
    return 0


def _count(case: Case, rounds: int) -> int:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ownkey-bench-", dir="/var/tmp")))
        directory.chmod(0o755)
        upstream = stack.enter_context(provider(directory))
        place = directory / "ownkey"
        place.mkdir()
        output = directory / "callgrind"
        tool = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}.%p"]
        target = stack.enter_context(ownkey(upstream, place, 0, under=tool))
        ask = target.ask(case)
        assert ask is not None
        request = _write_request(case, ask)
        url = urlsplit(ask.url)
        sockets = [stack.enter_context(socket.create_connection((url.hostname, url.port))) for _ in range(_CONNECTIONS)]
        _ask_in_turn(sockets, request, _WARM_ROUNDS)
        time.sleep(_WARM_SECONDS)
        pid = str(target.pids[0])
        _control("--instr=on", pid)
        _control("--zero", pid)
        _ask_in_turn(sockets, request, rounds)
        time.sleep(_FLUSH_SECONDS)
        _control("--dump", pid)
        _control("--instr=off", pid)
        return max(_read_total(path) for path in directory.glob("callgrind.*")) // (rounds * _CONNECTIONS)


def _write_request(case: Case, ask: Ask) -> bytes:
    url, body = urlsplit(ask.url), build_body(case, ask.model).encode()
    lines = [
        f"POST {url.path} HTTP/1.1",
        f"host: {url.netloc}",
        "content-type: application/json",
        f"authorization: Bearer {ask.token}",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _ask_in_turn(sockets: list[socket.socket], request: bytes, rounds: int) -> None:
    for _ in range(rounds):
        for connection in sockets:
            connection.sendall(request)
        for connection in sockets:
            _read_answer(connection)


def _read_answer(connection: socket.socket) -> None:
    """Raises RuntimeError for anything but a whole answer with status 200."""
    received = b""
    while True:
        head, found, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if found and (len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")):
            break
        piece = connection.recv(65536)
        if not piece:
            raise RuntimeError(f"the gateway closed a connection in the middle of an answer: {received[:200]!r}")
        received += piece
    if not received.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"a request failed: {received[:300]!r}")


def _control(order: str, pid: str) -> None:
    subprocess.run(["callgrind_control", order, pid], check=True, capture_output=True)


def _read_total(path: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
