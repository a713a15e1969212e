"""Opening a one-time link in a browser where somebody else is signed in."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.panel.conftest import Enter
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.watch import Watch


async def open_invitation(page: Page, watch: Watch, site: Site, invited: Person) -> None:
    """Follow a link in the window of whoever is signed in."""
    link = (await site.ok.core.links.invite(invited.id)).url(site.url)
    site.tokens.append(link.partition("#link=")[2])
    await page.goto("about:blank")
    await page.goto(link)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Somebody else is signed in")


async def test_an_invitation_asks_before_it_signs_somebody_else_out(enter_own: Enter, watch: Watch, site: Site) -> None:
    here, invited = await site.person("here"), await site.person("invited")
    page = await enter_own(here)
    await open_invitation(page, watch, site, invited)
    await expect(
        page.get_by_text(f"You are signed in as {here.id}, and this link is for {invited.id}.")
    ).to_be_visible()
    await page.get_by_role("button", name="Sign out and go on").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Welcome to Ownkey")
    assert await site.ok.core.sessions.list_sessions(here.id) == []
    site.tokens.append(PASSWORD)
    await page.get_by_label("New password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator(".page-who")).to_contain_text(invited.id)


async def test_whoever_stays_signed_in_loses_nothing(enter_own: Enter, watch: Watch, site: Site) -> None:
    here, invited = await site.person("here"), await site.person("invited")
    page = await enter_own(here)
    await open_invitation(page, watch, site, invited)
    await page.get_by_role("button", name=f"Stay signed in as {here.id}").click()
    await expect(page.locator(".page-who")).to_contain_text(here.id)
    assert len(await site.ok.core.sessions.list_sessions(here.id)) == 1
