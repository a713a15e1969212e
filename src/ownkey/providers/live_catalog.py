"""The catalogue as it is now: the rows of its files, which never change, and those that administrators added."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import TypeVar, overload

from ownkey.domain.provider import Provider

T = TypeVar("T")


class LiveCatalog(Mapping[str, Provider]):
    """Every provider by its id. The whole content is put in the place of the old one at once."""

    def __init__(self, base: Mapping[str, Provider]) -> None:
        self.base = base
        self._content = base
        self._followers: list[Callable[[], None]] = []

    def follow(self, on_change: Callable[[], None]) -> None:
        """Call this after every change, so that nothing that followed from the old content is kept."""
        self._followers.append(on_change)

    def adopt(self, added: Mapping[str, Provider]) -> None:
        """From now on the catalogue holds these besides its base. The base wins: a stored row cannot redirect it."""
        content = {**added, **self.base}
        # The base keeps its order, and what was added comes behind it.
        ordered = {name: content[name] for name in (*self.base, *(name for name in added if name not in self.base))}
        if ordered == dict(self._content):
            return
        self._content = MappingProxyType(ordered)
        for on_change in self._followers:
            on_change()

    def __getitem__(self, name: str) -> Provider:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    # What `Mapping` would do through the methods above, without the way round.

    def __contains__(self, name: object) -> bool:
        return name in self._content

    @overload
    def get(self, name: str, /) -> Provider | None: ...
    @overload
    def get(self, name: str, /, default: Provider | T) -> Provider | T: ...
    def get(self, name: str, /, default: Provider | T | None = None) -> Provider | T | None:
        """The provider of this name, or the default."""
        return self._content.get(name, default)

    def keys(self) -> KeysView[str]:
        """The ids."""
        return self._content.keys()

    def values(self) -> ValuesView[Provider]:
        """The providers."""
        return self._content.values()

    def items(self) -> ItemsView[str, Provider]:
        """Both."""
        return self._content.items()
