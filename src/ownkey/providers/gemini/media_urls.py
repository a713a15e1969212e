"""What an address in `fileData` says."""

from __future__ import annotations

from typing import Final

_HELD: Final = ("gs://", "https://generativelanguage.googleapis.com/", "files/")
_YOUTUBE: Final = ("youtu.be", "youtube.com", "www.youtube.com", "m.youtube.com")


def is_held(url: str) -> bool:
    """Whether the file is one that Google holds, so that nobody else can fetch it."""
    return url.startswith(_HELD)


def is_youtube(url: str) -> bool:
    """Whether it is a film of YouTube's, the one kind of page that stands for a film."""
    return url.partition("://")[2].partition("/")[0].lower() in _YOUTUBE
