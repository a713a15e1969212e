"""The watch itself: a test that would see nothing proves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.panel.accessibility import assert_accessible
from tests.panel.hosts import Host
from tests.panel.site import Reply
from tests.panel.watch import Watch, failed_load

SECRET = "gsk_never_to_be_seen_00000001"


@pytest_asyncio.fixture
async def eye(browser: Browser) -> AsyncIterator[Watch]:
    """A watch that may find something."""
    watch = Watch(browser, secrets=[SECRET])
    yield watch
    for context in watch.contexts:
        await context.close()


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("console.info('hello')", "console.info: hello"),
        ("setTimeout(() => { throw new Error('broken') })", "page error: broken"),
        ("fetch('http://192.0.2.1/').catch(() => 0)", "request to a third party: http://192.0.2.1/"),
        ("new WebSocket('ws://192.0.2.1/')", "policy violation: connect-src ws://192.0.2.1"),
        ("alert(1)", "dialog: alert 1"),
        ("document.body.innerHTML = 'text'", "policy violation: require-trusted-types-for"),
        ("document.body.append(Object.assign(new Image(), {src: '/x.png'}))", "policy violation: img-src"),
        (f"localStorage.a = '{SECRET}'", "secret: in the storage"),
        (f"document.cookie = 'a={SECRET}'", "secret: in the storage"),
        (f"history.replaceState('{SECRET}', '')", "secret: in the address"),
        (f"location.hash = '{SECRET}'", "secret: in the address"),
        (f"document.body.title = '{SECRET}'", "secret: in the document"),
        (f"document.body.attachShadow({{mode: 'open'}}).append('{SECRET}')", "secret: in the document"),
        (f"console.warn('{SECRET}')", "secret: in the console"),
        (
            "document.body.dispatchEvent("
            f"new CustomEvent('llm-settings-change', {{bubbles: true, detail: '{SECRET}'}}))",
            "secret: in the events",
        ),
    ],
)
async def test_it_sees(eye: Watch, other_host: Host, script: str, found: str) -> None:
    policy = "default-src 'none'; script-src 'self'; connect-src http:; require-trusted-types-for 'script'"
    other_host.put("/script.js", script)
    url = other_host.put(
        "/", "<!doctype html><body><script src='script.js'></script>", headers={"content-security-policy": policy}
    )
    page = await eye.new_page()
    await page.goto(url)
    await page.wait_for_timeout(50)  # nothing else says that nothing more will be said
    await eye.close()
    assert [finding for finding in eye.unexpected if found in str(finding)], eye.unexpected
    with pytest.raises(AssertionError):
        eye.assert_clean()


async def test_it_sees_script_that_was_put_in(eye: Watch, other_host: Host) -> None:
    page = await eye.new_page()
    await page.goto(other_host.put("/", "<!doctype html><img src='data:,' onerror='__pwned(document.domain)'>"))
    await page.wait_for_timeout(50)
    with pytest.raises(AssertionError, match="script was executed"):
        eye.assert_clean()


async def test_it_sees_a_key_in_an_answer(eye: Watch) -> None:
    eye.replies = [Reply("GET /api/credentials", 200, "", f'{{"secret": "{SECRET}"}}'.encode())]
    with pytest.raises(AssertionError, match="a stored key is in the answer to GET /api/credentials"):
        eye.assert_clean()


async def test_what_is_announced_is_no_fault(eye: Watch, other_host: Host) -> None:
    page = await eye.new_page()
    await page.goto(other_host.put("/", "<!doctype html><body><img src='/missing.png' alt=''>"))
    assert eye.unexpected
    eye.expect(failed_load(404))
    await eye.close()
    eye.assert_clean()


async def test_axe_finds_faults_inside_shadow_roots_and_in_one_scheme_only(eye: Watch, other_host: Host) -> None:
    page = await eye.new_page()
    await page.goto(
        other_host.put(
            "/",
            "<!doctype html><html lang=en><title>t</title><meta name=color-scheme content='light dark'>"
            "<main><h1>Heading</h1><p style='color:light-dark(black, #333);background:light-dark(white, black)'>"
            "Some text</p>"
            "<div><template shadowrootmode=open><button></button></template></div></main>",
        )
    )
    with pytest.raises(AssertionError, match="button-name"):
        await assert_accessible(page)
    await assert_accessible(page, include="p", schemes=["light"])
    with pytest.raises(AssertionError, match="color-contrast"):
        await assert_accessible(page, include="p", schemes=["dark"])
