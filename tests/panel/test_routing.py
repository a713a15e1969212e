"""The Routing tab: who pays, the table of tasks, the model picker, and the way to try a route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Locator, Page, expect

from ownkey.domain.policy import PolicyDefaults, PolicyDocument, TaskDefault
from ownkey.domain.settings import PayerRule
from ownkey.domain.user import Role
from ownkey.errors import NotFound
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import find_layout_faults, open_tab, read_events
from tests.panel.site import Person, Site
from tests.panel.watch import Watch, failed_load

Decide = Callable[[PolicyDocument], Awaitable[str]]


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key at Groq, which is preferred, and one at Mistral."""
    return await site.person("router", groq="gsk_routing_000000000000000001", mistral="mistral-routing-000000000001")


@pytest.fixture
async def decide(site: Site) -> AsyncIterator[Decide]:
    """Decides the policy as an administrator, whose id it gives; afterwards nothing is decided."""
    admin = "routing-administrator"
    try:
        await site.ok.users.get(admin)
    except NotFound:
        await site.ok.users.create(admin, role=Role.ADMIN)

    async def decide(document: PolicyDocument) -> str:
        await site.ok.policies.put(admin, document)
        return admin

    yield decide
    await site.ok.policies.put(admin, PolicyDocument())


def row(page: Page, task: str) -> Locator:
    """A task's line in the table."""
    return page.get_by_role("row").filter(has=page.locator("code", has_text=f"task:{task}"))


def chain(page: Page) -> Locator:
    """The hops of the route that is tried, the error at their end included."""
    return page.get_by_role("list", name="Order in which").get_by_role("listitem")


async def undo(page: Page) -> None:
    """Take back what the notice at the foot speaks of."""
    await page.get_by_role("button", name="Undo").click()


async def edit(page: Page, task: str) -> Locator:
    """Open the dialog of a task."""
    await page.get_by_role("button", name=f"Edit {task}", exact=True).click()
    dialog = page.get_by_role("dialog", name=task)
    await expect(dialog).to_be_visible()
    return dialog


async def open_picker(page: Page, task: str, provider: str = "Groq") -> Locator:
    """The list of models for a task, loaded."""
    dialog = await edit(page, task)
    await dialog.get_by_label("Provider", exact=True).select_option(label=provider)
    await dialog.get_by_role("button", name="Model").click()
    picker = page.get_by_role("dialog", name=f"Model at {provider}")
    await expect(picker.get_by_role("option").first).to_be_visible()
    return picker


# General settings


