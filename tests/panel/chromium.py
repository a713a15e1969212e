"""Debian's Chromium, started so that it asks nobody for anything and remembers nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, async_playwright

_DEBIAN: Final = "/usr/bin/chromium"
_ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """Debian's, or whichever is on the path."""
    return _DEBIAN if Path(_DEBIAN).exists() else shutil.which("chromium")


@asynccontextmanager
async def launch_chromium(executable: str) -> AsyncIterator[Browser]:
    """A browser with a fresh profile, without a proxy of the machine's, that speaks English."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable,
            args=_ARGUMENTS,
            env={**environment, "LANG": "en_US.UTF-8", "LC_ALL": "en_US.UTF-8"},
        )
        yield browser
        await browser.close()
