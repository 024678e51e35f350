"""Lists by name, read to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence


class Named(Protocol):
    """What is listed by its name."""

    @property
    def name(self) -> str:
        """By which the list is in order."""
        ...


T = TypeVar("T", bound=Named)


async def all_by_name(page_after: Callable[[str], Awaitable[Sequence[T]]]) -> AsyncIterator[T]:
    """Go through a list page by page; ``page_after`` returns the one behind a name."""
    after = ""
    while page := await page_after(after):
        for each in page:
            yield each
        after = page[-1].name
