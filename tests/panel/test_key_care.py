"""The tab Keys says what is so: which of two keys, where a new one stands, what a refusal means and what to do."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.panel.conftest import Enter
from tests.panel.driver import add_key
from tests.panel.site import Person, Site
from tests.panel.test_keys import card, choose, lane
from tests.panel.watch import Watch, failed_load

GROQ = "gsk_care_0000000000000000000000Ab12"
SECOND = "gsk_care_0000000000000000000000Cd34"
OPENAI = "sk-proj-care-00000000000000000000Ef56"


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key."""
    site.secrets.extend((SECOND, OPENAI))
    return await site.person("careful", groq=GROQ)


async def test_two_keys_without_a_name_are_told_apart(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person)
    await choose(page, card(page, "groq"), "Add another key")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill(SECOND)
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(dialog).to_be_hidden()
    rows = card(page, "groq").locator(".keys-key")
    await expect(rows.nth(0).get_by_role("button", name="More for Groq · default", exact=True)).to_be_visible()
    await expect(rows.nth(1).get_by_role("button", name="More for Groq · default 2", exact=True)).to_be_visible()


async def test_keys_of_the_same_name_say_their_end(enter: Enter, site: Site, person: Person) -> None:
    await site.add_key(person.id, "groq", SECOND, label="default")
    page = await enter(person)
    row = card(page, "groq").locator(".keys-key").nth(1)
    await expect(row.get_by_role("button", name="More for Groq · default (gsk_…Cd34)")).to_be_visible()
    await choose(page, row, "Remove")
    await expect(page.get_by_role("dialog", name="Remove Groq · default (gsk_…Cd34)?")).to_be_visible()


async def test_a_new_provider_goes_last_and_says_so(enter: Enter, site: Site) -> None:
    """OpenAI stands before Groq in the catalogue, and would otherwise serve from now on what Groq has served."""
    newcomer = await site.person("newcomer")
    await site.add_key(newcomer.id, "groq", GROQ)
    page = await enter(newcomer)
    await add_key(page, OPENAI, provider="OpenAI")
    await expect(page.get_by_role("status").get_by_text("It is 2 of 2 in “Use first”.")).to_be_visible()
    assert await lane(page, "first") == ["groq", "openai"]
    wishes = {one.provider: one.priority for one in await site.ok.settings.list_preferences(newcomer.id)}
    assert wishes["groq"] < wishes["openai"]


async def test_a_refused_key_is_told_where_it_was_pasted_with_what_to_do(
    enter: Enter, site: Site, person: Person
) -> None:
    site.providers.break_provider("groq", "bad_key")
    page = await enter(person)
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_label("API key")
    await field.fill(SECOND)
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Groq refuses this key. See whether it was copied whole")
    await expect(field).to_have_attribute("aria-describedby", "secret-hint secret-error")
    # Typing begins anew.
    await field.fill(SECOND[:-1])
    await expect(dialog.get_by_role("alert")).to_have_count(0)


async def test_a_key_that_is_there_already_says_only_that(
    enter: Enter, watch: Watch, site: Site, person: Person
) -> None:
    watch.expect(failed_load(409))
    page = await enter(person)
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill(GROQ)
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("already")
    await expect(dialog.locator(".pill")).to_have_count(0)


async def test_a_key_is_recognised_as_documentation_writes_it(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person)
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill(f"Authorization: Bearer {SECOND}")
    await expect(dialog.get_by_label("Provider")).to_have_value("groq")
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(card(page, "groq").get_by_text("…Cd34")).to_be_visible()


async def test_a_provider_without_a_model_says_so_on_its_card(enter: Enter, site: Site, person: Person) -> None:
    """What runs at Azure has the name that its operator chose."""
    secret = "azure-care-00000000000000000001"
    site.secrets.append(secret)
    await site.ok.settings.add_credential(person.id, "azure_openai", secret)
    page = await enter(person)
    azure = card(page, "azure_openai")
    await expect(azure).to_contain_text("has no default model and you have chosen none")
    await azure.get_by_role("button", name="Choose the model…").click()
    await page.get_by_role("combobox").fill("some-model")
    await page.keyboard.press("Enter")
    await expect(azure).to_contain_text("some-model")
    await expect(azure).not_to_contain_text("has no default model")


async def test_an_embedded_panel_leads_nobody_where_nothing_can_be_done(
    enter: Enter, enter_own: Enter, site: Site, person: Person
) -> None:
    page = await enter(person)
    await expect(page.get_by_role("heading", name="Two steps")).to_be_visible()
    await expect(page.get_by_text("Connect your application")).to_have_count(0)
    await page.locator("#tab-access").click()
    link = page.get_by_role("link", name="Open that page")
    assert await link.get_attribute("href") == f"{site.url}/#access"
    await expect(page.get_by_text("You have no password there yet")).to_be_visible()
    await expect(page.get_by_text("Make one")).to_have_count(0)
    own = await enter_own(person)
    await expect(own.get_by_text("Connect your application")).to_be_visible()


async def test_searching_a_model_moves_nothing(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person)
    await choose(page, card(page, "groq"), "Choose the model")
    await expect(page.get_by_role("option").nth(1)).to_be_visible()
    before = await place_of_search(page)
    for text in ("llama", "no-model-is-called-like-this", ""):
        await page.get_by_role("combobox").fill(text)
        assert await place_of_search(page) == before


async def place_of_search(page: Page) -> object:
    """Where the field is in which a model is searched."""
    return await page.get_by_role("combobox").bounding_box()
