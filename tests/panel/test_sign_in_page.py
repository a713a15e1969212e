"""The server's own page: signing in and out, one-time links, the header, and what is left when somebody has gone."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Page, expect

from ownkey.domain.account import LinkPurpose
from ownkey.domain.user import Role, UserStatus
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import Enter
from tests.panel.driver import find_layout_faults, find_small_targets, open_tab, wait_until_settled
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.watch import Watch, failed_load

NEW_PASSWORD = "a better horse battery staple"


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a key and a password."""
    person = await site.person("signs-in", groq="gsk_signs_in_0000000000000001")
    await site.set_password(person)
    return person


async def fill_form(page: Page, login: str, password: str) -> None:
    """As a person does it: two fields and Enter."""
    await page.get_by_label("Name or e-mail").fill(login)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.keyboard.press("Enter")


async def sign_in(page: Page, site: Site, login: str, password: str = PASSWORD, *, path: str = "/") -> None:
    """From an empty page into the panel."""
    await page.goto(site.url + path)
    await fill_form(page, login, password)
    await page.get_by_role("tablist").wait_for()
    await wait_until_settled(page)


async def link_for(site: Site, name: str, purpose: LinkPurpose, role: Role = Role.USER) -> str:
    """A new user's link, as it is printed."""
    link = await site.ok.core.links.invite(name, role=role, purpose=purpose)
    site.tokens.append(link.text)
    return link.url(site.url)


async def sign_out(page: Page) -> None:
    """By the menu of the header."""
    await page.get_by_role("button", name="Account and appearance").click()
    await page.get_by_role("button", name="Sign out", exact=True).click()


async def expect_signed_out(page: Page) -> None:
    """The form is there again."""
    await expect(page.get_by_text("You are signed out.")).to_be_visible()


async def test_signing_in_opens_the_panel_and_says_so_to_whoever_cannot_see(
    page: Page, site: Site, person: Person
) -> None:
    await sign_in(page, site, person.id)
    heading = page.get_by_role("heading", level=1, name="AI settings")
    await expect(heading).to_be_focused()
    await expect(page).to_have_title("Keys · Ownkey")
    await expect(page.get_by_role("banner")).to_contain_text(person.id)
    await page.reload()
    await expect(page.get_by_role("tablist")).to_be_visible()
    assert await page.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0


async def test_password_managers_find_what_they_look_for(page: Page, site: Site, person: Person) -> None:
    """In the document itself, by their usual marks, in one form; also when they fill in without telling."""
    await page.goto(site.url)
    await expect(page.get_by_label("Password", exact=True)).to_be_visible()
    marks = await page.evaluate(
        "[...document.forms[0].elements].filter((one) => one.name).map((one) => [one.name, one.type, one.autocomplete])"
    )
    assert marks == [["username", "text", "username"], ["password", "password", "current-password"]]
    await page.evaluate(
        "([login, password]) => { const { username, password: field } = document.forms[0].elements;"
        " username.value = login; field.value = password; }",
        [person.id, PASSWORD],
    )
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("tablist")).to_be_visible()


async def test_what_is_typed_can_be_looked_at(page: Page, site: Site) -> None:
    await page.goto(site.url)
    field = page.get_by_label("Password", exact=True)
    await field.fill("looked at")
    show = page.get_by_role("button", name="Show password")
    await expect(field).to_have_attribute("type", "password")
    await show.click()
    await expect(field).to_have_attribute("type", "text")
    await expect(show).to_have_attribute("aria-pressed", "true")
    await show.click()
    await expect(field).to_have_attribute("type", "password")


async def test_a_wrong_password_is_refused_in_place(page: Page, watch: Watch, site: Site, person: Person) -> None:
    watch.expect(failed_load(401))
    await page.goto(site.url)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("Enter the name with which you sign in.")
    await fill_form(page, person.id, "")
    await expect(page.get_by_role("alert")).to_have_text("Enter your password.")
    await fill_form(page, person.id, "not the password")
    await expect(page.get_by_role("alert")).to_have_text("The login or the password is wrong.")
    field = page.get_by_label("Password", exact=True)
    await expect(field).to_be_focused()
    await expect(field).to_have_value("")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await fill_form(page, person.id, PASSWORD)
    await expect(page.get_by_role("tablist")).to_be_visible()


