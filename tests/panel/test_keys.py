"""The tab Keys: what a person does with their API keys and the order of their providers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from playwright.async_api import Locator, Page, expect

from ownkey.domain.credential import Credential
from ownkey.domain.policy import PolicyDocument
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import add_key, find_layout_faults, find_small_targets, wait_until_settled
from tests.panel.host_pages import wait_until_ready
from tests.panel.site import Person, Site
from tests.panel.test_admin import tampering
from tests.panel.watch import Watch, failed_load

GROQ = "gsk_keys_0000000000000000000000Ab12"
MISTRAL = "mistral_keys_000000000000000000Cd34"
CLAUDE = "sk-ant-api03-keys-00000000000000Ef56"


def card(page: Page, provider: str) -> Locator:
    """The card of a provider."""
    return page.locator(f'[data-item="{provider}"]')


async def lane(page: Page, name: str) -> list[str]:
    """The providers of a lane, first to last."""
    found: list[str] = await page.locator(f'[data-lane="{name}"] [data-item]').evaluate_all(
        "(items) => items.map((item) => item.dataset.item)"
    )
    return found


async def choose(page: Page, of: Locator, item: str) -> None:
    """Open a menu and choose from it."""
    await of.get_by_role("button", name="More for").first.click()
    await page.get_by_role("menuitem", name=item).click()


async def keys_of(site: Site, person: Person, provider: str) -> list[Credential]:
    """What is stored of somebody's keys at a provider, in order."""
    return [one for one in await site.ok.settings.list_credentials(person.id) if one.provider == provider]


async def drag(page: Page, provider: str, target: Locator, *, bottom: bool = False) -> None:
    """Drag a provider's handle over something, and do not let go."""
    start, end = await card(page, provider).locator(".keys-handle").bounding_box(), await target.bounding_box()
    assert start
    assert end
    await page.mouse.move(start["x"] + 10, start["y"] + 10)
    await page.mouse.down()
    await page.mouse.move(end["x"] + 40, end["y"] + (end["height"] - 8 if bottom else 5), steps=8)


@asynccontextmanager
async def allow_revealing(site: Site) -> AsyncIterator[None]:
    """For a moment, administrators let people see their stored keys."""
    admin = await site.admin()
    await site.ok.policies.put(admin.id, PolicyDocument(reveal_keys=True))
    try:
        yield
    finally:
        await site.ok.policies.put(admin.id, PolicyDocument())


async def chain(page: Page) -> list[str]:
    """The hops above the keys, as a person reads them."""
    return [" ".join(text.split()) for text in await page.locator(".keys-route .hop").all_inner_texts()]


@pytest.fixture
async def developer(site: Site) -> Person:
    return await site.person("developer", groq=GROQ, mistral=MISTRAL, anthropic=CLAUDE)


async def test_a_first_key_is_pasted_recognised_tested_and_stored_masked(
    enter: Enter, site: Site, watch: Watch
) -> None:
    person = await site.person("new")
    page = await enter(person)
    await expect(page.get_by_role("heading", name="No key of your own yet")).to_be_visible()
    await expect(page.get_by_role("heading", name="Two steps")).to_be_visible()
    site.secrets.append(GROQ)
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog", name="Add key")
    field = dialog.get_by_label("API key")
    await expect(field).to_be_focused()
    await field.fill(f'  "{GROQ}"\n')
    await expect(dialog.get_by_label("Provider")).to_have_value("groq")
    await expect(dialog.get_by_role("button", name="Groq")).to_have_attribute("aria-pressed", "true")
    await expect(field).to_have_attribute("type", "password")
    await dialog.get_by_role("button", name="Show what is typed").click()
    await expect(field).to_have_attribute("type", "text")
    assert await field.input_value() == GROQ, "spaces, quotes and line breaks around a key are not part of it"
    await dialog.get_by_role("button", name="Hide what is typed").click()
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(dialog).to_be_hidden()
    await expect(card(page, "groq").get_by_text("gsk_…Ab12")).to_be_visible()
    saved = page.get_by_role("status").get_by_text("Key for Groq saved.")
    await expect(saved).to_contain_text(re.compile(r"Works · \d+ models · [\d.]+ (ms|secs?)"))
    await expect(card(page, "groq").locator(".pill.good")).to_have_text(
        re.compile(r"Works · \d+ models · [\d.]+ (ms|secs?)")
    )
    (stored,) = await site.ok.settings.list_credentials(person.id)
    assert stored.status == "ok"


