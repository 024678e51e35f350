"""What one process knows of the lanes that it claims from: where tasks wait, and since when."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import timedelta
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.floors import Floor, Looking, Place
from taskscheduler.adapters.postgres.lanes import Lane
from taskscheduler.domain.after import WAITING_AT
from taskscheduler.domain.limit import LOOK_AGAIN
from taskscheduler.domain.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from taskscheduler.domain.ports.clock import Clock

WARM_MAX: Final = 32
"""So many lanes that became empty are looked into all the same: the next task may come there."""
LATELY_S: Final = 1.0
TIGHT_S: Final = 10.0
SLACK: Final = timedelta(milliseconds=5)
"""How far the store's clock, as it is reckoned here since a look, may be behind."""


class SeenLane:
    """A lane in which tasks waited, when it was last looked into or not long before."""

    __slots__ = ("claimed_at", "floor", "head", "lane", "weight")

    def __init__(self, lane: Lane) -> None:
        """Know nothing of it but its name."""
        self.lane = lane
        self.floor = Floor()
        self.head: datetime | None = None
        """The time of the first task that waits there, as far as is known."""
        self.claimed_at = -inf
        """When something was claimed there last, on this process's clock."""
        self.weight = 1
        """How much its group gets beside others."""


    def may_begin(self, now: datetime | None) -> bool:
        """Tell whether its first task may be due: at its time, or whenever others have ended."""
        return is_past(self.head, now) or (self.head is not None and self.head >= WAITING_AT)


