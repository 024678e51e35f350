"""How giving hints of new work goes in one process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Hints:
    """Hints that one process has given, and whether it still can.

    ``since`` is when it began to be as it is, by this process's own clock.
    """

    since: datetime
    sent: int = 0
    failed: int = 0
    """Attempts that did not get through. What they would have told is told by a later one."""
    degraded: str | None = None
    """Why the last hint could not be given, or None."""

    @property
    def untried(self) -> bool:
        """Whether there was nothing to tell yet."""
        return not self.sent and not self.failed

    def succeeded(self, now: datetime) -> Self:
        """Return what is so after one more hint was given."""
        since = now if self.untried or self.degraded is not None else self.since
        return replace(self, since=since, sent=self.sent + 1, degraded=None)

    def refused(self, reason: str, now: datetime) -> Self:
        """Return what is so after one more hint could not be given."""
        since = now if self.degraded is None else self.since
        return replace(self, since=since, failed=self.failed + 1, degraded=reason)
