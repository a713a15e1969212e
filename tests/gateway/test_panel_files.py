"""The panel's files: who gets the page and who the plain text, what protects it, and how browsers keep it."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI

from ownkey.http.panel import Panel
from ownkey.http.server import Server
from tests.gateway.conftest import Platform

HTML = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PLAIN = {"accept-encoding": "identity"}
FILES = {
    "page.html": b"<!doctype html><title>Ownkey</title><script type=module src=./page.js></script>" + b" " * 400,
    "page.js": b"export const page = 1;\n" * 100,
    "panel.js": b"export const panel = 1;\n" * 100,
    "admin.js": b"export const admin = 1;\n" * 100,
    "favicon.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
}
SCRIPTS = ["/page.js", "/panel.js", "/admin.js"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, body in FILES.items():
        (tmp_path / name).write_bytes(body)
    return tmp_path


def open_client(application: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=application), base_url="http://ownkey.test", follow_redirects=False
    )


@pytest_asyncio.fixture
async def client(platform: Platform, folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with open_client(Server(platform.ok.core, panel_files=folder)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "name", "content_type"),
    [
        ("/", "page.html", "text/html; charset=utf-8"),
        ("/admin", "page.html", "text/html; charset=utf-8"),
        *[(path, path[1:], "text/javascript; charset=utf-8") for path in SCRIPTS],
        ("/favicon.svg", "favicon.svg", "image/svg+xml; charset=utf-8"),
    ],
)
async def test_a_browser_gets_each_file_as_what_it_is(
    client: httpx2.AsyncClient, path: str, name: str, content_type: str
) -> None:
    for coding in ({}, PLAIN, {"accept-encoding": "gzip, deflate, br"}):
        answer = await client.get(path, headers={**HTML, **coding})
        assert answer.status_code == 200 and answer.content == FILES[name]
        assert answer.headers["content-type"] == content_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        assert "accept-encoding" in answer.headers["vary"].lower()
        asked = await client.head(path, headers={**HTML, **coding})
        assert asked.status_code == 200 and asked.content == b""
        assert asked.headers == answer.headers


async def test_the_administrators_page_may_be_a_file_of_its_own(platform: Platform, folder: Path) -> None:
    (folder / "admin.html").write_bytes(b"<!doctype html><title>Admin</title>")
    async with open_client(Server(platform.ok.core, panel_files=folder)) as client:
        assert b"Admin" in (await client.get("/admin")).content
        assert b"Admin" not in (await client.get("/", headers=HTML)).content


async def test_pages_run_nothing_but_our_scripts_and_in_nobodys_frame(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/admin"):
        headers = (await client.get(path, headers=HTML)).headers
        policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split(";")}
        assert policy == {
            "default-src": ["'none'"],
            "script-src": ["'self'"],
            "style-src": ["'self'"],
            "img-src": ["'self'", "data:"],
            "connect-src": ["'self'"],
            "font-src": ["'none'"],
            "form-action": ["'self'"],
            "base-uri": ["'none'"],
            "frame-ancestors": ["'none'"],
            "require-trusted-types-for": ["'script'"],
            "trusted-types": ["lit-html", "ownkey", "'allow-duplicates'"],
        }
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert "access-control-allow-origin" not in headers


async def test_every_file_has_a_policy_for_content(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/admin", *SCRIPTS, "/favicon.svg"):
        policy = (await client.get(path, headers=HTML)).headers.get_list("content-security-policy")
        assert len(policy) == 1
        parts = {part.strip() for part in policy[0].split(";")}
        assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= parts


async def test_pages_of_other_origins_may_load_the_scripts(client: httpx2.AsyncClient) -> None:
    for path in SCRIPTS:
        headers = (await client.get(path, headers={"origin": "https://host.example"})).headers
        assert headers["access-control-allow-origin"] == "*"
        assert headers["cross-origin-resource-policy"] == "cross-origin"
        assert "access-control-allow-credentials" not in headers
    assert "access-control-allow-origin" not in (await client.get("/favicon.svg")).headers


async def test_a_browser_that_has_the_file_gets_no_body(client: httpx2.AsyncClient) -> None:
    plain = await client.get("/panel.js", headers=PLAIN)
    assert plain.headers["etag"] == f'"{sha256(FILES["panel.js"]).hexdigest()}"'
    smaller = await client.get("/panel.js", headers={"accept-encoding": "gzip"})
    assert smaller.headers["content-encoding"] == "gzip"
    assert int(smaller.headers["content-length"]) < len(FILES["panel.js"])
    # Other bytes, another strong tag.
    assert smaller.headers["etag"] != plain.headers["etag"]
    for tag in (plain.headers["etag"], "*", f'"other", {plain.headers["etag"]}', f"W/{plain.headers['etag']}"):
        for method in ("GET", "HEAD"):
            held = await client.request(method, "/panel.js", headers={**PLAIN, "if-none-match": tag})
            assert held.status_code == 304 and held.content == b""
            assert held.headers["etag"] == plain.headers["etag"]
            assert held.headers["cache-control"] == "no-cache"
            assert "content-length" not in held.headers and "content-type" not in held.headers
    for tag in ('"other"', plain.headers["etag"].strip('"'), smaller.headers["etag"]):
        assert (await client.get("/panel.js", headers={**PLAIN, "if-none-match": tag})).status_code == 200


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("br;q=1.0, GZIP ; q=0.5", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000, *", None),
        ("br, zstd", None),
        ("", None),
    ],
)
async def test_compressed_only_for_those_who_ask(client: httpx2.AsyncClient, accepted: str, coding: str | None) -> None:
    async with client.stream("GET", "/page.js", headers={"accept-encoding": accepted}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == coding
    assert (gzip.decompress(raw) if coding else raw) == FILES["page.js"]


async def test_what_compression_would_lengthen_stays_as_it_is(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/favicon.svg", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("accept", ["*/*", "application/json", None])
async def test_curl_gets_a_few_lines_of_text(client: httpx2.AsyncClient, accept: str | None) -> None:
    answer = await client.get("/", headers={} if accept is None else {"accept": accept})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "/v1" in answer.text and "not built" not in answer.text
    assert "accept" in answer.headers["vary"].lower()


async def test_files_are_read_and_not_written(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/admin", *SCRIPTS, "/favicon.svg"):
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            answer = await client.request(method, path)
            assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"


async def test_only_the_named_files_are_served(client: httpx2.AsyncClient, folder: Path) -> None:
    (folder / "secret.js").write_text("never")
    for path in ("/secret.js", "/static/page.js", "/..%2fpage.html", "/page.html", "/%2e%2e/page.js"):
        answer = await client.get(path, headers=HTML)
        assert answer.status_code == 404 and b"never" not in answer.content


async def test_an_installation_without_the_panel_says_how_to_build_it(platform: Platform, tmp_path: Path) -> None:
    async with open_client(Server(platform.ok.core, panel_files=tmp_path / "static")) as client:
        for headers in (HTML, {}):
            answer = await client.get("/", headers=headers)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert "not built" in answer.text and "make panel" in answer.text
        for path in ("/admin", *SCRIPTS, "/favicon.svg"):
            assert (await client.get(path, headers=HTML)).status_code == 404
        # A page without its script would stay empty.
        tmp_path.joinpath("static").mkdir()
        tmp_path.joinpath("static", "page.html").write_text("<!doctype html>")
    async with open_client(Server(platform.ok.core, panel_files=tmp_path / "static")) as client:
        assert "not built" in (await client.get("/", headers=HTML)).text


async def test_below_a_path_of_a_host(platform: Platform, folder: Path) -> None:
    host = FastAPI()
    host.mount("/tools/llm", Server(platform.ok.core, panel_files=folder))
    async with open_client(host) as client:
        page = await client.get("/tools/llm/", headers=HTML)
        assert page.status_code == 200 and page.content == FILES["page.html"]
        for path in ("/admin", *SCRIPTS, "/favicon.svg"):
            assert (await client.get(f"/tools/llm{path}", headers=HTML)).status_code == 200
        moved = await client.get("/tools/llm", headers=HTML)
        assert httpx2.URL("http://ownkey.test/tools/llm").join(moved.headers["location"]).path == "/tools/llm/"
        moved = await client.get("/tools/llm/admin/?tab=users", headers=HTML)
        target = httpx2.URL("http://ownkey.test/tools/llm/admin/").join(moved.headers["location"])
        assert str(target) == "http://ownkey.test/tools/llm/admin?tab=users"


@pytest.mark.parametrize("root", ["/llm", "/tools/llm", "/tools/a:b", "/tools/ü %0d%0aX: y", "/\\evil.example"])
async def test_a_host_that_passes_the_bare_path_is_sent_into_the_mount(folder: Path, root: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"method": "GET", "headers": [], "root_path": root, "path": root, "query_string": b"a=1&b=%20\r\nx: y"}
    await Panel(folder).answer("", scope, send)
    location = dict(sent[0]["headers"])[b"location"].decode("ascii")
    assert sent[0]["status"] == 307 and not set(location) & set("\r\n \\")
    here = httpx2.URL("https://ownkey.test", path=root)
    assert here.join(location).host == "ownkey.test"
    assert here.join(location).path == root + "/"
