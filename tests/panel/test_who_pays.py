"""What is said where money, consent or a typed number stand in the way: the reason, once, and the way out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Locator, Page, expect

from ownkey.domain.budget import Allowance, Budgets, Caps, Limits
from ownkey.domain.policy import PolicyDocument, SharedAccess
from ownkey.domain.settings import Payer, PayerRule
from ownkey.domain.usage import new_id
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Decide, Enter
from tests.panel.driver import find_layout_faults, find_small_targets, open_tab, wait_until_settled
from tests.panel.money import DOLLAR, spend
from tests.panel.site import Person, Site
from tests.panel.watch import Watch, failed_load

KEY = "gsk_whopays_00000000000000000001"


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key at Groq, behind which stand the operator's."""
    return await site.person("payer", groq=KEY)


@pytest.fixture
async def admin(site: Site) -> Person:
    return await site.admin("decider")


def route_box(page: Page) -> Locator:
    return page.get_by_role("region", name="Where a request goes now")


# Typed numbers


@pytest.mark.parametrize(
    ("locale", "typed", "told"),
    [
        ("en", "3.5", "Not a whole number."),
        ("en", "12.34", "Not a whole number."),
        ("en", "1.2.3", "Not a whole number."),
        ("en", "1.000", "Not a whole number."),
        ("en", "12,34", "Not a whole number."),
        ("en", "0", "At least 1."),
        ("en", "1000001", "At most 1,000,000."),
        ("de", "3,5", "Keine ganze Zahl."),
        ("de", "1,000", "Keine ganze Zahl."),
        ("es", "0", "Como mínimo 1."),
    ],
)
async def test_what_is_no_whole_number_is_not_made_one(
    enter_own: Enter, site: Site, admin: Person, decide: Decide, locale: str, typed: str, told: str
) -> None:
    await decide()
    page = await enter_own(admin, "policy", path="/admin", locale=locale)
    await page.locator("#limit-requests").fill(typed)
    await expect(page.locator("#limit-requests-error")).to_have_text(told)
    await page.locator(".policy-bar .primary").or_(page.locator("#limit-requests")).first.press("Enter")
    assert (await site.ok.policies.get(admin.id)).document == PolicyDocument()


@pytest.mark.parametrize(
    ("locale", "typed", "number"),
    [("en", "1,234", 1234), ("de", "1.234", 1234), ("es", "1.234", 1234), ("en", "12 345", 12_345), ("de", "60", 60)],
)
async def test_whole_numbers_are_read_as_people_write_them(
    enter_own: Enter, site: Site, admin: Person, decide: Decide, locale: str, typed: str, number: int
) -> None:
    await decide()
    page = await enter_own(admin, "policy", path="/admin", locale=locale)
    await page.locator("#limit-requests").fill(typed)
    await page.keyboard.press("Enter")
    await expect(page.locator(".policy-bar")).to_have_count(0)
    assert (await site.ok.policies.get(admin.id)).document.limits == Limits(requests_per_minute=number)


