"""Attacks with a real browser: script in every field, other origins, frames, fixed sessions, tokens in wrong hands."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx2
import pytest
from playwright.async_api import BrowserContext, Page, expect

from ownkey.http import session_cookie
from tests.panel.conftest import LIAR_LABEL, Enter
from tests.panel.driver import add_key, find_layout_faults, list_tabs, open_tab, wait_until_settled
from tests.panel.host_pages import open_panel, put_plain
from tests.panel.hosts import Host
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.watch import Watch, failed_load

# Each would call `__pwned` if it became markup, an attribute, a script, a style or a template anywhere.
PAYLOADS: Final = (
    "<img src=x onerror=__pwned(1)>",
    '"><svg onload=__pwned(2)>',
    "'-__pwned(3)-'",
    "</script><script>__pwned(4)</script>",
    "</template></title></style><iframe srcdoc='<script>parent.__pwned(5)</script>'>",
    "javascript:__pwned(6)",
    "${__pwned(7)}{{__pwned(7)}}#{__pwned(7)}",
    "<!--?lit$1$--><b onmouseover=__pwned(8)>?lit$1$",
    "\u202e\u2066]]>&lt;img src=x onerror=__pwned(9)&gt;",
    "W" * 80,
    '=HYPERLINK("javascript:__pwned(10)")',
)
# What Chromium writes when it does not let a page have an answer.
NETWORK_ERRORS: Final = r"net::ERR_(FAILED|BLOCKED_BY_RESPONSE|BLOCKED_BY_ORB)"


async def attack_everything(site: Site, other_host: Host) -> Person:
    """A user whose every field holds a payload."""
    person = await site.person("<img src=x onerror=__pwned('user')>\"'")
    for number, payload in enumerate(PAYLOADS):
        await site.add_key(person.id, "groq", f"gsk_attack_{number:020}", payload[:80])
        await site.ok.tokens.create(person.id, payload[:80])
    other_host.put(
        "/liar/v1/models",
        json.dumps({"object": "list", "data": [{"id": payload, "object": "model"} for payload in PAYLOADS]}),
        content_type="application/json",
    )
    lie = json.dumps({"error": {"message": PAYLOADS[0], "type": PAYLOADS[1], "code": PAYLOADS[2]}})
    other_host.put("/liar/v1/chat/completions", lie, content_type="application/json")
    await site.add_key(person.id, "liar", "liar-attack-0000000000000001", PAYLOADS[0])
    await site.ok.settings.put_preference(person.id, "liar", priority=1, default_model="a/b@c:d+e")
    async with httpx2.AsyncClient(base_url=site.url, headers={"authorization": f"Bearer {person.token}"}) as client:
        for payload in PAYLOADS:
            body = {"model": f"liar/{payload}", "messages": [{"role": "user", "content": payload}]}
            await client.post("/v1/chat/completions", json=body)
    await site.ok.core.metering.flush()
    for payload in PAYLOADS:
        agent = payload.encode("ascii", "replace").decode()
        await site.ok.core.sessions.start(person.id, site.visitor(user_agent=agent), method="password")
    return person


async def touch_everything(page: Page) -> list[str]:
    """Open every tab, menu, fold and dialog that a click opens without changing anything; gives layout faults."""
    faults = []
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        faults += [f"{tab}: {fault}" for fault in await find_layout_faults(page)]
        for fold in await page.locator("summary:visible").all():
            await fold.click()
        menus = page.locator("button[aria-haspopup]:visible")
        for index in range(min(await menus.count(), 6)):
            await menus.nth(index).click()
            await page.keyboard.press("Escape")
        for element in (await page.locator("[title]:visible").all())[:8]:
            await element.hover()
        faults += [f"{tab}, unfolded: {fault}" for fault in await find_layout_faults(page)]
    return faults


async def test_script_in_every_field_is_text_to_its_owner(
    enter: Enter, watch: Watch, site: Site, other_host: Host
) -> None:
    person = await attack_everything(site, other_host)
    for width in (1280, 360):
        page = await enter(person, viewport={"width": width, "height": 900})
        assert await touch_everything(page) == []
    await open_tab(page, "keys")
    await expect(page.locator("llm-settings-panel")).to_contain_text(PAYLOADS[0])
    assert not watch.pwned


async def test_script_in_every_field_is_text_on_our_own_page(
    enter_own: Enter, watch: Watch, site: Site, other_host: Host
) -> None:
    """Where cookies are: the same fields, with sessions and user agents on top."""
    person = await attack_everything(site, other_host)
    page = await enter_own(person)
    assert await touch_everything(page) == []
    assert not watch.pwned


async def test_script_in_every_field_is_text_to_an_administrator(
    enter_own: Enter, watch: Watch, site: Site, other_host: Host
) -> None:
    await attack_everything(site, other_host)
    page = await enter_own(await site.admin(), path="/admin")
    assert await touch_everything(page) == []
    assert not watch.pwned


async def test_a_lying_provider_speaks_plain_text(enter: Enter, watch: Watch, site: Site, other_host: Host) -> None:
    """What a provider answers to a test reaches the page: its words, its model names, its label."""
    person = await site.person("believer")
    lie = {"error": {"message": PAYLOADS[0], "type": PAYLOADS[1], "code": PAYLOADS[3]}}
    page = await enter(person)
    other_host.put("/liar/v1/models", json.dumps(lie), content_type="application/json")
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill("liar-believed-000000000000001")
    await dialog.get_by_label("Provider").select_option(label=LIAR_LABEL)
    await dialog.get_by_role("button", name="Test and save").click()
    await wait_until_settled(page)
    assert not watch.pwned
    assert await find_layout_faults(page) == []


# --- other origins against a cookie


@pytest.fixture
async def victim(watch: Watch, site: Site) -> tuple[BrowserContext, Person]:
    """A browser in which somebody is signed in."""
    context = await watch.new_context()
    person = await site.person("victim", groq="gsk_victim_000000000000000001")
    await site.sign_in(context, person)
    return context, person


# What a page of another origin can send with the cookies of ours, each as (name, script that sends it).
FORGERIES: Final = {
    "text as JSON": """fetch(url + '/api/tokens', { method: 'POST', mode: 'no-cors', credentials: 'include',
        headers: { 'content-type': 'text/plain' }, body: '{"name": "forged"}' })""",
    "with our header": """fetch(url + '/api/tokens', { method: 'POST', credentials: 'include',
        headers: { 'content-type': 'application/json', 'x-ownkey-panel': '1' }, body: '{"name": "forged"}' })""",
    "sign-out": "fetch(url + '/api/session', { method: 'DELETE', credentials: 'include' })",
    "sign-out everywhere": "fetch(url + '/api/session/all', { method: 'DELETE', credentials: 'include' })",
    "settings": """fetch(url + '/api/settings', { method: 'PATCH', credentials: 'include',
        headers: { 'content-type': 'application/json', 'x-ownkey-panel': '1' }, body: '{"payer": "shared_only"}' })""",
    "beacon": """Promise.resolve(navigator.sendBeacon(url + '/api/tokens', '{"name": "forged"}'))""",
    "method override": """fetch(url + '/api/tokens?_method=DELETE', { method: 'POST', mode: 'no-cors',
        credentials: 'include', headers: { 'content-type': 'text/plain' }, body: '{"name": "forged"}' })""",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_no_other_origin_changes_anything_with_our_cookie(
    watch: Watch, site: Site, host: Host, other_host: Host, victim: tuple[BrowserContext, Person], forgery: str
) -> None:
    """Not a page of the same site, nor of another one, nor even of an origin that may embed the panel."""
    watch.expect(failed_load(400, 401, 403, 405, 415, 422), "blocked by CORS policy", NETWORK_ERRORS)
    context, person = victim
    page = await context.new_page()
    before = await read_state(site, person)
    for attacker in (host, other_host):
        attacker.put("/", "<!doctype html><title>attacker</title>")
    for origin in (other_host.origin, other_host.foreign_origin, host.origin):
        await page.goto(origin)
        readable = await page.evaluate(
            f"async (url) => {{ try {{ const answer = await {FORGERIES[forgery]};"
            " return answer?.text ? await answer.text() : ''; } catch { return ''; } }",
            site.url,
        )
        assert person.id not in readable, origin
        assert await read_state(site, person) == before, origin


@pytest.mark.parametrize("action", ["/api/tokens", "/api/session/all", "/api/sign-in", "/api/account"])
async def test_no_form_of_another_site_does_either(
    watch: Watch, site: Site, other_host: Host, victim: tuple[BrowserContext, Person], action: str
) -> None:
    """A form can send JSON as text/plain and needs no CORS; and nobody must be signed in as somebody else by one."""
    watch.expect(failed_load(400, 401, 403, 404, 405, 415, 422))
    context, person = victim
    attacker = await site.person("attacker")
    await site.set_password(attacker)
    fields = json.dumps({"name": "forged", "login": attacker.id, "password": PASSWORD, "x": ""})[:-2]
    body = (
        f'<!doctype html><title>a</title><form method=post enctype=text/plain action="{site.url}{action}">'
        f"<input name='{fields}' value='\"}}'></form><script>document.forms[0].submit()</script>"
    )
    other_host.put("/", body)
    page = await context.new_page()
    before = await read_state(site, person)
    cookies = await context.cookies(site.url.replace("http:", "https:"))
    async with page.expect_navigation(url=lambda url: url.startswith(site.url)):
        await page.goto(other_host.foreign_origin)
    assert await read_state(site, person) == before
    assert await context.cookies(site.url.replace("http:", "https:")) == cookies


async def test_no_other_origin_reads_anything_with_our_cookie(
    watch: Watch, site: Site, host: Host, other_host: Host, victim: tuple[BrowserContext, Person]
) -> None:
    watch.expect(failed_load(400, 401, 403), "blocked by CORS policy", NETWORK_ERRORS)
    context, person = victim
    for origin in (host.origin, other_host.origin, other_host.foreign_origin):
        for attacker in (host, other_host):
            attacker.put("/", "<!doctype html><title>attacker</title>")
        page = await context.new_page()
        await page.goto(origin)
        for path in ("/api/session", "/api/credentials", "/api/export", "/api/usage.csv"):
            read = await page.evaluate(
                "async (url) => { try { return await (await fetch(url, { credentials: 'include' })).text() }"
                " catch { return '' } }",
                site.url + path,
            )
            assert person.id not in read and "groq" not in read, (origin, path)
        # As a script, a style sheet, an image or a frame nothing comes of it either.
        loaded = await page.evaluate(
            """(url) => new Promise((done) => {
              const script = Object.assign(document.createElement('script'), { src: `${url}/api/session` });
              script.onload = () => done('loaded');
              script.onerror = () => done('refused');
              document.head.append(script);
            })""",
            site.url,
        )
        assert loaded == "refused", origin
        watch.expect("MIME type")


async def read_state(site: Site, person: Person) -> dict[str, Any]:
    """What a forged request might have changed."""
    settings = await site.ok.settings.get_settings(person.id)
    return {
        "tokens": [token.name for token in await site.ok.tokens.list_tokens(person.id)],
        "sessions": sorted(session.id for session in await site.ok.core.sessions.list_sessions(person.id)),
        "payer": settings.payer,
        "credentials": len(await site.ok.settings.list_credentials(person.id)),
    }


# --- frames


@pytest.mark.parametrize("path", ["/", "/admin", "/#link=okl-frame"])
async def test_our_pages_cannot_be_framed(
    watch: Watch, site: Site, other_host: Host, victim: tuple[BrowserContext, Person], path: str
) -> None:
    watch.expect("(Refused to display|Framing) .*", failed_load(401), "chrome-error://")
    context, _ = victim
    page = await context.new_page()
    await page.goto(other_host.put("/", f"<!doctype html><title>t</title><iframe src='{site.url}{path}'></iframe>"))
    frame = page.frames[1]
    await frame.wait_for_load_state()
    assert frame.url == "chrome-error://chromewebdata/"


async def test_nobody_who_opens_our_page_keeps_a_hand_on_it(
    watch: Watch, site: Site, other_host: Host, victim: tuple[BrowserContext, Person]
) -> None:
    """Cross-Origin-Opener-Policy: a page that opened ours in a window cannot steer or watch it."""
    watch.expect(failed_load(401))
    context, _ = victim
    page = await context.new_page()
    await page.goto(other_host.put("/", "<!doctype html><title>t</title><button>open</button>"))
    await page.evaluate(
        "(url) => document.querySelector('button').onclick = () => { window.opened = window.open(url) }", site.url
    )
    async with context.expect_page() as opened:
        await page.get_by_role("button").click()
    theirs = await opened.value
    await theirs.wait_for_load_state()
    assert await page.evaluate("window.opened.closed") is True, "the opener has lost it"
    assert await theirs.evaluate("window.opener") is None


# --- tokens in wrong hands


async def test_a_panel_token_works_on_its_own_origin_only(
    watch: Watch, site: Site, host: Host, other_host: Host
) -> None:
    watch.expect(failed_load(401, 403), "blocked by CORS policy", NETWORK_ERRORS)
    person = await site.person("bound", groq="gsk_bound_0000000000000000001")
    token = await site.panel_token(person, host)
    page = await watch.new_page()
    # A stranger got hold of the token and opens the panel with it.
    other_host.token = token
    await page.goto(put_plain(other_host, site.url))
    await expect(page.locator(".empty[role=alert]")).to_be_visible()
    async with httpx2.AsyncClient(base_url=site.url, headers={"authorization": f"Bearer {token}"}) as client:
        for origin in (other_host.origin, other_host.foreign_origin, host.foreign_origin, site.url, "null"):
            answer = await client.get("/api/credentials", headers={"origin": origin})
            assert answer.status_code == 403, origin
            assert answer.json()["code"] == "wrong_origin"
            assert "access-control-allow-origin" not in answer.headers
        answer = await client.get("/api/credentials", headers={"origin": host.origin})
        assert answer.status_code == 200
        assert "access-control-allow-credentials" not in answer.headers
        assert (await client.get("/v1/models", headers={"origin": host.origin})).status_code == 401


async def test_a_token_for_looking_opens_nothing_else(enter: Enter, site: Site, host: Host) -> None:
    person = await site.person("looker", groq="gsk_looker_000000000000000001")
    token = await site.panel_token(person, host, scopes=["usage"])
    headers = {"authorization": f"Bearer {token}", "origin": host.origin}
    async with httpx2.AsyncClient(base_url=site.url, headers=headers) as client:
        assert (await client.get("/api/usage")).status_code == 200
        for method, path in (
            ("GET", "/api/tokens"),
            ("POST", "/api/tokens"),
            ("POST", "/api/credentials"),
            ("PATCH", "/api/settings"),
            ("DELETE", "/api/account"),
            ("GET", "/api/admin/users"),
        ):
            assert (await client.request(method, path, json={})).status_code == 403, path


# --- sessions


async def test_a_session_that_was_planted_is_not_the_one_that_signs_in(watch: Watch, site: Site) -> None:
    """Fixation: the attacker knows the cookie that the browser had before; it opens nothing of the victim's."""
    attacker, person = await site.person("planter"), await site.person("planted")
    await site.set_password(person)
    context = await watch.new_context()
    await site.sign_in(context, attacker)
    planted = await read_cookie(context, site)
    page = await context.new_page()
    await page.goto(site.url)
    await wait_until_settled(page)  # or the page itself would still ask with the session that ends
    status = await page.evaluate(
        """async (body) => (await fetch('/api/sign-in', { method: 'POST', body: JSON.stringify(body),
          headers: { 'content-type': 'application/json', 'x-ownkey-panel': '1' } })).status""",
        {"login": person.id, "password": PASSWORD},
    )
    assert status == 200
    fresh = await read_cookie(context, site)
    site.tokens.append(fresh)
    assert fresh != planted
    async with httpx2.AsyncClient(base_url=site.url) as client:
        old = await client.get("/api/session", headers={"cookie": f"{session_cookie.NAME}={planted}"})
        assert old.status_code == 401, "the browser's former session ended with the sign-in"
        new = await client.get("/api/session", headers={"cookie": f"{session_cookie.NAME}={fresh}"})
        assert new.json()["user_id"] == person.id


