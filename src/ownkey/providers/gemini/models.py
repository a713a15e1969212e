"""What a Gemini model's name says about the requests it takes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote

# "gemini-2.5-flash-lite", "gemini-3-pro-preview", "gemini-4-argon"; "gemini-flash-latest" has no version.
_VERSION: Final = re.compile(r"gemini-(\d{1,2})(?:\.(\d{1,2}))?(?![\d.])")
_PREFIX: Final = "models/"
_TUNED: Final = "tunedModels/"


@lru_cache(maxsize=512)
def read_version(model: str) -> tuple[int, int] | None:
    """(2, 5) for `gemini-2.5-pro`; None for a name that tells no version, such as that of the latest model."""
    match = _VERSION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else None


def is_before(model: str, major: int, minor: int = 0) -> bool:
    """Whether a model is known to be older. A name without a version is taken for the latest."""
    version = read_version(model)
    return version is not None and version < (major, minor)


def model_path(model: str) -> str:
    """A model's place below the base URL, without a slash in front: `models/gemini-2.5-pro`."""
    if model.startswith(_TUNED):
        return _TUNED + quote(model.removeprefix(_TUNED), safe="")
    return _PREFIX + quote(model.removeprefix(_PREFIX), safe="")


def resource_name(model: str) -> str:
    """A model's full name, as some bodies repeat it."""
    return model if model.startswith((_PREFIX, _TUNED)) else _PREFIX + model
