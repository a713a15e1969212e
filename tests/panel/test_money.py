"""Whose money it is and how much of it is left: caps, budgets, consent, prices of routes, what is lent."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from ownkey.domain.budget import Allowance, Budgets, CapAction, Caps, Limits
from ownkey.domain.policy import PolicyDocument, SharedAccess
from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, TokensSource, new_id
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Decide, Enter
from tests.panel.driver import find_layout_faults, find_small_targets, open_tab, wait_until_settled
from tests.panel.host_pages import open_panel, put_plain
from tests.panel.hosts import Host
from tests.panel.money import DOLLAR, spend
from tests.panel.site import Person, Site
from tests.panel.watch import Watch, failed_load

KEY = "gsk_money_0000000000000000000001"


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key at Groq, behind which stand the operator's."""
    return await site.person("payer", groq=KEY)


@pytest.fixture
async def admin(site: Site) -> Person:
    return await site.admin("lender")


def line(page: Page, name: str) -> Locator:
    """One limit in the tab Usage."""
    return page.locator(".limits-card").filter(has=page.get_by_role("heading", name=name, exact=True))


async def set_caps(page: Page, *, day: str, month: str, action: str = "Stop") -> Locator:
    await page.get_by_role("button", name=re.compile("Set a cap|Change caps")).click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Per day").fill(day)
    await dialog.get_by_label("Per month").fill(month)
    await dialog.get_by_label(action).check()
    await dialog.get_by_role("button", name="Save").click()
    return dialog


async def test_a_cap_of_ones_own_is_set_and_shows_what_is_left(enter: Enter, site: Site, person: Person) -> None:
    await spend(site, person, DOLLAR, 700_000)
    page = await enter(person, "usage")
    await expect(page.get_by_text("Nothing limits what you spend on your own keys.")).to_be_visible()
    await expect(page.locator(".limits-card")).to_have_count(0)
    dialog = await set_caps(page, day="2", month="$ 1,000.50", action="Only warn")
    await expect(dialog).to_be_hidden()
    await expect(line(page, "Your cap for today")).to_contain_text("$1.70 of $2.00 spent · $0.30 left · only warns")
    await expect(line(page, "Your cap for today").locator(".pill.warn")).to_have_text("nearly used up")
    await expect(line(page, "Your cap for today")).to_contain_text(re.compile("begins anew (in|this|now)"))
    await expect(line(page, "Your cap for this month")).to_contain_text("$1.70 of $1,000.50 spent")
    settings = (await site.ok.manager.get_snapshot(person.id)).settings
    assert settings.caps == Caps(day_microdollars=2 * DOLLAR, month_microdollars=1_000_500_000, action=CapAction.WARN)
    await assert_accessible(page)

    dialog = await set_caps(page, day="1.5", month="")
    await expect(dialog).to_be_hidden()
    await expect(line(page, "Your cap for today").locator(".pill.bad")).to_have_text("used up")
    await expect(line(page, "Your cap for this month")).to_have_count(0)
    await open_tab(page, "routing")
    dropped = page.locator(".skipped-list li").filter(has_text="Groq").filter(has_text="your key")
    await expect(dropped).to_contain_text("Your own cap has too little left, until")
    await expect(page.locator(".routing-result")).to_contain_text("paid by: shared key")


async def test_an_amount_that_is_none_is_said_where_it_stands(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "usage")
    for typed in ("lots", "-3", "1.2.3", "0.1234567"):
        dialog = await set_caps(page, day="1", month=typed)
        await expect(dialog.get_by_role("alert")).to_have_text("Enter an amount such as 5 or 12.50, or nothing.")
        await expect(dialog.get_by_label("Per month")).to_be_focused()
        await expect(dialog.get_by_label("Per month")).to_have_attribute("aria-invalid", "true")
        if typed == "lots":
            await assert_accessible(page)
        await page.keyboard.press("Escape")
    assert (await site.ok.manager.get_snapshot(person.id)).settings.caps == Caps()


@pytest.mark.parametrize(
    ("locale", "typed", "shown", "micro"),
    [
        ("de", "1.234,5", "1234,50", 1_234_500_000),
        ("de", "12.50", "12,50", 12_500_000),
        ("es", "0,000001", "0,000001", 1),
        ("en", "1,000", "1000", 1_000 * DOLLAR),
        ("en", ".5", "0.50", 500_000),
    ],
)
async def test_amounts_are_read_as_people_write_them(
    enter: Enter, site: Site, person: Person, locale: str, typed: str, shown: str, micro: int
) -> None:
    page = await enter(person, "usage", html=f'lang="{locale}"')
    opener = page.locator(".limits header button")
    await opener.click()
    await page.locator("#limits-day").fill(typed)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    assert (await site.ok.manager.get_snapshot(person.id)).settings.caps.day_microdollars == micro
    await opener.click()
    await expect(page.locator("#limits-day")).to_have_value(shown)


