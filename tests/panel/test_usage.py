"""What people see of their usage: whose money it was, day by day, as a picture, as tables and as files."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, SkippedHop, Tokens, TokensSource, UsageEvent, new_id
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import open_tab
from tests.panel.site import Person, Site

KEY = "gsk_usage_00000000000000000001"
TOKENS = Tokens(input_uncached=1000, cache_read=200, output_text=300, output_reasoning=40)


def call(person: Person, days_ago: int = 0, **changes: Any) -> UsageEvent:
    """An upstream call of ten cents on the person's own Groq key, unless told otherwise."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "request_id": new_id(),
        "user_id": person.id,
        "occurred_at": datetime.now(UTC) - timedelta(days=days_ago),
        "attempt": 1,
        "task": "coding",
        "provider": "groq",
        "model": "llama-3.3-70b-versatile",
        "requested_model": "task:coding",
        "credential_id": None,
        "payer": Payer.OWN,
        "operation": "chat",
        "streamed": True,
        "outcome": Outcome.OK,
        "http_status": 200,
        "tokens": TOKENS,
        "tokens_source": TokensSource.REPORTED,
        "cost_microdollars": 100_000,
        "price_version": "2026-11-01",
        "duration_ms": 900,
        "first_byte_ms": 120,
    }
    return UsageEvent(**{**fields, **changes})


async def record(site: Site, *events: UsageEvent) -> None:
    """Through the real metering, until it is in the database."""
    for event in events:
        site.ok.core.metering.record(event)
    await site.ok.core.metering.flush()


@pytest.fixture
async def person(site: Site) -> Person:
    """Four priced calls, two of them shared; one without a price; one that failed and was answered elsewhere."""
    person = await site.person("spender", groq=KEY)
    openai: dict[str, Any] = {"provider": "openai", "model": "gpt-4o-mini", "payer": Payer.SHARED}
    both = new_id()
    failed: dict[str, Any] = {
        "outcome": Outcome.RATE_LIMITED,
        "http_status": 429,
        "tokens": None,
        "tokens_source": TokensSource.NONE,
    }
    left_out = (SkippedHop("mistral", Payer.OWN, "credential_disabled"),)
    await record(
        site,
        call(person, 3),
        call(person, 1),
        call(person, 1, **openai, cost_microdollars=50_000),
        call(person, 1, provider="mistral", model="new-model", task=None, cost_microdollars=None, price_version=None),
        call(person, **failed, request_id=both, cost_microdollars=None),
        call(person, **openai, request_id=both, attempt=2, fallback=True, cost_microdollars=50_000, skipped=left_out),
    )
    return person


