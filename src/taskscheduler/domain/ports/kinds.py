"""Which kinds have a handler somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class KindCatalogue(Protocol):
    """Which kinds have a handler somewhere."""

    async def register(self, kinds: Mapping[str, int]) -> None:
        """Make ``kinds`` known, each with the attempts that its handler's policy grants."""
        ...

    async def known(self) -> frozenset[str]:
        """Return every kind that was ever registered."""
        ...
