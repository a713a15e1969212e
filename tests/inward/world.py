"""Run inside a network namespace of its own, where every address leads to this machine: `python -m … DIRECTORY`.

A gateway whose users may set base URLs is given all those that lead inside, and is asked to send keys there. What it
was told and at which addresses it knocked is printed as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import httpx2

from ownkey import Config, Ownkey
from ownkey.upstream import pool
from tests.gateway.conftest import serve
from tests.inward.name_server import PUBLIC, NameServer
from tests.inward.packets import Packets
from tests.unit.upstream.certificates import Authority
from tests.unit.upstream.test_address_guard import NEVER_ADDRESSES, PRIVATE_ADDRESSES, REFUSED_URLS

KEY: Final = "sk-inward-canary-0001"
ROUNDS: Final = 30
_ATTACKERS: Final = 8
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_ANSWER: Final = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
# An attacker's certificate is as good as anybody's; each of these has its own.
_HOSTS: Final = ("*.names.test",)


def make_everything_local(directory: Path) -> None:
    """Every address is this machine's, and names are asked of the server at 127.0.0.1."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo"], check=True)
    if socket.has_ipv6:
        subprocess.run(["ip", "-6", "route", "add", "local", "::/0", "dev", "lo"], check=False)
    for name, text in (("resolv.conf", "nameserver 127.0.0.1\n"), ("nsswitch.conf", "hosts: dns\n")):
        (directory / name).write_text(text)
        subprocess.run(["mount", "--bind", directory / name, f"/etc/{name}"], check=True)


class Provider:
    """At every address, port 443. It answers well, or with a redirect inside where its path says so."""

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            path = asked.split(b" ", 2)[1].decode()
            host = asked.lower().split(b"host: ", 1)[1].split(b"\r\n", 1)[0].decode()
            self.served[host] += 1
            code = path.split("/")[1]
            status = f"{code} There" if code.isdigit() else "200 OK"
            head = (
                f"HTTP/1.1 {status}",
                "location: http://169.254.169.254/latest/meta-data",
                'alt-svc: h2="10.0.0.1:443"',
                "content-type: application/json",
                f"content-length: {len(_ANSWER)}",
                "connection: close\r\n\r\n",
            )
            writer.write("\r\n".join(head).encode() + _ANSWER)
            await writer.drain()
        writer.close()


