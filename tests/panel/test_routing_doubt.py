"""The tab Routing where something is probably not meant so, or follows something else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from ownkey.domain.policy import PolicyDocument
from tests.panel.conftest import Enter
from tests.panel.site import Person, Site
from tests.panel.watch import Watch, failed_load


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key."""
    return await site.person("doubtful", groq="gsk_doubt_000000000000000000001")


@pytest.fixture
async def admin(site: Site) -> AsyncIterator[Person]:
    """An administrator, whose policy is forgotten afterwards."""
    admin = await site.admin("locker")
    yield admin
    await site.ok.policies.put(admin.id, PolicyDocument())


async def test_a_slip_in_a_providers_name_is_noticed_before_it_costs(
    enter: Enter, watch: Watch, person: Person
) -> None:
    watch.expect(failed_load(404))
    page = await enter(person, "routing")
    model = page.locator("#routing-model")
    await model.fill("grok/llama-3.3-70b-versatile")
    await expect(page.locator("#routing-model-error")).to_be_visible()
    doubt = page.locator(".routing-doubt")
    await doubt.get_by_role("button", name="Did you mean groq/llama-3.3-70b-versatile?").click()
    await expect(model).to_have_value("groq/llama-3.3-70b-versatile")
    await expect(doubt).to_have_count(0)
    await expect(page.locator(".routing-result")).to_contain_text("Goes to Groq with llama-3.3-70b-versatile")


async def test_a_model_that_nobody_knows_is_noticed(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    await page.locator("#routing-model").fill("some-model-of-nobody")
    await expect(page.locator(".routing-doubt")).to_contain_text("No list of models has this name")
    await page.locator("#routing-model").fill("auto")
    await expect(page.locator(".routing-doubt")).to_have_count(0)


async def test_a_task_that_nobody_made_is_told(enter: Enter, watch: Watch, person: Person) -> None:
    watch.expect(failed_load(404))
    page = await enter(person, "routing")
    await page.locator("#routing-model").fill("task:codign")
    await expect(page.locator("#routing-model-error")).to_contain_text("Did you mean task:coding?")


async def test_a_task_that_inherits_says_what_and_how_to_decide(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    await page.get_by_role("button", name="Edit Coding").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Choose a provider to decide them for this task.")
    await dialog.get_by_label("Provider").select_option(label="Groq")
    await expect(dialog.get_by_label("When a provider fails")).to_be_visible()
    await expect(dialog).not_to_contain_text("Choose a provider to decide them for this task.")


async def test_a_lock_without_a_value_sets_nothing(enter: Enter, site: Site, person: Person, admin: Person) -> None:
    await site.ok.policies.put(admin.id, PolicyDocument(locks=("tasks:coding",)))
    page = await enter(person, "routing")
    row = page.get_by_role("row").filter(has_text="task:coding")
    await expect(row).to_contain_text("inherited")
    await expect(row).not_to_contain_text("Set by")
    await expect(row).to_contain_text(f"{admin.id} has locked this task")
    await expect(row.get_by_role("button", name="Edit Coding")).to_have_count(0)


async def test_embeddings_never_fall_back(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    row = page.get_by_role("row").filter(has_text="task:embedding")
    await expect(row.get_by_role("cell").nth(2)).to_contain_text("no")
