"""The ids that producers bring, and what they mean for the order of tasks.

Lists, pages and partitions go by the time in the id, a UUID of version 7. A producer may bring an
id of another version; it says nothing of its time, and would stand before everybody's newest tasks
for ever. So such ids come last in every list, and one that bears a time bears that of today, give
or take what clocks and queues between producer and store take. Nobody can take an id that another
is going to use: of those that are made here, 74 bits are drawn at random.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from taskscheduler.domain.errors import InvalidTask

if TYPE_CHECKING:
    from collections.abc import Iterator

BEHIND_MAX: Final = timedelta(days=7)
"""A producer may have waited so long before it could bring its task."""
AHEAD_MAX: Final = timedelta(minutes=1)
"""So far may a producer's clock be ahead."""
ID_FORM: Final = (
    "a UUID; one of version 7 must have been made within the last 7 days, and not in the future"
)
VERSION: Final = 7
MILLISECOND: Final = timedelta(milliseconds=1)
LOWEST: Final = UUID(int=0)
HIGHEST: Final = UUID(int=2**128 - 1)


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
        if number >> 76 & 15 == VERSION:
            if self._low <= number < self._high:
                return
        elif given not in {LOWEST, HIGHEST}:  # they name nothing, says RFC 9562
            return
        raise InvalidTask("id", f"must be {ID_FORM}; leave it out to be given one", index=index)


def newest_of(own: UUID) -> UUID:
    """Return the largest id that can be the newest when ``own`` is made; larger ones come last."""
    return UUID(int=((own.int >> 80) + AHEAD_MAX // MILLISECOND << 80) - 1)


def spans(before: UUID | None, newest: UUID) -> Iterator[tuple[UUID, UUID]]:
    """Yield from which id to which a list goes that begins ``before`` one, each span downwards.

    First those up to the ``newest`` that bears a time, and then those beyond.
    """
    if before is None or before == HIGHEST:
        yield LOWEST, newest
        yield UUID(int=newest.int + 1), HIGHEST
    elif before == LOWEST:
        return
    elif before > newest:
        yield UUID(int=newest.int + 1), UUID(int=before.int - 1)
    else:
        yield LOWEST, UUID(int=before.int - 1)
        yield UUID(int=newest.int + 1), HIGHEST
