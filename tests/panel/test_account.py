"""The tab "Your data": who can read what, taking it away, deleting it, and the first steps once more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from ownkey.errors import NotFound
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import find_layout_faults
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.test_access import age_sessions
from tests.panel.watch import Watch, failed_load

SECRET = "gsk_account_00000000000000001"


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key at Groq and a password."""
    person = await site.person("account", groq=SECRET)
    await site.set_password(person)
    return person


async def begin_removal(page: Page, typed: str) -> Locator:
    """The dialog that deletes, with this typed into it."""
    await page.get_by_role("button", name="Delete everything…").click()
    dialog = page.get_by_role("dialog", name="Delete everything of yours?")
    await dialog.get_by_role("textbox").fill(typed)
    return dialog


async def test_it_says_in_plain_words_who_can_read_keys(enter_own: Enter, person: Person) -> None:
    page = await enter_own(person, "account")
    for heading in ("Where your keys live", "Who can read them", "What leaves the server", "How to remove them"):
        await expect(page.get_by_role("heading", name=heading)).to_be_visible()
    await expect(page.get_by_text("not even to an administrator")).to_be_visible()


@pytest.mark.parametrize("embedded", [False, True])
async def test_everything_can_be_taken_away_without_a_secret(
    enter: Enter, enter_own: Enter, site: Site, person: Person, embedded: bool
) -> None:
    page = await (enter if embedded else enter_own)(person, "account")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    file = await download.value
    assert file.suggested_filename.startswith("ownkey-export-")
    text = Path(await file.path()).read_text(encoding="utf-8")
    document = json.loads(text)
    assert document["credentials"][0]["provider"] == "groq"
    assert not [secret for secret in (*site.secrets, *site.tokens) if secret in text]
    await expect(page.get_by_role("status").filter(has_text="Your data is in your downloads.")).to_be_visible()


async def test_deleting_everything_needs_the_name_typed(
    enter_own: Enter, site: Site, watch: Watch, person: Person
) -> None:
    page = await enter_own(person, "account")
    dialog = await begin_removal(page, person.id.upper())
    await expect(dialog).to_contain_text("1 key is deleted. It still works at its provider")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("alert")).to_contain_text("That is not the same.")
    assert (await site.ok.users.get(person.id)).id == person.id
    await dialog.get_by_role("textbox").fill(person.id)
    await dialog.get_by_role("button", name="Delete everything").click()
    await expect(page.get_by_role("heading", level=1, name="Everything of yours is deleted")).to_be_focused()
    assert page.url == site.url + "/"
    assert await page.locator("llm-settings-panel").count() == 0
    assert person.id not in await page.content()
    await expect(page.get_by_text(re.compile(r"Entry \d+ of chain \d of the audit log says so."))).to_be_visible()
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Download the receipt").click()
    receipt = json.loads((await (await saved.value).path()).read_text())
    assert (receipt["user_id"], receipt["credentials"], receipt["data_key"]) == (person.id, 1, True)
    assert await page.context.cookies() == []
    with pytest.raises(NotFound):
        await site.ok.users.get(person.id)


async def test_deleting_asks_again_who_it_is(enter_own: Enter, site: Site, watch: Watch, person: Person) -> None:
    watch.expect(failed_load(403))
    page = await enter_own(person, "account")
    await age_sessions(site, person)
    await begin_removal(page, person.id)
    await page.keyboard.press("Enter")
    question = page.get_by_role("dialog", name="Confirm that it is you")
    await question.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1, name="Everything of yours is deleted")).to_be_visible()


async def test_without_a_password_one_signs_in_again(enter_own: Enter, site: Site, watch: Watch) -> None:
    """Somebody who comes through an identity provider has no password to repeat."""
    watch.expect(failed_load(403))
    person = await site.person("passwordless")
    page = await enter_own(person, "account")
    await age_sessions(site, person)

    async def with_provider(route: object) -> None:
        ways = {"local": True, "oidc": [{"id": "sso", "label": "Example"}], "secure": True, "signed_in": True}
        await route.fulfill(json=ways)  # type: ignore[attr-defined]

    await page.route("**/api/sign-in", with_provider)
    await begin_removal(page, person.id)
    await page.keyboard.press("Enter")
    question = page.get_by_role("dialog", name="Confirm that it is you")
    link = question.get_by_role("link", name="Continue with Example")
    await expect(link).to_have_attribute("href", f"{site.url}/api/sign-in/oidc/sso?confirm=true")
    await assert_accessible(page)
    await question.get_by_role("button", name="Cancel").click()
    assert (await site.ok.users.get(person.id)).id == person.id


async def test_in_an_embedded_panel_it_says_goodbye_in_place(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "account")
    await begin_removal(page, person.id)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Everything of yours is deleted")).to_be_visible()
    with pytest.raises(NotFound):
        await site.ok.users.get(person.id)


async def test_the_first_steps_come_back(enter_own: Enter, person: Person) -> None:
    page = await enter_own(person)
    await page.get_by_role("button", name="Hide these steps").click()
    await expect(page.get_by_role("heading", name="Three steps")).to_have_count(0)
    await page.locator("#tab-account").click()
    await page.get_by_role("button", name="Show them").click()
    await expect(page.locator("#tab-keys")).to_have_attribute("aria-selected", "true")
    await expect(page.get_by_role("heading", name="Three steps")).to_be_visible()


@pytest.mark.parametrize(("width", "language"), [(320, "de"), (1280, "es")])
async def test_the_tab_and_its_dialog_are_accessible_and_fit(
    enter_own: Enter, person: Person, width: int, language: str
) -> None:
    page = await enter_own(person, "account", viewport={"width": width, "height": 800}, locale=language)
    await assert_accessible(page)
    assert await find_layout_faults(page) == []
    await page.locator("#account-remove").locator("xpath=ancestor::section").get_by_role("button").click()
    await page.get_by_role("dialog").wait_for()
    await assert_accessible(page)
    assert await find_layout_faults(page) == []
