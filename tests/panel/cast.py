"""A believable small company with a month behind it: who is there, their keys, and what they have used.

Everything goes in through the services and the real metering, so prices, sums and counters are the product's own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from msgspec import Struct

from ownkey import Ownkey
from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, SkippedHop, Tokens, TokensSource, UsageEvent, new_id
from ownkey.services.sessions import Visitor
from ownkey.testing import SimulatedProviders
from ownkey.testing.faults import Kind

DAYS: Final = 30
BROWSERS: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
)
_PREFIXES: Final = {
    "openai": "sk-proj-",
    "anthropic": "sk-ant-api03-",
    "groq": "gsk_",
    "gemini": "AIzaSy",
    "deepseek": "sk-",
}


class Key(Struct, frozen=True):
    """A stored key. `mishap`: what its last test met."""

    provider: str
    label: str
    mishap: Kind | None = None
    expires_in_days: int | None = None


class Habit(Struct, frozen=True):
    """What somebody does on an ordinary day: how many requests of a kind, of what size in tokens."""

    task: str
    provider: str
    model: str
    per_day: float
    tokens_in: int
    tokens_out: int
    payer: Payer = Payer.OWN
    failing: Outcome | None = None
    # How many of a hundred end in `failing` and are answered by the fallback instead.
    failing_percent: int = 0


class Member(Struct, frozen=True, kw_only=True):
    """Somebody of the company. The id is what they sign in with."""

    id: str
    name: str
    keys: Sequence[Key] = ()
    habits: Sequence[Habit] = ()
    tasks: Sequence[tuple[str, str, str | None]] = ()
    backups: Sequence[str] = ()
    tokens: Sequence[str] = ("Laptop",)


MARA: Final = Member(
    id="mara.stein@example.com",
    name="Mara Stein",
    keys=(
        Key("anthropic", "Team account"),
        Key("groq", "Work"),
        Key("mistral", "Paris project", mishap="no_credit"),
        Key("openai", "Private", expires_in_days=6),
        Key("openai", "Evaluation", mishap="rate_limited"),
        Key("gemini", "Research"),
    ),
    tasks=(
        ("coding", "anthropic", "claude-opus-5-5"),
        ("research", "gemini", "gemini-3.8-flash"),
        ("chat", "groq", "openai/gpt-oss-20b"),
        ("release-notes", "mistral", None),
    ),
    backups=("openai", "mistral"),
    tokens=("Laptop", "Editor", "Nightly evaluation"),
    habits=(
        Habit("coding", "anthropic", "claude-opus-5-5", 14, 9_000, 1_400, Payer.OWN, Outcome.OVERLOADED, 6),
        Habit("research", "gemini", "gemini-3.8-flash", 7, 22_000, 1_900, Payer.OWN, Outcome.QUOTA_DAILY, 4),
        Habit("chat", "groq", "openai/gpt-oss-20b", 22, 1_800, 420, Payer.OWN, Outcome.RATE_LIMITED, 7),
        Habit("writing", "mistral", "mistral-large-latest", 4, 3_200, 1_600, Payer.OWN, Outcome.CREDIT_EXHAUSTED, 9),
        Habit("chat", "openai", "gpt-5.4-mini", 3, 2_200, 500, Payer.SHARED),
        Habit("embedding", "openai", "text-embedding-3-small", 5, 6_000, 0, Payer.OWN),
    ),
)
COLLEAGUES: Final = (
    Member(
        id="jonas.weber@example.com",
        name="Jonas Weber",
        keys=(Key("openai", "Company card"), Key("groq", "")),
        tasks=(("coding", "openai", "gpt-5.4"),),
        tokens=("Notebook",),
        habits=(
            Habit("coding", "openai", "gpt-5.4", 11, 7_000, 1_200, Payer.OWN, Outcome.RATE_LIMITED, 3),
            Habit("chat", "groq", "openai/gpt-oss-120b", 9, 2_000, 600),
        ),
    ),
    Member(
        id="lucia.ferrer@example.com",
        name="Lucía Ferrer",
        keys=(Key("anthropic", "Editorial"), Key("mistral", "Editorial", mishap="bad_key")),
        habits=(
            Habit("writing", "anthropic", "claude-sonnet-5-5", 9, 5_000, 2_100),
            Habit("writing", "openai", "gpt-5.4-mini", 2, 4_000, 900, Payer.SHARED),
        ),
    ),
    Member(
        id="tomasz.nowak@example.com",
        name="Tomasz Nowak",
        keys=(Key("deepseek", ""), Key("cerebras", "Benchmarks")),
        habits=(
            Habit("coding", "deepseek", "deepseek-flash", 30, 6_000, 1_000),
            Habit("chat", "cerebras", "gpt-oss-120b", 12, 1_500, 500, Payer.OWN, Outcome.UNREACHABLE, 8),
        ),
    ),
    Member(
        id="amina.haddad@example.com",
        name="Amina Haddad",
        keys=(Key("gemini", "Lab"), Key("openai", "Lab", mishap="no_permission")),
        habits=(Habit("research", "gemini", "gemini-3.8-flash", 16, 30_000, 2_400, Payer.OWN, Outcome.OVERLOADED, 3),),
    ),
    Member(
        id="henrik.dahl@example.com",
        name="Henrik Dahl",
        habits=(
            Habit("chat", "openai", "gpt-5.4-mini", 8, 1_500, 400, Payer.SHARED),
            Habit("chat", "groq", "openai/gpt-oss-20b", 6, 1_200, 350, Payer.SHARED),
        ),
    ),
    Member(
        id="priya.raman@example.com",
        name="Priya Raman",
        keys=(Key("xai", ""), Key("together", "Open models"), Key("anthropic", "Own")),
        habits=(
            Habit("research", "xai", "grok-4.7", 4, 11_000, 1_500),
            Habit("coding", "together", "moonshotai/Kimi-K3", 6, 8_000, 1_300),
            Habit("chat", "nvidia", "nvidia/nemotron-3-super-120b-a12b", 2, 2_000, 500),
        ),
    ),
    Member(id="oskar.berg@example.com", name="Oskar Berg"),
)
COMPANY: Final = (MARA, *COLLEAGUES)


def make_secret(owner: str, key: Key) -> str:
    """A key as this provider's look, and nobody's: the same for the same owner each time."""
    digest = sha256(f"{owner} {key.provider} {key.label}".encode()).hexdigest()
    return _PREFIXES.get(key.provider, "") + digest[:36]


async def settle(ok: Ownkey, providers: SimulatedProviders, member: Member, *, now: datetime | None = None) -> None:
    """Sign somebody up with their keys, their order, their tasks and their month of usage."""
    now = now or datetime.now(UTC)
    await ok.manager.load_user_settings(member.id)
    ids: dict[str, str] = {}
    for key in member.keys:
        secret = make_secret(member.id, key)
        expires_at = None if key.expires_in_days is None else now + timedelta(days=key.expires_in_days)
        stored = await ok.settings.add_credential(
            member.id, key.provider, secret, label=key.label, expires_at=expires_at
        )
        ids.setdefault(key.provider, stored.id)
        if key.mishap is not None:
            wait = {"retry_after_seconds": 1500} if key.mishap == "rate_limited" else {}
            providers.break_provider(key.provider, key.mishap, key=secret, **wait)
        await ok.settings.test_credential(member.id, stored.id)
        providers.fix(key.provider)
    for priority, provider in enumerate(ids, start=1):
        await ok.settings.put_preference(member.id, provider, priority=priority, backup_only=provider in member.backups)
    for task, provider, model in member.tasks:
        await ok.settings.put_task_override(member.id, task, provider, model=model)
    for name in member.tokens:
        made = await ok.tokens.create(member.id, name)
        if member.habits:
            ok.core.token_uses.note(member.id, made.token.id)
    await ok.core.sessions.start(member.id, Visitor(user_agent=BROWSERS[0]), method="password")
    for event in live(member, ids, now):
        ok.core.metering.record(event)
    await ok.core.metering.flush()
    await ok.core.token_uses.flush()


def live(member: Member, credential_ids: dict[str, str], now: datetime) -> Iterator[UsageEvent]:
    """A month of somebody's requests; the same each time but for the ids."""
    chance = random.Random(member.id)
    for days_ago in range(DAYS - 1, -1, -1):
        day = now - timedelta(days=days_ago)
        # Weekends are quiet, and use grows as people get to like it.
        mood = (0.15 if day.weekday() >= 5 else 1.0) * (0.55 + 0.45 * (DAYS - days_ago) / DAYS)
        for habit in member.habits:
            for _ in range(round(chance.gauss(habit.per_day, habit.per_day / 4) * mood)):
                # Never in the future: today ends now.
                moment = day.replace(hour=0, minute=0, second=0) + timedelta(
                    seconds=chance.triangular(0, 86_000, 45_000)
                )
                yield from request(habit, member, credential_ids, min(moment, now - timedelta(minutes=2)), chance)