async def test_what_is_lent_says_what_is_left_of_it(enter: Enter, site: Site, person: Person, decide: Decide) -> None:
    await decide(
        budgets=Budgets(
            per_user=Allowance(day_microdollars=DOLLAR),
            groups={"writers": Allowance(month_microdollars=4 * DOLLAR)},
            total=Allowance(month_microdollars=10_000 * DOLLAR),
        ),
        limits=Limits(requests_per_minute=30),
    )
    await site.ok.users.set_group(person.id, "writers")
    await spend(site, person, 1_200_000, payer=Payer.SHARED, provider="openai", model="gpt-4o-mini")
    page = await enter(person, "usage")
    await expect(line(page, "Shared keys, today")).to_contain_text("$1.20 of $1.00 spent · $0.00 left")
    await expect(line(page, "Shared keys, today").locator(".pill.bad")).to_have_text("used up")
    await expect(line(page, "Shared keys of your group, this month")).to_contain_text("$1.20 of $4.00 spent")
    # What everybody together spends is the operator's business.
    await expect(line(page, "Shared keys, all users together, this month")).to_contain_text("not used up yet")
    await expect(line(page, "Shared keys, all users together, this month")).not_to_contain_text("$")
    await expect(line(page, "Calls on shared keys, this minute")).to_contain_text("0 of 30 used")
    await assert_accessible(page)
    await open_tab(page, "routing")
    for provider in ("Groq", "OpenAI"):
        dropped = page.locator(".skipped-list li").filter(has_text=provider).filter(has_text="shared key").first
        await expect(dropped).to_contain_text("A budget of your administrator’s money has too little left, until")
    await expect(page.locator(".routing-result")).to_contain_text("paid by: your key")


async def test_whoever_only_looks_at_usage_sets_no_cap(site: Site, person: Person, host: Host, watch: Watch) -> None:
    await site.ok.settings.update_settings(person.id, caps=Caps(day_microdollars=DOLLAR))
    watch.expect(failed_load(403))
    host.token = await site.panel_token(person, host, scopes=("usage",))
    page = await watch.new_page()
    await open_panel(page, put_plain(host, site.url))
    await wait_until_settled(page)
    await expect(line(page, "Your cap for today")).to_be_visible()
    await expect(page.locator(".limits button")).to_have_count(0)


async def test_shared_money_is_not_used_before_somebody_has_agreed(
    enter: Enter, site: Site, person: Person, decide: Decide
) -> None:
    await decide(shared=SharedAccess(consent=True))
    page = await enter(person)
    question = page.get_by_role("region", name="May shared keys serve you?")
    await expect(question).to_contain_text("lends you keys for OpenAI and Groq")
    hops = page.get_by_role("list", name="Order in which").get_by_role("listitem")
    await expect(hops).to_have_count(2)
    await assert_accessible(page)
    await open_tab(page, "routing")
    dropped = page.locator(".skipped-list li").filter(has_text="OpenAI gpt")
    await expect(dropped).to_contain_text("You have not agreed to the shared keys yet")

    await open_tab(page, "keys")
    await question.get_by_role("button", name="Agree").click()
    await expect(question).to_have_count(0)
    await expect(hops).to_have_count(4)
    assert (await site.ok.manager.get_snapshot(person.id)).settings.shared_consent_at is not None
    agreed = page.get_by_text(re.compile("You agreed on "))
    await expect(agreed).to_be_visible()
    await page.get_by_role("button", name="Take back").click()
    await expect(question).to_be_visible()
    assert (await site.ok.manager.get_snapshot(person.id)).settings.shared_consent_at is None
    entries = [one.action for one in await site.ok.audit.list_entries(person.id, limit=2)]
    assert entries == ["settings.updated"] * 2, "who agreed to what, and when, is on record"