async def test_the_length_of_a_request_that_is_tried_is_a_whole_number(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    await page.get_by_label("Its length").fill("3.5")
    await expect(page.locator(".fault")).to_have_text("Not a whole number.")
    await page.get_by_label("Its length").fill("3,500")
    await expect(page.locator(".fault")).to_have_count(0)


async def test_an_amount_beyond_the_most_says_the_most(
    enter: Enter, enter_own: Enter, person: Person, admin: Person, decide: Decide
) -> None:
    await decide()
    page = await enter_own(admin, "policy", path="/admin")
    await page.get_by_label("Each user: Per day").fill("99999999999")
    await expect(page.locator(".fault")).to_have_text("At most $1,000,000,000.")
    page = await enter(person, "usage")
    await page.get_by_role("button", name="Set a cap").click()
    await page.get_by_label("Per month").fill("99999999999")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text(
        "Enter $1,000,000,000 at most, or nothing."
    )


async def test_limits_that_are_never_reached_are_hinted_at_and_saved(
    enter: Enter, enter_own: Enter, site: Site, person: Person, admin: Person, decide: Decide
) -> None:
    await decide()
    page = await enter_own(admin, "policy", path="/admin")
    await page.get_by_label("Each user: Per day").fill("5")
    await page.get_by_label("Each user: Per month").fill("3")
    await page.get_by_label("Everybody together: Per day").fill("4")
    await expect(page.locator("#budget-per_user-month-hint")).to_contain_text("Less than the day’s limit")
    await expect(page.locator("#budget-total-day-hint")).to_contain_text("Less than the limit of a user or group")
    await assert_accessible(page)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Policy saved. It is in force.")).to_be_visible()
    budgets = (await site.ok.policies.get(admin.id)).document.budgets
    assert budgets.total == Allowance(day_microdollars=4 * DOLLAR)
    page = await enter(person, "usage")
    await page.get_by_role("button", name="Set a cap").click()
    await page.get_by_label("Per day").fill("5")
    await page.get_by_label("Per month").fill("3")
    await expect(page.get_by_text("It is less than the day’s cap")).to_be_visible()
    await page.get_by_label("Per month").fill("50")
    await expect(page.get_by_text("It is less than the day’s cap")).to_have_count(0)


# Groups


async def test_a_group_that_was_typed_is_not_lost_and_says_how_it_is_called(
    enter_own: Enter, site: Site, admin: Person, person: Person, decide: Decide
) -> None:
    await decide()
    await site.ok.users.set_group(person.id, "painters")
    page = await enter_own(admin, "policy", path="/admin")
    await page.get_by_label("New group").focus()
    await expect(page.locator("#budget-groups option[value=painters]")).to_have_count(1)
    await page.get_by_label("New group").fill("Research")
    await page.get_by_label("Calls a minute").fill("7")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".fault")).to_have_text("Add this group first, or empty the field.")
    await expect(page.get_by_label("New group")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".fault")).to_have_count(0)
    await expect(page.get_by_text("“Research” is called “research” here")).to_be_visible()
    await page.get_by_label("Group research: Per day").fill("many")
    await page.get_by_role("button", name="Remove the budget of research").click()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Policy saved. It is in force.")).to_be_visible()
    stored = (await site.ok.policies.get(admin.id)).document
    assert (stored.budgets, stored.limits) == (Budgets(), Limits(requests_per_minute=7))


async def test_a_group_without_money_is_told_where_a_user_is_put_into_it(
    enter_own: Enter, admin: Person, person: Person, decide: Decide
) -> None:
    await decide(budgets=Budgets(groups={"editors": Allowance(day_microdollars=DOLLAR)}))
    page = await enter_own(admin, "users", path="/admin")
    await page.get_by_label("Search by name").fill(person.id)
    row = page.locator("tbody tr").filter(has_text=person.id)
    await row.get_by_role("button", name="More for").click()
    await page.get_by_role("menuitem", name="Put into a group").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.locator("#groups option[value=editors]")).to_have_count(1)
    await dialog.get_by_label("Group").fill("Sculptors")
    await expect(dialog.locator("#group-hint")).to_have_text(
        re.compile("It is called “sculptors”.*The group “sculptors” has no budget")
    )
    await dialog.get_by_label("Group").fill("editors")
    await expect(dialog.locator("#group-hint")).to_have_text("Empty: in none.")
    await assert_accessible(page)


# Whom shared keys serve


async def test_names_of_nobody_on_the_list_are_said_and_can_be_saved(
    enter_own: Enter, site: Site, admin: Person, decide: Decide
) -> None:
    await decide()
    somebody = await site.person("alice")
    slip = somebody.id.replace("alice", "alcie")
    page = await enter_own(admin, "policy", path="/admin")
    await page.get_by_label("Only these users").check()
    names = page.get_by_label("User ids, one per line")
    await names.fill(f"{slip}\nnobody-at-all")
    told = page.locator("#policy-strangers")
    await expect(told).to_contain_text(f"No such user: {slip}.")
    await expect(told).to_contain_text("No such user: nobody-at-all.")
    await expect(told).to_contain_text("may be created later")
    await assert_accessible(page)
    await told.get_by_role("button", name=f"Did you mean {somebody.id}?").click()
    await expect(names).to_have_value(f"{somebody.id}\nnobody-at-all")
    await expect(told).not_to_contain_text(slip)
    await page.get_by_label("Find a user").press_sequentially(admin.id[:5])
    await expect(page.locator(f"#policy-known-users option[value={admin.id}]")).to_have_count(1)
    await page.get_by_label("Find a user").fill(admin.id)
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Find a user")).to_have_value("")
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await find_layout_faults(page) == []
    assert await find_small_targets(page) == []
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Policy saved. It is in force.")).to_be_visible()
    shared = (await site.ok.policies.get(admin.id)).document.shared
    assert shared == SharedAccess(access="listed", users=tuple(sorted([somebody.id, "nobody-at-all", admin.id])))


