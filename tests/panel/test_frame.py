"""The frame around every view: sessions that end, servers that are away, menus, dialogs, the strip of tabs."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.panel.conftest import Enter
from tests.panel.driver import open_tab, read_events, wait_for
from tests.panel.host_pages import put_plain
from tests.panel.hosts import Host
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.watch import Watch, failed_load

GROQ = "gsk_frame_000000000000000000001"


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a password and a key."""
    person = await site.person("framed", groq=GROQ)
    await site.set_password(person)
    return person


async def test_saving_after_the_session_ended_leads_to_the_sign_in_and_back(
    enter_own: Enter, watch: Watch, site: Site, person: Person
) -> None:
    """A dialog whose own place for errors takes the refusal is no dead end."""
    watch.expect(failed_load(401))
    page = await enter_own(person, "routing")
    await page.get_by_role("button", name="Edit Coding").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Provider").select_option(label="Groq")
    await site.sign_out_everywhere(person)
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    await expect(page.get_by_text("Your session has ended. Sign in again to go on where you were.")).to_be_visible()
    await page.get_by_label("Name or e-mail").fill(person.id)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.locator("#tab-routing")).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize("tab", ["usage", "activity", "access"])
async def test_a_tab_that_finds_the_session_ended_leads_to_the_sign_in(
    enter_own: Enter, watch: Watch, site: Site, person: Person, tab: str
) -> None:
    watch.expect(failed_load(401))
    page = await enter_own(person)
    await site.sign_out_everywhere(person)
    await page.locator(f"#tab-{tab}").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert page.url.endswith(f"#{tab}")


@pytest.mark.parametrize("token", ["okp-of-nobody", "<html>\\n<h1>Internal Server Error</h1>"])
async def test_a_page_whose_token_is_not_accepted_is_told_so_and_asked_no_more(
    page: Page, watch: Watch, site: Site, host: Host, token: str
) -> None:
    """For whoever builds the page, who has never been signed in and whose session has not ended."""
    watch.expect(failed_load(401))
    script = f"""
        window.asked = 0;
        const panel = document.querySelector("llm-settings-panel");
        const give = () => {{ panel.getToken = async () => {{ window.asked++; return "{token}"; }}; }};
        panel.addEventListener("llm-settings-auth-required", give);
        give();
    """
    await page.goto(put_plain(host, site.url, script=script))
    alert = page.locator(".empty[role=alert]")
    await expect(alert).to_contain_text("The page gave a token that this server does not accept")
    await expect(alert).to_contain_text("getToken has to return the text of a panel token")
    await wait_for(page, "() => window.__ownkey_events.filter((one) => one.name === 'auth-required').length === 3")
    await expect(alert).to_contain_text("The page gave a token that this server does not accept")
    assert await page.evaluate("window.asked") <= 6
    refused = [reply for reply in site.replies if reply.status == 401]
    assert len(refused) <= 40, "a few, and not for ever"
    assert [event["name"] for event in await read_events(page)] == ["auth-required"] * 3


async def test_a_server_that_comes_back_is_found_without_being_asked(
    enter: Enter, watch: Watch, site: Site, person: Person
) -> None:
    watch.expect("net::ERR_FAILED")
    page = await enter(person)
    await page.route("**/api/**", lambda route: route.abort())
    await page.evaluate("document.querySelector('llm-settings-panel').refresh()")
    strip = page.get_by_text("the server cannot be reached", exact=False)
    await expect(strip).to_be_visible()
    await page.get_by_role("button", name="Try again").click()
    await expect(strip).to_be_visible()
    await page.unroute("**/api/**")
    await expect(strip).to_be_hidden()
    await expect(page.get_by_text("gsk_…0001")).to_be_visible()


async def test_a_part_that_cannot_be_fetched_says_what_is_missing(
    enter: Enter, watch: Watch, site: Site, person: Person
) -> None:
    watch.expect("net::ERR_FAILED", "Failed to fetch dynamically imported module")
    page = await enter(person)
    await page.route("**/panel-*.js", lambda route: route.abort())
    await page.get_by_role("button", name="Add key").first.click()
    await expect(page.get_by_role("alert").get_by_text("there is no connection", exact=False)).to_be_visible()
    await page.locator("#tab-routing").click()
    await expect(page.locator(".empty").get_by_text("there is no connection", exact=False)).to_be_visible()
    await page.unroute("**/panel-*.js")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()


async def test_a_menu_gives_the_focus_back(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person)
    opener = page.get_by_role("button", name="More for Groq", exact=True)
    await opener.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("menuitem").first).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("menuitem").first).to_be_hidden()
    await expect(opener).to_be_focused()
    # What a menu opens gives it back, too.
    await page.keyboard.press("Enter")
    await page.get_by_role("menuitem", name="Choose the model").press("Enter")
    await expect(page.get_by_role("combobox")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(opener).to_be_focused()


async def test_nothing_moves_when_a_dialog_opens(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    trial = page.locator("#routing-trial")
    before = await trial.bounding_box()
    await page.get_by_role("button", name="Edit Coding").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await trial.bounding_box() == before


async def test_the_open_tab_is_brought_into_sight(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, attributes='tab="account"', viewport={"width": 360, "height": 740})
    strip, tab = await page.get_by_role("tablist").bounding_box(), await page.locator("#tab-account").bounding_box()
    assert strip
    assert tab
    assert strip["x"] <= tab["x"]
    assert tab["x"] + tab["width"] <= strip["x"] + strip["width"]
    await open_tab(page, "usage")
    tab = await page.locator("#tab-usage").bounding_box()
    assert tab
    assert strip["x"] <= tab["x"]
    assert tab["x"] + tab["width"] <= strip["x"] + strip["width"]
