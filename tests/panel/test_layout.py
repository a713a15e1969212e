"""Every tab at every width, in both directions, at large text and in the modes that people set for their eyes."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, Route, expect

from tests.panel.accessibility import assert_accessible
from tests.panel.cast import MARA
from tests.panel.conftest import Enter
from tests.panel.driver import find_layout_faults, find_small_targets, list_tabs, open_tab, wait_until_settled
from tests.panel.host_pages import open_panel, put_plain
from tests.panel.hosts import Host
from tests.panel.site import Person, Site
from tests.panel.watch import Watch

WIDTHS = (320, 360, 640, 1280, 2560, 3840)


@pytest.fixture(scope="session")
async def mara(whole_site: Site) -> Person:
    """Somebody who has everything: keys in every state, tasks, tokens, a month of usage."""
    return await whole_site.settle(MARA)


async def visit_tabs(page: Page) -> list[str]:
    """Each tab once; gives what is wrong with any of them."""
    faults = []
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        faults += [f"{tab}: {fault}" for fault in await find_layout_faults(page)]
        faults += [f"{tab}: too small to hit: {target}" for target in await find_small_targets(page)]
    return faults


@pytest.mark.parametrize("width", WIDTHS)
async def test_nothing_sticks_out_at_any_width(enter: Enter, mara: Person, width: int) -> None:
    page = await enter(mara, viewport={"width": width, "height": 800})
    assert await visit_tabs(page) == []


async def test_it_fits_a_narrow_column_of_a_wide_page(enter: Enter, mara: Person) -> None:
    """Container queries, not media queries: the window says nothing about the panel."""
    page = await enter(mara, attributes='style="width: 320px"')
    panel = page.locator("llm-settings-panel")
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        assert await panel.evaluate("(panel) => panel.scrollWidth") <= 320, tab
        inside = await panel.evaluate("(panel) => panel.shadowRoot.querySelector('.root').scrollWidth")
        assert inside <= 320, tab


@pytest.mark.parametrize("language", ["ar", "he", "de", "es"])
async def test_right_to_left_and_long_words(enter: Enter, mara: Person, language: str) -> None:
    direction = "rtl" if language in ("ar", "he") else "ltr"
    page = await enter(mara, html=f'lang="{language}" dir="{direction}"', viewport={"width": 360, "height": 800})
    assert await visit_tabs(page) == []
    first, second = [await page.get_by_role("tab").nth(place).bounding_box() for place in (0, 1)]
    assert first is not None
    assert second is not None
    assert (first["x"] > second["x"]) is (direction == "rtl")


async def test_twice_the_size_without_scrolling_sideways(enter: Enter, mara: Person) -> None:
    """200 % zoom of a window of 1280 pixels is a window of 640 with two device pixels each (WCAG 1.4.4, 1.4.10)."""
    page = await enter(mara, viewport={"width": 640, "height": 400}, device_scale_factor=2)
    assert await visit_tabs(page) == []


async def test_text_spacing_of_readers_breaks_nothing(enter: Enter, mara: Person) -> None:
    """WCAG 1.4.12: the reader's own line height and spacing cut nothing off."""
    page = await enter(mara, viewport={"width": 360, "height": 800})
    await page.locator("llm-settings-panel").evaluate(
        """(panel) => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync(`* { line-height: 1.5 !important; letter-spacing: 0.12em !important;
            word-spacing: 0.16em !important } p { margin-bottom: 2em !important }`);
          panel.shadowRoot.adoptedStyleSheets = [...panel.shadowRoot.adoptedStyleSheets, sheet];
        }"""
    )
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        assert await find_layout_faults(page) == [], tab


async def test_forced_colours_leave_everything_visible(enter: Enter, mara: Person) -> None:
    page = await enter(mara, forced_colors="active")
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        unseen = await page.evaluate(
            """() => [...document.querySelector('llm-settings-panel').shadowRoot.querySelectorAll('svg *')]
              .filter((shape) => shape.checkVisibility() && getComputedStyle(shape).fill === 'rgba(0, 0, 0, 0)'
                && getComputedStyle(shape).stroke === 'rgba(0, 0, 0, 0)' && shape.localName === 'rect').length"""
        )
        assert unseen == 0, tab
    await expect(page.locator("[role=tab][aria-selected=true]")).to_be_visible()


async def test_nothing_moves_for_people_who_want_it_still(enter: Enter, mara: Person) -> None:
    page = await enter(mara, reduced_motion="reduce")
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        moving = await page.evaluate(
            """() => {
              const shadow = document.querySelector('llm-settings-panel').shadowRoot;
              return shadow.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 10)
                .map((one) => `${one.effect.target.className} ${one.effect.getComputedTiming().duration}`);
            }"""
        )
        assert moving == [], tab
        lasting = await page.evaluate(
            """() => [...document.querySelector('llm-settings-panel').shadowRoot.querySelectorAll('*')]
              .filter((one) => getComputedStyle(one).transitionDuration.split(',')
                .some((time) => parseFloat(time) > 0.01))
              .map((one) => `${one.localName}.${one.className}`).slice(0, 5)"""
        )
        assert lasting == [], tab


async def test_every_tab_is_accessible_in_light_and_dark(enter: Enter, mara: Person) -> None:
    page = await enter(mara)
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        await assert_accessible(page)


async def test_every_tab_is_accessible_on_a_phone(enter: Enter, mara: Person) -> None:
    page = await enter(mara, viewport={"width": 360, "height": 740}, has_touch=True)
    for tab in await list_tabs(page):
        await open_tab(page, tab)
        await assert_accessible(page, schemes=["light"])


async def test_nothing_jumps_while_it_loads(watch: Watch, site: Site, host: Host, mara: Person) -> None:
    """Cumulative layout shift, with answers that take their time: what was drawn stays where it is."""
    host.token = await site.panel_token(mara, host)
    page = await watch.new_page()
    await page.add_init_script(
        """window.__shifts = [];
        new PerformanceObserver((list) => {
          for (const { hadRecentInput, value } of list.getEntries()) {
            if (!hadRecentInput) window.__shifts.push([window.__tab, value]);
          }
        }).observe({ type: 'layout-shift', buffered: true });"""
    )

    async def later(route: Route) -> None:
        answer = await route.fetch()
        await page.wait_for_timeout(150)
        await route.fulfill(response=answer)

    await page.route("**/api/**", later)
    await open_panel(page, put_plain(host, site.url))
    for tab in await list_tabs(page):
        await page.locator("llm-settings-panel").evaluate(
            "(panel, tab) => { window.__tab = tab; panel.show(tab); }", tab
        )
        await wait_until_settled(page)
    shifts = await page.evaluate("window.__shifts")
    # Up to 0.1 is what the web calls good.
    assert sum(amount for _, amount in shifts) < 0.1, shifts
