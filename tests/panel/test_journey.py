"""From the first sign-in to the first answered request and out again, and what happens when a session ends."""

from __future__ import annotations

import re
from typing import Final

import pytest
from openai import AsyncOpenAI
from playwright.async_api import BrowserContext, Page, expect

from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import add_key, open_tab, tab_to, wait_until_settled
from tests.panel.host_pages import wait_until_ready
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.watch import Watch, failed_load

KEY: Final = "gsk_journey_000000000000000001"


@pytest.fixture
async def invited(site: Site) -> tuple[str, str]:
    """Somebody who was just invited: their id, and the address of their one-time link."""
    admin = await site.admin()
    user_id = f"new-{admin.id}"
    link = await site.ok.core.links.invite(user_id, actor=admin.id)
    site.tokens += [link.text, PASSWORD]
    return user_id, link.url(site.url)


async def test_from_the_invitation_to_the_first_answer_and_out(
    page: Page, watch: Watch, site: Site, invited: tuple[str, str]
) -> None:
    user_id, link = invited
    await page.goto(link)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Welcome to Ownkey")
    assert "#" not in page.url, "the link is gone from the address at once"
    await assert_accessible(page)
    await page.get_by_label("New password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Start").click()
    await wait_until_ready(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("AI settings")
    assert (await page.go_back()) is None or "link" not in page.url
    await page.goto(site.url)
    await wait_until_ready(page)

    # A key: the provider is suggested from its shape, it is tried before it is saved, and shown masked from then on.
    site.secrets.append(KEY)
    await add_key(page, KEY)
    await expect(page.get_by_text("gsk_…0001").first).to_be_visible()
    await expect(page.get_by_text("Works").first).to_be_visible()

    # A token for a program, shown once.
    await open_tab(page, "access")
    await page.get_by_role("button", name="New token").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name", exact=True).fill("laptop")
    await dialog.get_by_role("button", name="Create token").click()
    token = await dialog.locator("code").filter(has_text=re.compile(r"^ok-\w+$")).first.inner_text()
    watch.expect_shown(token)
    site.tokens.append(token)
    await dialog.get_by_role("button", name="Done").click()
    await expect(page.get_by_text(token)).to_have_count(0)

    # A program, with two lines changed.
    async with AsyncOpenAI(base_url=f"{site.url}/v1", api_key=token, max_retries=0) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "Hello"}]
        )
    assert raw.headers["x-ownkey-credential"] == "own"
    assert site.providers.ledger("groq")[-1].key == KEY

    # Out: nothing of the person stays, in this window or in the server's memory.
    await sign_out(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert KEY[-4:] not in await page.content()
    assert site.ok.core.cache.find(user_id) is None
    watch.expect(failed_load(401))
    await page.go_back()
    await page.reload()
    await expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    assert await page.context.cookies() == []


async def test_the_same_without_a_mouse(page: Page, watch: Watch, site: Site, invited: tuple[str, str]) -> None:
    """Sign in, add a key, move providers, make a token, sign out: Tab, arrows, Enter and Escape."""
    _, link = invited
    await page.goto(link)
    password = page.get_by_label("New password", exact=True)
    await tab_to(page, password)
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await wait_until_ready(page)
    await wait_until_settled(page)

    for number, (provider, key) in enumerate({"Groq": KEY, "Mistral": "mistral-journey-00000001"}.items()):
        site.secrets.append(key)
        await tab_to(page, page.get_by_role("button", name="Add key").first, limit=120)
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        await tab_to(page, dialog.get_by_label("API key"))
        await page.keyboard.type(key)
        if number:
            chooser = dialog.get_by_label("Provider")
            await tab_to(page, chooser)
            await page.keyboard.type(provider)
            await expect(chooser).to_have_value(provider.lower())
        await tab_to(page, dialog.get_by_role("button", name="Test and save"))
        await page.keyboard.press("Enter")
        await expect(dialog).to_be_hidden()
    await expect(page.get_by_text("…0001").first).to_be_visible()

    # The handle that is dragged with a mouse is moved with the arrows.
    handle = page.get_by_role("button", name=re.compile("^Move Mistral"))
    await tab_to(page, handle, limit=120)
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_text(re.compile(r"Mistral: 1 of 2"))).to_have_count(1)

    # Tabs are one stop, and the arrows go from one to the next.
    await tab_to(page, page.locator("#tab-keys"), limit=120, back=True)
    for _ in range(4):
        await page.keyboard.press("ArrowRight")
    await expect(page.locator("#tab-access")).to_be_focused()
    await wait_until_settled(page)
    opener = page.get_by_role("button", name="New token").first
    await tab_to(page, opener)
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(opener).to_be_focused()

    watch.expect(failed_load(401))
    menu = page.get_by_role("button", name=re.compile("^Account and appearance"))
    await tab_to(page, menu, limit=120, back=True)
    await page.keyboard.press("Enter")
    await tab_to(page, page.get_by_role("button", name="Sign out", exact=True))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_signing_in_with_a_password(page: Page, watch: Watch, site: Site) -> None:
    person = await account(site)
    watch.expect(failed_load(401))
    await page.goto(site.url)
    await assert_accessible(page)
    await fill_sign_in(page, person.id, "not the password")
    await expect(page.get_by_role("alert").filter(has_text=re.compile(r"\w"))).to_be_visible()
    await assert_accessible(page)
    await fill_sign_in(page, person.id, PASSWORD)
    await wait_until_ready(page)
    assert PASSWORD not in await page.content()
    await page.reload()
    await wait_until_ready(page)


