"""What people read about what was done to their account."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from ownkey.domain.audit import AuditAction
from ownkey.domain.settings import Preference
from ownkey.domain.user import UserStatus
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.site import Person, Site

KEY = "gsk_activity_00000000000000001"
TEXTS = Path(__file__).parents[2] / "web" / "src" / "i18n" / "activity.ts"
LANGUAGES = 3


@pytest.mark.parametrize("action", list(AuditAction))
def test_every_action_has_a_sentence_in_every_language(action: AuditAction) -> None:
    assert TEXTS.read_text(encoding="utf-8").count(f'"{action.value}": (') == LANGUAGES


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key, a task of their own, and an administrator who once suspended them."""
    person = await site.person("doer")
    await site.add_key(person.id, "groq", KEY, label="work")
    await site.ok.settings.put_task_override(person.id, "coding", "groq")
    await site.ok.users.set_status(person.id, UserStatus.SUSPENDED, actor="boss")
    await site.ok.users.set_status(person.id, UserStatus.ACTIVE, actor="cli:root")
    return person


async def test_entries_are_sentences_with_who_did_it(enter: Enter, person: Person) -> None:
    page = await enter(person, "activity")
    entries = page.locator(".activity-list")
    await expect(entries).to_contain_text("You added the key Groq · work.")
    await expect(entries).to_contain_text("You changed where “Coding” goes.")
    await expect(entries).to_contain_text("Administrator boss changed the account: suspended.")
    await expect(entries).to_contain_text("The operator (root) changed the account: active.")
    await expect(page.get_by_role("heading", name="Today")).to_be_visible()


async def test_one_reorder_is_one_line(enter: Enter, site: Site) -> None:
    person = await site.person("sorter", groq=KEY)
    await site.ok.settings.put_preferences(
        person.id, [Preference(provider=name, priority=50) for name in ("groq", "mistral", "openai", "anthropic")]
    )
    page = await enter(person, "activity")
    entry = page.locator(".activity-list li").filter(has_text="You changed the order of providers.").first
    await expect(entry).to_be_visible()
    await expect(page.get_by_text("You changed how")).to_have_count(0)
    await entry.locator("summary").click()
    for name in ("groq", "mistral", "openai", "anthropic"):
        await expect(entry).to_contain_text(name)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("de", "Sie haben den Schlüssel Groq · work hinzugefügt."),
        ("es", "Usted añadió la clave Groq · work."),
    ],
)
async def test_other_languages(enter: Enter, person: Person, language: str, sentence: str) -> None:
    page = await enter(person, "activity", html=f'lang="{language}"')
    await expect(page.locator(".activity-list")).to_contain_text(sentence)


async def test_kinds_can_be_picked_out(enter: Enter, person: Person) -> None:
    page = await enter(person, "activity")
    await page.get_by_label("Show").select_option("keys")
    await expect(page.locator(".activity-list li")).to_have_count(1)
    await page.get_by_label("Show").select_option("account")
    await expect(page.locator(".activity-list")).to_contain_text("Administrator boss")
    await expect(page.locator(".activity-list")).not_to_contain_text("Groq")


async def test_details_come_on_demand(enter: Enter, person: Person) -> None:
    page = await enter(person, "activity")
    entry = page.locator(".activity-list li").filter(has_text="You added the key")
    await expect(entry.get_by_text("credential.added")).to_be_hidden()
    await entry.locator("summary").press("Enter")
    await expect(entry.get_by_text("credential.added")).to_be_visible()
    await expect(entry.locator("time")).to_have_attribute("title", await entry.locator("dd").first.inner_text())


async def test_older_entries_on_demand(enter: Enter, site: Site) -> None:
    person = await site.person("restless", groq=KEY)
    for priority in range(10, 65):
        await site.ok.settings.put_preference(person.id, "groq", priority=priority)
    page = await enter(person, "activity")
    entries = page.locator(".activity-list li")
    await expect(entries).to_have_count(50)
    await page.get_by_role("button", name="Load more").click()
    await expect(entries.last).to_contain_text("opened the account")


async def test_it_says_who_can_read_keys(enter: Enter, person: Person) -> None:
    page = await enter(person, "activity")
    await expect(page.get_by_role("heading", name="Who can read your keys")).to_be_visible()
    await page.locator(".activity-list summary").first.click()
    await assert_accessible(page, include="llm-settings-panel")
