"""How a handler says what should become of its task, other than by returning.

A handler raises (or returns) one of these. They are not errors, so they stand outside the tree of
errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class Verdict(Exception):
    """The root of the four verdicts."""


class Snooze(Verdict):
    """Call the handler again after ``delay``; this attempt does not count."""

    def __init__(self, delay: timedelta) -> None:
        """``delay`` counts from the moment the verdict is stored."""
        self.delay = delay
        super().__init__(f"snoozed for {delay}")


class Retry(Verdict):
    """The attempt failed: try again after ``after``, or as the retry policy says."""

    def __init__(self, after: timedelta | None = None, reason: str = "the handler asked") -> None:
        """``after`` replaces the policy's delay, not its count of attempts."""
        self.after = after
        self.reason = reason
        super().__init__(reason)


class Cancel(Verdict):
    """The task is no longer wanted: it ends as Cancelled."""

    def __init__(self, reason: str = "the handler cancelled it") -> None:
        """``reason`` is kept in the task's history."""
        self.reason = reason
        super().__init__(reason)


class Discard(Verdict):
    """Trying again cannot help: the task ends as Failed, whatever attempts are left."""

    def __init__(self, reason: str = "the handler discarded it") -> None:
        """``reason`` is kept in the task's history."""
        self.reason = reason
        super().__init__(reason)
