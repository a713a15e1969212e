"""Other sites: what a cookie may not do for them, and what a listed origin may do with a token."""

from __future__ import annotations

import pytest
from msgspec import structs

from ownkey import Ownkey
from ownkey.errors import ConfigError
from tests.gateway.api_client import caller
from tests.gateway.browser import PASSWORD, Browser, person, problem
from tests.gateway.conftest import SHARED, Platform, serve

OWN = "own"
FOREIGN = "https://evil.example"
HOST = "https://app.example.com"

# origin, Sec-Fetch-Site, X-Ownkey-Panel, whether a change is made
CHANGES = [
    (OWN, None, "1", True),
    (OWN, "same-origin", "1", True),
    (None, "same-origin", "1", True),
    # A proxy with TLS: the request does not say what the browser sees, the browser does.
    ("https://llm.example.com", "same-origin", "1", True),
    (None, None, "1", False),
    ("null", None, "1", False),
    (FOREIGN, None, "1", False),
    (HOST, None, "1", False),
    (OWN, "cross-site", "1", False),
    (OWN, "same-site", "1", False),
    (OWN, "none", "1", False),
    ("null", "cross-site", "1", False),
    (FOREIGN, "cross-site", "1", False),
    (None, "cross-site", "1", False),
    ("", None, "1", False),
    (OWN + "/", None, "1", False),
    (OWN + ".evil.example", None, "1", False),
    (OWN, None, None, False),
    (OWN, "same-origin", None, False),
    (OWN, "same-origin", "0", False),
    (OWN, "same-origin", "true", False),
]


@pytest.mark.parametrize(("origin", "site", "header", "allowed"), CHANGES)
async def test_a_change_with_a_cookie_comes_from_a_page_of_ours(
    platform: Platform, origin: str | None, site: str | None, header: str | None, allowed: bool
) -> None:
    async with person(platform.ok, platform.url) as ann:
        headers = {
            "origin": origin and origin.replace(OWN, platform.url),
            "sec-fetch-site": site,
            "x-ownkey-panel": header,
        }
        answer = await ann.patch("/api/settings", {"payer": "own_only"}, headers=headers)
        if allowed:
            assert answer.status_code == 200
        else:
            assert problem(answer) == (403, "cross_site_request")
        for method, path in (("POST", "/api/session"), ("PUT", "/api/preferences"), ("DELETE", "/api/session/all")):
            if not allowed:
                assert problem(await ann.send(method, path, [], headers=headers)) == (403, "cross_site_request")
        stored = (await ann.get("/api/settings")).json()
        assert stored["payer"] == ("own_only" if allowed else "own_then_shared")