# Nowhere


async def test_a_cap_that_stops_everything_is_said_among_the_keys(enter: Enter, site: Site, person: Person) -> None:
    await site.ok.settings.update_settings(person.id, payer="own_only", caps=Caps(day_microdollars=DOLLAR))
    await spend(site, person, DOLLAR)
    page = await enter(person, viewport={"width": 390, "height": 844})
    await expect(route_box(page)).to_contain_text(
        "Nowhere now. Too little is left of your cap for today; it begins anew"
    )
    assert await find_layout_faults(page) == []
    assert await find_small_targets(page) == []
    await assert_accessible(page)
    await open_tab(page, "routing")
    await expect(page.get_by_role("row").filter(has_text="task:coding")).to_contain_text("cap for today")
    result = page.locator(".routing-result")
    await expect(result).to_contain_text("It would fail at once. Too little is left of your cap for today")
    await expect(page.get_by_text("It would fail at once")).to_have_count(1)
    await open_tab(page, "keys")
    await route_box(page).get_by_role("button", name="Your caps").press("Enter")
    await expect(page.get_by_role("button", name="Change caps")).to_be_visible()


async def test_a_spent_budget_is_said_to_whoever_has_no_key(
    enter: Enter, site: Site, person: Person, decide: Decide
) -> None:
    newcomer = await site.person("newcomer")
    await decide(budgets=Budgets(per_user=Allowance(month_microdollars=DOLLAR)))
    await spend(site, newcomer, DOLLAR, payer=Payer.SHARED, provider="openai", model="gpt-4o-mini")
    page = await enter(newcomer)
    await expect(route_box(page)).to_contain_text(
        "Nowhere now. A budget of your administrator’s money has too little left"
    )
    await expect(page.get_by_text("Until you add one, your requests run on")).to_have_count(0)
    await route_box(page).get_by_role("button", name="What is left").click()
    await expect(page.get_by_role("heading", name="Limits")).to_be_visible()


@pytest.mark.parametrize(("lang", "now"), [("de", "Zurzeit nirgendwohin."), ("es", "Ahora, a ninguna parte.")])
async def test_a_key_that_rests_is_the_reason_wherever_a_route_is_shown(
    enter: Enter, site: Site, person: Person, lang: str, now: str
) -> None:
    await site.ok.settings.update_settings(person.id, payer="own_only")
    site.providers.break_provider("groq", "no_credit")
    [key] = await site.ok.settings.list_credentials(person.id)
    await site.ok.settings.test_credential(person.id, key.id)
    page = await enter(person, html=f'lang="{lang}"')
    await expect(page.locator(".keys-nowhere")).to_contain_text(f"{now} Groq: ")
    await open_tab(page, "routing")
    await expect(page.locator(".routing-result")).to_contain_text("Groq: ")
    reason = await page.locator(".routing-result").inner_text()
    await expect(page.get_by_role("row").filter(has_text="task:chat")).to_contain_text(reason.split(". ", 1)[1][:30])


async def test_whoever_has_nothing_is_led_not_warned(enter: Enter, site: Site, decide: Decide) -> None:
    await decide(shared=SharedAccess(access="nobody"))
    newcomer = await site.person("newcomer")
    page = await enter(newcomer)
    await expect(page.get_by_role("button", name="Add key")).to_be_visible()
    await expect(route_box(page)).to_have_count(0)


# Consent


