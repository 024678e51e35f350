"""What a store needs from time to time, and the tasks that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskscheduler.domain.retention import Expiry, RetentionPolicy
    from taskscheduler.domain.task import Task


class SchemaVersion(NamedTuple):
    """The version that was ``found``, 0 for none, and the one that this program ``expected``."""

    found: int
    expected: int

    @property
    def fits(self) -> bool:
        """Whether this program can work: a later release's schema takes its statements, too."""
        return self.found >= self.expected


class SchemaUpkeep(Protocol):
    """What a store wants done from time to time. Any worker may do it, at any moment."""

    async def turn(self) -> Sequence[str]:
        """Do what is due: prepare storage for the days ahead, drop what has lived its time.

        Return what could not be done, each in a sentence that says why; the rest is done.
        """
        ...

    async def schema_version(self) -> SchemaVersion:
        """Return which version of its schema the store has, and which one this program needs."""
        ...


class Archive(Protocol):
    """The tasks that have ended, for as long as they are kept."""

    async def expire(
        self,
        policy: RetentionPolicy,
        *,
        export: Callable[[Sequence[Task]], None] | None = None,
        dry_run: bool = False,
    ) -> Expiry:
        """Drop tasks that ended longer ago than ``policy`` keeps them; how many is bounded.

        What waits for them comes to something first. Histories and unique keys go with them. Tasks
        that have not ended are never touched. Any number may call it at once: one works, the
        others find nothing to do. ``export`` is handed the tasks before they go, some perhaps
        twice; what it raises keeps them. With ``dry_run`` nothing is changed. Repeating is safe.
        """
        ...
