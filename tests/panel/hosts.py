"""Host applications: pages of another origin that embed the panel, or attack it."""

from __future__ import annotations

import json
import mimetypes
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct, field

ROOT: Final = Path(__file__).parents[2]
NODE_MODULES: Final = ROOT / "tests" / "node" / "node_modules"


class Page(Struct, frozen=True):
    """What a host answers at one path."""

    body: bytes
    content_type: str
    headers: Mapping[str, str]


class Host(Struct):
    """A web server of the tests' own. `origin` is what the browser says it is.

    It listens on loopback under two names: `http://127.0.0.1:PORT`, same site as the server under test but another
    origin, and `http://localhost:PORT`, another site altogether.
    """

    listener: socket.socket
    pages: dict[str, Page] = field(default_factory=dict)
    # What a page of the host asks its own back end for: the token for `getToken`.
    token: str = ""
    # How often it asked.
    token_requests: int = 0
    # Bodies that pages sent to `/told`.
    told: list[Any] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Such as `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    @property
    def foreign_origin(self) -> str:
        """The same server as another site."""
        return f"http://localhost:{self.listener.getsockname()[1]}"

    def put(
        self, path: str, body: str | bytes, *, content_type: str = "", headers: Mapping[str, str] | None = None
    ) -> str:
        """Answer with this at a path; gives its address."""
        data = body.encode() if isinstance(body, str) else body
        kind = content_type or mimetypes.guess_type(path)[0] or "text/html"
        self.pages[path] = Page(data, f"{kind}; charset=utf-8" if kind.startswith("text/") else kind, headers or {})
        return self.origin + path

    def reset(self) -> None:
        """Forget the pages of the test before."""
        self.pages.clear()
        self.told.clear()
        self.token, self.token_requests = "", 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One ASGI conversation."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path == "/token":
            self.token_requests += 1
            page = Page(json.dumps({"token": self.token}).encode(), "application/json", {})
        elif path == "/told":
            self.told.append(json.loads(await _read_body(receive) or b"null"))
            page = Page(b"null", "application/json", {})
        else:
            page = self.pages.get(path) or Page(b"", "text/plain; charset=utf-8", {})
        status = 200 if path in ("/token", "/told") or path in self.pages else _status_of_missing(path)
        headers = {"content-type": page.content_type, "cache-control": "no-store", **page.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": page.body})


def _status_of_missing(path: str) -> int:
    # Browsers ask for it unasked; a 404 would be a line in the console.
    return 204 if path == "/favicon.ico" else 404


async def _read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


def read_module(path: str) -> bytes:
    """A file of an installed npm package; the test is skipped where it is not installed."""
    file = NODE_MODULES / path
    if not file.exists():
        pytest.skip(f"{path.split('/')[0]} is not installed: run `make setup` with npm")
    return file.read_bytes()


def install_packages(project: Path) -> None:
    """What `npm install` would do, from the packages of tests/node; the cache of Vite stays the project's own."""
    if not NODE_MODULES.exists():
        pytest.skip("the npm packages of the tests are not installed: run `make setup` with npm")
    folder = project / "node_modules"
    folder.mkdir()
    for package in NODE_MODULES.iterdir():
        if not package.name.startswith("."):
            (folder / package.name).symlink_to(package)


def build_with_vite(project: Path, out: Path) -> None:
    """Build a Vite project against the packages of tests/node; `out` is made anew."""
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, str(NODE_MODULES / "vite" / "bin" / "vite.js"), "build", "--outDir", str(out), "--emptyOutDir"],
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
