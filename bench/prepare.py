"""Run as a process before the gateway: one user with two credentials, and a token, which it prints."""

from __future__ import annotations

import asyncio

from bench.targets import PROVIDER_KEY
from ownkey import Ownkey

USER = "bench"


async def prepare() -> None:
    """Make the user. The configuration comes from the environment, as it will for the gateway."""
    async with Ownkey.open() as ok:
        await ok.manager.load_user_settings(USER)
        await ok.settings.add_credential(USER, "openai", PROVIDER_KEY)
        await ok.settings.add_credential(USER, "groq", PROVIDER_KEY)
        token = await ok.tokens.create(USER, "bench")
        print(token.text)


if __name__ == "__main__":
    asyncio.run(prepare())
