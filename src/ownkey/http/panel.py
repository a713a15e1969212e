"""The settings panel's files: the page at `/` and `/admin`, and the scripts that pages of other origins load too.

All of them are read once, at the start. They are the same for everybody and hold nothing of anybody, so a browser may
keep them; it asks each time whether they are still the ones (`no-cache` and an ETag), so that a page never runs with
the script of another version.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from ownkey.http.gateway import Scope, Send

Header = tuple[bytes, bytes]

_TEXT: Final = """\
Ownkey {version}: every user's own LLM keys behind one gateway for the clients of OpenAI, Anthropic and Google.

  /               in a browser: the settings panel; /admin: the administrator's
  /v1             for OpenAI clients: set this as base URL and a gateway token (ok-...) as API key;
                  for those of Anthropic and Google set this server's own address, without a path
  /api            keys, preferences, tasks, usage and tokens; described in /openapi.json
  /healthz        whether the process lives; /readyz: whether it can serve; /metrics: counters

The first administrator's token was printed when the server first started;
further ones come from `ownkey token create --user NAME`.
"""
_NOT_BUILT: Final = """
The settings panel is not part of this installation: its files were not built.
In a clone of the repository, run `make panel` and start the server again.
"""

# The page may load what this server gives out and nothing else. Text becomes HTML or a script's address only through
# the two named Trusted Types policies; the page's script and the panel's each bring Lit, which makes its own.
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html ownkey 'allow-duplicates'"
)
_CLOSED_FEATURES: Final = (
    "accelerometer", "autoplay", "camera", "clipboard-read", "display-capture", "encrypted-media", "fullscreen",
    "geolocation", "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "picture-in-picture",
    "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
_EVERY_FILE: Final[Mapping[str, str]] = {
    "cache-control": "no-cache",
    # For whoever opens a script or a picture as if it were a page; pages have their own.
    "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
_PAGE: Final[Mapping[str, str]] = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": _CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{feature}=()" for feature in _CLOSED_FEATURES),
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
# A page of another origin that embeds the panel fetches the module with CORS; there is nothing secret in it.
_SCRIPT: Final[Mapping[str, str]] = {
    "content-type": "text/javascript; charset=utf-8",
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
}
_IMAGE: Final[Mapping[str, str]] = {
    "content-type": "image/svg+xml; charset=utf-8",
    "cross-origin-resource-policy": "same-origin",
}
_STYLE: Final[Mapping[str, str]] = {
    "content-type": "text/css; charset=utf-8",
    "cross-origin-resource-policy": "same-origin",
}
_PLAIN: Final[Mapping[str, str]] = {"content-type": "text/plain; charset=utf-8"}

# The pages by path: the files of which the first that is there is served.
_PAGES: Final[Mapping[str, tuple[str, ...]]] = {"/": ("page.html",), "/admin": ("admin.html", "page.html")}
# All other files are served under their own names, with the headers of their kind.
_KINDS: Final[Mapping[str, Mapping[str, str]]] = {".js": _SCRIPT, ".css": _STYLE, ".svg": _IMAGE}
_ENTITY_TAG: Final = re.compile(rb'"[\x21\x23-\x7e]*"')


class _Form(Struct, frozen=True):
    """The bytes of a file in one content coding, with all headers of its answer."""

    body: bytes
    etag: bytes
    headers: tuple[Header, ...]


class _File(Struct, frozen=True):
    plain: _Form
    gzipped: _Form | None  # None where compression saves nothing


class Panel:
    """Answers for the panel's paths. `folder` is where its files are, by default inside the installed package."""

    def __init__(self, folder: Traversable | None = None) -> None:
        folder = files("ownkey.http") / "static" if folder is None else folder
        self._files = _read_files(folder)
        text = _TEXT.format(version=version("ownkey"))
        # The page is nothing without its script.
        self._built = "/" in self._files and "/page.js" in self._files
        self._text = _make_file((text if self._built else text + _NOT_BUILT).encode(), {**_PLAIN, "vary": "Accept"})

    @staticmethod
    def serves(path: str) -> bool:
        """Whether this path, below where the server is mounted, is one of the panel's."""
        return path in _PAGES or path in ("", "/admin/") or (path.count("/") == 1 and path.endswith(tuple(_KINDS)))

    async def answer(self, path: str, scope: Scope, send: Send) -> None:
        """One answer. `path` is what follows the `root_path` of the scope; its links are relative to it."""
        method, headers = scope["method"], scope["headers"]
        if method not in ("GET", "HEAD"):
            await _send(send, 405, [(b"allow", b"GET, HEAD")])
        elif path == "" and scope.get("root_path"):
            # Without its slash, the page would look for its scripts beside the mount and not in it. "./" in front,
            # since the name of a mount that holds a colon would read as an address of its own.
            await _redirect(send, "./" + quote(scope["root_path"].rsplit("/", 1)[-1]) + "/", scope)
        elif path == "/admin/":
            await _redirect(send, "../admin", scope)
        elif path in ("", "/") and not (self._built and _wants_html(headers)):
            await _send_file(send, self._text, method, headers)
        elif (file := self._files.get(path or "/")) is not None:
            await _send_file(send, file, method, headers)
        else:
            await _send_file(send, self._text, method, headers, status=404)


