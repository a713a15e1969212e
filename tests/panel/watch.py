"""A browser under watch: whatever a page says, asks for, stores or shows is noted, and judged when the test is over."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Error, Page, Request, WebError

from tests.panel.site import Reply

_LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "[::1]", "::1"))
# A test that waits longer than this for anything has found a fault, not a slow machine.
TIMEOUT_MILLISECONDS: Final = 10_000

# Runs before every script of every page and frame.
_PROBES: Final = """
document.addEventListener('securitypolicyviolation', (event) => {
  if (event.disposition === 'enforce') {
    window.__ownkey_violation(`${event.effectiveDirective} ${event.blockedURI} ${event.sample} at ${event.sourceFile}`);
  }
});
window.__ownkey_events = [];
for (const name of ['ready', 'change', 'error', 'auth-required']) {
  document.addEventListener(`llm-settings-${name}`, (event) => {
    window.__ownkey_events.push({ name, detail: JSON.stringify(event.detail ?? null) });
  });
}
"""

# Everything in which a secret could be left lying: storage, addresses, attributes and text, shadow roots too.
_READ_PAGE: Final = """() => {
  const parts = [];
  const read = (parent) => {
    for (const node of parent.childNodes) if (node.nodeType === 3 || node.nodeType === 8) parts.push(node.data);
  };
  const walk = (root) => {
    read(root);
    for (const element of root.querySelectorAll('*')) {
      for (const { name, value } of element.attributes) parts.push(`${name}="${value}"`);
      read(element);
      if (element.shadowRoot) walk(element.shadowRoot);
    }
  };
  walk(document);
  const stored = (storage) => JSON.stringify(Object.entries(storage));
  return {
    document: parts.join('\\n'),
    storage: `${stored(localStorage)} ${stored(sessionStorage)} ${document.cookie}`,
    address: `${location.href} ${JSON.stringify(history.state)} ${document.referrer}`,
    events: JSON.stringify(window.__ownkey_events ?? []),
  };
}"""


class Finding(Struct, frozen=True):
    """Something that a page did; unexpected unless the test says otherwise."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Watch:
    """Opens contexts and pages, and keeps what they did.

    Expected things are named by the test with `expect`; everything else fails it at its end. `secrets` must be in no
    answer, no address, no storage and nowhere on a page; `tokens` only where `expect_shown` says. Both lists may grow.
    """

    def __init__(
        self, browser: Browser, *, secrets: Sequence[str], tokens: Sequence[str] = (), replies: Sequence[Reply] = ()
    ) -> None:
        self.browser, self.secrets, self.tokens, self.replies = browser, secrets, tokens, replies
        self.findings: list[Finding] = []
        self.requests: list[str] = []
        self.contexts: list[BrowserContext] = []
        self.pwned: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        self._shown: list[str] = []

    async def new_context(self, **options: Any) -> BrowserContext:
        """A browser profile of its own; options as of Playwright (`color_scheme`, `locale`, `viewport` …)."""
        context = await self.browser.new_context(
            **{"locale": "en-US", "timezone_id": "Europe/Berlin", "viewport": {"width": 1280, "height": 900}, **options}
        )
        self.contexts.append(context)
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        context.on("console", self._note_console)
        context.on("weberror", self._note_error)
        context.on("request", self._note_request)
        context.on("dialog", self._refuse_dialog)
        await context.expose_binding("__ownkey_violation", self._note_violation)
        await context.expose_binding("__pwned", self._note_attack)
        await context.add_init_script(_PROBES)
        return context

    async def new_page(self, **options: Any) -> Page:
        """A page in a profile of its own."""
        return await (await self.new_context(**options)).new_page()

    def expect(self, *patterns: str) -> None:
        """Findings that match one of these regular expressions are no fault of this test."""
        self._expected.extend(re.compile(pattern) for pattern in patterns)

    def expect_shown(self, *secrets: str) -> None:
        """These secrets may stand on the page: a token's only showing, a revealed key."""
        self._shown.extend(secrets)

    @property
    def unexpected(self) -> list[Finding]:
        """What nobody announced."""
        return [finding for finding in self.findings if not any(known.search(str(finding)) for known in self._expected)]

    async def close(self) -> None:
        """Look through what is left on the pages, then close them."""
        await self.search()
        for context in self.contexts:
            with suppress(Error):
                await context.close()

    async def search(self) -> None:
        """Look for secrets on every open page, now."""
        for context in self.contexts:
            for page in context.pages:
                await self._search_page(page)

    def assert_clean(self) -> None:
        """Nothing unexpected was said, asked for, stored, shown or executed."""
        assert not self.pwned, f"script was executed: {self.pwned}"
        assert not self.unexpected, "\n" + "\n".join(map(str, self.unexpected))
        for secret in self.secrets:
            for url in self.requests:
                assert secret not in url, f"a secret is in the address of a request: {url}"
            for reply in self.replies:
                assert secret.encode() not in reply.body, f"a stored key is in the answer to {reply.request}"
                assert secret not in reply.head, f"a stored key is in the headers of the answer to {reply.request}"

    async def _search_page(self, page: Page) -> None:
        for frame in page.frames:
            try:
                found: dict[str, str] = await frame.evaluate(_READ_PAGE)
            except Error:  # an error page, or a document that denies its storage
                continue
            for place, text in found.items():
                for secret in (*self.secrets, *self.tokens):
                    if secret in text and not (place == "document" and secret in self._shown):
                        self.findings.append(Finding("secret", f"in the {place} of {frame.url}"))

    def _note_console(self, message: ConsoleMessage) -> None:
        where = message.location.get("url", "")
        self.findings.append(Finding(f"console.{message.type}", f"{message.text} ({where})"))
        self._check_text(message.text, "the console")

    def _note_error(self, error: WebError) -> None:
        self.findings.append(Finding("page error", f"{error.error.message}\n{error.error.stack or ''}"))

    def _note_request(self, request: Request) -> None:
        url = request.url
        self.requests.append(url)
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in _LOOPBACK:
            self.findings.append(Finding("request to a third party", url))

    async def _refuse_dialog(self, dialog: Dialog) -> None:
        self.findings.append(Finding("dialog", f"{dialog.type} {dialog.message}"))
        with suppress(Error):
            await dialog.dismiss()

    def _note_violation(self, source: dict[str, Any], text: str) -> None:
        self.findings.append(Finding("policy violation", text))

    def _note_attack(self, source: dict[str, Any], text: object = None) -> None:
        self.pwned.append(json.dumps(text))

    def _check_text(self, text: str, place: str) -> None:
        for secret in (*self.secrets, *self.tokens):
            if secret in text:
                self.findings.append(Finding("secret", f"in {place}"))


def failed_load(*statuses: int) -> str:
    """The line that Chromium itself writes for an answer with one of these statuses: a pattern for `expect`."""
    return f"Failed to load resource: the server responded with a status of ({_alternatives(statuses)}) "


def _alternatives(statuses: Sequence[int]) -> str:
    return "|".join(map(str, statuses))
