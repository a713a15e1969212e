"""HTTP by hand: what goes over the wire byte by byte, and every answer that comes back."""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

from msgspec import Struct

_SECONDS = 20


class RawAnswer(Struct):
    """One answer as it came. `complete`: its end arrived, as its framing says."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool = True


class RawClient:
    """One connection."""

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        parts = urlsplit(url)
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(_SECONDS)
        self.socket.connect((parts.hostname, parts.port))
        self._buffer = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Whether the other side still listens is seen in what it answers."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def read_answer(self) -> RawAnswer | None:
        """The next answer (interim ones are passed over), or None when the connection ended before one."""
        while True:
            head = self._read_until(b"\r\n\r\n")
            if head is None:
                return None
            lines = head.decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            if status >= 200:
                break
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        if headers.get("transfer-encoding") == "chunked":
            body, complete = self._read_chunks()
        elif "content-length" in headers:
            length = int(headers["content-length"])
            body = self._read(length)
            complete = len(body) == length
        else:
            body, complete = self._read_rest(), True
        return RawAnswer(status, headers, body, complete)

    def read_all(self) -> list[RawAnswer]:
        """Every answer until the other side closes the connection."""
        answers = []
        while (answer := self.read_answer()) is not None:
            answers.append(answer)
        return answers

    def wait_for(self, words: bytes) -> None:
        """Until these bytes have come. They are not taken."""
        while words not in self._buffer:
            assert self._more(), self._buffer

    def wait_closed(self) -> None:
        """Until the other side has closed."""
        self._read_rest()

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)

    def _read_until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            if not self._more():
                assert not self._buffer, f"this is no answer: {self._buffer[:200]!r}"
                return None
        head, _, self._buffer = self._buffer.partition(mark)
        return head

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count and self._more():
            pass
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _read_rest(self) -> bytes:
        while self._more():
            pass
        data, self._buffer = self._buffer, b""
        return data

    def _read_chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                if not self._more():
                    self._buffer = b""
                    return body, False
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            data = self._read(size + 2)
            body += data[:size]
            if len(data) < size + 2 or size == 0:
                return body, len(data) == size + 2


def exchange(url: str, data: bytes) -> list[RawAnswer]:
    """Everything that is answered to these bytes on one connection, and to a last request that ends it.

    The last request is answered with 200, unless what came before it ended the connection.
    """
    with RawClient(url) as client:
        client.send(data + b"GET /healthz HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n")
        return client.read_all()
