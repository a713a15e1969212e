"""The administrators' page: what they watch. What they decide is in test_admin_decisions.py."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from ownkey.crypto.key_text import generate_key_line
from ownkey.domain.audit import AuditAction
from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome
from ownkey.errors import OwnkeyError
from ownkey.storage.embedded import EmbeddedPostgres
from tests.panel.accessibility import assert_accessible
from tests.panel.cast import Habit, Key, Member
from tests.panel.conftest import Enter
from tests.panel.driver import find_layout_faults, find_small_targets, list_tabs, open_tab, wait_until_settled
from tests.panel.site import SHARED, Person, Site
from tests.panel.watch import Watch

TABS = ["users", "usage", "health", "policy", "providers", "audit", "encryption"]
GREEDY = Member(
    id="greta.admin@example.com",
    name="Greta",
    keys=(Key("groq", "Greta's"), Key("mistral", "Old", mishap="bad_key")),
    habits=(
        Habit("chat", "groq", "openai/gpt-oss-20b", 6, 2_000, 500, Payer.OWN, Outcome.RATE_LIMITED, 20),
        Habit("writing", "openai", "gpt-5.4-mini", 3, 2_000, 500, Payer.SHARED),
    ),
)
GUEST = Member(
    id="gustav.admin@example.com",
    name="Gustav",
    habits=(Habit("chat", "openai", "gpt-5.4-mini", 4, 1_500, 400, Payer.SHARED),),
)


@pytest_asyncio.fixture(scope="session")
async def company(whole_site: Site) -> tuple[Person, Person]:
    """Two users with a month behind them: one with keys, one of them refused, and one on shared keys alone."""
    return await whole_site.settle(GREEDY), await whole_site.settle(GUEST)


@pytest.fixture
async def admin(site: Site, company: tuple[Person, Person]) -> Person:
    return await site.admin("watcher")


def row(page: Page, text: str) -> Locator:
    """The row of a table that holds a text."""
    return page.locator("tbody tr").filter(has_text=text)


async def download(page: Page, button: Locator) -> tuple[str, list[dict[str, str]]]:
    """The name and the rows of the file behind a button."""
    async with page.expect_download() as started:
        await button.click()
    file = await started.value
    text = Path(await file.path()).read_text(encoding="utf-8")
    return file.suggested_filename, list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


@asynccontextmanager
async def tampering(site: Site) -> AsyncIterator[asyncpg.Connection]:
    """The database as whoever owns the machine can change it, past every guard."""
    postgres = await EmbeddedPostgres.start(site.ok.config.data_dir)
    connection = await asyncpg.connect(postgres.migration_dsn)
    try:
        await connection.execute("set session_replication_role = replica")
        yield connection
    finally:
        await connection.close()
        await postgres.stop()


async def test_users_with_their_providers_status_spend_errors_and_last_use(enter_own: Enter, admin: Person) -> None:
    page = await enter_own(admin, "users", path="/admin")
    assert await list_tabs(page) == TABS
    await page.get_by_role("searchbox", name="Search by name, login or id").fill("GRETA.admin")
    greta = row(page, GREEDY.id)
    await expect(page.locator("tbody tr")).to_have_count(1)
    for provider in ("Groq", "Mistral"):
        await expect(greta.get_by_role("listitem").filter(has_text=provider)).to_be_visible()
    await expect(greta.get_by_text("Refused by the provider", exact=True)).to_be_visible()
    cells = await greta.locator("td.number").all_inner_texts()
    requests, errors, own, shared = (text.strip() for text in cells[:4])
    assert int(requests) > 100
    assert int(errors.split()[0]) > 0
    assert own.startswith("$")
    assert shared.startswith("$")
    await expect(greta.get_by_text("minute").or_(greta.get_by_text("now"))).to_be_visible()
    name, rows = await download(page, page.get_by_role("button", name="CSV"))
    assert name == "ownkey-users.csv"
    assert [one["user_id" if "user_id" in one else "id"] for one in rows] == [GREEDY.id]
    await page.set_viewport_size({"width": 320, "height": 800})
    assert await find_layout_faults(page) == [], "a card for each user, with whatever is wrong with their keys"
    await assert_accessible(page, schemes=("light",))
    await page.set_viewport_size({"width": 1280, "height": 900})
    await page.get_by_role("searchbox").fill("nobody has this name")
    await expect(page.get_by_role("heading", name="Nobody is called like this")).to_be_visible()


async def test_usage_of_everybody_in_pictures_and_as_a_file(enter_own: Enter, admin: Person) -> None:
    page = await enter_own(admin, "usage", path="/admin")
    await expect(page.get_by_role("img", name="Cost from")).to_be_visible()
    await expect(page.get_by_text("Cost on users’ own keys")).to_be_visible()
    greta = row(page.locator(".usage-table"), GREEDY.id)  # type: ignore[arg-type]
    await expect(greta).to_have_count(2)
    await expect(greta.get_by_text("own key")).to_be_visible()
    await expect(greta.get_by_text("shared key")).to_be_visible()
    await page.get_by_text("Calls", exact=True).first.click()
    for split, shown in (("provider", "Groq"), ("model", "gpt-5.4-mini"), ("task", "Writing"), ("payer", "own key")):
        await page.get_by_label("Split by").select_option(split)
        await wait_until_settled(page)
        await expect(page.locator(".usage-table tbody").get_by_text(shown).first).to_be_visible()
    await page.get_by_label("Split by").select_option("user")
    await wait_until_settled(page)
    name, rows = await download(page, page.locator(".usage-files").get_by_role("button", name="CSV"))
    assert name.startswith("ownkey-usage")
    assert GREEDY.id in {one["user_id"] for one in rows}


async def test_who_runs_on_shared_keys(enter_own: Enter, admin: Person) -> None:
    page = await enter_own(admin, "usage", path="/admin")
    shared = page.get_by_role("region", name="Who runs on shared keys")
    guest = shared.locator("tbody tr").filter(has_text=GUEST.id)
    await expect(guest).to_contain_text("OpenAI")
    await expect(guest).to_contain_text("$")
    name, rows = await download(page, page.get_by_role("button", name="CSV of shared keys"))
    assert name == "ownkey-shared-users.csv"
    assert {GREEDY.id, GUEST.id} <= {one["user_id"] for one in rows}


async def test_health_of_providers_and_fallbacks(enter_own: Enter, site: Site, admin: Person) -> None:
    ann = await site.person(
        "falls", cerebras="csk-falls-0000000000000000000001", deepseek="sk-falls-000000000000000000000001"
    )
    site.providers.break_provider("cerebras", "overloaded")
    # Twice, each with one more try: a fifth failure in a row would open the breaker.
    for _ in range(2):
        with suppress(OwnkeyError):
            await site.ok.manager.chat(ann.id, messages=[{"role": "user", "content": "hello"}])
    await site.ok.core.metering.flush()
    page = await enter_own(admin, "health", path="/admin")
    broken = page.get_by_role("region", name="Providers, last hour").locator("tbody tr").filter(has_text="Cerebras")
    await expect(broken).to_contain_text("overloaded")
    await expect(broken.locator(".pill")).to_have_text("Some errors")
    well = page.get_by_role("region", name="Providers, last hour").locator("tbody tr").filter(has_text="DeepSeek")
    await expect(well.locator(".pill")).to_have_text("Fine")
    assert "ms" in await well.inner_text() or "sec" in await well.inner_text()
    fell = page.get_by_role("region", name="Fallbacks").locator("tbody tr").filter(has_text="Cerebras")
    await expect(fell).to_contain_text("DeepSeek")
    await expect(fell).to_contain_text("100%")
    await expect(fell.get_by_text("own key")).to_have_count(2)
    unused = page.get_by_text("not used", exact=False)
    await unused.click()
    await expect(page.locator(".health-unused li").first).to_be_visible()
    answers = len([one for one in site.replies if one.request == "GET /api/admin/health"])
    await page.get_by_role("button", name="Refresh").click()
    await expect(page.get_by_role("button", name="Refresh")).to_be_enabled()
    assert len([one for one in site.replies if one.request == "GET /api/admin/health"]) > answers


async def test_what_is_down_or_blocked_stands_first_with_the_time_of_the_next_try(
    enter_own: Enter, site: Site, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await site.person("down", xai="xai-down-0000000000000000000000001")
    board = site.ok.core.router.health
    # The first back-off is a second: it must not be over before the page has asked.
    monkeypatch.setattr(board, "_elapsed", lambda: 1000.0)
    site.providers.break_provider("xai", "unavailable")
    site.providers.break_provider("groq", "no_credit", key=SHARED["GROQ_API_KEY"])
    guest = await site.person("guest")
    for person, model in ((ann, "xai/grok-4.7"), (guest, "groq/openai/gpt-oss-20b")):
        for _ in range(6):
            with suppress(OwnkeyError):
                await site.ok.manager.chat(person.id, model=model, messages=[{"role": "user", "content": "hello"}])
    await site.ok.core.metering.flush()
    assert board.find_down_until(site.ok.core.catalog["xai"].base_url)
    page = await enter_own(admin, "health", path="/admin")
    rows = page.get_by_role("region", name="Providers, last hour").locator("tbody tr")
    await expect(rows.nth(0)).to_contain_text("xAI")
    await expect(rows.nth(0).locator(".pill.bad")).to_contain_text("Down, tried again")
    await expect(rows.nth(1)).to_contain_text("Groq")
    await expect(rows.nth(1).locator(".pill.warn")).to_contain_text("Shared key refused, tried again in")


async def test_the_audit_log_is_filtered_read_and_downloaded(enter_own: Enter, site: Site, admin: Person) -> None:
    ann = await site.person("audited", groq="gsk_audited_00000000000000000001")
    for priority in range(50):
        await site.ok.settings.put_preference(ann.id, "groq", priority=priority + 2)
    page = await enter_own(admin, "audit", path="/admin")
    await page.get_by_label("Done by").fill(ann.id[1:].upper())
    await page.get_by_label("Done by").press("Enter")
    await expect(page.locator("tbody tr").first).to_contain_text(ann.id)
    await expect(page.locator("tbody tr").first).to_contain_text("Order of providers changed Groq")
    await page.get_by_label("Action").select_option("credential")
    await expect(row(page, "Key added")).to_contain_text("Groq")
    await expect(page.locator("tbody tr")).to_have_count(1)
    details = page.get_by_role("button", name="Details of “Key added”")
    await details.click()
    await expect(details).to_have_attribute("aria-expanded", "true")
    await expect(page.locator(".audit-details")).to_contain_text("credential.added")
    await assert_accessible(page)
    name, rows = await download(page, page.get_by_role("button", name="CSV"))
    assert name == "ownkey-audit.csv"
    assert [(one["actor"], one["action"]) for one in rows] == [(ann.id, "credential.added")]
    await page.get_by_label("From").fill("2020-01-01")
    await page.get_by_label("To", exact=True).fill("2020-01-02")
    await page.get_by_label("To", exact=True).press("Tab")
    await page.get_by_role("button", name="Clear the filter").click()
    await expect(page.get_by_label("Done by")).to_have_value("")
    await expect(page.locator("tbody tr")).to_have_count(50)
    await page.get_by_role("button", name="Show more").click()
    await expect(page.locator("tbody tr").nth(50)).to_be_visible()


async def test_every_action_has_words(enter_own: Enter, admin: Person) -> None:
    page = await enter_own(admin, "audit", path="/admin")
    for language in ("en", "de", "es"):
        await page.locator("llm-admin-panel").evaluate("(panel, lang) => { panel.lang = lang; }", language)
        named = await page.locator("#audit-action option").evaluate_all(
            "(all) => Object.fromEntries(all.map((one) => [one.value, one.textContent]))"
        )
        assert {action.value for action in AuditAction} <= set(named)
        assert all(text and "." not in text for text in named.values())


async def test_the_chain_is_verified_and_a_break_is_found(enter_own: Enter, site: Site, admin: Person) -> None:
    page = await enter_own(admin, "audit", path="/admin")
    verify = page.get_by_role("button", name="Verify the chain")
    await verify.click()
    verdict = page.locator(".audit-verdict")
    await expect(verdict).to_contain_text(re.compile(r"Everything is as it was written: \d+ entries in 8 chains"))
    await assert_accessible(page)
    async with tampering(site) as database:
        forged = await database.fetchrow(
            "select id, chain, position, actor from ownkey_private.audit_log where user_id = $1 order by id limit 1",
            admin.id,
        )
        await database.execute("update ownkey_private.audit_log set actor = 'forged' where id = $1", forged["id"])
        try:
            await verify.click()
            alert = page.get_by_role("alert").filter(has_text="The audit log was tampered with")
            await expect(alert).to_contain_text(f"chain {forged['chain']} at entry {forged['position']:,}")
            await expect(alert).to_contain_text("this entry was changed")
            await assert_accessible(page)
        finally:
            await database.execute(
                "update ownkey_private.audit_log set actor = $2 where id = $1", forged["id"], forged["actor"]
            )
    await verify.click()
    await expect(verdict).to_contain_text("Everything is as it was written")


async def test_from_one_wrapping_key_to_the_next(enter_own: Enter, site: Site, admin: Person) -> None:
    rotation = site.ok.core.rotation
    person = await site.person("sealed")
    await site.ok.settings.add_credential(person.id, "groq", "gsk_rotation_of_wrapping_keys_1")
    old = (await rotation.describe(admin.id)).primary_key
    line = generate_key_line()
    new = line.partition(":")[0]
    key_file = site.ok.config.data_dir / "wrapping.key"
    key_file.write_text(f"{key_file.read_text()}{line}\n")
    await site.ok.core.key_watch.reload()
    await site.ok.core.key_watch.report()

    page = await enter_own(admin, "encryption", path="/admin")
    await expect(page.get_by_text("active: wraps new data keys")).to_be_visible()
    await expect(page.get_by_text("All stored keys can be read.")).to_be_visible()
    await expect(page.get_by_text("Next: make the new key active.")).to_be_visible()
    await assert_accessible(page)
    await page.get_by_role("button", name=f"Make active: {new}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Make active").click()
    row = page.locator("tbody tr").filter(has_text=old)
    await expect(row).to_contain_text("retiring")
    await expect(page.get_by_text("Next: retire the key under which nothing is left.")).to_be_visible()
    await page.get_by_role("button", name=f"Retire: {old}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Retire").click()
    await expect(row).to_contain_text("retired")
    await assert_accessible(page)
    state = await rotation.describe(admin.id)
    assert (state.primary_key, state.left) == (new, 0)
    trail = await site.ok.audit.list_entries(admin.id, limit=5)
    assert {("wrapping_key.promoted", new), ("wrapping_key.retired", old)} <= {
        (one.action, one.subject) for one in trail
    }


async def test_an_ordinary_user_is_told_why_there_is_nothing(watch: Watch, site: Site) -> None:
    person = await site.person("ordinary")
    context = await watch.new_context()
    await site.sign_in(context, person)
    page = await context.new_page()
    await page.goto(f"{site.url}/admin")
    await expect(page.get_by_role("heading", name="This page is for administrators")).to_be_visible()
    await expect(page.get_by_role("link", name="Open my settings")).to_be_visible()
    await assert_accessible(page)
    assert not [one for one in site.replies if one.request.split()[1].startswith("/api/admin")]


@pytest.mark.parametrize("tab", ["usage", "health", "policy", "audit", "encryption"])
async def test_what_cannot_be_loaded_says_why_and_is_tried_again(
    enter_own: Enter, watch: Watch, admin: Person, tab: str
) -> None:
    watch.expect("net::ERR_CONNECTION_REFUSED")
    page = await enter_own(admin, "users", path="/admin")
    await page.route(f"**/api/admin/{tab}?*", lambda route: route.abort("connectionrefused"))
    await page.route(f"**/api/admin/{tab}", lambda route: route.abort("connectionrefused"))
    await page.locator(f"#tab-{tab}").click()
    view = page.get_by_role("tabpanel")
    await expect(view.get_by_text("The server cannot be reached.")).to_be_visible()
    await assert_accessible(page)
    await page.unroute_all()
    await view.get_by_role("button", name="Try again").click()
    await wait_until_settled(page)
    await expect(view.get_by_role("table").first).to_be_visible()


@pytest.mark.parametrize("tab", TABS)
async def test_every_tab_is_accessible_and_fits(enter_own: Enter, admin: Person, tab: str) -> None:
    page = await enter_own(admin, tab, path="/admin")
    await assert_accessible(page)
    assert await find_small_targets(page) == []
    for width in (1100, 320):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await find_layout_faults(page) == []
    # In a narrow window tables scroll, and must do so without a mouse.
    await assert_accessible(page, schemes=("light",))


async def test_every_tab_reads_from_the_right(enter_own: Enter, admin: Person) -> None:
    """Our own page has no such language; a host that embeds the element may have one."""
    page = await enter_own(admin, "users", path="/admin", viewport={"width": 1100, "height": 800})
    panel = page.locator("llm-admin-panel")
    await panel.evaluate("(panel) => { panel.style.direction = 'rtl'; return panel.refresh(); }")
    await wait_until_settled(page)
    first, second = [await page.get_by_role("tab").nth(place).bounding_box() for place in (0, 1)]
    assert first is not None
    assert second is not None
    assert first["x"] > second["x"]
    for width in (1100, 320):
        await page.set_viewport_size({"width": width, "height": 800})
        for tab in TABS:
            await open_tab(page, tab)
            assert await find_layout_faults(page) == [], f"{tab} at {width}"


async def test_every_tab_speaks_german_and_spanish(enter_own: Enter, admin: Person) -> None:
    for locale, heading in (("de-DE", "Zustand"), ("es-ES", "Estado")):
        page = await enter_own(admin, path="/admin", locale=locale, viewport={"width": 320, "height": 800})
        await expect(page.get_by_role("tab", name=heading)).to_be_attached()
        for tab in TABS:
            await open_tab(page, tab)
            assert await find_layout_faults(page) == [], f"{tab} in {locale}"
