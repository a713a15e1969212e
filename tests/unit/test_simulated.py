"""The simulated providers, through the official clients and through plain HTTP."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest

from ownkey.domain.provider import Dialect, Provider, Quirk
from ownkey.testing import SimulatedProviders

MESSAGES: list[Any] = [{"role": "user", "content": "Please tell me about the tides of the sea."}]


def row(name: str, base_url: str, **fields: Any) -> Provider:
    return Provider(id=name, label=name, base_url=base_url, **{"dialect": Dialect.OPENAI_CHAT, **fields})


ROWS = {
    provider.id: provider
    for provider in (
        row("openai", "https://api.openai.example/v1"),
        row("groq", "https://api.groq.example/openai/v1", quirks=frozenset({Quirk.NO_EMBEDDINGS})),
        row("mistral", "https://api.mistral.example/v1", quirks=frozenset({Quirk.NO_STREAM_OPTIONS})),
        row("gemini", "https://generativelanguage.example/v1beta/openai"),
        row("deepseek", "https://api.deepseek.example"),
        row("azure", "https://{resource}.azure.example/openai/v1", auth="header:api-key"),
        row("ollama", "http://localhost:11434/v1", auth="none", local=True),
        row(
            "anthropic",
            "https://api.anthropic.example/v1",
            dialect=Dialect.ANTHROPIC_MESSAGES,
            auth="header:x-api-key",
        ),
    )
}


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatedProviders]:
    with SimulatedProviders(ROWS) as simulated:
        yield simulated


@pytest.fixture
def sim(running: SimulatedProviders) -> SimulatedProviders:
    running.reset()
    return running


def client(sim: SimulatedProviders, provider: str = "openai", key: str = "sk-good-key") -> openai.OpenAI:
    return openai.OpenAI(base_url=sim.base_url(provider), api_key=key, max_retries=0, timeout=10)


def claude(sim: SimulatedProviders, key: str = "sk-ant-good") -> anthropic.Anthropic:
    root = sim.base_url("anthropic").removesuffix("/v1")
    return anthropic.Anthropic(base_url=root, api_key=key, max_retries=0, timeout=10)


def post(sim: SimulatedProviders, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(sim.url).netloc, timeout=10)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def chat(sim: SimulatedProviders, provider: str = "openai", key: str = "sk-good-key") -> Any:
    return client(sim, provider, key).chat.completions.create(model="some-model", messages=MESSAGES)


def test_the_ledger_says_who_was_called_with_which_key_for_which_model(sim: SimulatedProviders) -> None:
    first = client(sim, "groq", "gsk_first").chat.completions.create(
        model="llama-3.3-70b-versatile", messages=MESSAGES, user="user-7"
    )
    chat(sim, "deepseek", "sk-second")

    entries = sim.ledger()
    assert [(e.provider, e.key, e.model) for e in entries] == [
        ("groq", "gsk_first", "llama-3.3-70b-versatile"),
        ("deepseek", "sk-second", "some-model"),
    ]
    assert [e.path for e in entries] == ["/groq/openai/v1/chat/completions", "/deepseek/chat/completions"]
    assert [e.marker for e in entries] == ["user-7", MESSAGES[0]["content"]]
    assert [(e.status, e.outcome, e.stream) for e in entries] == [(200, "finished", False)] * 2
    assert first.usage is not None and entries[0].usage is not None
    assert entries[0].usage["total_tokens"] == first.usage.total_tokens > 0
    assert sim.ledger("deepseek") == entries[1:]


@pytest.mark.parametrize("provider", ["openai", "groq", "gemini"])
def test_a_stream_reports_usage_only_when_asked(sim: SimulatedProviders, provider: str) -> None:
    asked = list(
        client(sim, provider).chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    assert asked[-1].choices == [] and asked[-1].usage is not None
    assert asked[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in asked[:-1])

    unasked = list(client(sim, provider).chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in unasked)
    assert sim.ledger()[0].usage == asked[-1].usage.model_dump(exclude_none=True)
    assert sim.ledger()[1].usage is None
    assert sim.ledger()[0].events == len(asked) + 1


def test_mistral_reports_stream_usage_unasked_in_its_last_chunk_and_refuses_the_option(sim: SimulatedProviders) -> None:
    chunks = list(client(sim, "mistral").chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens > 0
    assert all("usage" not in chunk.model_fields_set for chunk in chunks[:-1])

    with pytest.raises(openai.UnprocessableEntityError):
        client(sim, "mistral").chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )


def test_claude_speaks_messages(sim: SimulatedProviders) -> None:
    sim.set_usage("anthropic", cache_read_input_tokens=70, output_tokens=33)
    whole = claude(sim).messages.create(model="claude-x", max_tokens=50, messages=MESSAGES)
    assert (whole.usage.cache_read_input_tokens, whole.usage.output_tokens) == (70, 33)

    with claude(sim).messages.stream(model="claude-x", max_tokens=50, messages=MESSAGES) as stream:
        assert stream.get_final_text()
        usage = stream.get_final_message().usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (
        whole.usage.input_tokens,
        70,
        33,
    )
    assert [e.key for e in sim.ledger("anthropic")] == ["sk-ant-good"] * 2
    assert sim.ledger()[1].usage is not None and sim.ledger()[1].usage["output_tokens"] == 33


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("chat/completions", {"messages": MESSAGES, "n": 10**18}),
        ("chat/completions", {"messages": MESSAGES, "n": 10**18, "stream": True}),
        ("chat/completions", {"messages": MESSAGES, "n": 1e300}),
        ("images/generations", {"prompt": "A tide", "n": 10**18}),
        ("embeddings", {"input": "tide", "dimensions": 10**18}),
        ("models/m:embedContent", {"content": {}, "outputDimensionality": 10**18}),
        ("models/m:generateContent", {"contents": [], "generationConfig": {"candidateCount": 10**18}}),
    ],
)
def test_more_answers_than_anybody_makes_are_refused(
    sim: SimulatedProviders, path: str, fields: dict[str, Any]
) -> None:
    body = {"model": "m", **fields}
    status, answer = post(sim, f"/openai/v1/{path}", body, {"authorization": "Bearer sk-good-key"})
    assert (status, answer["error"]["code"]) == (400, "integer_above_max_value")


def test_claude_wants_its_version_header(sim: SimulatedProviders) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": MESSAGES}
    status, answer = post(sim, "/anthropic/v1/messages", body, {"x-api-key": "sk-ant"})
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert (
        post(sim, "/anthropic/v1/messages", body, {"x-api-key": "sk-ant", "anthropic-version": "2023-06-01"})[0] == 200
    )


def test_usage_details_can_be_set(sim: SimulatedProviders) -> None:
    sim.set_usage(
        "openai", prompt_tokens_details={"cached_tokens": 5}, completion_tokens_details={"reasoning_tokens": 3}
    )
    usage = chat(sim).usage
    assert (usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens) == (5, 3)


def test_embeddings(sim: SimulatedProviders) -> None:
    # The client asks for base64 when nothing is said, and decodes it.
    answer = client(sim).embeddings.create(model="text-embedding-3-small", input="the tides of the sea", dimensions=8)
    plain = client(sim).embeddings.create(
        model="text-embedding-3-small", input="the tides of the sea", dimensions=8, encoding_format="float"
    )
    assert answer.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert len(plain.data[0].embedding) == 8
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 5
    assert sim.ledger()[0].usage == {"prompt_tokens": 5, "total_tokens": 5}
    with pytest.raises(openai.NotFoundError):
        client(sim, "groq").embeddings.create(model="m", input="x")


def test_only_accepted_keys_are_good(sim: SimulatedProviders) -> None:
    sim.accept_keys("openai", "sk-good-key")
    assert chat(sim).choices
    with pytest.raises(openai.AuthenticationError) as refused:
        chat(sim, key="sk-other-key")
    assert refused.value.code == "invalid_api_key"
    assert "sk-other-key" not in str(refused.value)
    assert sim.ledger()[1].fault == "bad_key"
    sim.accept_keys("openai")
    assert chat(sim, key="sk-other-key").choices


def test_a_key_in_the_wrong_place_is_no_key(sim: SimulatedProviders) -> None:
    body = {"model": "m", "messages": MESSAGES}
    assert post(sim, "/openai/v1/chat/completions", body, {"x-api-key": "sk-good-key"})[0] == 401
    assert post(sim, "/openai/v1/chat/completions?key=sk-good-key", body)[0] == 401
    assert post(sim, "/azure/openai/v1/chat/completions", body, {"api-key": "az-good"})[0] == 200
    assert post(sim, "/ollama/v1/chat/completions", body)[0] == 200
    assert [e.keys for e in sim.ledger()] == [
        {"x-api-key": "sk-good-key"},
        {"?key": "sk-good-key"},
        {"api-key": "az-good"},
        {},
    ]
    both = {"authorization": "Bearer sk-a-key", "x-api-key": "sk-b-key"}
    post(sim, "/openai/v1/chat/completions", body, both)
    with pytest.raises(ValueError, match="2 different keys"):
        _ = sim.ledger()[-1].key


def test_a_wrong_path_is_not_found(sim: SimulatedProviders) -> None:
    body = {"model": "m", "messages": MESSAGES}
    bearer = {"authorization": "Bearer sk-good-key"}
    assert post(sim, "/openai/v1/v1/chat/completions", body, bearer)[0] == 404
    assert post(sim, "/openai/chat/completions", body, bearer)[0] == 404
    assert post(sim, "/nobody/v1/chat/completions", body, bearer)[0] == 404


@pytest.mark.parametrize(
    ("provider", "kind", "status", "code"),
    [
        ("openai", "no_credit", 429, "insufficient_quota"),
        ("openai", "rate_limited", 429, "rate_limit_exceeded"),
        ("openai", "missing_model", 404, "model_not_found"),
        ("openai", "unavailable", 503, None),
        ("groq", "bad_key", 401, "invalid_api_key"),
        ("deepseek", "no_credit", 402, "invalid_request_error"),
    ],
)
def test_refusals_have_the_providers_own_shape(
    sim: SimulatedProviders, provider: str, kind: Any, status: int, code: str | None
) -> None:
    sim.break_provider(provider, kind)
    with pytest.raises(openai.APIStatusError) as refused:
        chat(sim, provider)
    assert (refused.value.status_code, refused.value.code) == (status, code)
    sim.fix(provider)
    assert chat(sim, provider).choices


def test_refusals_that_are_not_in_openais_shape(sim: SimulatedProviders) -> None:
    sim.break_provider("anthropic", "overloaded")
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        claude(sim).messages.create(model="m", max_tokens=5, messages=MESSAGES)
    assert overloaded.value.status_code == 529
    assert overloaded.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]

    sim.break_provider("gemini", "bad_key")
    status, answer = post(sim, "/gemini/v1beta/openai/chat/completions", {}, {"authorization": "Bearer AIza"})
    assert (status, answer[0]["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")

    sim.break_provider("mistral", "rate_limited")
    status, answer = post(sim, "/mistral/v1/chat/completions", {}, {"authorization": "Bearer m"})
    assert (status, answer["code"]) == (429, "1300")


def test_a_limit_says_how_long_to_wait(sim: SimulatedProviders) -> None:
    sim.break_provider("openai", "rate_limited", retry_after_seconds=1.5, times=1)
    with pytest.raises(openai.RateLimitError) as limited:
        chat(sim)
    headers = limited.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
    assert headers["x-ratelimit-reset-requests"] == "0m1.5s"
    assert chat(sim).choices  # `times=1` is used up


def test_a_fault_may_be_one_keys_alone(sim: SimulatedProviders) -> None:
    sim.break_provider("openai", "no_credit", key="sk-poor-key")
    with pytest.raises(openai.RateLimitError):
        chat(sim, key="sk-poor-key")
    assert chat(sim, key="sk-good-key").choices


def test_a_provider_that_echoes_the_key(sim: SimulatedProviders) -> None:
    sim.break_provider("openai", "echo_key")
    with pytest.raises(openai.AuthenticationError) as refused:
        chat(sim, key="sk-canary-key")
    assert "sk-canary-key" in str(refused.value)
    assert refused.value.response.headers["x-echo"] == "sk-canary-key"


def test_a_reset_connection(sim: SimulatedProviders) -> None:
    sim.break_provider("openai", "reset", times=1)
    with pytest.raises(ConnectionResetError):
        post(sim, "/openai/v1/chat/completions", {"model": "m"}, {"authorization": "Bearer sk-good-key"})
    assert sim.wait_until_idle()
    assert (sim.ledger()[0].outcome, sim.ledger()[0].status) == ("cut", None)
    assert chat(sim).choices


@pytest.mark.parametrize("kind", ["not_json", "redirect"])
def test_answers_that_no_provider_should_give(sim: SimulatedProviders, kind: Any) -> None:
    sim.break_provider("openai", kind)
    connection = http.client.HTTPConnection(urlsplit(sim.url).netloc, timeout=10)
    connection.request("POST", "/openai/v1/chat/completions", "{}", {"authorization": "Bearer sk-good-key"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if kind == "redirect":
        assert (answer.status, answer.getheader("location")) == (307, "/openai/elsewhere")
    else:
        assert (answer.status, answer.getheader("content-type")) == (200, "text/html")


def stream_text(sim: SimulatedProviders, provider: str = "openai") -> list[Any]:
    return list(client(sim, provider).chat.completions.create(model="m", messages=MESSAGES, stream=True))


def test_a_stream_that_is_cut(sim: SimulatedProviders) -> None:
    sim.break_provider("openai", "stream_cut", after_events=3)
    seen = []
    with pytest.raises(openai.APIError):
        for chunk in client(sim).chat.completions.create(model="m", messages=MESSAGES, stream=True):
            seen.append(chunk)  # what came before the failure matters
    assert len(seen) == 3
    assert sim.wait_until_idle()
    assert (sim.ledger()[0].outcome, sim.ledger()[0].events, sim.ledger()[0].fault) == ("cut", 3, "stream_cut")
    assert chat(sim).choices  # a fault of streams leaves other requests alone


def test_a_stream_that_ends_early_but_cleanly(sim: SimulatedProviders) -> None:
    sim.break_provider("openai", "stream_truncated", after_events=3)
    chunks = stream_text(sim)
    assert len(chunks) == 3 and chunks[-1].choices[0].finish_reason is None


@pytest.mark.parametrize("after", [0, 2])
def test_an_error_inside_a_stream(sim: SimulatedProviders, after: int) -> None:
    sim.break_provider("openai", "stream_error", after_events=after)
    with pytest.raises(openai.APIError, match="Slow down"):
        stream_text(sim)
    sim.break_provider("anthropic", "stream_error", after_events=after)
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        claude(sim).messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream,
    ):
        stream.get_final_text()


def test_a_held_request_waits_until_it_is_released(sim: SimulatedProviders) -> None:
    sim.break_provider("openai", "hold")
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(chat(sim)))
    caller.start()
    assert sim.wait_for_requests(1)
    assert sim.ledger()[0].outcome == "open" and not answers
    while not sim.release("openai"):  # the entry is written just before the request reaches the gate
        pass
    caller.join(10)
    assert answers and sim.ledger()[0].outcome == "finished"


def test_a_client_that_leaves_is_noticed(sim: SimulatedProviders) -> None:
    sim.break_provider("openai", "stream_hold", after_events=2)
    stream = client(sim).chat.completions.create(model="m", messages=MESSAGES, stream=True)
    next(stream)
    stream.close()
    assert sim.wait_until_idle()
    assert sim.ledger()[0].outcome == "client_left"


def test_the_same_over_http(sim: SimulatedProviders) -> None:
    assert post(sim, "/_sim/accept_keys", {"provider": "groq", "keys": ["gsk_good"]})[0] == 200
    assert post(sim, "/_sim/break_provider", {"provider": "openai", "kind": "unavailable", "times": 1})[0] == 200
    with pytest.raises(openai.InternalServerError):
        chat(sim)
    with pytest.raises(openai.AuthenticationError):
        chat(sim, "groq")
    connection = http.client.HTTPConnection(urlsplit(sim.url).netloc, timeout=10)
    connection.request("GET", "/_sim/ledger")
    entries = json.loads(connection.getresponse().read())
    connection.close()
    assert [(e["provider"], e["status"]) for e in entries] == [("openai", 503), ("groq", 401)]
    assert post(sim, "/_sim/reset", {})[0] == 200
    assert sim.ledger() == [] and chat(sim, "groq").choices

    assert post(sim, "/_sim/break_provider", {"provider": "openai", "kind": "explode"})[0] == 400
    assert post(sim, "/_sim/break_provider", {"provider": "nobody"})[0] == 400
    assert post(sim, "/_sim/no_such_action", {})[0] == 404


def request(sim: SimulatedProviders, provider: Provider, method: str, path: str, key: str) -> tuple[int, Any]:
    name = "authorization" if provider.auth == "bearer" else provider.auth.removeprefix("header:")
    headers = {name: f"Bearer {key}" if provider.auth == "bearer" else key, **provider.headers}
    connection = http.client.HTTPConnection(urlsplit(sim.url).netloc, timeout=10)
    try:
        body = "{}" if method == "POST" else None
        connection.request(method, urlsplit(sim.base_url(provider.id)).path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_every_provider_of_the_catalogue_takes_its_probe_and_a_chat() -> None:
    with SimulatedProviders() as sim:
        for provider in sim.providers.values():
            method, _, path = provider.probe.partition(" ")
            # A POST goes without a body: a good key is told from a wrong one by the complaint.
            good = {"GET": 200, "POST": 422 if provider.id == "cohere" else 400}[method]
            assert request(sim, provider, method, path, "good-key-0000")[0] == good, provider.id
            if provider.auth != "none":
                sim.accept_keys(provider.id, "good-key-0000")
                status, answer = request(sim, provider, method, path, "wrong-key-0000")
                assert status in {400, 401}, (provider.id, answer)
                assert sim.ledger()[-1].fault == "bad_key"
            if provider.dialect is Dialect.OPENAI_CHAT and provider.auth == "bearer":
                stream = client(sim, provider.id, "good-key-0000").chat.completions.create(
                    model="m", messages=MESSAGES, stream=True
                )
                assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "stop", provider.id
        groq = sim.providers["groq"]
        listed = request(sim, groq, "GET", "/models", "good-key-0000")[1]
        assert [model["id"] for model in listed["data"]] == list(groq.models)


def test_the_catalogue_file_points_every_provider_here(sim: SimulatedProviders) -> None:
    tables = tomllib.loads(sim.catalog_overrides())
    assert {name: table["base_url"] for name, table in tables.items()} == {name: sim.base_url(name) for name in ROWS}
    assert tables["azure"] == {"base_url": f"{sim.url}/azure/openai/v1", "local": True, "fields": []}


def test_nothing_is_left_running() -> None:
    simulated = SimulatedProviders(ROWS)
    before = set(threading.enumerate())
    with simulated:
        port = urlsplit(simulated.url).port
        assert port is not None
        simulated.break_provider("openai", "hold")
        failures: list[Exception] = []

        def call() -> None:
            try:
                chat(simulated)
            except openai.APIConnectionError as error:
                failures.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        assert simulated.wait_for_requests(1)
    caller.join(10)
    assert not caller.is_alive() and failures
    assert not [thread for thread in set(threading.enumerate()) - before if "simulated" in thread.name]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    simulated.close()


def test_anthropic_refuses_a_system_message_where_the_real_one_does(sim: SimulatedProviders) -> None:
    client = anthropic.Anthropic(base_url=sim.url + "/anthropic", api_key="sk-ant-x", max_retries=0)
    system: Any = {"role": "system", "content": "Be brief."}

    def ask(model: str, *messages: Any) -> Any:
        return client.messages.create(model=model, max_tokens=9, messages=list(messages))

    for model, messages in (
        ("claude-sonnet-5-5", (system, *MESSAGES)),
        ("claude-sonnet-5-5", (*MESSAGES, system, *MESSAGES)),
        ("claude-sonnet-4-5", (*MESSAGES, system)),
        ("claude-haiku-4-5-20251001", (*MESSAGES, system)),
        ("claude-sonnet-5", (*MESSAGES, system)),
    ):
        with pytest.raises(anthropic.BadRequestError, match="Unexpected role"):
            ask(model, *messages)


def test_it_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ownkey.testing", "--port", "0", "--catalog", str(tmp_path / "catalog.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert said[2].startswith("Ready.")
        url = said[0].split()[3]
        assert tomllib.loads((tmp_path / "catalog.toml").read_text())["openai"]["base_url"].startswith(url)
        with urllib.request.urlopen(f"{url}/_sim/ledger") as answer:
            assert json.load(answer) == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
