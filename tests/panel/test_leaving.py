"""What people take with them and take back: a snippet that runs, tokens, sessions, passwords, their data."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect

from ownkey.errors import NotFound
from tests.panel.conftest import Enter
from tests.panel.driver import open_tab
from tests.panel.hosts import Host
from tests.panel.site import PASSWORD, Person, Site
from tests.panel.watch import Watch, failed_load

KEY = "gsk_leaving_000000000000000001"


@pytest.fixture
async def person(site: Site) -> Person:
    """Somebody with a password and a key."""
    person = await site.person("leaver", groq=KEY)
    await site.set_password(person)
    return person


async def create_token(page: Page, name: str) -> tuple[Locator, str]:
    """Make a token in the tab Access; gives the dialog that shows it, and its text."""
    await page.get_by_role("button", name="New token").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name", exact=True).fill(name)
    await dialog.get_by_role("button", name="Create token").click()
    text = await dialog.locator("code").filter(has_text=re.compile(r"^ok-\w+$")).first.inner_text()
    return dialog, text


async def test_the_snippet_runs_as_it_is_copied(
    enter_own: Enter, watch: Watch, site: Site, person: Person, other_host: Host
) -> None:
    """Two lines changed, and a program of OpenAI's own client is answered with the person's key."""
    page = await enter_own(person, "access")
    dialog, token = await create_token(page, "script")
    watch.expect_shown(token)
    site.tokens.append(token)
    await dialog.get_by_role("button", name="Copy the lines").click()
    snippet = await paste(page.context, other_host)
    assert token in snippet
    assert f"{site.url}/v1" in snippet
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", snippet, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out.strip()
    assert site.providers.ledger("groq")[-1].key == KEY


async def test_a_token_that_is_revoked_ends_at_once(enter_own: Enter, watch: Watch, site: Site, person: Person) -> None:
    page = await enter_own(person, "access")
    dialog, token = await create_token(page, "lost laptop")
    watch.expect_shown(token)
    site.tokens.append(token)
    await dialog.get_by_role("button", name="Done").click()
    async with httpx2.AsyncClient(base_url=site.url, headers={"authorization": f"Bearer {token}"}) as client:
        assert (await client.get("/v1/models")).status_code == 200
        await page.get_by_role("button", name="Revoke lost laptop").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
        await expect(page.get_by_text("“lost laptop” was revoked.")).to_be_visible()
        assert (await client.get("/v1/models")).status_code == 401


async def test_signing_out_everywhere(enter_own: Enter, watch: Watch, site: Site, person: Person) -> None:
    """One button: every browser, every panel in other applications, the memory of every process."""
    watch.expect(failed_load(401))
    elsewhere, page = await enter_own(person), await enter_own(person, "access")
    await page.get_by_role("button", name="Sign out everywhere").click()
    await page.get_by_role("dialog").get_by_role("button", name="Sign out everywhere").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    await elsewhere.evaluate("document.querySelector('llm-settings-panel').refresh()")
    await expect(elsewhere.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert site.ok.core.cache.find(person.id) is None
    assert await site.ok.core.sessions.list_sessions(person.id) == []
    # What is not a session goes on: programs have tokens of their own.
    async with httpx2.AsyncClient(base_url=site.url, headers={"authorization": f"Bearer {person.token}"}) as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_one_other_browser_is_signed_out(enter_own: Enter, watch: Watch, site: Site, person: Person) -> None:
    watch.expect(failed_load(401))
    elsewhere, page = await enter_own(person), await enter_own(person, "access")
    others = page.get_by_role("button", name=re.compile("^Sign out of"))
    before = await others.count()
    await others.nth(1).click()  # the first is this one
    await expect(others).to_have_count(before - 1)
    assert await is_signed_out(elsewhere)
    assert not await is_signed_out(page)


async def test_a_password_is_changed(enter_own: Enter, watch: Watch, site: Site, person: Person) -> None:
    watch.expect(failed_load(401, 403))
    page = await enter_own(person, "access")
    new = "another horse battery staple"
    site.tokens.append(new)
    await page.get_by_role("button", name="Change password").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Current password").fill(PASSWORD)
    await dialog.get_by_label("New password", exact=True).fill(new)
    await dialog.get_by_role("button", name=re.compile("^(Change password|Save)$")).click()
    await expect(page.get_by_text("Your password is changed.")).to_be_visible()
    async with httpx2.AsyncClient(base_url=site.url) as client:
        for password, status in ((PASSWORD, 401), (new, 200)):
            answer = await client.post("/api/sign-in", json={"login": person.id, "password": password})
            assert answer.status_code == status, password


async def test_people_take_their_data_with_them(enter_own: Enter, site: Site, person: Person, tmp_path: Path) -> None:
    page = await enter_own(person, "account")
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Download").click()
    download = await started.value
    await download.save_as(tmp_path / "export.json")
    text = (tmp_path / "export.json").read_text(encoding="utf-8")
    exported: dict[str, Any] = json.loads(text)
    assert person.id in text
    assert "groq" in text
    assert len(exported) > 4
    for secret in (*site.secrets, *site.tokens):
        assert secret not in text
    assert download.suggested_filename.endswith(".json")


async def test_people_delete_everything(enter_own: Enter, watch: Watch, site: Site, person: Person) -> None:
    watch.expect(failed_load(401))
    page = await enter_own(person, "account")
    await page.get_by_role("button", name="Delete everything…").click()
    dialog = page.get_by_role("dialog")
    confirm = dialog.get_by_label(re.compile("to confirm"))
    await confirm.fill(person.id.upper())
    await dialog.get_by_role("button", name="Delete everything", exact=True).click()
    await expect(dialog).to_be_visible()
    assert (await site.ok.users.get(person.id)).id == person.id
    await confirm.fill(person.id)
    await dialog.get_by_role("button", name="Delete everything", exact=True).click()
    await expect(page.get_by_role("heading", name="Everything of yours is deleted")).to_be_visible()
    with pytest.raises(NotFound):
        await site.ok.users.get(person.id)
    async with httpx2.AsyncClient(base_url=site.url, headers={"authorization": f"Bearer {person.token}"}) as client:
        assert (await client.get("/v1/models")).status_code == 401
    await page.goto(site.url)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_a_panel_inside_another_application_offers_no_tokens_and_no_passwords(
    enter: Enter, person: Person
) -> None:
    page = await enter(person)
    for tab in ("access", "account"):
        await open_tab(page, tab)
        await expect(page.get_by_role("button", name="Change password")).to_have_count(0)


async def paste(context: BrowserContext, host: Host) -> str:
    """What is in the clipboard, as another page gets it from the keyboard: our own page may not read it."""
    page = await context.new_page()
    await page.goto(host.put("/paste", "<!doctype html><title>t</title><textarea autofocus></textarea>"))
    await page.get_by_role("textbox").focus()
    await page.keyboard.press("Control+V")
    text = await page.get_by_role("textbox").input_value()
    await page.close()
    return text


async def is_signed_out(page: Page) -> bool:
    """Whether a page's next request is refused."""
    status: int = await page.evaluate("async () => (await fetch('/api/session')).status")
    return status == 401
