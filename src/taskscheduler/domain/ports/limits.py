"""Limits: kept by name, and how they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.limit import Limit, LimitUse, Reached, StoredLimit
    from taskscheduler.domain.task import Task


class LimitRepository(Protocol):
    """The limits by which ``TaskRepository.claim`` goes. Names come in the order of their bytes."""

    async def put(
        self, limit: Limit, *, expected: StoredLimit | None = None, by: Caller | None = None
    ) -> tuple[StoredLimit, bool]:
        """Make the limit, or let the one of that name be as ``limit``; return it, and if it is new.

        Once this has returned, every claim goes by it. Tasks that run by then go on, and count: of
        a concurrency that is lower than their number nothing is let through until enough of them
        have ended. If it holds for other tasks than before, its rate grants a whole burst anew. One
        that is so already is not changed. With ``expected``, only a limit that still equals that is
        replaced, and none is made; so after a lost answer a repeat is refused.

        Raises:
            LimitChanged: it is not as ``expected``.
            LimitNotFound: there is none, and one was ``expected``.
        """
        ...

    async def get(self, name: str) -> StoredLimit:
        """Return the limit. Raises LimitNotFound."""
        ...

    async def list(self, *, after: str = "", limit: int) -> Sequence[StoredLimit]:
        """Return up to ``limit`` limits, those whose names come after ``after``, by name."""
        ...

    async def delete(
        self, name: str, *, expected: StoredLimit | None = None, by: Caller | None = None
    ) -> None:
        """Remove the limit. Raises LimitNotFound, LimitChanged."""
        ...

    async def uses(self, names: Collection[str]) -> Mapping[str, LimitUse]:
        """Return how those of the limits are used that are there."""
        ...

    async def reached_by(self, task: Task) -> Sequence[Reached]:
        """Return the limits that let no such task as ``task`` begin now, by name."""
        ...