async def test_who_pays_is_saved_at_once_and_can_be_taken_back(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    await expect(page.get_by_label("Own keys first, then shared ones")).to_be_checked()
    await expect(chain(page).filter(has_text="shared key")).to_have_count(2)
    await page.get_by_label("Only own keys").check()
    await expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    await expect(chain(page).filter(has_text="shared key")).to_have_count(0)
    await expect(row(page, "chat")).to_contain_text("Only yours")
    assert (await site.ok.settings.get_settings(person.id)).payer is PayerRule.OWN_ONLY
    assert {"name": "change", "detail": '{"what":"settings"}'} in await read_events(page)
    await undo(page)
    await expect(page.get_by_label("Own keys first, then shared ones")).to_be_checked()
    await expect(chain(page).filter(has_text="shared key")).to_have_count(2)
    # Nobody had chosen anything before, and that is so again.
    assert (await site.ok.settings.get_settings(person.id)).payer is None


async def test_fallback_and_the_task_of_requests_without_one(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    await page.get_by_role("switch", name="Try the next one").uncheck()
    await expect(row(page, "coding")).to_contain_text("no")
    await expect(chain(page)).to_have_count(3)  # the first provider, with both keys, and the error
    await expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    async with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        await page.get_by_label("Requests that name no task").select_option(label="Count as Coding")
    await expect(page.get_by_label("Requests that name no task")).to_have_value("coding")
    stored = await site.ok.settings.get_settings(person.id)
    assert (stored.allow_fallback, stored.default_task) == (False, "coding")


async def test_a_refused_choice_is_taken_back_on_the_screen(
    enter: Enter, site: Site, person: Person, decide: Decide, watch: Watch
) -> None:
    page = await enter(person, "routing")
    await decide(PolicyDocument(locks=("payer",)))
    watch.expect(failed_load(400, 403, 409))
    await page.get_by_label("Only shared keys").check()
    await expect(page.get_by_role("alert")).to_contain_text("administrator")
    await expect(page.get_by_label("Own keys first, then shared ones")).to_be_checked()


# Tasks


async def test_a_task_that_says_nothing_shows_what_it_inherits(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    await expect(row(page, "coding")).to_contain_text("Groq")
    await expect(row(page, "coding")).to_contain_text("inherited")
    await expect(row(page, "embedding")).to_contain_text("mistral-embed")
    await expect(page.get_by_role("row")).to_have_count(6)
    # With one key at each provider there is no key to choose.
    await expect(page.get_by_role("columnheader", name="Key")).to_have_count(0)


async def test_a_task_gets_a_provider_a_model_and_a_payer(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    picker = await open_picker(page, "Writing", "Mistral")
    await picker.get_by_role("option", name="mistral-large-latest").last.click()
    dialog = page.get_by_role("dialog", name="Writing")
    await expect(dialog.get_by_role("button", name="Model")).to_contain_text("mistral-large-latest")
    await dialog.get_by_label("When a provider fails").select_option(label="Answer with the error")
    await dialog.get_by_label("Who pays").select_option(label="Only own keys")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("status").filter(has_text="“Writing” saved")).to_be_visible()
    writing = row(page, "writing")
    for text in ("Mistral", "mistral-large-latest", "no", "Only yours"):
        await expect(writing).to_contain_text(text)
    await expect(writing).not_to_contain_text("inherited")
    stored = await site.ok.settings.get_task_override(person.id, "writing")
    assert (stored.provider, stored.model, stored.payer, stored.allow_fallback) == (
        "mistral",
        "mistral-large-latest",
        PayerRule.OWN_ONLY,
        False,
    )
    await undo(page)
    await expect(writing).to_contain_text("Groq")
    assert await site.ok.settings.list_task_overrides(person.id) == []


async def test_a_task_inherits_again(enter: Enter, site: Site, person: Person) -> None:
    await site.ok.settings.put_task_override(person.id, "coding", "mistral", model="codestral-latest")
    page = await enter(person, "routing")
    await expect(row(page, "coding")).to_contain_text("codestral-latest")
    await page.get_by_role("button", name="Let Coding inherit again").click()
    await expect(page.get_by_role("status").filter(has_text="“Coding” inherits again")).to_be_visible()
    await expect(row(page, "coding")).to_contain_text("Groq")
    await undo(page)
    await expect(row(page, "coding")).to_contain_text("codestral-latest")
    dialog = await edit(page, "Coding")
    await dialog.get_by_label("Provider", exact=True).select_option("")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row(page, "coding")).to_contain_text("Groq")
    assert await site.ok.settings.list_task_overrides(person.id) == []


async def test_a_task_of_ones_own(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    await page.get_by_role("button", name="Add task").click()
    dialog = page.get_by_role("dialog", name="New task")
    name = dialog.get_by_role("textbox", name="Name")
    await expect(name).to_be_focused()
    for wrong, why in (("1st", "Start with a letter"), ("chat", "a task of this name already")):
        await name.fill(wrong)
        await name.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text(why)
        await expect(name).to_be_focused()
    await name.fill("Triage")
    await expect(dialog).to_contain_text("task:triage")
    await name.press("Enter")
    await expect(dialog.get_by_role("alert")).to_contain_text("Choose where this task goes")
    await expect(dialog.get_by_label("Provider", exact=True)).to_be_focused()
    await dialog.get_by_label("Provider", exact=True).select_option(label="Groq")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row(page, "triage")).to_contain_text("Groq")
    assert (await site.ok.settings.get_task_override(person.id, "triage")).provider == "groq"
    await page.get_by_role("button", name="Remove triage").click()
    await expect(row(page, "triage")).to_have_count(0)
    await undo(page)
    await expect(row(page, "triage")).to_contain_text("Groq")


async def test_one_of_several_keys(enter: Enter, site: Site, person: Person) -> None:
    second = await site.add_key(person.id, "groq", "gsk_routing_000000000000000002", "evaluation")
    page = await enter(person, "routing")
    await expect(page.get_by_role("columnheader", name="Key")).to_be_visible()
    await expect(chain(page).filter(has_text="your key · evaluation")).to_have_count(1)
    dialog = await edit(page, "Research")
    await dialog.get_by_label("Provider", exact=True).select_option(label="Groq")
    await dialog.get_by_label("Key", exact=True).select_option(second)
    await dialog.get_by_role("button", name="Save").click()
    await expect(row(page, "research")).to_contain_text("evaluation")
    assert (await site.ok.settings.get_task_override(person.id, "research")).credential_id == second


async def test_a_change_from_another_window_is_not_overwritten(
    enter: Enter, site: Site, person: Person, watch: Watch
) -> None:
    page = await enter(person, "routing")
    dialog = await edit(page, "Coding")
    await dialog.get_by_label("Provider", exact=True).select_option(label="Groq")
    await site.ok.settings.put_task_override(person.id, "coding", "mistral", model="codestral-latest")
    watch.expect(failed_load(412))
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(row(page, "coding")).to_contain_text("codestral-latest")
    assert (await site.ok.settings.get_task_override(person.id, "coding")).provider == "mistral"


async def test_a_refusal_is_said_in_the_dialog_and_nothing_is_lost(
    enter: Enter, site: Site, person: Person, decide: Decide, watch: Watch
) -> None:
    page = await enter(person, "routing")
    dialog = await edit(page, "Coding")
    await dialog.get_by_label("Provider", exact=True).select_option(label="Mistral")
    await decide(PolicyDocument(locks=("tasks:coding",)))
    watch.expect(failed_load(400, 403, 409))
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("administrator")
    await expect(dialog.get_by_label("Provider", exact=True)).to_have_value("mistral")


# What an administrator decides


async def test_what_is_locked_says_so_and_by_whom(enter: Enter, site: Site, person: Person, decide: Decide) -> None:
    await site.ok.settings.put_task_override(person.id, "chat", "groq")
    admin = await decide(
        PolicyDocument(
            defaults=PolicyDefaults(
                payer=PayerRule.OWN_ONLY,
                tasks={"chat": TaskDefault(provider="mistral"), "triage": TaskDefault(provider="groq")},
            ),
            locks=("payer", "tasks:chat"),
        )
    )
    page = await enter(person, "routing")
    who_pays = page.get_by_role("group", name="Who pays")
    await expect(who_pays).to_contain_text(f"Set by {admin}")
    await expect(page.get_by_label("Only own keys")).to_be_checked()
    await expect(page.get_by_label("Only own keys")).to_be_disabled()
    await expect(row(page, "chat")).to_contain_text("Mistral")
    await expect(row(page, "chat")).to_contain_text(f"Set by {admin}")
    await expect(page.get_by_role("button", name="Edit Chat")).to_have_count(0)
    # A default that is not locked can be left and comes back.
    await expect(row(page, "triage")).to_contain_text("by your administrator")
    dialog = await edit(page, "triage")
    await expect(dialog.get_by_label("Provider", exact=True).locator("option").first).to_have_text("Inherit: now Groq")
    await dialog.get_by_label("Provider", exact=True).select_option(label="Mistral")
    await expect(dialog.get_by_label("Who pays").locator("option")).to_have_count(1)
    await dialog.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name="Let triage inherit again").click()
    await expect(row(page, "triage")).to_contain_text("by your administrator")
    await assert_accessible(page, include="llm-settings-panel")


async def test_back_to_the_administrators_default(enter: Enter, site: Site, person: Person, decide: Decide) -> None:
    await decide(PolicyDocument(defaults=PolicyDefaults(payer=PayerRule.OWN_ONLY)))
    await site.ok.settings.update_settings(person.id, payer=PayerRule.SHARED_ONLY)
    page = await enter(person, "routing")
    await page.get_by_role("button", name="Back to the default: Only own keys").click()
    await expect(page.get_by_label("Only own keys")).to_be_checked()
    await expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert (await site.ok.settings.get_settings(person.id)).payer is None


# The model picker


async def test_the_list_of_models_comes_from_the_provider(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    picker = await open_picker(page, "Coding")
    await expect(picker).to_contain_text("Asked of the provider")
    await expect(picker.get_by_role("option").first).to_contain_text("Default")
    await expect(picker.get_by_role("option").first).to_have_attribute("aria-selected", "true")
    model = picker.get_by_role("option", name="openai/gpt-oss-120b").last
    await expect(model).to_contain_text("context")
    await expect(model).to_contain_text("Tools")
    await expect(model).to_contain_text("$")
    asked = len([one for one in site.providers.ledger("groq") if one.path.endswith("/models")])
    await picker.get_by_role("button", name="Refresh").click()
    await expect(picker.get_by_role("button", name="Refresh")).to_be_enabled()
    assert len([one for one in site.providers.ledger("groq") if one.path.endswith("/models")]) == asked + 1


async def test_models_are_searched_and_chosen_with_the_keyboard(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    picker = await open_picker(page, "Coding")
    search = picker.get_by_role("combobox")
    await expect(search).to_be_focused()
    await page.keyboard.type("gpt oss-20")
    await expect(picker.get_by_role("option").first).to_contain_text("openai/gpt-oss-20b")
    await page.keyboard.press("Enter")
    await expect(picker).to_have_count(0)
    dialog = page.get_by_role("dialog", name="Coding")
    await expect(dialog.get_by_role("button", name="Model")).to_contain_text("openai/gpt-oss-20b")
    await expect(dialog.get_by_role("button", name="Model")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(picker.get_by_role("option", selected=True)).to_contain_text("openai/gpt-oss-20b")
    for _ in range(40):
        await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("button", name="Model")).to_contain_text("default")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Escape")
    await expect(picker).to_have_count(0)
    await expect(dialog).to_be_visible()


async def test_a_model_that_is_not_in_the_list(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    picker = await open_picker(page, "Coding")
    await picker.get_by_role("combobox").fill("not a name")
    await expect(picker.get_by_role("alert")).to_contain_text("letters, digits")
    await expect(picker.get_by_role("option")).to_have_count(0)
    await picker.get_by_role("combobox").fill("acme/brand-new:1")
    await expect(picker.get_by_role("option")).to_have_count(1)
    await expect(picker.get_by_role("option")).to_contain_text("Use “acme/brand-new:1” anyway")
    await expect(picker.get_by_role("option")).to_contain_text("It is not in the list")
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Coding")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row(page, "coding")).to_contain_text("acme/brand-new:1")
    assert (await site.ok.settings.get_task_override(person.id, "coding")).model == "acme/brand-new:1"
    picker = await open_picker(page, "Coding")
    await expect(picker.get_by_role("option").first).to_contain_text("Default")


async def test_without_the_providers_list_the_known_models_are_shown(enter: Enter, site: Site, watch: Watch) -> None:
    person = await site.person("listless", groq="gsk_listless_0000000000000001")
    site.providers.break_provider("groq", "bad_key")
    watch.expect(failed_load(424))
    page = await enter(person, "routing")
    picker = await open_picker(page, "Coding")
    await expect(picker).to_contain_text("The provider has given no list: Wrong key.")
    await expect(picker.get_by_role("option", name="openai/gpt-oss-120b").last).to_be_visible()
    site.providers.fix("groq")
    await picker.get_by_role("button", name="Refresh").click()
    await expect(picker).to_contain_text("Asked of the provider")


async def test_embeddings_have_models_of_their_own(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    picker = await open_picker(page, "Embeddings", "Mistral")
    await expect(picker.get_by_role("option", name="mistral-embed").last).to_be_visible()
    await expect(picker.get_by_role("option", name="mistral-large-latest")).to_have_count(0)


# Try a route


async def test_a_route_is_a_list_in_order_and_nothing_is_sent(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    await expect(chain(page)).to_contain_text(["Groq", "Mistral", "Groq", "OpenAI", "Clear error"], use_inner_text=True)
    await expect(chain(page).first).to_contain_text("your key")
    await expect(chain(page).nth(3)).to_contain_text("shared key")
    await expect(page.get_by_role("status").filter(has_text="Goes to Groq")).to_be_visible()
    await page.get_by_label("Model", exact=True).fill("mistral/mistral-large-latest")
    await expect(page.get_by_role("status").filter(has_text="Goes to Mistral")).to_be_visible()
    await expect(chain(page).first).to_contain_text("mistral-large-latest")
    assert site.providers.ledger() == []


async def test_what_is_left_out_says_why(enter: Enter, site: Site, person: Person) -> None:
    await site.ok.settings.put_preference(person.id, "mistral", enabled=False)
    page = await enter(person, "routing")
    left_out = page.locator(".skipped-list li")
    await expect(left_out.filter(has_text="Mistral")).to_contain_text("You switched this provider off")
    await page.get_by_label("images").check()
    await expect(left_out.filter(has_text="Groq").first).to_contain_text("cannot see images")
    await page.get_by_label("Only own keys").check()
    await expect(page.get_by_role("status").filter(has_text="It would fail at once")).to_be_visible()
    await expect(chain(page)).to_have_count(0)


async def test_what_rests_says_until_when(enter: Enter, site: Site, person: Person) -> None:
    site.providers.break_provider("groq", "rate_limited")
    await site.ok.manager.chat(person.id, task="chat", messages=[{"role": "user", "content": "Hello"}])
    page = await enter(person, "routing")
    resting = page.locator(".skipped-list li").filter(has_text="Groq").first
    await expect(resting).to_contain_text("Resting after a limit")
    await expect(resting).to_contain_text("until")


async def test_a_row_shows_its_route(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    await page.get_by_role("button", name="Try Embeddings").click()
    await expect(page.get_by_role("heading", name="Try a route")).to_be_focused()
    await expect(page.get_by_label("Task", exact=True)).to_have_value("embedding")
    await expect(page.get_by_role("status").filter(has_text="mistral-embed")).to_be_visible()
    await expect(page.locator(".skipped-list")).to_contain_text("Groq")


# For everybody


async def test_somebody_without_anything(enter: Enter, site: Site) -> None:
    page = await enter(await site.person("bare"), "routing")
    await expect(row(page, "chat")).to_contain_text("OpenAI")
    picker = await open_picker(page, "Chat")
    await expect(picker).to_contain_text("With a key of yours here, the list comes from the provider.")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", ["Wer bezahlt", "Aufgaben", "Einen Weg proben", "geerbt", "Klare Fehlermeldung"]),
        ("es", ["Quién paga", "Tareas", "Probar una ruta", "heredado", "Error claro"]),
    ],
)
async def test_other_languages(enter: Enter, person: Person, language: str, words: list[str]) -> None:
    page = await enter(person, "routing", html=f'lang="{language}"')
    for word in words:
        await expect(page.locator("#view")).to_contain_text(word)


async def test_the_view_and_its_dialogs_are_accessible(enter: Enter, person: Person) -> None:
    page = await enter(person, "routing")
    await assert_accessible(page)
    await page.get_by_role("button", name="Add task").click()
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    picker = await open_picker(page, "Coding")
    await assert_accessible(page)
    await picker.get_by_role("combobox").fill("something else")
    await assert_accessible(page)


async def test_what_changed_elsewhere_is_worked_out_anew(enter: Enter, site: Site, person: Person) -> None:
    page = await enter(person, "routing")
    await expect(row(page, "embedding")).to_contain_text("Mistral")
    await site.ok.settings.put_preference(person.id, "mistral", enabled=False)
    # As when the person comes back to the window after a while.
    await page.locator("llm-settings-panel").evaluate("(panel) => panel.refresh()")
    await expect(row(page, "embedding")).not_to_contain_text("Mistral")
    await expect(page.locator(".skipped-list")).to_contain_text("You switched this provider off")


@pytest.mark.parametrize("width", [320, 700, 900, 1280])
async def test_long_names_fit(enter: Enter, site: Site, person: Person, width: int) -> None:
    await site.add_key(person.id, "groq", "gsk_routing_000000000000000003", "Evaluation-of-the-new-department" * 2)
    model = "some-organisation/an-extraordinarily-long-model-name-instruct-v3.2-experimental:free"
    await site.ok.settings.put_task_override(person.id, "a" * 40, "openrouter", model=model)
    await site.ok.settings.put_task_override(person.id, "chat", "groq", model=model)
    page = await enter(person, "routing", html='lang="de"', viewport={"width": width, "height": 640})
    assert await find_layout_faults(page) == []
    await page.get_by_role("button", name=f"{'a' * 40} bearbeiten").click()
    assert await find_layout_faults(page) == []
    box = await page.get_by_role("dialog").bounding_box()
    assert box is not None
    for field in await page.get_by_role("dialog").locator("select, button").all():
        place = await field.bounding_box()
        assert place is not None
        assert place["x"] + place["width"] <= box["x"] + box["width"]


@pytest.mark.parametrize("width", [320, 1280])
async def test_dialogs_fit(enter: Enter, person: Person, width: int) -> None:
    page = await enter(person, "routing", viewport={"width": width, "height": 640})
    await open_picker(page, "Coding")
    assert await find_layout_faults(page) == []
    await page.keyboard.press("Escape")
    assert await find_layout_faults(page) == []
    await page.keyboard.press("Escape")
    await open_tab(page, "keys")
