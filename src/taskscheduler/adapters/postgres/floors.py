"""From where on to look for work in each lane.

Looking into a lane from its beginning costs more the more dead rows lie there, and while some old
transaction is open anywhere in the database none of them can be cleared. So a claimer remembers a
floor for each lane, a time and an id: nothing below it was left when it last looked. Rows can still
appear below a floor, from a transaction that committed late, or because somebody changed a task.
Therefore a look from below the floors follows from time to time, and what it finds lowers them.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.domain.ports.clock import Clock

MARGIN: Final = timedelta(milliseconds=50)
"""How late a commit may become visible and still be claimed without a look below the floor."""
CLAIMED_MAX: Final = 64
"""Of so many tasks that this process claimed last the places are passed again, within the margin:
where very many share one moment, time alone would never leave them behind."""
LOOK_SHARE: Final = 0.05
LOOK_EVERY_S: Final = 0.5
"""How long a late commit may stay unseen below a floor while other work keeps coming."""
AFTER_FULL_S: Final = 0.05
"""The longest pause between a full look and a near one."""
NEARBY_S: Final = 10.0
"""A near look begins where the floors were so long ago, or up to twice as long."""


class Place(NamedTuple):
    """Where a task stands in its lane: its time, and the number in its id."""

    process_at: datetime
    number: int


BEGINNING: Final = Place(datetime(1, 1, 2, tzinfo=UTC), 0)


class Floor:
    """From where on one claimer looks into one lane."""

    __slots__ = ("_claimed", "_least", "nearby")

    def __init__(self) -> None:
        """Look from the beginning."""
        self._least = BEGINNING
        self._claimed: deque[Place] = deque(maxlen=CLAIMED_MAX)
        self.nearby = (BEGINNING, BEGINNING)
        """Where it was when that was last noted, and the time before."""

    @property
    def at(self) -> Place:
        """Where it is."""
        if not self._claimed:
            return self._least
        floor = max(self._least, Place(self._claimed[-1].process_at - MARGIN, 0))
        return max(floor, self._claimed[0]) if len(self._claimed) == CLAIMED_MAX else floor

    def raise_to(self, claimed: Sequence[Place]) -> None:
        """Take it that these were ``claimed``, in this order, and nothing is left before them."""
        self._claimed.extend(claimed[-CLAIMED_MAX:])

    def meet(self, head: Place, now: datetime) -> None:
        """Take it that a look from below found ``head`` to be the first task that waits."""
        if head < self.at:
            self._claimed.clear()
            self._least = head
            # Whoever begins to look near begins no later than this.
            self.nearby = (min(head, self.nearby[0]), min(head, self.nearby[1]))
        else:
            # Others claimed what was before it. What comes later than now has not come yet.
            before = Place(min(head.process_at, now) - MARGIN, 0)
            self._least = max(self._least, before)

    def note(self) -> None:
        """Note where it is, for near looks to come."""
        self.nearby = (self.at, self.nearby[0])


class Looking:
    """Decides when to look below the floors, and how far: always, as long as that stays cheap.

    A look that took long is not repeated before twenty times as long has passed, so that looks
    never take more than a twentieth of the time. Meanwhile near looks, which pass only what was
    claimed within the last moments, find what comes late; and so may they.
    """

    def __init__(self, clock: Clock) -> None:
        """Allow the first look at once, from the beginning."""
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._next_at = self._next_full_at = self._next_note_at = self._looked_at

    def is_due(self) -> bool:
        """Tell whether a look may be taken now."""
        return self._clock.monotonic() >= self._next_at

    def is_full_due(self) -> bool:
        """Tell whether it may be one from the beginning."""
        return self._clock.monotonic() >= self._next_full_at

    def is_overdue(self, every_s: float = LOOK_EVERY_S) -> bool:
        """Tell whether none was taken for so long that work in hand must wait for one."""
        now = self._clock.monotonic()
        return now >= self._next_at and now >= self._looked_at + every_s

    def is_note_due(self) -> bool:
        """Tell whether it is time to note where the floors are; asked again, not at once."""
        now = self._clock.monotonic()
        if now < self._next_note_at:
            return False
        self._next_note_at = now + NEARBY_S
        return True

    def took(self, began_at: float, *, full: bool) -> None:
        """Take it that a look which began at ``began_at`` ends now; set the time of the next."""
        self._looked_at = now = self._clock.monotonic()
        pause_s = (now - began_at) / LOOK_SHARE
        self._next_at = now + (min(pause_s, AFTER_FULL_S) if full else pause_s)
        if full:
            self._next_full_at = now + pause_s