def holding(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def tile(page: Page, label: str) -> Locator:
    return page.locator(".usage-tile").filter(has=page.get_by_text(label, exact=True))


def row(page: Page, name: str) -> Locator:
    return page.locator(".usage-table tbody tr").filter(has=page.get_by_role("rowheader", name=name))


async def test_own_and_shared_money_are_never_one_number(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    await expect(tile(page, "Cost on your keys")).to_contain_text("$0.20 est.")
    await expect(tile(page, "Cost on shared keys")).to_contain_text("$0.10 est.")
    await expect(tile(page, "Calls")).to_contain_text("4 on your keys, 2 on shared keys")
    await expect(tile(page, "Failed calls")).to_contain_text("16.7%")
    await expect(row(page, "Groq")).to_contain_text("your key")
    await expect(row(page, "OpenAI")).to_contain_text("shared key")
    await expect(page.locator(".usage-table tfoot")).to_contain_text("$0.30")


async def test_what_has_no_price_is_not_free(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    await expect(row(page, "Mistral").locator("td").nth(1)).to_have_text("—")
    await expect(page.get_by_text("One call has no known price (—) and is not part of the cost.")).to_be_visible()
    assert "$0.00" not in await page.locator(".usage-table").inner_text()


async def test_the_bars_follow_what_is_chosen(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    picture = page.locator(".chart-bars")
    await expect(picture).to_have_attribute("aria-label", holding(r": \$0\.30 in all, most of it for Groq\."))
    await page.get_by_label("Calls", exact=True).check(force=True)
    await expect(picture).to_have_attribute("aria-label", holding(": 6 in all, most of it for Groq."))
    await page.get_by_label("Split by").select_option("model")
    await expect(page.locator(".chart-legend")).to_contain_text("llama-3.3-70b-versatile")
    await page.get_by_label("Split by").select_option("task")
    await expect(row(page, "No task")).to_be_visible()
    await page.get_by_label("Time").select_option("1")
    await expect(picture).to_have_attribute("aria-label", holding(": 2 in all"))


async def test_a_range_of_ones_own(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    day = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
    await page.get_by_label("Time").select_option("custom")
    await page.get_by_label("To", exact=True).fill(day)
    await expect(tile(page, "Cost on your keys")).to_contain_text("$0.10")
    await page.get_by_label("From", exact=True).fill(datetime.now(UTC).date().isoformat())
    await expect(page.get_by_role("alert").filter(has_text="Choose a first and a last day")).to_be_visible()


async def test_a_keyboard_reads_the_bars(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    cursor = page.get_by_role("slider", name="Days of the chart")
    await page.locator(".segments input:checked").focus()
    await page.keyboard.press("Tab")
    await expect(cursor).to_be_focused()
    await expect(page.locator(".chart-tip")).to_be_visible()
    await page.keyboard.press("ArrowLeft")
    await expect(cursor).to_have_attribute("aria-valuetext", holding(r"Groq \$0\.10"))
    await expect(cursor).to_have_attribute("aria-valuetext", holding(r"OpenAI \(shared key\) \$0\.05"))
    await page.keyboard.press("Home")
    await expect(cursor).to_have_attribute("aria-valuenow", "1")
    await page.keyboard.press("Escape")
    await expect(page.locator(".chart-tip")).to_have_count(0)


async def test_the_bars_are_a_table_too(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    await page.get_by_text("The chart as a table").click()
    table = page.locator(".chart-data table")
    await expect(table.locator("tbody tr")).to_have_count(30)
    await expect(table.locator("tbody tr").last).to_contain_text("$0.05")


async def test_columns_sort(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    names = page.locator(".usage-table tbody th")
    await expect(names).to_have_text(["Groq", "OpenAI", "Mistral"])
    head = page.locator(".usage-table thead th").filter(has_text="Provider")
    await head.get_by_role("button").click()
    await expect(names).to_have_text(["Groq", "Mistral", "OpenAI"])
    await expect(head).to_have_attribute("aria-sort", "ascending")
    await head.get_by_role("button").click()
    await expect(names).to_have_text(["OpenAI", "Mistral", "Groq"])


async def test_the_files_hold_what_is_shown(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    await page.get_by_label("Time").select_option("7")
    await page.get_by_label("Split by").select_option("model")
    await expect(row(page, "gpt-4o-mini")).to_be_visible()
    async with page.expect_download() as started:
        await page.get_by_role("button", name="CSV", exact=True).click()
    rows = list(csv.DictReader(io.StringIO(Path(await (await started.value).path()).read_text())))
    async with page.expect_download() as started:
        await page.get_by_role("button", name="JSON", exact=True).click()
    answer = json.loads(Path(await (await started.value).path()).read_text())
    assert (await started.value).suggested_filename.endswith(".json")
    assert answer["group_by"] == ["day", "model", "payer"]
    today = datetime.now(UTC).date()
    assert (answer["start"], answer["end"]) == ((today - timedelta(days=6)).isoformat(), today.isoformat())
    shown = [(one["day"], one["model"], one["payer"], one["requests"]) for one in answer["rows"]]
    assert [(one["day"], one["model"], one["payer"], int(one["requests"])) for one in rows] == shown
    assert sum(int(one["requests"]) for one in rows) == 6


async def test_a_request_tells_what_was_tried(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    latest = page.locator(".usage-requests tbody tr").filter(has_text="2 calls")
    await latest.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    attempts = dialog.locator("li")
    await expect(attempts.first).to_contain_text("rate limit")
    await expect(attempts.first).to_contain_text("429")
    await expect(attempts.last).to_contain_text("answered")
    await expect(attempts.last).to_contain_text("shared key")
    await expect(attempts.last).to_contain_text("prices of 2026-11-01")
    await expect(attempts.last).to_contain_text("Left out before it: Mistral (This key is switched off)")
    await expect(attempts.first).not_to_contain_text("Left out")
    await assert_accessible(page, include="llm-settings-panel")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(latest.get_by_role("button")).to_be_focused()


async def test_the_list_holds_still_until_asked(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person)
    await page.clock.install()
    await open_tab(page, "usage")
    rows = page.locator(".usage-requests tbody tr")
    await expect(rows).to_have_count(5)
    await record(site, call(person))
    await page.clock.run_for(21_000)
    await expect(page.get_by_role("button", name="1 new")).to_be_visible()
    await expect(rows).to_have_count(5)
    await page.get_by_role("button", name="1 new").click()
    await expect(rows).to_have_count(6)


async def test_who_took_over_and_how_long_it_took(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    head = page.locator(".usage-table thead th")
    assert [await one.inner_text() for one in await head.all()][-3:] == ["Fallback", "Duration", "First byte"]
    openai = row(page, "OpenAI").locator("td")
    await expect(openai.nth(-3)).to_have_text("50%")
    await expect(openai.nth(-2)).to_have_text(re.compile(r"900 ms\s*95 %: 900 ms"))
    await expect(row(page, "Groq").locator("td").nth(-3)).to_have_text("0%")
    await expect(row(page, "Groq").locator("td").nth(3)).to_contain_text("cached")
    await expect(row(page, "Groq").locator("td").nth(4)).to_contain_text("reasoning")


async def test_from_a_sum_to_its_requests(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    rows = page.locator(".usage-requests tbody tr")
    await expect(rows).to_have_count(5)
    await row(page, "Mistral").get_by_role("button", name="Mistral").click()
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("new-model")
    await expect(page.get_by_role("heading", name="Latest requests")).to_be_focused()
    requests = page.locator(".usage-requests")
    await expect(requests.get_by_label("Provider")).to_have_value("mistral")
    await requests.get_by_label("Outcome").select_option(label="Failures only")
    await expect(requests).to_contain_text("There is none of this kind.")
    await requests.get_by_label("Provider").select_option(label="All")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("2 calls")
    await page.get_by_label("Split by").select_option("task")
    await row(page, "Coding").first.get_by_role("button", name="Coding").click()
    await expect(requests.get_by_label("Outcome")).to_have_value("")
    await expect(rows).to_have_count(4)


async def test_more_requests_on_demand(enter: Enter, site: Site) -> None:
    person = await site.person("busy")
    await record(site, *(call(person) for _ in range(25)))
    page = await enter(person, "usage")
    rows = page.locator(".usage-requests tbody tr")
    await expect(rows).to_have_count(20)
    await page.get_by_role("button", name="Load more").click()
    await expect(rows).to_have_count(25)
    await expect(page.get_by_role("button", name="Load more")).to_have_count(0)


async def test_nothing_used_yet(enter: Enter, site: Site) -> None:
    page = await enter(await site.person("idle"), "usage")
    await expect(page.get_by_text("Nothing was used in this time")).to_be_visible()
    await page.get_by_role("button", name="Show the last 90 days").click()
    await expect(page.get_by_label("Time")).to_have_value("90")


async def test_everybody_can_use_it(enter: Enter, person: Person) -> None:
    page = await enter(person, "usage")
    await page.get_by_text("The chart as a table").click()
    await assert_accessible(page, include="llm-settings-panel")