def request(
    habit: Habit, member: Member, credential_ids: dict[str, str], at: datetime, chance: random.Random
) -> Iterator[UsageEvent]:
    """The attempts of one request: usually one, and a second at the operator's expense where the first fails."""
    request_id = new_id(at)
    own = credential_ids.get(habit.provider) if habit.payer is Payer.OWN else None
    failed = habit.failing is not None and chance.randrange(100) < habit.failing_percent
    if failed:
        yield _event(habit, member, request_id, at, chance, attempt=1, credential_id=own, outcome=habit.failing)
        habit = Habit(habit.task, "openai", "gpt-5.4-mini", 0, habit.tokens_in, habit.tokens_out, Payer.SHARED)
        own = None
    yield _event(habit, member, request_id, at, chance, attempt=1 + failed, credential_id=own)


def _event(
    habit: Habit,
    member: Member,
    request_id: str,
    at: datetime,
    chance: random.Random,
    *,
    attempt: int,
    credential_id: str | None,
    outcome: Outcome | None = None,
) -> UsageEvent:
    size = chance.lognormvariate(0, 0.6)
    cached = round(habit.tokens_in * size * 0.4) if habit.provider in ("anthropic", "openai") else 0
    first_byte = round(chance.lognormvariate(6.0, 0.4))
    good = outcome is None
    return UsageEvent(
        id=new_id(at),
        request_id=request_id,
        user_id=member.id,
        occurred_at=at + timedelta(milliseconds=900 * (attempt - 1)),
        attempt=attempt,
        task=habit.task,
        provider=habit.provider,
        model=habit.model,
        requested_model=f"task:{habit.task}",
        credential_id=credential_id,
        payer=habit.payer,
        operation="embeddings" if habit.task == "embedding" else "chat",
        streamed=habit.task != "embedding",
        outcome=outcome or Outcome.OK,
        http_status=200 if good else 429,
        tokens=Tokens(
            input_uncached=round(habit.tokens_in * size) - cached,
            cache_read=cached,
            output_text=round(habit.tokens_out * size),
        )
        if good
        else None,
        tokens_source=TokensSource.REPORTED if good else TokensSource.NONE,
        fallback=attempt > 1,
        skipped=(SkippedHop("mistral", Payer.OWN, "credential_disabled"),) if attempt > 1 else (),
        duration_ms=first_byte + round(habit.tokens_out * size * chance.uniform(4, 12)) if good else 240,
        first_byte_ms=first_byte if good else None,
        finish_reason="stop" if good else None,
    )
