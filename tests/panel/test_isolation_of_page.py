"""Between the panel and the page around it: styles, policies, names, and everything that must stay inside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import find_layout_faults, list_tabs, open_tab, read_events, wait_until_settled
from tests.panel.host_pages import STRICT_POLICY, open_panel, put_hostile, put_plain
from tests.panel.hosts import Host
from tests.panel.site import Person, Site
from tests.panel.watch import Watch, failed_load

SECRET = "gsk_isolation_0000000000000001"

# How everything inside the panel looks under the host's style sheet, and at the same moment without it.
_LOOKS_WITH_AND_WITHOUT = """(panel) => {
  const names = ['color', 'backgroundColor', 'fontSize', 'fontFamily', 'lineHeight', 'letterSpacing', 'textTransform',
    'textAlign', 'padding', 'margin', 'borderTopWidth', 'opacity', 'transform', 'visibility', 'display', 'direction',
    'cursor', 'pointerEvents', 'float', 'borderRadius', 'fontWeight'];
  const look = () => [...panel.shadowRoot.querySelectorAll('*')].map((element) => {
    const style = getComputedStyle(element);
    return `${element.localName}.${element.className} ` + names.map((name) => `${name}=${style[name]}`).join('; ');
  });
  const sheet = [...document.styleSheets].find((one) => one.href?.endsWith('/hostile.css'));
  const under = look();
  sheet.disabled = true;
  const free = look();
  sheet.disabled = false;
  return [under, free];
}"""


@pytest.fixture
async def person(site: Site, host: Host) -> Person:
    """Somebody with a key, whose host hands out panel tokens."""
    person = await site.person("isolated", groq=SECRET)
    host.token = await site.panel_token(person, host)
    return person


async def test_the_worst_style_sheet_of_a_host_changes_nothing_inside(
    page: Page, site: Site, host: Host, person: Person
) -> None:
    panel = await open_panel(page, put_hostile(host, site.url))
    # The box itself belongs to the host: what is inside is compared in the same one.
    await page.add_style_tag(
        content="llm-settings-panel { all: revert !important; display: block !important; width: 900px !important }"
        " h1, main, body { all: revert !important }"
    )
    for tab in await list_tabs(page):
        await panel.evaluate("(panel, tab) => panel.show(tab)", tab)
        await wait_until_settled(page)
        with_it, without = await panel.evaluate(_LOOKS_WITH_AND_WITHOUT)
        differing = [pair for pair in zip(with_it, without, strict=True) if pair[0] != pair[1]]
        assert not differing, "\n".join("\n".join(pair) for pair in differing[:3])


async def test_it_can_be_used_in_a_page_that_hides_every_button(
    page: Page, site: Site, host: Host, person: Person
) -> None:
    await open_panel(page, put_hostile(host, site.url))
    # A host that hides the whole element has its way; the rest of its rules stop at the border.
    await page.add_style_tag(
        content="llm-settings-panel { visibility: visible !important; pointer-events: auto !important; "
        "opacity: 1 !important; transform: none !important; float: none !important; padding: 0 !important; "
        "margin: 0 !important } h1, main, body { all: revert !important }"
    )
    for tab in await list_tabs(page):
        await open_tab(page, tab)
    await assert_accessible(page, include="llm-settings-panel")


async def test_a_strict_policy_with_trusted_types_gets_no_word_of_complaint(
    page: Page, site: Site, host: Host, person: Person
) -> None:
    await open_panel(page, put_plain(host, site.url, attributes="", policy=STRICT_POLICY))
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        assert await find_layout_faults(page) == []
    # `watch` fails the test for any message at all.


async def test_the_servers_own_page_has_the_strictest_policy_and_no_word_of_complaint(
    page: Page, watch: Watch, site: Site
) -> None:
    watch.expect(failed_load(401))  # nobody is signed in
    answer = await page.goto(site.url)
    assert answer is not None
    policy = (await answer.all_headers())["content-security-policy"]
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ):
        assert part in policy
    assert "unsafe" not in policy
    await expect(page.locator("ownkey-page")).to_be_visible()
    await page.wait_for_load_state("networkidle")


async def test_it_asks_nobody_but_its_server(page: Page, watch: Watch, site: Site, host: Host, person: Person) -> None:
    """A closed network: the host's page, the host's token and Ownkey; `watch` refuses everything off this machine."""
    await open_panel(page, put_plain(host, site.url))
    for tab in await list_tabs(page):
        await open_tab(page, tab)
    asked = {url.split("?")[0] for url in watch.requests}
    scripts = {url for url in asked if url.startswith(site.url) and not url.startswith(f"{site.url}/api/")}
    assert all(url.startswith(f"{site.url}/panel") and url.endswith(".js") for url in scripts), scripts
    assert {url for url in asked if not url.startswith(site.url)} == {
        f"{host.origin}{path}" for path in ("/", "/host.js", "/token")
    }


async def test_it_adds_one_name_to_the_page_and_no_more(page: Page, site: Site, host: Host, person: Person) -> None:
    names = "() => Object.getOwnPropertyNames(window).filter((name) => !/^\\\\d+$/.test(name)).sort()".replace(
        "\\\\", "\\"
    )
    await page.goto(host.put("/empty", "<!doctype html><title>t</title>"))
    before = set(await page.evaluate(names))
    await open_panel(page, put_plain(host, site.url))
    # Lit marks its version, so that two copies of it on a page can say so.
    known = {"litElementVersions", "litHtmlVersions", "reactiveElementVersions", "litPropertyMetadata"}
    assert set(await page.evaluate(names)) - before - known == set()


async def test_its_events_reach_the_page_and_hold_nothing_secret(
    page: Page, site: Site, host: Host, person: Person
) -> None:
    await open_panel(page, put_plain(host, site.url))
    for tab in await list_tabs(page):
        await open_tab(page, tab)
    for event in await read_events(page):
        assert SECRET not in json.dumps(event)
        assert host.token not in json.dumps(event)


async def test_no_stored_key_is_in_any_answer_to_a_browser(enter: Enter, site: Site, person: Person) -> None:
    """The network log of every tab, as bytes on the wire; `watch` looks for every key that exists in this process."""
    page = await enter(person)
    for tab in await list_tabs(page):
        await open_tab(page, tab)
    answered: dict[str, Any] = {reply.request: reply for reply in site.replies if reply.status == 200}
    assert "GET /api/credentials" in answered
    assert any(SECRET[-4:].encode() in reply.body for reply in answered.values()), "the masked key is there"
    assert not any(SECRET.encode() in reply.body for reply in site.replies)


async def test_tokens_live_in_memory_only(enter: Enter, person: Person, host: Host) -> None:
    page = await enter(person)
    held = await page.evaluate(
        """() => ({
          local: localStorage.length, session: sessionStorage.length, cookies: document.cookie,
          databases: indexedDB.databases ? null : 0, attributes: document.querySelector('llm-settings-panel').outerHTML,
        })"""
    )
    assert held["local"] == held["session"] == 0
    assert held["cookies"] == ""
    assert host.token not in held["attributes"]
    assert await page.evaluate("async () => (await indexedDB.databases()).length + (await caches.keys()).length") == 0
    assert await page.evaluate("async () => (await navigator.serviceWorker.getRegistrations()).length") == 0