async def test_no_script_reads_the_session(enter_own: Enter, site: Site) -> None:
    page = await enter_own(await site.person("reader"))
    assert await page.evaluate("document.cookie") == ""
    cookie = (await page.context.cookies())[0]
    assert (cookie["httpOnly"], cookie["secure"], cookie["path"]) == (True, True, "/")


async def read_cookie(context: BrowserContext, site: Site) -> str:
    """The session that a browser holds."""
    found = [one for one in await context.cookies() if one["name"] == session_cookie.NAME]
    assert len(found) == 1
    return found[0]["value"]


# --- what is left behind


async def test_typing_a_key_leaves_nothing_behind(enter: Enter, watch: Watch, site: Site) -> None:
    """Not in storage, address, attribute, event or console, not in an answer: while it is typed, shown, and saved."""
    key = "gsk_left_behind_00000000000001"
    site.secrets.append(key)
    page = await enter(await site.person("typist"))
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill(key)
    await dialog.get_by_role("button", name="Show what is typed").click()
    await watch.search()
    await page.keyboard.press("Escape")
    await add_key(page, key)
    await watch.search()
    sent = [url for url in watch.requests if key in url]
    assert sent == []


async def test_a_panel_is_opened_by_the_host_it_was_made_for(page: Page, site: Site, host: Host) -> None:
    """The honest way, so that the refusals above prove something."""
    person = await site.person("honest", groq="gsk_honest_000000000000000001")
    host.token = await site.panel_token(person, host)
    await open_panel(page, put_plain(host, site.url))
    await expect(page.get_by_text("gsk_…0001")).to_be_visible()