def _read_files(folder: Traversable) -> dict[str, _File]:
    """By path, what the folder holds; empty when the panel was not built."""
    if not folder.is_dir():
        return {}
    found = {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
    files = {
        f"/{name}": _make_file(body, {**_KINDS[suffix], "vary": "Accept-Encoding"})
        for name, body in found.items()
        if (suffix := "." + name.rpartition(".")[2]) in _KINDS
    }
    for path, names in _PAGES.items():
        for name in names:
            if name in found:
                # Whether `/` answers with the page or with text depends on what the client accepts.
                files[path] = _make_file(found[name], {**_PAGE, "vary": "Accept, Accept-Encoding"})
                break
    return files


def _make_file(body: bytes, headers: Mapping[str, str]) -> _File:
    digest = sha256(body).hexdigest()
    # Level 9 and no time inside: the same file gives the same bytes in every process.
    smaller = gzip.compress(body, 9, mtime=0)
    gzipped = None
    if len(smaller) < len(body):
        gzipped = _make_form(smaller, f'"{digest}-gzip"', {**headers, "content-encoding": "gzip"})
    return _File(_make_form(body, f'"{digest}"', headers), gzipped)


def _make_form(body: bytes, etag: str, headers: Mapping[str, str]) -> _Form:
    every = {**_EVERY_FILE, **headers, "etag": etag}
    return _Form(body, etag.encode(), tuple((name.encode(), value.encode()) for name, value in every.items()))


async def _send_file(send: Send, file: _File, method: str, headers: Iterable[Header], *, status: int = 200) -> None:
    form = file.gzipped if file.gzipped is not None and _accepts_gzip(headers) else file.plain
    if status == 200 and _holds(headers, form.etag):
        about_body = (b"content-type", b"content-encoding")
        await _send(send, 304, [header for header in form.headers if header[0] not in about_body], None)
    else:
        await _send(send, status, list(form.headers), form.body, head=method == "HEAD")


async def _redirect(send: Send, location: str, scope: Scope) -> None:
    query = scope.get("query_string", b"")
    suffix = "?" + quote(query, safe="=&%+-._~!$'()*,;:@/?") if query else ""
    await _send(send, 307, [(b"location", (location + suffix).encode())])


async def _send(
    send: Send, status: int, headers: list[Header], body: bytes | None = b"", *, head: bool = False
) -> None:
    if body is not None:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head or body is None else body})


def _wants_html(headers: Iterable[Header]) -> bool:
    """Browsers name HTML when they open a page; curl and health checks do not."""
    return any(name == b"accept" and b"text/html" in value.lower() for name, value in headers)


def _accepts_gzip(headers: Iterable[Header]) -> bool:
    weights: dict[bytes, bool] = {}
    for name, value in headers:
        if name == b"accept-encoding":
            for part in value.lower().split(b","):
                coding, _, parameter = part.partition(b";")
                weight = parameter.replace(b" ", b"").removeprefix(b"q=")
                weights[coding.strip()] = not weight or bool(weight.strip(b"0."))
    return weights.get(b"gzip", weights.get(b"*", False))


def _holds(headers: Iterable[Header], etag: bytes) -> bool:
    """Whether the client has this form already (RFC 9110, 13.1.2: the comparison is weak)."""
    held = b",".join(value for name, value in headers if name == b"if-none-match")
    return held.strip() == b"*" or etag in _ENTITY_TAG.findall(held)
