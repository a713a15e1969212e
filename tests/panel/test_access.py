"""The Access tab: gateway tokens, where one is signed in, the password, and the proof of who one is."""

from __future__ import annotations

import re

import asyncpg
import httpx2
import pytest
from playwright.async_api import Locator, Page, expect

from ownkey.storage.embedded import EmbeddedPostgres
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import find_layout_faults, open_tab
from tests.panel.hosts import Host
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.test_leaving import paste
from tests.panel.watch import Watch, failed_load

NEW_PASSWORD = "a better horse battery staple"


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key at Groq and a password."""
    person = await site.person("access", groq="gsk_access_000000000000000001")
    await site.set_password(person)
    return person


def section(page: Page, name: str) -> Locator:
    """A part of the tab, by its heading."""
    return page.get_by_role("region", name=name, exact=True)


async def begin_token(page: Page, name: str) -> Locator:
    """The dialog for a new token, with its name filled in."""
    await page.get_by_role("button", name="New token").click()
    dialog = page.get_by_role("dialog", name="New token")
    await expect(dialog.get_by_label("Name")).to_be_focused()
    await dialog.get_by_label("Name").fill(name)
    return dialog


async def read_token(page: Page, site: Site, watch: Watch) -> str:
    """The token that is shown, which may be shown."""
    text = await page.get_by_role("dialog").get_by_role("textbox", name="Token").inner_text()
    site.tokens.append(text)
    watch.expect_shown(text)
    return text


async def age_sessions(site: Site, person: Person) -> None:
    """As if they had signed in an hour ago."""
    postgres = await EmbeddedPostgres.start(site.ok.config.data_dir)
    connection = await asyncpg.connect(postgres.migration_dsn)
    try:
        await connection.execute(
            "update ownkey_private.sessions set authenticated_at = now() - interval '1 hour' where user_id = $1",
            person.id,
        )
    finally:
        await connection.close()
        await postgres.stop()


async def test_a_token_is_made_shown_once_and_works(
    enter_own: Enter, site: Site, watch: Watch, person: Person, other_host: Host
) -> None:
    page = await enter_own(person, "access")
    dialog = await begin_token(page, "nightly report")
    await page.keyboard.press("Enter")
    made = page.get_by_role("dialog", name="Token “nightly report”")
    await expect(made).to_contain_text("It is shown this once")
    token = await read_token(page, site, watch)
    assert token.startswith("ok-")
    await made.get_by_role("button", name="Copy the token").click()
    await expect(made.get_by_role("status").first).to_have_text("Copied")
    assert await paste(page.context, other_host) == token
    async with httpx2.AsyncClient(base_url=site.url, headers={"authorization": f"Bearer {token}"}) as client:
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        assert (await client.get("/api/settings")).status_code == 403, "it may call models and nothing else"
    await made.get_by_role("button", name="Done").click()
    await expect(dialog).to_be_hidden()
    row = section(page, "Gateway tokens").get_by_role("listitem").filter(has_text="nightly report")
    await expect(row).to_contain_text("Models")
    await expect(row).to_contain_text(re.compile("expires in (2|3) months"))
    assert token not in await page.evaluate("document.querySelector('llm-settings-panel').shadowRoot.textContent")


async def test_the_lines_to_copy_hold_the_real_address(
    enter_own: Enter, site: Site, watch: Watch, person: Person
) -> None:
    page = await enter_own(person, "access")
    await begin_token(page, "snippets")
    await page.keyboard.press("Enter")
    token = await read_token(page, site, watch)
    made = page.get_by_role("dialog")
    for tool in ("JavaScript", "curl", ".env", "Python"):
        await made.get_by_text(tool, exact=True).click()
        lines = await made.locator(".snippets pre").inner_text()
        assert token in lines
        assert f"{site.url}/v1" in lines


async def test_a_browser_that_does_not_copy_is_not_believed(
    enter_own: Enter, watch: Watch, site: Site, person: Person
) -> None:
    page = await enter_own(person, "access")
    await page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: () => Promise.reject(new Error()) } })"
    )
    await page.get_by_role("button", name="Copy the lines").click()
    await expect(page.get_by_text("The browser does not allow copying here.")).to_be_visible()


async def test_a_token_needs_a_name_and_can_be_given_up(enter_own: Enter, person: Person) -> None:
    page = await enter_own(person, "access")
    dialog = await begin_token(page, "  ")
    await dialog.get_by_role("button", name="Create token").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Give it a name")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(page.get_by_role("button", name="New token")).to_be_focused()


async def test_expiry_and_reach_are_the_persons_choice(
    enter_own: Enter, site: Site, watch: Watch, person: Person
) -> None:
    page = await enter_own(person, "access")
    dialog = await begin_token(page, "for ever")
    await dialog.get_by_label("Call models and change settings").check()
    await expect(dialog.get_by_label("administer the server")).to_have_count(0)
    await dialog.get_by_label("Expires").select_option("never")
    await dialog.get_by_role("button", name="Create token").click()
    await read_token(page, site, watch)
    await page.keyboard.press("Escape")
    row = section(page, "Gateway tokens").get_by_role("listitem").filter(has_text="for ever")
    await expect(row).to_contain_text("Models and Settings")
    await expect(row).to_contain_text("does not expire")


async def test_a_token_is_revoked_by_its_name(enter_own: Enter, site: Site, person: Person) -> None:
    page = await enter_own(person, "access")
    await page.get_by_role("button", name="Revoke test").click()
    dialog = page.get_by_role("dialog", name="Revoke “test”?")
    await expect(dialog).to_contain_text("stop working at once")
    await assert_accessible(page)
    await dialog.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Revoke test").click()
    await dialog.get_by_role("button", name="Revoke", exact=True).click()
    await expect(page.get_by_role("status").filter(has_text="“test” was revoked.")).to_be_visible()
    await page.get_by_text("Revoked and expired (1)").click()
    await expect(page.get_by_role("listitem").filter(has_text="revoked now")).to_be_visible()
    async with httpx2.AsyncClient(base_url=site.url, headers={"authorization": f"Bearer {person.token}"}) as client:
        assert (await client.get("/api/settings")).status_code == 401


async def test_an_administrators_token_asks_who_it_is_once_more(enter_own: Enter, site: Site, watch: Watch) -> None:
    watch.expect(failed_load(401, 403))
    admin = await site.admin("token-admin")
    await site.set_password(admin)
    page = await enter_own(admin, "access")
    await age_sessions(site, admin)
    dialog = await begin_token(page, "back end")
    await dialog.get_by_label("All of this, and administer the server").check()
    await dialog.get_by_role("button", name="Create token").click()
    question = page.get_by_role("dialog", name="Confirm that it is you")
    await assert_accessible(page)
    await expect(question.get_by_label("Password", exact=True)).to_be_focused()
    await question.get_by_label("Password", exact=True).fill("not the password")
    await page.keyboard.press("Enter")
    await expect(question.get_by_role("alert")).to_be_visible()
    await question.get_by_role("button", name="Cancel").click()
    await expect(dialog.get_by_label("Name")).to_have_value("back end")
    await dialog.get_by_role("button", name="Create token").click()
    await question.get_by_label("Password", exact=True).fill(PASSWORD)
    await question.get_by_role("button", name="Confirm").click()
    await read_token(page, site, watch)
    await page.get_by_role("button", name="Done").click()
    row = section(page, "Gateway tokens").get_by_role("listitem").filter(has_text="back end")
    await expect(row).to_contain_text("Administration")


async def test_an_embedded_panel_makes_no_tokens_but_shows_them(enter: Enter, person: Person) -> None:
    page = await enter(person, "access")
    tokens = section(page, "Gateway tokens")
    await expect(tokens.get_by_role("listitem")).to_have_count(1)
    await expect(tokens).to_contain_text("Tokens are made on the page of the server itself.")
    await expect(page.get_by_role("button", name="New token")).to_have_count(0)
    await expect(page.get_by_role("button", name="Change password")).to_have_count(0)


async def test_sessions_are_listed_and_ended_one_by_one(enter_own: Enter, site: Site, person: Person) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    other = await site.ok.core.sessions.start(person.id, site.visitor(user_agent=agent), method="password")
    site.tokens.append(other.token)
    page = await enter_own(person, "access")
    sessions = section(page, "Where you are signed in")
    await expect(sessions.get_by_text("This one")).to_have_count(1)
    firefox = sessions.get_by_role("listitem").filter(has_text="Firefox on Linux")
    await expect(firefox).to_contain_text("Signed in now with a password")
    await firefox.get_by_role("button", name="Sign out of Firefox on Linux").click()
    await expect(firefox).to_have_count(0)
    assert await site.ok.core.sessions.find(other.token) is None
    here = sessions.get_by_role("listitem").filter(has_text="This one")
    await here.get_by_role("button", name=re.compile("^Sign out of")).click()
    await expect(page.get_by_text("You are signed out.")).to_be_visible()


async def test_signing_out_everywhere_says_what_it_does_and_does_it(
    enter_own: Enter, site: Site, person: Person
) -> None:
    other = await site.ok.core.sessions.start(person.id, site.visitor(user_agent="Other"), method="password")
    site.tokens.append(other.token)
    page = await enter_own(person, "access")
    await page.get_by_role("button", name="Sign out everywhere").click()
    dialog = page.get_by_role("dialog", name="Sign out everywhere?")
    await expect(dialog.get_by_role("listitem")).to_have_count(4)
    await expect(dialog).to_contain_text("Gateway tokens stay valid.")
    await assert_accessible(page)
    await dialog.get_by_role("button", name="Sign out everywhere").click()
    await expect(page.get_by_text("You are signed out.")).to_be_visible()
    assert await site.ok.core.sessions.find(other.token) is None
    assert await site.ok.core.sessions.list_sessions(person.id) == []


async def test_the_password_is_changed_with_the_one_before(
    enter_own: Enter, site: Site, watch: Watch, person: Person
) -> None:
    watch.expect(failed_load(400, 401))
    site.tokens.append(NEW_PASSWORD)
    page = await enter_own(person, "access")
    await page.get_by_role("button", name="Change password").click()
    dialog = page.get_by_role("dialog", name="Change password")
    current, new = dialog.get_by_label("Current password"), dialog.get_by_label("New password")
    await assert_accessible(page)
    await new.fill("short")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("alert")).to_have_text("Enter your password.")
    await current.fill("not the password")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("alert")).to_have_text("The password does not fit yet.")
    await new.fill(NEW_PASSWORD)
    await page.keyboard.press("Enter")
    await expect(current).to_have_attribute("aria-invalid", "true")
    await expect(current).to_be_focused()
    await current.fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status").filter(has_text="Your password is changed.")).to_be_visible()
    await expect(dialog).to_be_hidden()
    await page.reload()
    await expect(page.get_by_role("tablist")).to_be_visible()
    signed_in = await site.ok.core.sign_in.sign_in(person.id, NEW_PASSWORD, site.visitor())
    site.tokens.append(signed_in.token)


async def test_a_list_that_does_not_come_can_be_asked_for_again(enter_own: Enter, watch: Watch, person: Person) -> None:
    watch.expect("ERR_FAILED")
    page = await enter_own(person)
    await page.route("**/api/tokens", lambda route: route.abort())
    await page.locator("#tab-access").click()
    tokens = section(page, "Gateway tokens")
    await expect(tokens.get_by_role("alert")).to_contain_text("This could not be loaded.")
    await page.unroute("**/api/tokens")
    await tokens.get_by_role("button", name="Try again").click()
    await expect(tokens.get_by_role("listitem")).to_have_count(1)


async def test_somebody_without_tokens_learns_what_they_are_for(enter_own: Enter, site: Site, person: Person) -> None:
    for token in await site.ok.tokens.list_tokens(person.id):
        await site.ok.tokens.revoke(person.id, token.id)
    page = await enter_own(person, "access")
    await expect(page.get_by_role("heading", name="No tokens yet")).to_be_visible()


@pytest.mark.parametrize("width", [320, 1280])
async def test_the_tab_and_its_dialogs_are_accessible_and_fit(
    enter_own: Enter, site: Site, watch: Watch, person: Person, width: int
) -> None:
    page = await enter_own(person, "access", viewport={"width": width, "height": 800})
    await assert_accessible(page)
    assert await find_layout_faults(page) == []
    await begin_token(page, "a name that is as long as a name for a token can be and then some more of it" * 1)
    await assert_accessible(page)
    assert await find_layout_faults(page) == []
    await page.keyboard.press("Enter")
    await read_token(page, site, watch)
    await assert_accessible(page)
    assert await find_layout_faults(page) == []


async def test_what_was_typed_is_gone_when_the_tab_is_left(enter_own: Enter, person: Person) -> None:
    page = await enter_own(person, "access")
    await page.get_by_role("button", name="Change password").click()
    await page.get_by_label("Current password").fill("typed and left")
    await page.go_back()
    await open_tab(page, "access")
    await page.get_by_role("button", name="Change password").click()
    await expect(page.get_by_label("Current password")).to_have_value("")
