"""The panel inside other people's pages: plain HTML, React 19, Vue, and what it promises to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from playwright.async_api import Page, expect

from tests.panel.conftest import Enter
from tests.panel.driver import list_tabs, read_events, wait_for, wait_until_settled
from tests.panel.host_pages import HAND_OVER, open_panel, put_plain, put_react, put_vue, wait_until_ready
from tests.panel.hosts import Host
from tests.panel.site import Person, Site
from tests.panel.watch import Watch, failed_load

TABS = ["keys", "routing", "usage", "activity", "access", "account"]


@pytest.fixture
async def person(site: Site, host: Host) -> Person:
    """Somebody with a key, whose host hands out panel tokens."""
    person = await site.person("host", groq="gsk_host_00000000000000000001")
    host.token = await site.panel_token(person, host)
    return person


@pytest.mark.parametrize("put", [put_plain, put_react, put_vue], ids=["html", "react", "vue"])
async def test_every_host_embeds_it_with_nothing_but_a_token(
    page: Page, site: Site, host: Host, person: Person, put: Callable[[Host, str], str]
) -> None:
    panel = await open_panel(page, put(host, site.url))
    await expect(panel).to_have_class("w-full")
    assert await list_tabs(page) == TABS
    await wait_until_settled(page)
    assert host.token_requests == 1, "one token is enough for everything that is loaded at the start"
    assert [event["name"] for event in await read_events(page)] == ["ready"]


async def test_react_may_take_it_off_the_page_and_put_it_back(
    page: Page, site: Site, host: Host, person: Person
) -> None:
    await open_panel(page, put_react(host, site.url))
    await page.get_by_role("button", name="Hide", exact=True).click()
    await expect(page.locator("llm-settings-panel")).to_have_count(0)
    await page.evaluate("window.__ownkey_events.length = 0")
    await page.get_by_role("button", name="Show", exact=True).click()
    await wait_until_ready(page)
    assert await list_tabs(page) == TABS


async def test_the_order_of_scripts_does_not_matter(page: Page, site: Site, host: Host, person: Person) -> None:
    """A host that sets `getToken` long before the element is defined loses nothing."""
    late = HAND_OVER + (
        "setTimeout(() => document.head.append(Object.assign(document.createElement('script'), "
        f"{{ type: 'module', src: '{site.url}/panel.js?late' }})), 100);"
    )
    address = put_plain(host, site.url, script=late)
    host.put("/", host.pages["/"].body.replace(f'src="{site.url}/panel.js"'.encode(), b""))
    await open_panel(page, address)
    assert await list_tabs(page) == TABS


async def test_a_token_that_ended_is_asked_for_again_without_a_word(
    page: Page, watch: Watch, site: Site, host: Host, person: Person
) -> None:
    watch.expect(failed_load(401))
    await open_panel(page, put_plain(host, site.url))
    await site.sign_out_everywhere(person)
    host.token = await site.panel_token(person, host)
    await page.evaluate("document.querySelector('llm-settings-panel').refresh()")
    assert host.token_requests == 2
    assert [event["name"] for event in await read_events(page)] == ["ready"]
    assert await list_tabs(page) == TABS


async def test_a_host_whose_person_is_signed_out_hears_of_it(
    page: Page, watch: Watch, site: Site, host: Host, person: Person
) -> None:
    watch.expect(failed_load(401))
    await open_panel(page, put_plain(host, site.url))
    await site.sign_out_everywhere(person)
    await page.evaluate("document.querySelector('llm-settings-panel').refresh()")
    await expect(page.locator(".empty[role=alert]")).to_contain_text("Your session has ended.")
    assert host.token_requests <= 4, "asked again once by each call that was on its way, and not for ever"
    last = (await read_events(page))[-1]
    assert last["name"] == "auth-required"
    host.token = await site.panel_token(person, host)
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("tab").first).to_be_visible()


async def test_a_host_that_hands_over_nothing_is_told(page: Page, site: Site, host: Host) -> None:
    await page.clock.install()
    await page.goto(put_plain(host, site.url, script=""))
    await page.clock.run_for(4_000)
    await expect(page.locator(".empty[role=alert]")).to_be_visible()
    assert (await read_events(page))[-1]["name"] == "auth-required"


@pytest.mark.parametrize("failure", ["throw new Error('no')", "return null", "return 7", "return ''"])
async def test_a_hand_over_that_fails_is_a_state_and_not_a_crash(
    page: Page, site: Site, host: Host, failure: str
) -> None:
    script = f"document.querySelector('llm-settings-panel').getToken = async () => {{ {failure} }};"
    await page.goto(put_plain(host, site.url, script=script))
    await expect(page.locator(".empty[role=alert]")).to_be_visible()


@pytest.mark.parametrize(
    ("language", "word"), [("en", "Usage"), ("de-AT", "Verbrauch"), ("es-MX", "Uso"), ("ja", "Usage")]
)
async def test_it_speaks_the_language_of_the_page(enter: Enter, person: Person, language: str, word: str) -> None:
    page = await enter(person, html=f'lang="{language}"')
    await expect(page.locator("#tab-usage")).to_have_text(word)


async def test_a_host_shows_only_what_it_wants(enter: Enter, person: Person) -> None:
    page = await enter(person, attributes='sections="usage keys"')
    assert await list_tabs(page) == ["keys", "usage"]


async def test_a_host_themes_it_with_custom_properties(enter: Enter, person: Person, host: Host, site: Site) -> None:
    page = await enter(person, attributes='style="--llm-panel-accent: rgb(1, 102, 3)"')
    selected = page.locator("[role=tab][aria-selected=true]")
    painted = await selected.evaluate(
        "(tab) => [getComputedStyle(tab), getComputedStyle(tab, '::after')].map((style) => "
        "[style.color, style.backgroundColor, style.borderBottomColor, style.boxShadow].join(' ')).join(' ')"
    )
    assert "rgb(1, 102, 3)" in painted


@pytest.mark.parametrize(
    ("theme", "scheme", "dark"), [("dark", "light", True), ("light", "dark", False), ("auto", "dark", True)]
)
async def test_a_host_chooses_light_or_dark(enter: Enter, person: Person, theme: str, scheme: str, dark: bool) -> None:
    page = await enter(person, attributes=f'theme="{theme}"', color_scheme=scheme)
    assert await is_dark(page) is dark


async def test_a_page_that_is_always_light_gets_a_light_panel(
    watch: Watch, site: Site, host: Host, person: Person
) -> None:
    page = await watch.new_page(color_scheme="dark")
    await open_panel(page, put_plain(host, site.url, schemes="light"))
    assert not await is_dark(page)


async def is_dark(page: Page) -> bool:
    """Whether the panel writes in a light colour."""
    color: str = await page.locator("[role=tab]").first.evaluate(
        "(tab) => getComputedStyle(tab.closest('.root')).color"
    )
    assert color.startswith("rgb("), color
    return sum(map(int, color[4:-1].split(","))) > 3 * 128


async def test_two_people_on_one_page_do_not_meet(page: Page, site: Site, host: Host) -> None:
    """A support page may show two panels: each has its own token."""
    one = await site.person("one", groq="gsk_first_0000000000000000000001")
    two = await site.person("two", mistral="mistral-second-0000000000001")
    for name, person in (("one", one), ("two", two)):
        host.put(f"/token-{name}", '{"token": "%s"}' % await site.panel_token(person, host))
    script = """for (const panel of document.querySelectorAll('llm-settings-panel')) {
      panel.getToken = async () => (await (await fetch(`/token-${panel.id}`)).json()).token;
    }"""
    address = put_plain(
        host,
        site.url,
        attributes='id="one"',
        before='<llm-settings-panel id="two"></llm-settings-panel>',
        script=script,
    )
    await page.goto(address)
    await wait_for(page, "() => window.__ownkey_events.filter((event) => event.name === 'ready').length === 2")
    users = await asyncio.gather(
        *(page.locator(f"#{name}").evaluate("(panel) => panel.store.session.user_id") for name in ("one", "two"))
    )
    assert users == [one.id, two.id]