async def test_guessing_has_to_wait_and_the_page_counts_down(
    page: Page, watch: Watch, site: Site, person: Person
) -> None:
    watch.expect(failed_load(401, 429))
    await page.clock.install()
    await page.goto(site.url)
    for _ in range(6):
        async with page.expect_response(lambda answer: answer.url.endswith("/api/sign-in")):
            await fill_form(page, person.id, "not the password")
        await expect(page.get_by_role("button", name=re.compile("Sign in|Try again"))).to_be_visible()
    button = page.get_by_role("button", name=re.compile(r"Try again in \d+:\d\d"))
    await expect(button).to_have_attribute("aria-disabled", "true")
    await expect(page.get_by_role("alert")).to_contain_text("Too many attempts.")
    before = await button.inner_text()
    await page.clock.run_for(3_000)
    await expect(button).not_to_have_text(before)
    asked = len(site.replies)
    await fill_form(page, person.id, PASSWORD)
    assert not [reply for reply in site.replies[asked:] if reply.request == "POST /api/sign-in"], "it waits"
    await page.clock.run_for(60 * 60_000)
    await expect(page.get_by_role("button", name="Sign in")).to_have_attribute("aria-disabled", "false")


async def test_a_suspended_user_learns_why(page: Page, watch: Watch, site: Site, person: Person) -> None:
    watch.expect(failed_load(403))
    await site.ok.users.set_status(person.id, UserStatus.SUSPENDED)
    await page.goto(site.url)
    await fill_form(page, person.id, PASSWORD)
    await expect(page.get_by_role("alert")).to_contain_text("Your account is suspended.")


async def test_without_a_connection_the_page_says_so_and_tries_again(page: Page, watch: Watch, site: Site) -> None:
    watch.expect("ERR_FAILED", "ERR_INTERNET_DISCONNECTED")
    await page.route("**/api/**", lambda route: route.abort())
    await page.goto(site.url)
    await expect(page.get_by_role("heading", level=1)).to_have_text("The server cannot be reached")
    await page.unroute("**/api/**")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_label("Name or e-mail")).to_be_visible()


async def test_over_plain_http_there_is_no_form_but_what_to_do(watch: Watch, site: Site) -> None:
    """The server says that the browser keeps no cookie; the page then must not let anybody type a password."""
    page = await watch.new_page()

    async def insecure(route: object) -> None:
        body = {"local": True, "oidc": [], "secure": False, "signed_in": False}
        await route.fulfill(json=body)  # type: ignore[attr-defined]

    await page.route("**/api/sign-in", insecure)
    await page.goto(site.url)
    await expect(page.get_by_role("heading", level=1)).to_have_text("This page needs a safe connection")
    await expect(page.get_by_text("ssh -L")).to_be_visible()
    await expect(page.get_by_text("OWNKEY_PUBLIC_URL=https://127.0.0.1")).to_be_visible()
    assert await page.locator("input[type=password]").count() == 0
    await assert_accessible(page)


async def test_a_cookie_that_the_browser_does_not_keep_is_explained(page: Page, site: Site, person: Person) -> None:
    async def without_cookie(route: object) -> None:
        answer = await route.fetch()  # type: ignore[attr-defined]
        headers = {name: value for name, value in answer.headers.items() if name != "set-cookie"}
        await page.context.clear_cookies()
        await route.fulfill(response=answer, headers=headers)  # type: ignore[attr-defined]

    await page.goto(site.url)
    await page.get_by_label("Name or e-mail").wait_for()
    await page.route("**/api/sign-in", lambda route: without_cookie(route))
    await fill_form(page, person.id, PASSWORD)
    await expect(page.get_by_role("alert")).to_contain_text("did not keep the sign-in cookie")


