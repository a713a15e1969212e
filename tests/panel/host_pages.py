"""Pages of host applications: how a host developer embeds the panel, and what a page can do to it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from playwright.async_api import Locator, Page

from tests.panel.driver import wait_for
from tests.panel.hosts import Host, build_with_vite, install_packages, read_module

_HERE: Final = Path(__file__).parent

# What a host's page does to hand its panel tokens: everything but the element itself.
HAND_OVER: Final = """
const panel = document.querySelector("llm-settings-panel");
panel.getToken = async () => (await (await fetch("/token")).json()).token;
"""

# The worst style sheet that a panel may meet: every rule here is for everything and beats what is not isolated.
HOSTILE_CSS: Final = """
body, body * { color: hotpink !important; background: yellow !important; font: italic 40px/3 fantasy !important;
    letter-spacing: 1em !important; text-transform: uppercase !important; text-align: right !important;
    border: 9px dashed lime !important; padding: 30px !important; margin: 30px !important; float: right !important;
    opacity: 0.4 !important; transform: rotate(3deg) !important; visibility: hidden !important;
    cursor: wait !important; pointer-events: none !important; }
button, input, select, dialog, table, [role=tab] { display: none !important; }
:root { --accent: red; --border: red; --text: red; --surface: red; --space: 99px; font-size: 3px !important; }
"""

# As strict as the server's own, with nothing but the server's address added.
STRICT_POLICY: Final = (
    "default-src 'none'; script-src 'self' {url}; connect-src 'self' {url}; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types lit-html ownkey"
)


def put_plain(
    host: Host,
    url: str,
    *,
    attributes: str = 'class="w-full"',
    html: str = 'lang="en"',
    head: str = "",
    before: str = "<h1>Settings</h1>",
    policy: str | None = None,
    path: str = "/",
    script: str = HAND_OVER,
    schemes: str = "light dark",
    element: str = "llm-settings-panel",
) -> str:
    """A page of plain HTML with the panel, or with the administrators' `element`; gives its address."""
    host.put("/host.js", script.replace("llm-settings-panel", element))
    module = "admin.js" if element == "llm-admin-panel" else "panel.js"
    body = (
        f'<!doctype html><html {html}><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Host</title>'
        f'<meta name="color-scheme" content="{schemes}">'
        f'{head}<script type="module" src="{url}/{module}"></script></head>'
        f"<body><main>{before}<{element} {attributes}></{element}></main>"
        '<script type="module" src="/host.js"></script></body></html>'
    )
    headers = {} if policy is None else {"content-security-policy": policy.format(url=url)}
    return host.put(path, body, headers=headers)


def put_hostile(host: Host, url: str) -> str:
    """A page whose style sheet is at war with everything on it."""
    host.put("/hostile.css", HOSTILE_CSS)
    return put_plain(host, url, head='<link rel="stylesheet" href="/hostile.css">')


def put_react(host: Host, url: str) -> str:
    """A page made by React 19, built by Vite."""
    for path, data in _build_react().items():
        host.put(path, data.replace(b"https://ownkey.example", url.encode()))
    return host.origin + "/index.html"


def put_vue(host: Host, url: str) -> str:
    """A page made by Vue 3, as its prebuilt module."""
    host.put("/vue.js", read_module("vue/dist/vue.esm-browser.prod.js"))
    host.put(
        "/host.js",
        """
        import { createApp, ref } from "/vue.js";
        const getToken = async () => (await (await fetch("/token")).json()).token;
        createApp({
          setup: () => ({ getToken, changes: ref(0) }),
          template: `<main><h1>Settings</h1><p role="status">Changes: {{ changes }}</p>
            <llm-settings-panel class="w-full" .getToken="getToken"
              @llm-settings-change="changes++"></llm-settings-panel></main>`,
        }).mount("#app");
        """,
    )
    return host.put(
        "/",
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Vue host</title>'
        f'<script type="module" src="{url}/panel.js"></script>'
        '<div id="app"></div><script type="module" src="/host.js"></script></html>',
    )


async def open_panel(page: Page, address: str) -> Locator:
    """Go to a host's page and wait until its panel says that it is ready."""
    await page.goto(address)
    panel = page.locator("llm-settings-panel")
    await wait_until_ready(page)
    return panel


async def wait_until_ready(page: Page) -> None:
    """Until the panel has loaded what it shows: a tab, or its one view."""
    await wait_for(page, "() => window.__ownkey_events.some((event) => event.name === 'ready')")


@cache
def _build_react() -> dict[str, bytes]:
    with TemporaryDirectory(prefix="ownkey-react-") as name:
        project = Path(name)
        for file in (_HERE / "react_host").rglob("*"):
            if file.is_file():
                target = project / file.relative_to(_HERE / "react_host")
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(file.read_bytes())
        install_packages(project)
        build_with_vite(project, project / "dist")
        return {
            "/" + str(file.relative_to(project / "dist")): file.read_bytes()
            for file in (project / "dist").rglob("*")
            if file.is_file()
        }