async def test_what_names_no_origin_is_not_ours_where_there_is_no_host_either(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann:
        for method in ("PATCH", "GET"):
            headers = {"origin": "", "host": "no host"}
            answer = await ann.send(method, "/api/settings", {} if method == "PATCH" else None, headers=headers)
            assert answer.status_code in (401, 403), answer.text


async def test_a_form_of_another_site_changes_nothing(platform: Platform) -> None:
    """What a page can send without asking first: a POST of a simple type, with whatever cookies the browser adds."""
    async with person(platform.ok, platform.url) as ann:
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
            headers = {"origin": FOREIGN, "content-type": kind, "x-ownkey-panel": None}
            answer = await ann.send("DELETE", "/api/session/all", headers=headers)
            assert problem(answer) == (403, "cross_site_request")
        assert await ann.is_signed_in()


@pytest.mark.parametrize("origin", [FOREIGN, "null", HOST])
async def test_no_cookie_counts_for_a_page_of_another_origin(platform: Platform, origin: str) -> None:
    """Not even to look, and not even for one that may embed the panel."""
    config = structs.replace(platform.ok.config, panel_origins=(HOST,))
    async with Ownkey.open(config, environ=SHARED) as twin, serve(twin.asgi()) as url, person(twin, url) as ann:
        answer = await ann.get("/api/settings", headers={"origin": origin})
        assert problem(answer) == (401, "token_missing")
        assert answer.headers.get("access-control-allow-origin") == (HOST if origin == HOST else None)
        assert (await ann.get("/api/settings")).status_code == 200
        assert (await ann.get("/api/settings", headers={"origin": url})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": FOREIGN}, 403),
        ({"origin": "null"}, 403),
        ({"origin": HOST}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": None, "x-ownkey-panel": None}, 200),
        ({"x-ownkey-panel": None}, 200),
    ],
    ids=str,
)
async def test_nobody_is_signed_in_as_somebody_else_by_another_site(
    platform: Platform, headers: dict[str, str | None], status: int
) -> None:
    """Login CSRF. A program, which sends no Origin, may sign in; a browser sends one with every POST."""
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as other:
        answer = await other.post("/api/sign-in", {"login": ann.user_id, "password": PASSWORD}, headers=headers)
        assert answer.status_code == status
        assert (other.session is not None) == (status == 200)
        link = await platform.ok.core.links.reset(ann.user_id)
        answer = await other.post("/api/sign-in/link", {"token": link.text, "password": PASSWORD}, headers=headers)
        assert answer.status_code == status


async def test_a_preflight_names_what_a_listed_origin_may_send(platform: Platform) -> None:
    config = structs.replace(platform.ok.config, panel_origins=(HOST, "http://localhost:5173"))
    async with Ownkey.open(config, environ=SHARED) as twin, serve(twin.asgi()) as url, Browser(url) as page:
        asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization,if-match"}
        for origin in (HOST, "http://localhost:5173"):
            answer = await page.send("OPTIONS", "/api/settings", headers={**asked, "origin": origin})
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == origin
            assert {"PATCH", "DELETE", "PUT"} <= set(answer.headers["access-control-allow-methods"].split(", "))
            allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
            assert {"authorization", "content-type", "if-match"} <= set(allowed)
        for origin in (FOREIGN, "null", HOST + ":444", "HTTPS://APP.EXAMPLE.COM"):
            answer = await page.send("OPTIONS", "/api/settings", headers={**asked, "origin": origin})
            assert problem(answer) == (403, "wrong_origin")
            assert "access-control-allow-origin" not in answer.headers


async def test_a_listed_page_reads_answers_and_errors_with_a_token_and_others_do_not(platform: Platform) -> None:
    config = structs.replace(platform.ok.config, panel_origins=(HOST,))
    async with (
        Ownkey.open(config, environ=SHARED) as twin,
        serve(twin.asgi()) as url,
        Browser(url) as page,
        caller(twin) as program,
    ):
        token = {"authorization": f"Bearer {program.token}"}
        for path, status in (("settings", 200), ("nothing", 404), ("admin/users", 403)):
            answer = await page.get(f"/api/{path}", headers={**token, "origin": HOST})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == HOST
            assert "ETag" in answer.headers["access-control-expose-headers"]
            assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
            answer = await page.get(f"/api/{path}", headers={**token, "origin": FOREIGN})
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_behind_a_proxy_the_public_url_says_what_is_ours(platform: Platform) -> None:
    public = "https://llm.example.com"
    config = structs.replace(platform.ok.config, public_url=f"{public}/keys/")
    async with (
        Ownkey.open(config, environ=SHARED) as twin,
        serve(twin.asgi()) as url,
        Browser(url, origin=public) as ann,
        person(platform.ok, platform.url) as known,
    ):
        assert (await ann.sign_in(known.user_id)).status_code == 200
        for origin, status in (("https://llm.example.com", 200), (url, 403), ("http://llm.example.com", 403)):
            answer = await ann.patch("/api/settings", {"payer": "own_only"}, headers={"origin": origin})
            assert answer.status_code == status, origin
        assert (await ann.get("/api/sign-in")).json()["secure"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_url": "llm.example.com"},
        {"public_url": "ftp://llm.example.com"},
        {"public_url": "https://llm.example.com/?x=1"},
        {"public_url": "https://user:pw@llm.example.com"},
        {"panel_origins": ("*",)},
        {"panel_origins": ("null",)},
        {"panel_origins": ("https://app.example.com/path",)},
        {"trusted_proxies": ("10.0.0.0/33",)},
    ],
    ids=str,
)
async def test_what_is_no_origin_is_refused_at_the_start(platform: Platform, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        async with Ownkey.open(structs.replace(platform.ok.config, **wrong), environ=SHARED):
            pass