async def test_unknown_people_and_wrong_passwords_hear_the_same(page: Page, watch: Watch, site: Site) -> None:
    person = await account(site)
    watch.expect(failed_load(401))
    said = []
    for login in (person.id, "nobody-of-that-name"):
        await page.goto(site.url)
        await fill_sign_in(page, login, "not the password")
        alert = page.get_by_role("alert").filter(has_text=re.compile(r"\w")).first
        await expect(alert).to_be_visible()
        said.append(await alert.inner_text())
    assert said[0] == said[1]


async def test_guessing_is_slowed_down(page: Page, watch: Watch, site: Site) -> None:
    person = await account(site)
    watch.expect(failed_load(401, 429))
    await page.goto(site.url)
    for guess in range(6):
        await fill_sign_in(page, person.id, f"guess number {guess}")
        await expect(page.get_by_role("alert").filter(has_text=re.compile(r"\w")).first).to_be_visible()
    assert site.replies[-1].status == 429
    await assert_accessible(page)


async def test_signing_out_everywhere_reaches_the_other_browser(enter_own: Enter, watch: Watch, site: Site) -> None:
    watch.expect(failed_load(401))
    person = await site.person("everywhere", groq="gsk_everywhere_000000000000001")
    one, other = await enter_own(person), await enter_own(person)
    await one.evaluate("""() => fetch('/api/session/all', { method: 'DELETE', headers: { 'x-ownkey-panel': '1' } })""")
    for page in (one, other):
        await page.evaluate("document.querySelector('llm-settings-panel').refresh()")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await expect(page.get_by_text("gsk_…0001")).to_have_count(0)


async def test_two_windows_of_one_browser_are_signed_out_together(enter_own: Enter, watch: Watch, site: Site) -> None:
    person = await site.person("windows")
    first = await enter_own(person)
    second = await first.context.new_page()
    await second.goto(site.url)
    await wait_until_ready(second)
    await sign_out(first)
    await expect(second.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_a_session_that_ends_while_somebody_works_asks_them_to_sign_in_again(
    enter_own: Enter, watch: Watch, site: Site
) -> None:
    watch.expect(failed_load(401))
    person = await account(site)
    page = await enter_own(person, "routing")
    await site.sign_out_everywhere(person)
    await page.locator("#tab-keys").click()
    await page.evaluate("document.querySelector('llm-settings-panel')?.refresh()")
    await expect(page.get_by_text("Your session has ended.")).to_be_visible()
    await fill_sign_in(page, person.id, PASSWORD)
    await wait_until_settled(page)
    await expect(page.locator("#tab-keys")).to_have_attribute("aria-selected", "true")


async def test_offline_is_said_and_what_was_there_stays(enter_own: Enter, watch: Watch, site: Site) -> None:
    watch.expect("net::ERR_INTERNET_DISCONNECTED")
    person = await site.person("train", groq="gsk_train_0000000000000000001")
    page = await enter_own(person)
    await page.context.set_offline(True)
    await expect(page.get_by_text("You are offline", exact=False)).to_be_visible()
    await expect(page.get_by_text("gsk_…0001").first).to_be_visible()
    await assert_accessible(page)
    await page.context.set_offline(False)
    await expect(page.get_by_text("You are offline", exact=False)).to_be_hidden()


async def test_a_link_works_once(watch: Watch, site: Site, invited: tuple[str, str]) -> None:
    _, link = invited
    watch.expect(failed_load(404))
    first = await watch.new_page()
    await first.goto(link)
    await first.get_by_label("New password", exact=True).fill(PASSWORD)
    await first.get_by_role("button", name="Start").click()
    await wait_until_ready(first)
    second = await watch.new_page()
    await second.goto(link)
    await expect(second.get_by_role("heading", level=1)).to_have_text("This link does not work any more")
    await assert_accessible(second)


async def test_a_user_is_kept_out_of_the_administrators_page(watch: Watch, site: Site) -> None:
    context: BrowserContext = await watch.new_context()
    await site.sign_in(context, await site.person("curious"))
    page = await context.new_page()
    await page.goto(f"{site.url}/admin")
    await expect(page.get_by_role("heading", name="This page is for administrators")).to_be_visible()
    await assert_accessible(page)
    assert not [reply.request for reply in site.replies if "/api/admin" in reply.request and reply.status == 200]


async def account(site: Site) -> Person:
    """Somebody who can sign in with their id and the usual password."""
    person = await site.person("account")
    await site.set_password(person)
    return person


async def fill_sign_in(page: Page, login: str, password: str) -> None:
    """Fill in the form and send it."""
    await page.get_by_label("Name or e-mail").fill(login)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def sign_out(page: Page) -> None:
    """By the menu in the header."""
    await page.get_by_role("button", name=re.compile("^Account and appearance")).click()
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
