"""The provider that a model's name begins with, and the slips that people make when they write it.

A name that no provider answers to goes to the user's first provider as it is, since many sell models with a maker's
name in front (`meta-llama/Llama-3.3-70B`). A slip in a provider's name would go there too, and to another company than
the one that was meant: so what is nearly a provider's name, and no maker's, is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final

from ownkey.domain.provider import Provider
from ownkey.errors import NotFound

# One letter that is missing, too many, wrong or swapped in a name of six; `meta-llama` and `google` are further away.
_NEAR: Final = 0.75
# Makers of models whose names on model hubs are nearly those of providers here.
_MAKERS: Final = frozenset(
    {"deepseek-ai", "mistralai", "mistral-ai", "perplexity-ai", "x-ai", "z-ai", "llama", "llamas"}
)


def split_provider(name: str, catalog: Mapping[str, Provider]) -> tuple[Provider, str] | None:
    """The provider that a name begins with, and the rest; None where it begins with none.

    Capital letters count only where a provider serves a model of just this name: `Qwen/Qwen3` is one model.
    """
    head, slash, rest = name.partition("/")
    if not slash:
        return None
    found = catalog.get(head)
    if found is None:
        found = catalog.get(head.lower())
        if found is None or any(name in provider.models for provider in catalog.values()):
            return None
    return found, rest


def refuse_slip(name: str, catalog: Mapping[str, Provider], used: Collection[str]) -> None:
    """Raises NotFound(model_not_found) with the name that was meant.

    `used` are the providers that the user has a key or a wish for. Those without keys run on one's own machine, with
    models such as `mistral:7b`.
    """
    head, slash, rest = name.partition("/")
    if slash:
        if head.lower() in _MAKERS or any(_makes(head, provider) for provider in catalog.values()):
            return
        near = get_close_matches(head.lower(), catalog, n=1, cutoff=_NEAR)
    else:
        head, colon, rest = name.partition(":")
        near = [head.lower()] if colon and head.lower() in catalog else []
        if any(catalog[provider_id].auth == "none" for provider_id in used if provider_id in catalog):
            return
    if not near or any(provider.serves_model(name) for provider in catalog.values()):
        return
    raise NotFound(
        f"No provider is called `{head}`. Did you mean `{near[0]}/{rest}`? The providers are {', '.join(catalog)}."
        if slash
        else f"`{name}` is no model's name. Did you mean `{near[0]}/{rest}`?",
        code="model_not_found",
        param="model",
    )


def _makes(head: str, provider: Provider) -> bool:
    """Whether models that a provider is known to sell bear this maker's name."""
    start = head + "/"
    return any(model.startswith(start) for model in provider.models)
