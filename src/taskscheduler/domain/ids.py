"""Which ids a producer may bring.

Lists, pages and partitions go by the time in the id, so it must be about the time at which the task
is stored. An id of another kind, or of another day, would stand before everybody else's for ever.
That an id is new is nobody's to prevent: 74 of its bits are drawn at random.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import InvalidTask

if TYPE_CHECKING:
    from uuid import UUID

BEHIND_MAX: Final = timedelta(days=7)
"""A producer may have waited so long before it could bring its task."""
AHEAD_MAX: Final = timedelta(minutes=1)
"""So far may a producer's clock be ahead."""
ID_FORM: Final = "a UUID of version 7 that was made within the last 7 days"
VERSION: Final = 7
VARIANT: Final = 2
MILLISECOND: Final = timedelta(milliseconds=1)


class RecentIds:
    """The ids that may be brought at one moment: that at which ``own`` was made."""

    __slots__ = ("_high", "_low")

    def __init__(self, own: UUID) -> None:
        """Take the time from an id of our own, whose clock is the one that all others follow."""
        made_ms = own.int >> 80
        self._low = (made_ms - BEHIND_MAX // MILLISECOND) << 80
        self._high = (made_ms + AHEAD_MAX // MILLISECOND) << 80

    def check(self, given: UUID, index: int | None = None) -> None:
        """Check the id of a task, the one at ``index`` of a batch. Raises InvalidTask."""
        number = given.int
        if (
            not self._low <= number < self._high
            or number >> 76 & 15 != VERSION
            or number >> 62 & 3 != VARIANT
        ):
            raise InvalidTask("id", f"must be {ID_FORM}; leave it out to be given one", index=index)
