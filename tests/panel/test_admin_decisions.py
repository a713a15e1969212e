"""The administrators' page: what they decide about users, the policy and the catalogue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from playwright.async_api import Locator, Page, expect

from ownkey.domain.policy import PolicyDocument
from ownkey.domain.user import Role
from ownkey.errors import NotFound
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import find_layout_faults, open_tab, wait_until_settled
from tests.panel.host_pages import put_plain
from tests.panel.hosts import Host
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.test_access import age_sessions
from tests.panel.watch import Watch, failed_load

HOUSE = "house_models"


@pytest.fixture
async def admin(site: Site) -> AsyncIterator[Person]:
    """An administrator; what they decided is forgotten afterwards."""
    admin = await site.admin("decider")
    yield admin
    await site.ok.policies.put(admin.id, PolicyDocument())
    with suppress(NotFound):
        await site.ok.core.provider_forms.remove(admin.id, HOUSE, force=True)


async def find_user(page: Page, user_id: str) -> Locator:
    """The row of a user."""
    await page.get_by_role("searchbox").fill(user_id)
    found = page.locator("tbody tr").filter(has_text=user_id)
    await expect(page.locator("tbody tr")).to_have_count(1)
    return found


async def choose(page: Page, row: Locator, item: str) -> None:
    """Open the menu of a row and choose from it."""
    await row.get_by_role("button", name="More for").click()
    await page.get_by_role("menuitem", name=item).click()


async def fill_provider(dialog: Locator, address: str) -> None:
    await dialog.get_by_label("Name", exact=True).fill("House models")
    await dialog.get_by_label("Address", exact=True).fill(address)
    await dialog.get_by_label("Default model").fill("house-large")
    await dialog.get_by_role("textbox", name="Models").fill("house-large\nhouse-small")


async def test_an_invitation_says_what_a_login_is(enter_own: Enter, watch: Watch, site: Site, admin: Person) -> None:
    page = await enter_own(admin, "users", path="/admin")
    await page.get_by_role("button", name="Invite user").click()
    dialog = page.get_by_role("dialog", name="Invite a user")
    await dialog.get_by_role("button", name="Make the link").click()
    await expect(dialog.get_by_role("alert")).to_have_text("Enter a name or an e-mail address for the person.")
    await dialog.get_by_label("Login").fill("Ann Müller <ann@example.com>")
    await dialog.get_by_role("button", name="Make the link").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Only the name or the address itself")
    await dialog.get_by_label("Login").fill("ann.mueller@example.com")
    await dialog.get_by_role("button", name="Make the link").click()
    shown = page.get_by_role("dialog", name="A link for ann.mueller@example.com")
    await expect(shown).to_contain_text("hand it over in a way you trust. It expires in 24 hours.")
    watch.expect_shown(await shown.locator(".users-link").inner_text())


async def test_making_an_administrator_asks_first(enter_own: Enter, site: Site, admin: Person) -> None:
    user = await site.person("promoted")
    page = await enter_own(admin, "users", path="/admin")
    await choose(page, await find_user(page, user.id), "Make an administrator")
    dialog = page.get_by_role("dialog", name=f"Make {user.id} an administrator?")
    await expect(dialog).to_contain_text("change the policy")
    await dialog.get_by_role("button", name="Cancel").click()
    assert (await site.ok.users.get(user.id)).role is Role.USER
    await choose(page, await find_user(page, user.id), "Make an administrator")
    await dialog.get_by_role("button", name="Make an administrator").click()
    await expect(page.get_by_text(f"{user.id} changed.")).to_be_visible()
    assert (await site.ok.users.get(user.id)).role is Role.ADMIN


async def test_a_policy_that_says_less_than_it_seems_to_is_explained(
    enter_own: Enter, site: Site, admin: Person
) -> None:
    page = await enter_own(admin, "policy", path="/admin")
    await page.get_by_label("Lock Coding").check()
    row = page.get_by_role("row").filter(has_text="Coding")
    await expect(row).to_contain_text("Nobody can decide this task")
    await page.get_by_label("Coding: Provider").select_option(label="Groq")
    await expect(row).not_to_contain_text("Nobody can decide this task")
    await page.get_by_label("Only these users").check()
    await expect(page.get_by_text("The list is empty")).to_be_visible()
    await page.get_by_label("User ids, one per line").fill("ann")
    await expect(page.get_by_text("The list is empty")).to_have_count(0)


async def test_a_policy_that_is_not_saved_is_not_forgotten(
    enter_own: Enter, watch: Watch, site: Site, admin: Person
) -> None:
    page = await enter_own(admin, "policy", path="/admin")
    await page.get_by_label("Let users see their stored keys again").check()
    await open_tab(page, "users")
    await expect(page.get_by_text("Your changes to the policy are not saved yet.")).to_be_visible()
    await page.get_by_role("button", name="Back to them").click()
    await expect(page.get_by_label("Let users see their stored keys again")).to_be_checked()
    # Leaving the page altogether: the browser asks.
    watch.expect("dialog: beforeunload")
    async with page.expect_event("dialog"):
        await page.evaluate("location.reload()")
    await page.get_by_role("button", name="Discard").click()


async def test_somebody_is_invited_with_a_link_that_is_shown_once(
    enter_own: Enter, site: Site, watch: Watch, admin: Person
) -> None:
    page = await enter_own(admin, "users", path="/admin")
    await page.get_by_role("button", name="Invite user").click()
    dialog = page.get_by_role("dialog", name="Invite a user")
    await expect(dialog.get_by_label("Login")).to_be_focused()
    await assert_accessible(page)
    await dialog.get_by_label("Login").fill("invited.by.admin")
    await dialog.get_by_role("button", name="Make the link").click()
    shown = page.get_by_role("dialog", name="A link for invited.by.admin")
    link = await shown.locator(".users-link").inner_text()
    watch.expect_shown(link)
    assert "#link=okl-" in link
    await assert_accessible(page)
    await shown.get_by_role("button", name="Close").click()
    await expect(page.locator(".users-link")).to_have_count(0)
    await expect(await find_user(page, "invited.by.admin")).to_be_visible()


async def test_inside_an_application_nobody_is_let_in_for_good(
    watch: Watch, site: Site, host: Host, admin: Person
) -> None:
    """A token of some minutes makes no link and no administrator, so that the panel there does not offer it."""
    ann = await site.person("appointed")
    host.token = await site.panel_token(admin, host, scopes=("settings", "admin"))
    page = await watch.new_page()
    await page.goto(put_plain(host, site.url, element="llm-admin-panel"))
    await wait_until_settled(page)
    await open_tab(page, "users")
    row = await find_user(page, ann.id)
    await expect(page.get_by_role("button", name="Invite user")).to_have_count(0)
    await row.get_by_role("button", name="More for").click()
    items = ["Sign out everywhere", "Put into a group", "Suspend", "Delete"]
    await expect(page.get_by_role("menuitem")).to_have_text(items)
    await assert_accessible(page)
    await page.get_by_role("menuitem", name="Suspend").click()
    await page.get_by_role("dialog", name=f"Suspend {ann.id}?").get_by_role("button", name="Suspend").click()
    await expect(row.get_by_text("Suspended")).to_be_visible()


async def test_a_user_is_suspended_let_in_again_and_deleted(enter_own: Enter, site: Site, admin: Person) -> None:
    ann = await site.person("leaver", groq="gsk_leaver_0000000000000000000001")
    page = await enter_own(admin, "users", path="/admin")
    row = await find_user(page, ann.id)
    await choose(page, row, "Suspend")
    dialog = page.get_by_role("dialog", name=f"Suspend {ann.id}?")
    await assert_accessible(page)
    await dialog.get_by_role("button", name="Suspend").click()
    await expect(row.get_by_text("Suspended")).to_be_visible()
    await choose(page, row, "Let in again")
    await expect(row.get_by_text("Suspended")).to_have_count(0)
    await choose(page, row, "Delete")
    dialog = page.get_by_role("dialog", name=f"Delete {ann.id}?")
    await assert_accessible(page)
    await expect(dialog.get_by_role("button", name="Delete")).to_be_disabled()
    await dialog.get_by_role("textbox").fill(ann.id)
    await dialog.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="Nobody is called like this")).to_be_visible()
    with pytest.raises(NotFound):
        await site.ok.users.get(ann.id)


async def test_making_an_administrator_asks_who_one_is(
    enter_own: Enter, site: Site, watch: Watch, admin: Person
) -> None:
    await site.set_password(admin)
    ann = await site.person("promoted")
    page = await enter_own(admin, "users", path="/admin")
    row = await find_user(page, ann.id)
    await age_sessions(site, admin)
    watch.expect(failed_load(403))
    await choose(page, row, "Make an administrator")
    await page.get_by_role("dialog").get_by_role("button", name="Make an administrator").click()
    question = page.get_by_role("dialog", name="Confirm that it is you")
    await assert_accessible(page)
    await question.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(row.get_by_text("Administrator")).to_be_visible()


async def test_the_policy_is_set_in_one_form(enter_own: Enter, site: Site, admin: Person) -> None:
    page = await enter_own(admin, "policy", path="/admin")
    await page.get_by_label("Only these", exact=True).check()
    await page.get_by_role("checkbox", name="Mistral").uncheck()
    await page.get_by_label("Only these users").check()
    await page.get_by_label("User ids, one per line").fill("ann\nbob")
    await page.get_by_label("Coding: Provider").select_option("groq")
    await page.get_by_label("Coding: Model").fill("openai/gpt-oss-120b")
    await page.get_by_label("Coding: Model").press("Tab")
    await page.get_by_label("Lock Coding").check()
    await assert_accessible(page)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Policy saved. It is in force.")).to_be_visible()
    decided = (await site.ok.policies.get(admin.id)).document
    assert "mistral" not in (decided.allowed_providers or ["mistral"])
    assert (decided.shared.access, sorted(decided.shared.users)) == ("listed", ["ann", "bob"])
    assert decided.defaults.tasks["coding"].model == "openai/gpt-oss-120b"
    assert list(decided.locks) == ["tasks:coding"]


async def test_a_provider_is_added_changed_and_removed(
    enter_own: Enter, enter: Enter, site: Site, watch: Watch, admin: Person
) -> None:
    page = await enter_own(admin, "providers", path="/admin")
    openai = page.locator("tbody tr").filter(has_text="OPENAI_API_KEY")
    await expect(openai.get_by_text("set", exact=True)).to_be_visible()
    await expect(openai.get_by_role("button")).to_have_count(0)
    await page.get_by_role("button", name="Add provider").click()
    dialog = page.get_by_role("dialog", name="Add a provider")
    await dialog.get_by_text("More settings").click()
    await assert_accessible(page)
    await dialog.get_by_role("button", name="Add provider").click()
    await expect(dialog.get_by_text("Mend what is marked.")).to_be_visible()
    await expect(dialog.get_by_label("Name", exact=True)).to_be_focused()
    await fill_provider(dialog, "https://models.example.com/v1")
    await expect(dialog.get_by_label("Id", exact=True)).to_have_value(HOUSE)
    await dialog.get_by_role("button", name="Add provider").click()
    house = page.locator("tbody tr").filter(has_text="House models")
    await expect(house).to_contain_text("https://models.example.com/v1")
    assert list(site.ok.core.catalog[HOUSE].models) == ["house-large", "house-small"]

    await choose(page, house, "Edit")
    dialog = page.get_by_role("dialog", name="Edit House models")
    await expect(dialog.get_by_label("Id", exact=True)).to_be_disabled()
    await dialog.get_by_label("Address", exact=True).fill("https://other.example.com/v1")
    await dialog.get_by_role("button", name="Save").click()
    await expect(house).to_contain_text("https://other.example.com/v1")
    assert site.ok.core.catalog[HOUSE].default_model(None) == "house-large"

    ann = await site.person("tenant", **{HOUSE: "house-key-0000000000000000000001"})
    await choose(page, house, "Remove")
    dialog = page.get_by_role("dialog", name="Remove House models?")
    watch.expect(failed_load(409))
    await dialog.get_by_role("button", name="Remove").click()
    await expect(dialog.get_by_text("One user has a key there.")).to_be_visible()
    await assert_accessible(page)
    await dialog.get_by_role("button", name="Remove all the same").click()
    await expect(house).to_have_count(0)
    assert HOUSE not in site.ok.core.catalog
    await page.get_by_role("button", name="Undo").click()
    await expect(house).to_contain_text("https://other.example.com/v1")
    assert await site.ok.settings.list_credentials(ann.id)


async def test_the_server_says_which_field_of_a_provider_is_wrong(
    enter_own: Enter, watch: Watch, admin: Person
) -> None:
    watch.expect(failed_load(400, 409, 422))
    page = await enter_own(admin, "providers", path="/admin", viewport={"width": 320, "height": 800})
    await page.get_by_role("button", name="Add provider").click()
    dialog = page.get_by_role("dialog", name="Add a provider")
    await fill_provider(dialog, "https://models.example.com/v1")
    assert await find_layout_faults(page) == []
    await dialog.get_by_label("Id", exact=True).fill("Not An Id")
    await dialog.get_by_role("button", name="Add provider").click()
    await expect(dialog.get_by_label("Id", exact=True)).to_have_attribute("aria-invalid", "true")
    await dialog.get_by_label("Id", exact=True).fill("openai")
    await dialog.get_by_role("button", name="Add provider").click()
    await expect(dialog.locator(".wrong").get_by_role("alert")).to_contain_text("There is a provider of this name")
    await dialog.get_by_label("Id", exact=True).fill(HOUSE)
    await dialog.get_by_label("Address", exact=True).fill("http://169.254.169.254/v1")
    await dialog.get_by_role("button", name="Add provider").click()
    await expect(dialog.get_by_label("Address", exact=True)).to_have_attribute("aria-invalid", "true")
    await wait_until_settled(page)
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(page.locator("tbody tr").filter(has_text="House models")).to_have_count(0)