async def test_a_newcomer_is_not_told_that_shared_keys_serve_them_before_they_agree(
    enter: Enter, site: Site, decide: Decide
) -> None:
    await decide(shared=SharedAccess(consent=True))
    newcomer = await site.person("newcomer")
    page = await enter(newcomer)
    await expect(page.get_by_role("region", name="May shared keys serve you?")).to_be_visible()
    await expect(page.get_by_text("Until you add one, your requests run on")).to_have_count(0)
    await page.get_by_role("button", name="Agree").click()
    await expect(page.get_by_text("Until you add one, your requests run on")).to_be_visible()


async def test_whoever_wants_no_shared_key_is_not_asked(
    enter: Enter, site: Site, person: Person, decide: Decide
) -> None:
    await decide(shared=SharedAccess(consent=True))
    await site.ok.settings.update_settings(person.id, payer="own_only")
    page = await enter(person)
    await expect(page.get_by_role("button", name="Add key")).to_be_visible()
    await expect(page.get_by_role("region", name="May shared keys")).to_have_count(0)


async def test_every_hop_of_a_route_says_what_it_may_cost(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    await page.get_by_label("Model", exact=True).fill("openai/gpt-4o-mini")
    hop = page.get_by_role("list", name="Order in which").last.get_by_role("listitem").filter(has_text="gpt-4o-mini")
    # 1,000 tokens in at 15 cents a million; the model answers with 16,384 at 60 cents a million at most.
    await expect(hop.locator(".hop-price")).to_have_text("$0.00015 to $0.01")
    await page.get_by_label("Its answer at most").fill("1,000")
    await expect(hop.locator(".hop-price")).to_have_text("$0.00015 to $0.00075")
    await expect(hop.locator(".hop-price")).to_have_attribute("title", re.compile("an answer of 1,000 tokens"))
    await page.get_by_label("Its length").fill("100000")
    await expect(hop.locator(".hop-price")).to_have_text("$0.02 to $0.02")
    await page.get_by_label("Model", exact=True).fill("liar/some-model")
    dropped = page.locator(".skipped-list li").filter(has_text="no key here")
    await expect(dropped.first).to_be_visible()
    await assert_accessible(page)


async def test_how_a_key_fares_is_said_in_the_persons_language(enter: Enter, site: Site, person: Person) -> None:
    site.providers.break_provider("groq", "no_credit")
    [key] = await site.ok.settings.list_credentials(person.id)
    await site.ok.settings.test_credential(person.id, key.id)
    for lang, words, link, again in (
        (
            "de",
            "Das Konto hinter diesem Schlüssel hat bei Groq kein Guthaben.",
            "Guthaben bei Groq",
            "von selbst wieder",
        ),
        ("es", "La cuenta de esta clave no tiene saldo en Groq.", "Saldo en Groq", "se vuelve a probar por sí sola"),
    ):
        page = await enter(person, html=f'lang="{lang}"')
        row = page.locator(".keys-key")
        await expect(row).to_contain_text(words)
        await expect(row.get_by_role("link", name=link)).to_have_attribute(
            "href", "https://console.groq.com/settings/billing"
        )
        await expect(row.locator(".keys-facts")).to_contain_text(again)
        await assert_accessible(page)


async def test_slow_calls_and_uncertain_costs_are_told(enter: Enter, site: Site, person: Person) -> None:
    [key] = await site.ok.settings.list_credentials(person.id)
    for number in range(100):
        slow = {"duration_ms": 1000 + 10 * number, "first_byte_ms": 100 + number}
        await spend(site, person, 10, credential_id=key.id, **slow)
    later = new_id(datetime.now(UTC) + timedelta(seconds=1))  # ids of one millisecond have no order among themselves
    await spend(
        site, person, 400, request_id=later, credential_id=key.id, tokens_source=TokensSource.ESTIMATED,
        cost_source=CostSource.ESTIMATED, outcome=Outcome.CLIENT_GONE, duration_ms=5000, first_byte_ms=900,
    )  # fmt: skip
    page = await enter(person, "usage")
    await page.get_by_label("Split by").select_option("credential")
    table_row = page.locator(".usage-table tbody tr").filter(has_text="Groq · default")
    await expect(table_row).to_contain_text("1 estimated")
    await expect(table_row).to_contain_text(re.compile(r"1\.5 secs?.*95 %: 2 secs?.*99 %: 2 secs?", re.DOTALL))
    await expect(table_row).to_contain_text(re.compile(r"150 ms.*95 %: 19\d ms.*99 %: (199|[2-9]\d\d) ms", re.DOTALL))
    await expect(page.get_by_text("Of one call the tokens are an estimate")).to_be_visible()
    await assert_accessible(page)
    newest = page.locator(".usage-requests tbody tr").first
    await newest.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.locator("li")).to_contain_text("(estimated: so are the tokens; prices of test)")
    await assert_accessible(page)


