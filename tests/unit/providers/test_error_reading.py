"""Every provider's errors mean what they mean by their codes, and their words never carry a key to a person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome
from ownkey.providers.adapters import get_adapter
from ownkey.providers.error_body import MESSAGE_LIMIT, tidy
from ownkey.providers.failures import read_failure, read_failure_in_answer

SAMPLES = Path(__file__).parents[2] / "wire" / "errors"


def load_samples() -> list[Any]:
    samples = []
    for path in sorted(SAMPLES.glob("*.json")):
        for sample in json.loads(path.read_text()):
            samples.append(pytest.param(path.stem, sample, id=f"{path.stem}: {sample['name']}"))
    return samples


@pytest.mark.parametrize(("source", "sample"), load_samples())
def test_a_recorded_error_is_read_by_its_codes(source: str, sample: dict[str, Any]) -> None:
    dialect = Dialect.ANTHROPIC_MESSAGES if source == "anthropic" else Dialect.OPENAI_CHAT
    body = sample["body"] if isinstance(sample["body"], str) else json.dumps(sample["body"])

    failure = get_adapter(Dialect.OPENAI_CHAT, dialect).read_failure(
        sample["status"], sample.get("headers", {}), body.encode()
    )

    assert failure.outcome == sample["outcome"]
    assert failure.http_status == sample["status"]
    assert failure.message
    for field, attribute in (
        ("code", "provider_code"),
        ("retry_after", "retry_after_seconds"),
        ("request_id", "provider_request_id"),
        ("message", "message"),
    ):
        if field in sample:
            assert getattr(failure, attribute) == sample[field]


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-aB3dE5fG7hI9jK1lM3nO5pQ7",
        "sk-ant-api03-aB3dE5fG7hI9jK1lM3nO5pQ7-_aaAA",
        "sk-abcd************************wxyz",
        "gsk_aB3dE5fG7hI9jK1lM3nO5pQ7",
        "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "AQ.Ab8RN6Laaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "xai-aB3dE5fG7hI9jK1lM3nO5pQ7",
        "nvapi-aB3dE5fG7hI9jK1lM3nO5pQ7",
        "ok-aB3dE5fG7hI9jK1lM3nO5pQ7",
        "0123456789abcdef0123456789abcdef",
        "****abcd",
    ],
)
def test_a_key_in_a_message_is_taken_out(key: str) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {key}. Get one.", "code": "invalid_api_key"}})

    message = read_failure(401, {}, body.encode()).message

    assert key not in message
    assert key[-4:] not in message
    assert message.startswith("Incorrect API key provided: [key]")


@pytest.mark.parametrize(
    "text",
    [
        "The model `claude-haiku-4-5-20251001` does not exist.",
        "The model meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8 is gone.",
        "accounts/fireworks/models/gpt-oss-120b was not found; request req_011CSHoEeqs5C35K2UUqR7Fy",
        "Limit 200000, used 199000; try again in 18m3s.",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert tidy(text) == text


@given(st.text(max_size=5000))
def test_a_message_is_one_short_line(text: str) -> None:
    message = tidy(text)

    assert len(message) <= MESSAGE_LIMIT
    assert not {"\n", "\r"} & set(message)


@given(st.integers(400, 599), st.binary(max_size=300))
def test_no_body_can_break_the_reader(status: int, body: bytes) -> None:
    failure = read_failure(status, {}, body)

    assert failure.outcome not in (Outcome.OK, Outcome.INTERNAL, Outcome.CLIENT_GONE)
    assert failure.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "status", "details", "detail", "reason", "violations"]
            ),
            values,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.integers(400, 599), JSON)
def test_no_shape_of_json_can_break_the_reader(status: int, document: Any) -> None:
    assert read_failure(status, {}, json.dumps(document).encode()).message
    assert read_failure_in_answer(json.dumps(document).encode()).message


def test_headers_give_the_wait_only_where_waiting_helps() -> None:
    headers = {"retry-after": "30"}

    assert read_failure(429, headers, b"{}").retry_after_seconds == 30
    assert read_failure(401, headers, b"{}").retry_after_seconds is None


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, Outcome.OVERLOADED, None),
        ({"type": "invalid_request_error", "message": "No."}, Outcome.BAD_REQUEST, None),
        ({"code": 429, "message": "Slow"}, Outcome.RATE_LIMITED, 429),
        ({"code": "502", "message": "Bad gateway"}, Outcome.OVERLOADED, 502),
        ({"message": "Something"}, Outcome.OVERLOADED, None),
    ],
)
def test_an_error_inside_an_answer_has_its_own_status(error: Any, outcome: Outcome, status: int | None) -> None:
    failure = read_failure_in_answer(json.dumps(error).encode())

    assert (failure.outcome, failure.http_status) == (outcome, status)


def test_a_secret_far_behind_is_left_whole_for_those_who_know_it() -> None:
    secret = "my own secret key"
    message = read_failure(401, {}, json.dumps({"error": "x " * 145 + secret}).encode()).message

    assert message.endswith(secret)


@pytest.mark.parametrize("gap", [MESSAGE_LIMIT, MESSAGE_LIMIT * 2])
def test_a_long_message_ends_with_a_whole_word(gap: int) -> None:
    for length in range(gap - 30, gap + 1):
        message = tidy("x" * 10 + " " * (length - 10) + "unusual-secret" + " word" * MESSAGE_LIMIT)

        assert len(message) <= MESSAGE_LIMIT
        assert "unusual-secret" in message or "unus" not in message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("req_011CSHoEeqs5C35K2UUqR7Fy", "req_011CSHoEeqs5C35K2UUqR7Fy"),
        ("a.b:c-d", "a.b:c-d"),
        ("x" * 129, None),
        ("two words", None),
        ("a\nb", None),
        ("<script>", None),
        ("ключ", None),
    ],
)
def test_a_request_id_is_a_plain_word_or_none(given: str, expected: str | None) -> None:
    body = json.dumps({"error": {"message": "No."}, "request_id": given}).encode()

    assert read_failure(500, {"x-request-id": given}, b"{}").provider_request_id == expected
    assert read_failure(500, {}, body).provider_request_id == expected
    assert read_failure(500, {"x-request-id": given, "cf-ray": "ray"}, b"{}").provider_request_id == (expected or "ray")