async def test_identity_providers_have_a_button_each(page: Page, site: Site) -> None:
    async def with_providers(route: object) -> None:
        providers = [{"id": "sso", "label": "Example"}, {"id": "b/c", "label": "<b>Other</b>"}]
        body = {"local": True, "oidc": providers, "secure": True, "signed_in": False}
        await route.fulfill(json=body)  # type: ignore[attr-defined]

    await page.route("**/api/sign-in", with_providers)
    await page.goto(site.url)
    link = page.get_by_role("link", name="Continue with Example")
    await expect(link).to_have_attribute("href", f"{site.url}/api/sign-in/oidc/sso")
    other = page.get_by_role("link", name="Continue with <b>Other</b>")
    await expect(other).to_have_attribute("href", f"{site.url}/api/sign-in/oidc/b%2Fc")
    await assert_accessible(page)


async def test_a_failed_sign_in_elsewhere_is_explained_and_the_address_cleaned(page: Page, site: Site) -> None:
    await page.goto(site.url + "/#error=sign_in_denied")
    await expect(page.get_by_role("alert")).to_contain_text("The sign-in was cancelled")
    assert page.url == site.url + "/"
    await page.goto(site.url + "/admin#error=something_new")
    await expect(page.get_by_role("alert")).to_contain_text("Signing in did not work.")


async def test_a_failed_confirmation_elsewhere_leaves_people_signed_in(page: Page, site: Site, person: Person) -> None:
    await sign_in(page, site, person.id)
    await page.goto("about:blank")
    await page.goto(site.url + "/#error=sign_in_other_user")
    await expect(page.get_by_role("tablist")).to_be_visible()
    await expect(page.locator(".page-banner")).to_contain_text("another person")


async def test_the_first_administrator_chooses_name_and_password(page: Page, site: Site) -> None:
    link = await link_for(site, "founder-of-this", LinkPurpose.FIRST_ADMIN, Role.ADMIN)
    await page.goto(link)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Welcome to Ownkey")
    assert page.url == site.url + "/", "the link is gone from the address at once"
    assert await page.evaluate("history.length") <= 2
    await page.get_by_label("Name or e-mail").fill("founder@example.com")
    field = page.get_by_label("New password")
    rules = page.locator(".rules")
    await field.fill("aaaa")
    await expect(rules.get_by_text("At least 10 characters (still open)")).to_be_visible()
    await expect(rules.get_by_text("over and over (still open)")).to_be_visible()
    await page.get_by_role("button", name="Create the account").click()
    await expect(page.get_by_role("alert")).to_have_text("The password does not fit yet.")
    await field.fill("founder@example.com")
    await expect(rules.get_by_text("Not your sign-in name (still open)")).to_be_visible()
    await field.fill(NEW_PASSWORD)
    await expect(rules.get_by_text("(done)")).to_have_count(3)
    assert await field.get_attribute("autocomplete") == "new-password"
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("tablist")).to_be_visible()
    await expect(page.get_by_role("link", name="Administration")).to_be_visible()
    await sign_out(page)
    await expect_signed_out(page)
    await sign_in(page, site, "founder@example.com", NEW_PASSWORD)


async def test_a_common_password_is_refused_by_the_server(page: Page, watch: Watch, site: Site) -> None:
    watch.expect(failed_load(400))
    await page.goto(await link_for(site, "invited-one", LinkPurpose.INVITE))
    await expect(page.get_by_label("Name or e-mail")).to_have_attribute("readonly", "")
    await page.get_by_label("New password").fill("qwertyuiop")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("among the first that anybody would try")
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("tablist")).to_be_visible()


async def test_a_link_works_once(page: Page, watch: Watch, site: Site, person: Person) -> None:
    watch.expect(failed_load(404))
    link = await site.ok.core.links.reset(person.id)
    site.tokens.append(link.text)
    await page.goto(link.url(site.url))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Choose a new password")
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Save and sign in").click()
    await expect(page.get_by_role("tablist")).to_be_visible()
    await sign_out(page)
    await expect_signed_out(page)
    await page.goto("about:blank")
    await page.goto(link.url(site.url))
    await expect(page.get_by_role("heading", level=1)).to_have_text("This link does not work any more")
    assert "okl-" not in page.url
    await assert_accessible(page)
    await page.get_by_role("button", name="Go to sign-in").click()
    await expect(page.get_by_label("Name or e-mail")).to_be_visible()


