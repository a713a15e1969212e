"""Who appears in the demo, what they have chosen, and what happens to them. Data only."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ownkey.testing.faults import Kind

# What the operator has set as OPENAI_API_KEY.
OPERATOR_KEY: Final = "sk-demo-operator-0000000000"
# Instead of a list of providers: every one that takes a key.
EVERY_PROVIDER: Final = "*"


class Override(Struct, frozen=True):
    """A task that goes to a provider of its own, with that provider's default model unless one is named."""

    task: str
    provider: str
    model: str | None = None


class Call(Struct, frozen=True):
    """A request that a user sends."""

    task: str
    text: str
    stream: bool = False


class Mishap(Struct, frozen=True):
    """What goes wrong at a provider; `own_key`: only for the key of the user whose turn it is."""

    provider: str
    kind: Kind
    own_key: bool = False


class Scene(Struct, frozen=True):
    """Some calls, and what is broken while they are made."""

    title: str
    calls: tuple[Call, ...]
    mishaps: tuple[Mishap, ...] = ()


class Person(Struct, frozen=True, kw_only=True):
    """A user of the demo. `priorities`: the providers to try first, in this order."""

    id: str
    about: str
    providers: tuple[str, ...]
    overrides: tuple[Override, ...] = ()
    priorities: tuple[str, ...] = ()
    scenes: tuple[Scene, ...]


CAST: Final = (
    Person(
        id="dana",
        about="a developer: Groq for coding, Mistral for research, Claude for writing",
        providers=("groq", "mistral", "anthropic"),
        overrides=(Override("coding", "groq"), Override("research", "mistral"), Override("writing", "anthropic")),
        scenes=(
            Scene(
                "all well",
                (
                    Call("coding", "Write a function that merges two sorted lists.", stream=True),
                    Call("research", "Which results on sleep and memory were replicated?"),
                    Call("writing", "Rewrite this paragraph for a general reader.", stream=True),
                ),
            ),
            Scene(
                "Groq is down",
                (Call("coding", "Now write the tests for it.", stream=True), Call("research", "And which were not?")),
                (Mishap("groq", "unavailable"),),
            ),
        ),
    ),
    Person(
        id="ben",
        about="a business user: one OpenAI key for everything, the operator's OpenAI key behind it",
        providers=("openai",),
        scenes=(
            Scene(
                "all well",
                (
                    Call("chat", "Summarise the minutes of the meeting in five points."),
                    Call("writing", "Draft a friendly reminder of an unpaid invoice.", stream=True),
                ),
            ),
            Scene(
                "own key out of credit",
                (
                    Call("chat", "Which of these points are urgent?"),
                    Call("writing", "Make the reminder shorter.", stream=True),
                ),
                (Mishap("openai", "no_credit", own_key=True),),
            ),
        ),
    ),
    Person(
        id="pia",
        about="a power user: keys at every provider, priorities of her own, task overrides",
        providers=(EVERY_PROVIDER,),
        overrides=(
            Override("coding", "anthropic", "claude-opus-5-5"),
            Override("research", "gemini"),
            Override("translation", "deepseek"),
        ),
        priorities=("cerebras", "groq", "deepseek", "mistral", "together", "openai"),
        scenes=(
            Scene(
                "all well",
                (
                    Call("coding", "Find the race condition in this code.", stream=True),
                    Call("research", "Compare three vector indexes."),
                    Call("translation", "Translate the release notes into Portuguese.", stream=True),
                    Call("chat", "What should I read next?"),
                ),
            ),
            Scene(
                "three providers fail",
                (
                    Call("coding", "And now fix it.", stream=True),
                    Call("research", "Which of them is best for a million rows?"),
                    Call("chat", "Why that one?"),
                ),
                (
                    Mishap("anthropic", "overloaded"),
                    Mishap("gemini", "daily_quota", own_key=True),
                    Mishap("cerebras", "reset"),
                ),
            ),
        ),
    ),
)