async def test_consent_can_be_refused_and_that_can_be_undone(
    enter: Enter, site: Site, person: Person, decide: Decide
) -> None:
    await decide(shared=SharedAccess(consent=True))
    page = await enter(person, viewport={"width": 390, "height": 844})
    question = page.get_by_role("region", name="May shared keys serve you?")
    waiting = page.locator(".keys-shared li")
    await expect(waiting.first).to_contain_text("waits for you to agree")
    await expect(waiting.get_by_role("switch")).to_have_count(0)
    await expect(page.get_by_text("They are used behind")).to_have_count(0)
    assert await find_layout_faults(page) == []
    assert await find_small_targets(page) == []
    await assert_accessible(page)
    await question.get_by_role("button", name="No, only my own keys").press("Enter")
    await expect(question).to_have_count(0)
    assert (await site.ok.manager.get_snapshot(person.id)).settings.payer is PayerRule.OWN_ONLY
    await page.get_by_role("button", name="Undo").click()
    await expect(question).to_be_visible()
    await question.get_by_role("button", name="Agree").click()
    await expect(waiting.get_by_role("switch")).to_have_count(2)
    await expect(page.get_by_text("They are used behind your own keys")).to_be_visible()


async def test_where_the_payer_is_locked_consent_is_not_refused_that_way(
    enter: Enter, person: Person, decide: Decide
) -> None:
    await decide(shared=SharedAccess(consent=True), locks=("payer",))
    page = await enter(person)
    question = page.get_by_role("region", name="May shared keys serve you?")
    await expect(question.get_by_role("button")).to_have_text(["Agree"])


async def test_administrators_are_told_that_they_lend(enter_own: Enter, admin: Person, decide: Decide) -> None:
    await decide()
    page = await enter_own(admin)
    await expect(page.get_by_text("You and the other administrators lend these.")).to_be_visible()
    await expect(page.get_by_text("Your administrator lends")).to_have_count(0)
    await expect(page.get_by_text("on the keys that you share with all users")).to_be_visible()


# Usage


async def test_whoever_refuses_shared_money_sees_none_of_it(
    enter: Enter, site: Site, person: Person, decide: Decide
) -> None:
    await decide(
        budgets=Budgets(
            per_user=Allowance(day_microdollars=2 * DOLLAR), total=Allowance(day_microdollars=1_000 * DOLLAR)
        ),
        limits=Limits(requests_per_minute=30),
    )
    await site.ok.settings.update_settings(person.id, payer="own_only", caps=Caps(day_microdollars=DOLLAR))
    page = await enter(person, "usage")
    await expect(page.locator(".limits-card h3")).to_have_text(["Your cap for today"])
    await spend(site, person, DOLLAR, payer=Payer.SHARED, provider="openai", model="gpt-4o-mini")
    page = await enter(person, "usage")
    await expect(page.locator(".limits-card")).to_have_count(4)


async def test_a_request_has_an_address_and_says_its_price_in_words(
    enter_own: Enter, site: Site, person: Person, watch: Watch
) -> None:
    await spend(site, person, 30_000, price_version="own price of openai/gpt-5* since 2026-11-27 times 1.5")
    page = await enter_own(person, "usage")
    await page.locator(".usage-requests tbody tr").first.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.locator("li")).to_contain_text(
        "the usual price times 1.5, as the operator set it for openai/gpt-5*, in force since Nov 27, 2026"
    )
    [shown] = re.findall(r"#usage/([\w-]+)$", page.url)
    await page.reload()
    await expect(dialog).to_contain_text(shown)
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    assert page.url.endswith("#usage")
    await page.reload()
    await wait_until_settled(page)
    await expect(page.get_by_role("tab", name="Usage")).to_have_attribute("aria-selected", "true")
    await expect(dialog).to_have_count(0)
    watch.expect(failed_load(404))
    await page.evaluate(f"location.hash = 'usage/{new_id()}'")
    await expect(page.locator(".notice")).to_be_visible()
    await expect(dialog).to_have_count(0)
    assert page.url.endswith("#usage")


# Days


async def test_tomorrow_is_tomorrow_by_the_calendar_of_the_person(enter: Enter, site: Site, person: Person) -> None:
    [key] = await site.ok.settings.list_credentials(person.id)
    await site.ok.settings.update_credential(person.id, key.id, expires_at=datetime.now(UTC) + timedelta(hours=47))
    page = await enter(person, timezone_id="Etc/UTC")
    days = (datetime.now(UTC) + timedelta(hours=47)).date() - datetime.now(UTC).date()
    expected = {1: "expires tomorrow", 2: "expires in 2 days"}[days.days]
    await expect(page.locator(".keys-key")).to_contain_text(expected)