async def test_the_requests_that_are_listed_can_be_taken_along(enter: Enter, site: Site, person: Person) -> None:
    both = new_id()
    failed = {"outcome": Outcome.RATE_LIMITED, "http_status": 429, "tokens": None, "cost_source": None}
    await spend(site, person, 0, request_id=both, cost_microdollars=None, tokens_source=TokensSource.NONE, **failed)
    await spend(
        site, person, 50, request_id=both, attempt=2, fallback=True, payer=Payer.SHARED, provider="openai",
        model="gpt-4o-mini", cost_source=CostSource.REPORTED, service_tier="flex", finish_reason="stop",
    )  # fmt: skip
    await spend(site, person, 70, task="coding")
    page = await enter(person, "usage")
    await page.locator("#requests-task").select_option("chat")
    rows = page.locator(".usage-requests tbody tr")
    await expect(rows).to_have_count(1)
    await rows.first.get_by_role("button").click()
    last = page.get_by_role("dialog").locator("li").last
    await expect(last).to_contain_text("fallback")
    await expect(last).to_contain_text("(as the provider reported it)")
    await expect(last).to_contain_text("flex")
    await page.keyboard.press("Escape")

    async with page.expect_download() as started:
        await page.get_by_role("button", name="Requests as CSV").click()
    listed = list(csv.DictReader(io.StringIO(Path(await (await started.value).path()).read_text("utf-8-sig"))))
    assert [one["outcome"] for one in listed] == ["rate_limited", "ok"]
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Requests as JSON").click()
    found = json.loads(Path(await (await started.value).path()).read_text())
    assert [(one["id"], len(one["attempts"])) for one in found] == [(both, 2)]


# What administrators decide


def amount(page: Page, who: str, period: str) -> Locator:
    return page.get_by_label(f"{who}: Per {period}")


async def test_budgets_limits_and_consent_are_decided_in_the_policys_form(
    enter_own: Enter, site: Site, admin: Person, decide: Decide
) -> None:
    await decide()
    page = await enter_own(admin, "policy", path="/admin")
    await amount(page, "Each user", "day").fill("1.50")
    await amount(page, "Everybody together", "month").fill("2,500")
    await page.get_by_label("New group").fill("Writers")
    await page.get_by_role("button", name="Add group").click()
    await expect(amount(page, "Group writers", "day")).to_be_focused()
    await amount(page, "Group writers", "month").fill("75")
    await page.get_by_label("Calls a minute").fill("60")
    await page.get_by_label("Assumed length").fill("8,000")
    await page.get_by_label("Ask each user in the panel").check()
    await assert_accessible(page)
    assert await find_layout_faults(page) == []
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Policy saved. It is in force.")).to_be_visible()
    stored = (await site.ok.policies.get(admin.id)).document
    assert stored.shared == SharedAccess(consent=True)
    assert stored.limits == Limits(requests_per_minute=60)
    assert stored.budgets == Budgets(
        per_user=Allowance(day_microdollars=1_500_000),
        groups={"writers": Allowance(month_microdollars=75 * DOLLAR)},
        total=Allowance(month_microdollars=2500 * DOLLAR),
        assumed_output_tokens=8000,
    )
    await page.reload()
    await wait_until_settled(page)
    await open_tab(page, "policy")
    await expect(amount(page, "Each user", "day")).to_have_value("1.50")
    await page.get_by_role("button", name="Remove the budget of writers").click()
    await amount(page, "Everybody together", "month").fill("")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Policy saved. It is in force.")).to_be_visible()
    budgets = (await site.ok.policies.get(admin.id)).document.budgets
    assert (budgets.groups, budgets.total) == ({}, Allowance())