async def test_a_link_pasted_into_an_open_page_works_too(page: Page, site: Site) -> None:
    await page.goto(site.url)
    await page.get_by_label("Name or e-mail").wait_for()
    await page.goto(await link_for(site, "pasted-link", LinkPurpose.INVITE))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Welcome to Ownkey")
    assert page.url == site.url + "/"


async def test_signing_out_leaves_nothing_of_the_person(page: Page, site: Site, person: Person) -> None:
    await sign_in(page, site, person.id)
    await open_tab(page, "access")
    await sign_out(page)
    await expect_signed_out(page)
    await expect(page.get_by_role("heading", level=1, name="Sign in")).to_be_focused()
    assert page.url == site.url + "/"
    await expect(page).to_have_title("Sign in · Ownkey")
    assert await page.locator("llm-settings-panel").count() == 0
    assert person.id not in await page.content()
    assert await page.context.cookies() == []
    await page.go_back()
    await expect(page.get_by_label("Name or e-mail")).to_be_visible()
    assert await page.locator("llm-settings-panel").count() == 0


async def test_signing_out_leaves_nothing_in_the_pages_memory(page: Page, site: Site, person: Person) -> None:
    """A person's labels and ids are in no object of the page any more, and neither is what they typed."""
    await site.add_key(person.id, "mistral", "mistral-memory-00000000000001", label="a label to be forgotten")
    await sign_in(page, site, person.id)
    await open_tab(page, "access")
    assert await find_in_memory(page, "a label to be forgotten")
    await sign_out(page)
    await expect_signed_out(page)
    for text in ("a label to be forgotten", person.id, PASSWORD):
        assert not await find_in_memory(page, text), text


async def find_in_memory(page: Page, text: str) -> bool:
    """Whether a text is in the page's heap, after what nobody holds was swept."""
    debugger = await page.context.new_cdp_session(page)
    pieces: list[str] = []
    debugger.on("HeapProfiler.addHeapSnapshotChunk", lambda event: pieces.append(event["chunk"]))
    await debugger.send("HeapProfiler.collectGarbage")
    await debugger.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
    await debugger.detach()
    return any(text in one for one in json.loads("".join(pieces))["strings"])


async def test_signing_out_without_a_connection_does_not_pretend(
    page: Page, watch: Watch, site: Site, person: Person
) -> None:
    watch.expect("ERR_FAILED")
    await sign_in(page, site, person.id)
    await page.route("**/api/session", lambda route: route.abort())
    await sign_out(page)
    await expect(page.locator(".page-banner")).to_contain_text("You are still signed in")
    await page.unroute("**/api/session")


async def test_other_windows_follow(page: Page, site: Site, person: Person) -> None:
    await sign_in(page, site, person.id)
    other = await page.context.new_page()
    await other.goto(site.url)
    await other.get_by_role("tablist").wait_for()
    await wait_until_settled(other)
    await sign_out(page)
    await expect(other.get_by_text("Your session has ended.")).to_be_visible()
    assert await other.locator("llm-settings-panel").count() == 0
    await fill_form(page, person.id, PASSWORD)
    await expect(other.get_by_role("tablist")).to_be_visible()


async def test_a_session_that_ended_elsewhere_asks_again_and_comes_back_to_the_tab(
    page: Page, watch: Watch, site: Site, person: Person
) -> None:
    watch.expect(failed_load(401))
    await sign_in(page, site, person.id)
    await open_tab(page, "routing")
    await site.sign_out_everywhere(person)
    await page.locator("#tab-access").click()
    await expect(page.get_by_text("Your session has ended.")).to_be_visible()
    await fill_form(page, person.id, PASSWORD)
    await expect(page.locator("#tab-access")).to_have_attribute("aria-selected", "true")


async def test_the_address_and_the_tab_belong_together(page: Page, site: Site, person: Person) -> None:
    await sign_in(page, site, person.id, path="/#usage")
    await expect(page.locator("#tab-usage")).to_have_attribute("aria-selected", "true")
    await open_tab(page, "access")
    assert page.url == site.url + "/#access"
    await expect(page).to_have_title("Access · Ownkey")
    await page.go_back()
    await expect(page.locator("#tab-usage")).to_have_attribute("aria-selected", "true")
    await expect(page).to_have_title("Usage · Ownkey")