class Attacker:
    """A user who may set base URLs."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx2.AsyncClient(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=60)

    async def send(self, method: str, path: str, content: object = None) -> httpx2.Response:
        answer = await self._client.request(method, path, json=content)
        assert KEY not in answer.text
        return answer

    async def add(self, base_url: str) -> str | None:
        """The id of the credential, if the address is taken."""
        new = {"provider": "openai", "secret": KEY, "base_url": base_url}
        answer = await self.send("POST", "/api/credentials", new)
        return answer.json()["id"] if answer.status_code == 201 else None

    async def try_unsaved(self, base_url: str) -> str:
        answer = await self.send(
            "POST", "/api/credentials/test", {"provider": "openai", "secret": KEY, "base_url": base_url}
        )
        return str(answer.json().get("outcome") or answer.json()["code"])

    async def use(self, credential_id: str) -> list[object]:
        """Through every door that sends the key out; then it is gone."""
        place = f"/api/credentials/{credential_id}"
        told: list[object] = [await self.chat()]
        told.append((await self.send("GET", f"{place}/models?refresh=true")).status_code)
        told.append((await self.send("POST", f"{place}/test")).json()["outcome"])
        await self.forget(credential_id)
        return told

    async def forget(self, credential_id: str) -> None:
        await self.send("DELETE", f"/api/credentials/{credential_id}?force=true")

    async def chat(self) -> int:
        body = {"model": "openai/m", "messages": [{"role": "user", "content": "hi"}]}
        return (await self.send("POST", "/v1/chat/completions", body)).status_code


class Attack:
    """What several of them try, and what came of it."""

    def __init__(self, attackers: Sequence[Attacker], names: NameServer, provider: Provider) -> None:
        self._attackers, self._names, self._provider = attackers, names, provider
        self.inside = list(
            dict.fromkeys(ip_address(one.split("%")[0]) for one in (*NEVER_ADDRESSES, *PRIVATE_ADDRESSES))
        )
        self.taken: list[str] = []
        self.told: dict[str, Counter[str]] = defaultdict(Counter)
        self.turning: dict[str, dict[str, object]] = {}

    async def run(self) -> None:
        literal = [f"https://{f'[{one}]' if one.version == 6 else one}/v1" for one in self.inside]
        work: list[Callable[[Attacker], Awaitable[None]]] = []
        work += [partial(self._refuse_form, url=url) for url in (*REFUSED_URLS, *literal)]
        for kind, every in (("plain", 1), ("mixed", 3), ("alias", 3)):
            for one in self.inside[::every]:
                work.append(partial(self._use, kind=kind, url=f"https://{kind}-{one.packed.hex()}.names.test/v1"))
        work += [partial(self._use, kind="redirect", url=f"https://good.names.test/{code}") for code in _REDIRECTS]
        work += [partial(self._turn, address=one) for one in ("127.0.0.1", "169.254.169.254", "10.0.0.1")]
        await asyncio.gather(*(self._do(attacker, work) for attacker in self._attackers))

    async def _do(self, attacker: Attacker, work: list[Callable[[Attacker], Awaitable[None]]]) -> None:
        while work:
            await work.pop()(attacker)

    async def _refuse_form(self, attacker: Attacker, url: str) -> None:
        if await attacker.try_unsaved(url) != "invalid_base_url" or await attacker.add(url) is not None:
            self.taken.append(url)

    async def _use(self, attacker: Attacker, kind: str, url: str) -> None:
        credential = await attacker.add(url)
        assert credential is not None, "a name is judged where it leads"
        self.told[kind][json.dumps(await attacker.use(credential))] += 1

    async def _turn(self, attacker: Attacker, address: str) -> None:
        host = f"turning-{ip_address(address).packed.hex()}.names.test"
        credential = await attacker.add(f"https://{host}/v1")
        assert credential is not None
        statuses = Counter([str(await attacker.chat()) for _ in range(ROUNDS)])
        self.turning[address] = {
            "told": statuses, "asked": self._names.asked[f"{host} 1"], "served": self._provider.served[host]
        }  # fmt: skip
        await attacker.forget(credential)


async def main(directory: Path) -> None:
    packets, names, provider = Packets(), NameServer(), Provider()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: names, local_addr=("127.0.0.1", 53))
    authority = Authority(directory)
    (directory / "root.pem").write_bytes(authority.root)
    os.environ["SSL_CERT_FILE"] = str(directory / "root.pem")
    servers = [
        await asyncio.start_server(provider, host, 443, ssl=authority.server_context(*_HOSTS))
        for host in ("0.0.0.0", "::")
    ]
    pool._NAMES_SECONDS = 0.0  # type: ignore[misc]  # the name server is asked for each connection
    config = Config(data_dir=directory / "data", custom_base_urls=True, shared_keys=False)
    async with Ownkey.open(config, environ={}) as ok, serve(ok.asgi()) as url:
        attackers = []
        for number in range(_ATTACKERS):
            await ok.manager.load_user_settings(f"mallory-{number}")
            token = (await ok.tokens.create(f"mallory-{number}", "test", scopes=("gateway", "settings"))).text
            attackers.append(Attacker(url, token))
        packets.watch()
        attack = Attack(attackers, names, provider)
        await attack.run()
    packets.read_rest()
    packets.close()
    report = {
        "taken_by_form": attack.taken,
        "told": attack.told,
        "turning": attack.turning,
        "addresses": len(attack.inside),
        "urls": len(REFUSED_URLS) + sum(sum(told.values()) for told in attack.told.values()) + len(attack.inside),
        "public": f"{PUBLIC} 443",
        "knocks": sorted(f"{to} {port}" for to, port in packets.knocks if not url.endswith(f":{port}")),
    }
    for server in servers:
        server.close()
    transport.close()
    print(json.dumps(report))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    make_everything_local(place)
    asyncio.run(main(place))