async def test_a_budget_that_is_no_amount_is_not_saved(
    enter_own: Enter, site: Site, admin: Person, decide: Decide
) -> None:
    await decide()
    page = await enter_own(admin, "policy", path="/admin")
    await amount(page, "Each user", "day").fill("5")
    await amount(page, "Each user", "month").fill("many")
    fault = page.get_by_text("Not an amount. Write 5 or 12.50, or nothing.")
    await expect(fault).to_be_visible()
    await page.get_by_role("button", name="Save").click()
    await expect(amount(page, "Each user", "month")).to_be_focused()
    assert (await site.ok.policies.get(admin.id)).document == PolicyDocument()
    await page.get_by_label("Tokens a minute").fill("1.5e3")
    await expect(page.get_by_text("Not a whole number.")).to_be_visible()
    for name, told in (("9 lives", "Start with a letter"), ("qa", None), ("QA", "There is a budget for this group")):
        await page.get_by_label("New group").fill(name)
        await page.get_by_role("button", name="Add group").click()
        if told:
            await expect(page.get_by_text(told)).to_be_visible()
    await assert_accessible(page)
    await page.get_by_role("button", name="Discard").click()
    await expect(fault).to_have_count(0)
    await expect(amount(page, "Each user", "month")).to_have_value("")
    await expect(amount(page, "Group qa", "day")).to_have_count(0)


async def test_users_are_put_into_groups_and_the_money_lent_is_in_sight(
    enter_own: Enter, site: Site, admin: Person, person: Person, decide: Decide
) -> None:
    await decide(
        budgets=Budgets(
            per_user=Allowance(month_microdollars=DOLLAR), groups={"editors": Allowance(month_microdollars=3 * DOLLAR)}
        )
    )
    page = await enter_own(admin, "users", path="/admin")
    await page.get_by_label("Search by name").fill(person.id)
    row = page.locator("tbody tr").filter(has_text=person.id)
    await expect(page.locator("tbody tr")).to_have_count(1)
    await row.get_by_role("button", name="More for").click()
    await page.get_by_role("menuitem", name="Put into a group").click()
    dialog = page.get_by_role("dialog", name=f"Group of {person.id}")
    await expect(dialog.locator("#groups option[value=editors]")).to_have_count(1)
    await dialog.get_by_label("Group").fill("no good")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Start with a letter")
    await assert_accessible(page)
    await dialog.get_by_label("Group").fill("Editors")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row.locator(".users-group")).to_have_text("editors")
    assert (await site.ok.users.get(person.id)).group == "editors"
    await page.get_by_role("button", name="Undo").click()
    await expect(row.locator(".users-group")).to_have_count(0)
    await page.locator(".notice").get_by_role("button", name="Close").click()
    await site.ok.users.set_group(person.id, "editors")

    await spend(site, person, 1_250_000, payer=Payer.SHARED, provider="openai", model="gpt-4o-mini")
    await open_tab(page, "usage")
    table = page.get_by_role("table", name="Budgets of shared money")
    group = table.locator("tr").filter(has=page.get_by_role("rowheader", name="Group editors"))
    await expect(group.first).to_contain_text("1 member")
    await expect(group.first).to_contain_text("$1.25 of $3.00")
    spender = table.locator("tr").filter(has=page.get_by_role("rowheader", name=person.id))
    await expect(spender).to_contain_text("$1.25 of $1.00")
    await expect(spender.locator(".pill.bad")).to_have_text("used up")
    await assert_accessible(page)


async def test_without_budgets_the_way_to_them_is_shown(enter_own: Enter, admin: Person, decide: Decide) -> None:
    await decide()
    page = await enter_own(admin, "usage", path="/admin")
    await page.get_by_role("button", name="Set budgets").click()
    await expect(amount(page, "Each user", "day")).to_be_visible()


@pytest.mark.parametrize("lang", ["en", "de", "es"])
@pytest.mark.parametrize("width", [320, 1280])
async def test_it_fits_and_reads_in_every_language(
    enter: Enter, site: Site, person: Person, decide: Decide, lang: str, width: int
) -> None:
    await decide(
        shared=SharedAccess(consent=True),
        budgets=Budgets(per_user=Allowance(day_microdollars=DOLLAR, month_microdollars=2 * DOLLAR)),
        limits=Limits(tokens_per_minute=100_000),
    )
    await site.ok.settings.update_settings(person.id, caps=Caps(day_microdollars=DOLLAR))
    await spend(site, person, 900_000)
    size = {"width": width, "height": 800}
    page = await enter(person, html=f'lang="{lang}"', viewport=size, color_scheme="dark")
    await expect(page.locator(".keys-consent")).to_be_visible()
    for tab in ("keys", "routing", "usage"):
        await open_tab(page, tab)
        assert await find_layout_faults(page) == [], tab
        assert await find_small_targets(page) == [], tab
        await assert_accessible(page)
    await page.locator(".limits header button").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await find_layout_faults(page) == []
    await assert_accessible(page)