async def test_a_suggestion_never_refuses_a_provider(enter: Enter, site: Site) -> None:
    person = await site.person("stubborn")
    page = await enter(person)
    site.secrets.append(GROQ)
    await add_key(page, GROQ, provider="Mistral")
    await expect(card(page, "mistral")).to_be_visible()


async def test_a_wrong_key_is_told_and_saved_only_on_demand(enter: Enter, site: Site) -> None:
    person = await site.person("wrong")
    page = await enter(person)
    site.secrets.append(GROQ)
    site.providers.break_provider("groq", "bad_key")
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill(GROQ)
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(dialog.get_by_role("status").get_by_text("Wrong key")).to_be_visible()
    await assert_accessible(page)
    assert not await site.ok.settings.list_credentials(person.id)
    await dialog.get_by_role("button", name="Save anyway").click()
    await expect(dialog).to_be_hidden()
    await expect(card(page, "groq").get_by_text("Refused by the provider")).to_be_visible()
    await expect(card(page, "groq").get_by_role("button", name="Replace")).to_be_visible()


async def test_the_same_key_twice_is_refused_where_it_was_typed(
    enter: Enter, site: Site, developer: Person, watch: Watch
) -> None:
    watch.expect(failed_load(409))
    page = await enter(developer)
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill(GROQ)
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("already")
    await expect(dialog.get_by_label("API key")).to_have_attribute("aria-describedby", "secret-hint secret-error")


async def test_nothing_typed_is_a_fault_beside_the_field(enter: Enter, site: Site) -> None:
    page = await enter(await site.person("hasty"))
    await page.get_by_role("button", name="Add key").first.click()
    await page.get_by_role("button", name="Test and save").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("Paste a key first.")
    await assert_accessible(page)


async def test_order_by_drag_between_the_lanes(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer, viewport={"width": 1000, "height": 1300})
    assert await lane(page, "first") == ["groq", "mistral", "anthropic"]
    await drag(page, "anthropic", card(page, "groq"))
    await page.mouse.up()
    await expect(page.get_by_role("status").get_by_text("Order saved.")).to_be_visible()
    assert await lane(page, "first") == ["anthropic", "groq", "mistral"]
    wishes = {one.provider: one.priority for one in await site.ok.settings.list_preferences(developer.id)}
    assert sorted(wishes, key=lambda one: wishes[one]) == ["anthropic", "groq", "mistral"]
    # Into the empty lane, and back by the undo button.
    await page.locator(".notice").get_by_role("button", name="Close").click()
    await drag(page, "groq", page.locator('[data-lane="backup"]'), bottom=True)
    await page.mouse.up()
    await expect(page.locator('[data-lane="backup"] [data-item="groq"]')).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator('[data-lane="first"] [data-item="groq"]')).to_be_visible()


async def test_a_drag_that_is_given_up_changes_nothing(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    await drag(page, "anthropic", card(page, "groq"))
    assert await lane(page, "first") == ["anthropic", "groq", "mistral"]
    await page.keyboard.press("Escape")
    await page.mouse.up()
    assert await lane(page, "first") == ["groq", "mistral", "anthropic"]


async def test_order_by_keyboard_alone(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    handle = card(page, "groq").get_by_role("button", name="Move Groq")
    await handle.focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_text("Groq: 2 of 3 in “Use first”.")).to_be_attached()
    await expect(handle).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_text("Groq: 1 of 1 in “Only as backup”.")).to_be_attached()
    await expect(page.get_by_role("status").get_by_text("Order saved.")).to_be_visible()
    (wish,) = [one for one in await site.ok.settings.list_preferences(developer.id) if one.provider == "groq"]
    assert wish.backup_only


