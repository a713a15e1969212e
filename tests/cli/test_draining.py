"""SIGTERM: who is being served is served to the end, who cannot be is told so, and every call is written down.

`make rolling` restarts twenty times instead of three.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ownkey.testing import SimulatedProviders
from tests.cli.shell import Serving, Shell
from tests.cli.test_serve import wait_until_refused
from tests.proxy import nginx_before
from tests.raw_http import RawAnswer, RawClient

RESTARTS = int(os.environ.get("ROLLING_RESTARTS", "3"))
CLIENTS = 8
PROBE = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def providers() -> Iterator[SimulatedProviders]:
    with SimulatedProviders() as simulated:
        yield simulated


def make_shell(place: Path, providers: SimulatedProviders, **variables: str) -> Shell:
    return Shell(
        place / "data",
        OWNKEY_CATALOG=str(providers.write_catalog(place / "catalog.toml")),
        OPENAI_API_KEY="sk-operator-0123456789",
        **variables,
    )


def call(token: str | None, path: str = "/v1/chat/completions", **fields: Any) -> bytes:
    if path == "/v1/chat/completions":
        fields = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], **fields}
    body = json.dumps(fields).encode()
    head = "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n"
    return (head % (path, len(body), token)).encode() + body


def ask(client: RawClient, data: bytes) -> RawAnswer:
    client.send(data)
    answer = client.read_answer()
    assert answer is not None
    return answer


def count_calls(shell: Shell) -> tuple[int, int]:
    """Calls that were written down, and how many of them failed."""
    [row] = shell.read_json("usage", "show", "--all", "--group-by", "provider")["rows"]
    return row["requests"], row["errors"]


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_balancers_hear_of_it_before_anybody_is_turned_away(place: Path, providers: SimulatedProviders) -> None:
    shell = make_shell(place, providers, OWNKEY_DRAIN_READY_SECONDS="3600")
    with shell.serve() as serving, RawClient(serving.url) as early, RawClient(serving.url) as other:
        assert ask(early, PROBE % b"readyz").status == 200
        assert ask(other, PROBE % b"healthz").status == 200
        serving.process.send_signal(signal.SIGTERM)

        def says_so() -> bool:
            with RawClient(serving.url) as client:
                answer = ask(client, PROBE % b"readyz")
            return (answer.status, answer.body) == (503, b'{"status":"ending"}')

        wait_until(says_so)
        served = ask(early, call(serving.token))
        assert (served.status, served.headers["connection"]) == (200, "close")
        assert early.read_answer() is None, "the next request goes elsewhere"
        assert ask(other, PROBE % b"healthz").status == 200, "it is alive, and must not be killed"
        with RawClient(serving.url) as late:
            assert ask(late, call(serving.token)).status == 200
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(30) == 0, "a second signal does not wait"


def test_what_takes_too_long_is_told_so_in_its_own_form_and_written_down(
    place: Path, providers: SimulatedProviders
) -> None:
    shell = make_shell(place, providers, OWNKEY_SHUTDOWN_GRACE_SECONDS="0.5")
    with shell.serve() as serving, RawClient(serving.url) as stream, RawClient(serving.url) as whole:
        answer, refused = cut_two(serving, providers, stream, whole, signals=1)
    check_cut(shell, answer, refused)


def test_a_second_signal_ends_at_once_and_loses_no_usage(place: Path, providers: SimulatedProviders) -> None:
    shell = make_shell(place, providers, OWNKEY_SHUTDOWN_GRACE_SECONDS="3600")
    with shell.serve() as serving, RawClient(serving.url) as stream, RawClient(serving.url) as whole:
        answer, refused = cut_two(serving, providers, stream, whole, signals=2)
    check_cut(shell, answer, refused)


STREAMS: dict[str, tuple[str, dict[str, Any], bytes, bytes]] = {
    "OpenAI": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}, b"[DONE]", b'"error":'),
    "Responses": ("/v1/responses", {"input": "hello"}, b"response.completed", b"event: response.failed"),
    "Anthropic": (
        "/v1/messages",
        {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 99},
        b"message_stop",
        b"event: error",
    ),
    "Google": (
        "/v1beta/models/openai/gpt-4o-mini:streamGenerateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        b"finishReason",
        b'"error":',
    ),
}


def test_each_dialect_has_its_own_words_for_that(place: Path, providers: SimulatedProviders) -> None:
    shell = make_shell(place, providers, OWNKEY_SHUTDOWN_GRACE_SECONDS="0.2")
    providers.break_provider("openai", "stream_hold", after_events=6)
    with shell.serve() as serving, ExitStack() as stack:
        clients = {}
        for name, (path, fields, _, _) in STREAMS.items():
            client = clients[name] = stack.enter_context(RawClient(serving.url))
            named = {} if "Google" in name else {"model": "openai/gpt-4o-mini", "stream": True}
            client.send(call(serving.token, path, **named, **fields))
            client.wait_for(b"imulated")
        serving.process.send_signal(signal.SIGTERM)
        for name, (_, _, end, words) in STREAMS.items():
            [answer] = clients[name].read_all()
            assert (answer.status, answer.complete) == (200, True), name
            assert words in answer.body and b"being restarted" in answer.body, name
            assert end not in answer.body, name
            if name == "Google":
                json.loads(answer.body)  # without alt=sse it is one array, which has its end
        assert serving.process.wait(30) == 0
    assert count_calls(shell)[0] == len(STREAMS)


def cut_two(
    serving: Serving, providers: SimulatedProviders, stream: RawClient, whole: RawClient, *, signals: int
) -> tuple[RawAnswer, RawAnswer]:
    providers.break_provider("openai", "stream_hold", after_events=3, times=1)
    stream.send(call(serving.token, stream=True))
    stream.wait_for(b"Simulated")
    providers.break_provider("openai", "hold")
    whole.send(call(serving.token))
    assert providers.wait_for_requests(2)
    for _ in range(signals):
        serving.process.send_signal(signal.SIGTERM)
        wait_until_refused(serving.url)
    [answer], [refused] = stream.read_all(), whole.read_all()
    assert serving.process.wait(30) == 0
    return answer, refused


def check_cut(shell: Shell, answer: RawAnswer, refused: RawAnswer) -> None:
    assert (answer.status, answer.complete) == (200, True)
    last = json.loads(answer.body.strip().split(b"\n\n")[-1].removeprefix(b"data: "))
    assert "being restarted" in last["error"]["message"]
    assert b"[DONE]" not in answer.body, "no false end"
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert json.loads(refused.body)["error"]["code"] == "server_ending"
    assert count_calls(shell)[0] == 2, "both reached the provider"


class Load:
    """Clients that have streams all the time, and what became of them."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url, self._data = url, call(token, stream=True)
        self._end = threading.Event()
        self.results: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            with RawClient(self._url) as client:
                client.send(self._data)
                answer = client.read_answer()
            if answer is None:
                self.results["reset"] += 1
            elif answer.status != 200:
                self.results[f"status {answer.status}: {answer.body[:200]!r}"] += 1
            elif not answer.complete or b"[DONE]" not in answer.body:
                self.results["truncated"] += 1
            else:
                self.results["whole"] += 1


def test_rolling_restarts_behind_nginx_lose_nothing(place: Path, providers: SimulatedProviders) -> None:
    shell = make_shell(place, providers, OWNKEY_DRAIN_READY_SECONDS="0.2")
    providers.pace("openai", 0.02)
    with ExitStack() as stack:
        gateways = [stack.enter_context(shell.serve()) for _ in range(2)]
        ports = [gateway.url.rpartition(":")[2] for gateway in gateways]
        proxy = stack.enter_context(nginx_before([gateway.url for gateway in gateways]))
        with Load(proxy, gateways[0].token) as load:
            for number in range(RESTARTS):
                before = load.results["whole"]
                wait_until(lambda least=before + 2 * CLIENTS: load.results["whole"] >= least)  # type: ignore[misc]
                assert gateways[number % 2].stop() == 0
                gateways[number % 2] = stack.enter_context(shell.serve("--port", ports[number % 2]))
        results = load.results
        assert all(gateway.stop() == 0 for gateway in gateways)
    print(f"{RESTARTS} restarts: {dict(results)}")
    assert set(results) == {"whole"}
    assert count_calls(shell) == (results["whole"], 0), "each was written down, once"
