"""Clients that take their time, in a process of their own: `python -m tests.cli.slow_clients URL TOKEN COUNT KIND`.

KIND is `slow`, a quarter each of slow heads, slow bodies, slow readers of a stream and idle connections, or `flood`,
one user who asks again as soon as there is an answer. There are always COUNT of them: who is cut comes again. A line
is printed when all are there; at the end of the input it stops and prints how often they were cut, or answered.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections import Counter
from urllib.parse import urlsplit

BODY = b'{"stream":true,"model":"groq/m","messages":[{"role":"user","content":"hi"}]}'
_DRIP_SECONDS = 1.0

ended: Counter[str] = Counter()
there: Counter[str] = Counter()


def head(token: str, length: int) -> bytes:
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


async def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(made, (parts.hostname, parts.port))
    return made


async def be_slow(url: str, token: str, kind: str) -> None:
    begin = {"heads": b"GET / HTTP/1.1\r\nX: ", "bodies": head(token, 10_000_000), "idle": b""}
    loop = asyncio.get_running_loop()
    while True:
        with await connect(url) as client:
            there[kind] += 1
            try:
                await loop.sock_sendall(client, begin.get(kind, head(token, len(BODY)) + BODY))
                while True:
                    await asyncio.sleep(_DRIP_SECONDS)
                    if kind == "reading":
                        if not await loop.sock_recv(client, 512):
                            break
                    elif kind != "idle":
                        await loop.sock_sendall(client, b"a")
                    elif not await loop.sock_recv(client, 512):
                        break
            except OSError:
                pass
            ended[kind] += 1


async def flood(url: str, token: str, _: str) -> None:
    parts = urlsplit(url)
    while True:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        there["flood"] += 1
        try:
            while True:
                writer.write(head(token, len(BODY)) + BODY)
                answer = await reader.readuntil(b"\r\n\r\n")
                ended[answer[9:12].decode()] += 1
                if b"chunked" in answer:
                    await reader.readuntil(b"0\r\n\r\n")
                else:
                    length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                    await reader.readexactly(int(length))
        except (OSError, asyncio.IncompleteReadError):
            continue
        finally:
            writer.close()


async def main(url: str, token: str, count: int, kind: str) -> None:
    work, kinds = (flood, ["flood"]) if kind == "flood" else (be_slow, ["heads", "bodies", "reading", "idle"])
    tasks = [asyncio.create_task(work(url, token, kinds[number % len(kinds)])) for number in range(count)]
    while there.total() < count:
        await asyncio.sleep(0.05)
    print("there", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(ended))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