async def test_order_by_menu(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    await choose(page, card(page, "mistral"), "Move up")
    await expect(page.get_by_role("status").get_by_text("Order saved.")).to_be_visible()
    assert await lane(page, "first") == ["mistral", "groq", "anthropic"]
    await choose(page, card(page, "mistral"), "Move to “Only as backup”")
    await expect(page.locator('[data-lane="backup"] [data-item="mistral"]')).to_be_visible()


async def test_the_chain_says_where_a_request_goes_and_who_pays(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    hops = await chain(page)
    assert [hop.split(" ")[1] for hop in hops[:3]] == ["Groq", "Mistral", "Anthropic"]
    assert all("your key" in hop for hop in hops[:3])
    assert any("shared key" in hop for hop in hops[3:])
    await card(page, "groq").get_by_role("switch", name="Use Groq").click()
    await expect(page.locator(".keys-route .hop").first).to_contain_text("Mistral")


async def test_models_are_fetched_with_the_key_and_one_is_chosen(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    await choose(page, card(page, "mistral"), "Choose the model")
    dialog = page.get_by_role("dialog")
    await wait_until_settled(page)
    options = dialog.get_by_role("option")
    await expect(options.nth(1)).to_be_visible()
    await assert_accessible(page)
    chosen = (await options.nth(1).inner_text()).split("\n")[0].strip()
    await options.nth(1).click()
    await expect(dialog).to_be_hidden()
    await expect(card(page, "mistral")).to_contain_text(chosen)
    (wish,) = [one for one in await site.ok.settings.list_preferences(developer.id) if one.provider == "mistral"]
    assert wish.default_model == chosen


async def test_several_keys_of_one_provider(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    second = "gsk_keys_0000000000000000000000Zz99"
    site.secrets.append(second)
    await choose(page, card(page, "groq"), "Add another key")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill(second)
    await dialog.get_by_text("Name and expiry").click()
    await dialog.get_by_label("Name").fill("second")
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(dialog).to_be_hidden()
    rows = card(page, "groq").locator(".keys-key")
    await expect(rows).to_have_count(2)
    await choose(page, rows.nth(1), "Use before the others")
    await expect(rows.first).to_contain_text("second")
    first, _ = await keys_of(site, developer, "groq")
    assert first.label == "second"


async def test_edit_disable_replace_and_remove(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    row = card(page, "groq").locator(".keys-key")
    await choose(page, row, "Edit")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("work")
    await dialog.get_by_label("Expires").select_option("on a day…")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_have_text("Choose a day.")
    await dialog.get_by_label("Last day").fill((datetime.now(UTC) + timedelta(days=20)).date().isoformat())
    await dialog.get_by_role("button", name="Save").click()
    await expect(row).to_contain_text("work")
    await expect(row).to_contain_text("expires")
    await choose(page, row, "Disable")
    await expect(row).to_contain_text("Disabled")
    await choose(page, row, "Enable")
    await expect(row).to_contain_text("Not tested yet")
    fresh = "gsk_keys_0000000000000000000000Nw77"
    site.secrets.append(fresh)
    await choose(page, row, "Replace")
    await page.get_by_role("dialog").get_by_label("API key").fill(fresh)
    await page.get_by_role("dialog").get_by_role("button", name="Test and save").click()
    await expect(row).to_contain_text("…Nw77")
    await expect(row).to_contain_text("work")
    await choose(page, row, "Remove")
    dialog = page.get_by_role("dialog", name="Remove Groq · work?")
    await expect(dialog).to_contain_text("stays valid at the provider")
    await dialog.get_by_role("button", name="Remove").click()
    await expect(card(page, "groq")).to_have_count(0)
    assert not await keys_of(site, developer, "groq")


async def test_removing_a_key_names_the_tasks_that_are_bound_to_it(enter: Enter, site: Site, developer: Person) -> None:
    (key,) = await keys_of(site, developer, "groq")
    await site.ok.settings.put_task_override(developer.id, "coding", "groq", credential_id=key.id)
    page = await enter(developer)
    await choose(page, card(page, "groq").locator(".keys-key"), "Remove")
    await expect(page.get_by_role("dialog")).to_contain_text("Coding")
    await assert_accessible(page)
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(card(page, "groq")).to_have_count(0)


async def test_testing_all_keys_gives_each_its_own_result(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    site.providers.break_provider("mistral", "no_credit")
    await page.get_by_role("button", name="Test all").click()
    await expect(card(page, "mistral")).to_contain_text("Out of credit")
    mistral = card(page, "mistral")
    await expect(mistral).to_contain_text("has no credit at Mistral. Top it up: that is noticed by itself.")
    await expect(mistral.get_by_role("link", name="Credit at Mistral")).to_have_attribute(
        "href", "https://admin.mistral.ai/organization/billing"
    )
    await expect(mistral.locator(".keys-facts")).to_contain_text(re.compile("tried again by itself in 1[4-8] minutes"))
    await expect(card(page, "groq")).to_contain_text(re.compile(r"Works · \d+ models · [\d.]+ (ms|secs?)"))
    await page.reload()
    await wait_until_ready(page)
    await expect(card(page, "groq").locator(".keys-facts")).to_contain_text("tested now")
    await expect(card(page, "groq").locator(".pill.good")).to_have_text("Works")


async def test_a_key_that_rests_says_what_is_next_in_line(enter: Enter, site: Site, developer: Person) -> None:
    site.providers.break_provider("groq", "rate_limited")
    page = await enter(developer)
    await choose(page, card(page, "groq").locator(".keys-key"), "Test")
    await expect(card(page, "groq")).to_contain_text("Rate-limited until")
    await expect(card(page, "groq")).to_contain_text("Skipped for now. Next in line: Mistral, your key.")
    site.providers.break_provider("anthropic", "bad_key")
    await choose(page, card(page, "anthropic").locator(".keys-key"), "Test")
    await expect(card(page, "anthropic")).to_contain_text("Next in line: Groq, shared key.")
    site.providers.break_provider("mistral", "no_credit")
    await choose(page, card(page, "mistral").locator(".keys-key"), "Test")
    await expect(card(page, "mistral")).to_contain_text("Out of credit")
    await expect(card(page, "mistral")).to_contain_text("Skipped for now. Next in line: Groq, shared key.")
    assert not any("Mistral" in hop for hop in await chain(page))
    # Somebody has paid; whether enough, only a request can tell.
    site.providers.fix("mistral")
    await choose(page, card(page, "mistral").locator(".keys-key"), "Test")
    await expect(card(page, "mistral")).to_contain_text(
        "Whether the account has credit again shows at the next request"
    )
    assert any("Mistral" in hop for hop in await chain(page))
    await expect(card(page, "mistral")).not_to_contain_text("Skipped for now")


async def test_a_key_ends_after_a_while_and_is_marked_before(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    row = card(page, "groq").locator(".keys-key")
    for choice, shown, tone in (
        ("in 90 days", "expires in 2 months", ""),
        ("in 7 days", "expires in 7 days", "warn"),
        ("in 30 minutes", "expires in 29 minutes", "bad"),
    ):
        await choose(page, row, "Edit")
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Expires").select_option(choice)
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog).to_be_hidden()
        await expect(row.locator(f".pill.{tone}" if tone else ".keys-facts")).to_contain_text(shown)
    (before,) = await keys_of(site, developer, "groq")
    await choose(page, row, "Edit")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Expires").locator("option:checked")).to_contain_text("As now")
    await dialog.get_by_label("Name").fill("soon gone")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row).to_contain_text("soon gone")
    (after,) = await keys_of(site, developer, "groq")
    assert after.expires_at == before.expires_at, "another name does not move the end"
    await choose(page, row, "Edit")
    await page.get_by_role("dialog").get_by_label("Expires").select_option("never")
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await expect(row).not_to_contain_text("expires")
    assert (await keys_of(site, developer, "groq"))[0].expires_at is None


async def test_a_key_that_cannot_be_read_asks_to_be_entered_again(
    enter: Enter, site: Site, developer: Person, watch: Watch
) -> None:
    """As after a wrapping key was lost: nothing crashes, the card stays, and a new key takes its place."""
    (key,) = await keys_of(site, developer, "groq")
    async with tampering(site) as database:
        await database.execute(
            "update ownkey_private.credential_secrets set sealed = sealed || '\\x00' where credential_id = $1",
            UUID(key.id),
        )
    await site.ok.manager.clear_user_settings(developer.id)
    watch.expect(failed_load(424))
    page = await enter(developer)
    row = card(page, "groq").locator(".keys-key")
    await choose(page, row, "Test")
    await expect(row).to_contain_text("The stored key cannot be opened any more. Enter it again.")
    await expect(row).to_contain_text("Next in line: Mistral")
    await assert_accessible(page)
    fresh = "gsk_keys_0000000000000000000000Fr55"
    site.secrets.append(fresh)
    await row.get_by_role("button", name="Replace").click()
    await page.get_by_role("dialog").get_by_label("API key").fill(fresh)
    await page.get_by_role("dialog").get_by_role("button", name="Test and save").click()
    await expect(row).to_contain_text("…Fr55")
    await expect(row).to_contain_text("Works")
    (now,) = await keys_of(site, developer, "groq")
    assert (now.id, now.status) == (key.id, "ok")


async def test_a_change_in_another_window_is_not_overwritten(
    enter: Enter, site: Site, developer: Person, watch: Watch
) -> None:
    watch.expect(failed_load(412))
    page = await enter(developer)
    await site.ok.settings.put_preference(developer.id, "mistral", priority=1, backup_only=True)
    await choose(page, card(page, "groq"), "Move down")
    await expect(page.get_by_role("alert")).to_contain_text("changed")
    await expect(page.locator('[data-lane="backup"] [data-item="mistral"]')).to_be_visible()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_stored_key_is_shown_again_only_where_administrators_allow_it(
    enter_own: Enter, site: Site, watch: Watch, hours: int
) -> None:
    """For half a minute, whatever the time is by the clock of the person's machine."""
    secret = f"gsk_keys_shown_again_0000000000Rv{hours + 40}"
    person = await site.person(f"curious{hours}")
    await site.ok.settings.add_credential(person.id, "groq", secret)
    page = await enter_own(person)
    await card(page, "groq").locator(".keys-key").get_by_role("button", name="More for").click()
    await expect(page.get_by_role("menuitem", name="Replace")).to_be_visible()
    await expect(page.get_by_role("menuitem", name="Show stored key")).to_have_count(0)
    await page.keyboard.press("Escape")
    async with allow_revealing(site):
        await page.reload()
        await wait_until_ready(page)
        await page.clock.install(time=datetime.now(UTC) + timedelta(hours=hours))
        await choose(page, card(page, "groq").locator(".keys-key"), "Show stored key")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text(secret)
        await page.clock.run_for(5_000)
        await expect(dialog).to_contain_text(secret)
        await assert_accessible(page)
        await page.clock.run_for(31_000)
        await expect(dialog).to_be_hidden()
    assert secret not in await page.content()
    (seen,) = [one for one in await site.ok.audit.list_entries(person.id) if one.action == "credential.revealed"]
    assert seen.actor == person.id


async def test_accessible_with_dialogs_and_menus_in_light_and_dark(enter: Enter, site: Site, developer: Person) -> None:
    page = await enter(developer)
    await assert_accessible(page)
    await page.get_by_role("button", name="Add key").first.click()
    await page.get_by_role("dialog").get_by_text("Name and expiry").click()
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.get_by_role("button", name="Add key").first).to_be_focused()
    await choose(page, card(page, "groq").locator(".keys-key"), "Edit")
    await page.get_by_role("dialog").get_by_label("Expires").select_option("on a day…")
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await card(page, "groq").get_by_role("button", name="More for").first.click()
    await assert_accessible(page)


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
async def test_fits_a_narrow_column(enter: Enter, site: Site, developer: Person, direction: str) -> None:
    page = await enter(developer, html=f'lang="de" dir="{direction}"', viewport={"width": 320, "height": 800})
    assert await find_layout_faults(page) == []
    assert await find_small_targets(page) == []
