"""Moving providers while the server is slow, or refuses: what is on the screen and what is stored stay one."""

from __future__ import annotations

import asyncio

from playwright.async_api import Page, Route, expect

from tests.panel.conftest import Enter
from tests.panel.driver import wait_for
from tests.panel.site import Person, Site
from tests.panel.test_keys import CLAUDE, GROQ, MISTRAL, card, choose, developer, lane
from tests.panel.watch import Watch, failed_load

__all__ = ["developer"]  # a fixture

ORDER = "**/api/preferences"


async def stored_order(site: Site, person: Person) -> list[str]:
    """The providers as requests try them."""
    wishes = await site.ok.settings.list_preferences(person.id)
    return [one.provider for one in sorted(wishes, key=lambda one: (one.backup_only, one.priority))]


async def hold_orders(page: Page) -> tuple[asyncio.Event, asyncio.Event]:
    """Orders wait on their way; gives what tells that the first one has left, and what lets them all go on."""
    left, go = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "PUT":
            left.set()
            await go.wait()
        await route.continue_()

    await page.route(ORDER, hold)
    return left, go


async def test_a_move_during_the_saving_of_another_is_saved_too(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    left, go = await hold_orders(page)
    await choose(page, card(page, "groq"), "Move down")
    await asyncio.wait_for(left.wait(), 10)
    await choose(page, card(page, "anthropic"), "Move up")
    await expect(page.get_by_text("Anthropic: 2 of 3 in “Use first”.")).to_be_attached()
    await expect(page.get_by_text("Order saved.")).to_have_count(0)
    go.set()
    await expect(page.get_by_text("Order saved.")).to_be_visible()
    assert await lane(page, "first") == ["mistral", "anthropic", "groq"]
    assert await stored_order(site, developer) == ["mistral", "anthropic", "groq"]


async def test_switching_off_during_the_saving_of_an_order_keeps_both(
    enter: Enter, site: Site, developer: Person
) -> None:
    """The switch says all that is known of the provider: its new place, too."""
    page = await enter(developer)
    left, go = await hold_orders(page)
    await choose(page, card(page, "groq"), "Move down")
    await asyncio.wait_for(left.wait(), 10)
    await card(page, "groq").get_by_role("switch", name="Use Groq").click()
    go.set()
    await wait_for(
        page, "() => document.querySelector('llm-settings-panel').store.preference('groq').enabled === false"
    )
    assert await stored_order(site, developer) == ["mistral", "groq", "anthropic"]
    assert await lane(page, "first") == ["mistral", "groq", "anthropic"]


async def test_an_order_that_is_refused_is_taken_back_and_said(
    enter: Enter, watch: Watch, site: Site, developer: Person
) -> None:
    watch.expect(failed_load(503))
    page = await enter(developer)
    problem = '{"code": "database_unavailable", "detail": "The database is away. Try again."}'

    async def refuse(route: Route) -> None:
        if route.request.method == "PUT":
            await route.fulfill(status=503, content_type="application/problem+json", body=problem)
        else:
            await route.continue_()

    await page.route("**/api/preferences", refuse)
    await choose(page, card(page, "groq"), "Move down")
    await expect(page.get_by_role("alert").get_by_text("The database is away. Try again.")).to_be_visible()
    await expect(page.get_by_text("Groq: 1 of 3 in “Use first”.")).to_be_attached()
    assert await lane(page, "first") == ["groq", "mistral", "anthropic"]


async def test_a_switch_whose_change_failed_shows_what_holds(
    enter: Enter, watch: Watch, site: Site, developer: Person
) -> None:
    watch.expect("net::ERR_FAILED")
    page = await enter(developer)
    await page.route("**/api/preferences/groq", lambda route: route.abort())
    switch = card(page, "groq").get_by_role("switch", name="Use Groq")
    await switch.click()
    await expect(page.get_by_role("alert").get_by_text("The server cannot be reached.", exact=False)).to_be_visible()
    await expect(switch).to_be_checked()
    assert all(key in site.secrets for key in (GROQ, MISTRAL, CLAUDE))