class Seen:
    """The lanes of one subscription in which tasks wait, or where one is likely to come."""

    def __init__(self, clock: Clock) -> None:
        """Have seen nothing yet."""
        self.looking = Looking(clock)
        self.lanes: dict[int, SeenLane] = {}
        self.must_look = False
        """Whether the next claim looks before it takes anything."""
        self.waits: timedelta | None = None
        """How long until the first task is due, as the last look saw it; None: there is none."""
        self.is_fresh = False
        """Whether ``waits`` is what the last claim saw, which found nothing."""
        self.has_groups = False
        """Whether groups are to take turns."""
        self._opens_at: dict[int, datetime] = {}
        """When to look again at lanes that limits keep closed."""
        self._closed_at = -inf
        self._turns: defaultdict[int, Turns[int]] = defaultdict(Turns[int])
        self._clock = clock
        self._warm: dict[int, None] = {}
        self._are_few = False
        self._now: datetime | None = None
        self._looked_at = 0.0

    def learn(self, rows: Sequence[tuple[Any, ...]], *, full: bool) -> None:
        """Take in what a look saw: rows of ``look_3`` and the store's time.

        In the lanes that it does not name nothing waits. After a ``full`` one they are forgotten.
        """
        self._begin_anew()
        for number, queue, kind, priority, process_at, task_id, now, *more in rows:
            group, weight, opens_at = more
            seen = self.lanes.get(number)
            if seen is None:
                seen = self.lanes[number] = SeenLane(Lane(queue, kind, priority, group))
            if process_at is None:
                self._are_few = True
                continue
            seen.head = process_at
            seen.weight = weight
            if opens_at is not None:
                opens_at = self._opens_at[number] = self._look_again(seen, opens_at, now)
            seen.floor.meet(Place(process_at, task_id.int), now)
            waits = (opens_at or process_at) - now
            if self.waits is None or waits < self.waits:
                self.waits = waits
        self.has_groups = any(seen.lane.group for seen in self.lanes.values())
        if rows:
            self._now = rows[0][6]
            self._looked_at = self._clock.monotonic()
        if full:
            named = {row[0] for row in rows} | self._warm.keys()
            for number in self.lanes.keys() - named:
                del self.lanes[number]

    def _begin_anew(self) -> None:
        # Before the floors move, lest what is noted be the time of the look that comes now.
        note = self.looking.is_note_due()
        for seen in self.lanes.values():
            if note:
                seen.floor.note()
            seen.head = None
        self._opens_at.clear()
        self.waits = None
        self._are_few = False

    @property
    def is_due(self) -> bool:
        """Whether the last look saw a task that is due."""
        return self.waits is not None and self.waits <= timedelta(0)

    def order(self) -> Sequence[int]:
        """Return the lanes to claim from: the most urgent first, then the one furthest behind."""
        now = self._reckoned_now()
        places = [
            (seen.lane.priority, seen.floor.at, number)
            for number, seen in self.lanes.items()
            if (self._are_few or number in self._warm or seen.may_begin(now))
            and (number not in self._opens_at or is_past(self._opens_at[number], now))
        ]
        places.sort()
        return [number for _, _, number in places]

    def urgent(self, order: Sequence[int]) -> Iterable[Sequence[int]]:
        """Yield the lanes of ``order`` that are equally urgent, the most urgent first."""

        def priority_of(number: int) -> int:
            return self.lanes[number].lane.priority

        return (list(lanes) for _, lanes in groupby(order, priority_of))

    def share(self, lanes: Sequence[int], room: int) -> dict[int, int]:
        """Return how many tasks to claim from each of ``lanes``, which are equally urgent.

        Where nothing is known to wait comes first: it is no more than a look, and what has just
        come there has waited for its turn.
        """
        now = self._reckoned_now()
        # Of those whose turn it is together each claimer begins with another.
        first = random.randrange(len(lanes))  # noqa: S311 - not a secret
        lanes = [*lanes[first:], *lanes[:first]]
        weights = self._weights([n for n in lanes if is_past(self.lanes[n].head, now)])
        turns = self._turns_of(lanes)
        turns.go_on(weights)
        shares = turns.share(weights, room)
        return {number: 1 for number in lanes if number not in weights} | shares

    def took(self, lanes: Mapping[int, int]) -> None:
        """Take it that so many were claimed of each of ``lanes``, which are equally urgent."""
        weights = self._weights(list(lanes))
        for number, taken in lanes.items():
            self._turns_of(list(lanes)).took(number, taken, weights[number])

    def _turns_of(self, lanes: Sequence[int]) -> Turns[int]:
        return self._turns[self.lanes[lanes[0]].lane.priority]

    def _weights(self, lanes: Sequence[int]) -> dict[int, float]:
        """Return what each lane gets beside others: of a group with several, they share."""
        seen = {number: self.lanes[number] for number in lanes}
        of_group = Counter(each.lane.whose for each in seen.values())
        return {n: each.weight / of_group[each.lane.whose] for n, each in seen.items()}

    @property
    def is_tight(self) -> bool:
        """Whether limits have kept something back lately."""
        return self._clock.monotonic() - self._closed_at <= TIGHT_S

    @property
    def is_held_back(self) -> bool:
        """Whether tasks are due, as far as is known, and limits let none of them begin."""
        if not self._opens_at:
            return False
        now = self._reckoned_now()
        due = [number for number, seen in self.lanes.items() if is_past(seen.head, now)]
        return bool(due) and all(number in self._opens_at for number in due)

    def close(self, number: int, opens_at: datetime, *, is_busy: bool) -> None:
        """Take it that limits keep a lane closed until then, as far as is known.

        Where its gate is just ``is_busy``, it is as good as open.
        """
        now = self._reckoned_now()
        if now is not None and (seen := self.lanes.get(number)) is not None:
            again_at = opens_at if is_busy else self._look_again(seen, opens_at, now)
            self._opens_at[number] = again_at

    def _look_again(self, seen: SeenLane, opens_at: datetime, now: datetime) -> datetime:
        """Return when to look again at a lane that opens then.

        Who had something of it lately comes at the very moment; others not so soon, lest a whole
        fleet asks for one place.
        """
        self._closed_at = self._clock.monotonic()
        if self._closed_at - seen.claimed_at <= LATELY_S:
            return opens_at
        return max(opens_at, now + LOOK_AGAIN * random.uniform(1.0, 1.5))  # noqa: S311 - no secret

    def reopen(self) -> None:
        """Take it that limits may let something begin: leases have ended."""
        self._opens_at.clear()

    def claimed(self, number: int, places: Sequence[Place]) -> None:
        """Take it that these tasks of a lane were claimed, and nothing is left before them."""
        if (seen := self.lanes.get(number)) is not None:
            seen.floor.raise_to(places)
            seen.claimed_at = self._clock.monotonic()
            self._warm.pop(number, None)
            self._warm[number] = None
            if len(self._warm) > WARM_MAX:
                del self._warm[next(iter(self._warm))]

    def emptied(self, numbers: Collection[int]) -> None:
        """Take it that nothing that is due is left in these lanes, unless they are closed."""
        for number in numbers:
            if (seen := self.lanes.get(number)) is not None and number not in self._opens_at:
                seen.head = None

    def nearby(self) -> Iterable[tuple[int, Place]]:
        """Return from where on to look near, lane by lane."""
        return ((number, seen.floor.nearby[1]) for number, seen in self.lanes.items())

    def _reckoned_now(self) -> datetime | None:
        if self._now is None:
            return None
        passed_s = self._clock.monotonic() - self._looked_at
        return self._now + timedelta(seconds=passed_s) + SLACK


def is_past(moment: datetime | None, now: datetime | None) -> bool:
    """Tell whether a time is known, and has come."""
    return moment is not None and now is not None and moment <= now