async def test_language_and_appearance_are_kept_as_two_words(page: Page, site: Site, person: Person) -> None:
    await sign_in(page, site, person.id)
    await page.get_by_role("button", name="Account and appearance").click()
    await page.get_by_text("Deutsch").click()
    await expect(page.locator("html")).to_have_attribute("lang", "de")
    await expect(page.locator("#tab-keys")).to_have_text("Schlüssel")
    await expect(page).to_have_title("Schlüssel · Ownkey")
    await page.get_by_text("Dunkel").click()
    background = "getComputedStyle(document.querySelector('.page')).backgroundColor"
    assert await page.evaluate(background) == "rgb(15, 18, 22)"
    stored = json.loads(await page.evaluate("JSON.stringify(Object.fromEntries(Object.entries(localStorage)))"))
    assert stored == {"ownkey-language": "de", "ownkey-appearance": "dark"}
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("KI-Einstellungen")
    assert await page.evaluate(background) == "rgb(15, 18, 22)"


@pytest.mark.parametrize(
    ("locale", "words"), [("de-AT", "Anmelden"), ("es-MX", "Iniciar sesión"), ("fr-FR", "Sign in")]
)
async def test_the_browser_says_which_language_first(watch: Watch, site: Site, locale: str, words: str) -> None:
    page = await watch.new_page(locale=locale)
    await page.goto(site.url)
    await expect(page.get_by_role("heading", level=1)).to_have_text(words)
    expected = locale if locale != "fr-FR" else "en"
    await expect(page.locator("html")).to_have_attribute("lang", expected)


async def test_administrators_go_back_and_forth(page: Page, site: Site) -> None:
    admin = await site.admin()
    await site.set_password(admin)
    await sign_in(page, site, admin.id)
    await page.get_by_role("link", name="Administration").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Administration")
    assert page.url.endswith("/admin")
    await page.locator("llm-admin-panel").wait_for()
    await page.get_by_role("link", name="Settings").click()
    await expect(page.get_by_role("tablist")).to_be_visible()


async def test_other_people_are_told_that_administration_is_not_theirs(page: Page, site: Site, person: Person) -> None:
    await page.goto(site.url + "/admin")
    await fill_form(page, person.id, PASSWORD)
    await expect(page.get_by_role("heading", name="This page is for administrators")).to_be_visible()
    assert await page.locator("llm-admin-panel").count() == 0
    await page.get_by_role("link", name="Open my settings").click()
    await expect(page.get_by_role("tablist")).to_be_visible()


async def test_the_page_is_accessible(page: Page, watch: Watch, site: Site, person: Person) -> None:
    watch.expect(failed_load(401))
    await page.goto(site.url)
    await page.get_by_label("Name or e-mail").wait_for()
    await assert_accessible(page)
    await fill_form(page, person.id, "not the password")
    await page.get_by_role("alert").wait_for()
    await assert_accessible(page)
    await fill_form(page, person.id, PASSWORD)
    await page.get_by_role("tablist").wait_for()
    await wait_until_settled(page)
    await page.get_by_role("button", name="Account and appearance").click()
    await assert_accessible(page)
    await page.goto(await link_for(site, "accessible-link", LinkPurpose.INVITE))
    go_on = page.get_by_role("button", name="Sign out and go on")
    await go_on.wait_for()
    await assert_accessible(page)
    await go_on.click()
    await page.get_by_label("New password").wait_for()
    await assert_accessible(page)


@pytest.mark.parametrize("width", [320, 400, 1280])
async def test_the_page_fits(enter_own: Enter, watch: Watch, site: Site, width: int) -> None:
    viewport = {"width": width, "height": 720}
    outside = await watch.new_page(viewport=viewport)
    await outside.goto(site.url)
    await outside.get_by_label("Name or e-mail").wait_for()
    admin = await site.admin("a-name-that-is-much-longer-than-anybody-would-think-" + "w" * 60)
    inside = await enter_own(admin, viewport=viewport)
    await inside.get_by_role("button", name="Account and appearance").click()
    for page in (outside, inside):
        assert await find_layout_faults(page) == []
        assert await find_small_targets(page) == []
