"""Claims: which lanes to look into, from where on, in which order."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.fast_connection import Statement
from taskscheduler.adapters.postgres.floors import CLAIMED_MAX, LOOK_EVERY_S, Place
from taskscheduler.adapters.postgres.known_lanes import Seen
from taskscheduler.adapters.postgres.lanes import Lane
from taskscheduler.adapters.postgres.mapping import bigints, texts
from taskscheduler.domain.lease import SUSPECT_AFTER, Lease, Suspects
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from taskscheduler.adapters.postgres.database import Database
    from taskscheduler.adapters.postgres.fast_connection import PooledConnection
    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.values import WorkerId
    from taskscheduler.domain.worker import Subscription

FEW_LANES: Final = 64
"""Where a subscription has so many lanes each claim looks into all of them; else into so many at
first: as a rule they hold all that it may take."""
NEXT_LANES: Final = 256
STEPS_MAX: Final = 1_024
"""So many lanes in which tasks wait are stepped through, before all are looked into: ``look_3``."""


ROUNDS_MAX: Final = 4
"""So often a claim shares out what groups have left of their turns."""
TURNS_EVERY_S: Final = 0.1
"""How long a group that has just come may stay unseen while the work of others keeps coming."""
SUSPECTS_COUNTED: Final = 1_000


class Claims:
    """Leases tasks, and looks where some wait."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Know nothing yet: look everywhere from the beginning."""
        self._database = database
        self._clock = clock
        self._seen: dict[Subscription, Seen] = {}
        self._claim = Statement.of(database.sql(s.CLAIM))
        self._claim_in_turns = Statement.of(database.sql(s.CLAIM_IN_TURNS))
        self._look = Statement.of(database.sql(s.LOOK))
        self._suspects = Statement.of(database.sql(s.SUSPECTS))
        self._claim_suspects = Statement.of(database.sql(s.CLAIM_SUSPECTS))
        # The database may be another one now, in which the numbers mean other lanes.
        database.on_reconnect.append(self._seen.clear)

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int, *, epoch: int
    ) -> Sequence[Lease]:
        """See ``TaskRepository.claim``."""
        seen = self._seen_of(subscription)
        seen.is_fresh = False
        asked = {
            "worker_id": str(worker_id),
            "epoch": str(epoch),
            "excused_max": excused_max(subscription),
        }
        async with self._database.connection() as connection:
            if seen.must_look or seen.is_held_back:
                seen.must_look = False
                await self._look_around(connection, subscription, seen)
                if seen.is_held_back:
                    seen.is_fresh = True
                    return []
            leases = await self._take(connection, seen, asked, limit)
            # Who found something hands it on first, and looks for what came late the next time.
            every_s = TURNS_EVERY_S if seen.has_groups else LOOK_EVERY_S
            seen.must_look |= bool(leases) and seen.looking.is_overdue(every_s)
            if not leases and seen.looking.is_due():
                await self._look_around(connection, subscription, seen)
                if seen.is_due:
                    leases = await self._take(connection, seen, asked, limit)
                else:
                    seen.is_fresh = True
        return leases

    async def next_due(self, subscription: Subscription, *, roughly: bool) -> timedelta | None:
        """See ``TaskRepository.next_due``."""
        seen = self._seen_of(subscription)
        if roughly and seen.is_fresh:
            seen.is_fresh = False
            return seen.waits
        async with self._database.connection() as connection:
            await self._look_around(connection, subscription, seen, full=not roughly)
            return seen.waits

    def are_held_back(self, subscription: Subscription) -> bool:
        """See ``TaskRepository.are_held_back``."""
        return self._seen_of(subscription).is_held_back

    def are_tight(self, subscription: Subscription) -> bool:
        """See ``TaskRepository.are_tight``."""
        return self._seen_of(subscription).is_tight

    def leases_ended(self) -> None:
        """Look again at what limits keep back."""
        for seen in self._seen.values():
            seen.reopen()

    def look_soon(self) -> None:
        """Look before the next claim: there may be lanes that nobody has seen yet."""
        for seen in self._seen.values():
            seen.must_look = True

    def _seen_of(self, subscription: Subscription) -> Seen:
        seen = self._seen.get(subscription)
        if seen is None:
            seen = self._seen[subscription] = Seen(self._clock)
        return seen

    async def _take(
        self, connection: PooledConnection, seen: Seen, asked: Mapping[str, str], limit: int
    ) -> list[Lease]:
        """Claim from the lanes in which tasks are known to wait, some lanes at a time."""
        order = seen.order()
        if seen.has_groups:
            return await self._take_in_turns(connection, seen, asked, limit)
        leases: list[Lease] = []
        begin, end = 0, FEW_LANES
        while begin < len(order) and len(leases) < limit:
            lanes = {number: seen.lanes[number].lane for number in order[begin:end]}
            left = limit - len(leases)
            floors = [(number, seen.lanes[number].floor.at) for number in lanes]
            rows = await connection.send(
                self._claim, {**asked, "limit": str(left), **from_floors(floors)}
            )
            rows = without_closed(rows, seen)
            if len(rows) < left:
                seen.emptied(lanes)
            leases += leases_of(rows, lanes, seen)
            begin, end = end, end + NEXT_LANES
        return leases

    async def _take_in_turns(
        self, connection: PooledConnection, seen: Seen, asked: Mapping[str, str], limit: int
    ) -> list[Lease]:
        """Claim so that groups have their turns; what one leaves is shared by the others."""
        leases: list[Lease] = []
        for urgent in seen.urgent(seen.order()):
            lanes: list[int] = list(urgent)
            for _ in range(ROUNDS_MAX):
                left = limit - len(leases)
                if left <= 0 or not lanes:
                    break
                rooms = dict(islice(seen.share(lanes, left).items(), NEXT_LANES))
                floors = [(number, seen.lanes[number].floor.at) for number in rooms]
                given = {**asked, **from_floors(floors), "rooms": bigints(rooms.values())}
                rows = await connection.send(self._claim_in_turns, {**given, "limit": str(left)})
                rows = without_closed(rows, seen)
                named = {number: seen.lanes[number].lane for number in rooms}
                leases += leases_of(rows, named, seen)
                taken = Counter(row[2] for row in rows)
                seen.took({number: taken[number] for number in rooms})
                used_up = [number for number, room in rooms.items() if taken[number] < room]
                if len(rows) < left:
                    seen.emptied(used_up)
                    lanes = [number for number in lanes if number not in used_up]
        return leases

    async def _look_around(
        self,
        connection: PooledConnection,
        subscription: Subscription,
        seen: Seen,
        *,
        full: bool = False,
    ) -> None:
        """Learn where tasks wait: from the beginning of each lane if that may be, or is a must."""
        full = full or seen.looking.is_full_due()
        floors = from_floors(()) if full else from_floors(seen.nearby())
        asked = {
            **named(subscription),
            "excused_max": excused_max(subscription),
            "few": str(FEW_LANES),
            "steps": str(STEPS_MAX if full else 0),
        }
        began_at = self._clock.monotonic()
        rows = await connection.send(self._look, {**asked, **floors})
        seen.looking.took(began_at, full=full)
        seen.learn(rows, full=full)

    async def suspects(self, subscription: Subscription) -> Suspects | None:
        """See ``TaskRepository.suspects``."""
        asked = named(subscription) | {"limit": str(SUSPECTS_COUNTED)}
        async with self._database.connection() as connection:
            rows = await connection.send(self._suspects, asked)
        return Suspects(*rows[0]) if rows else None

    async def claim_suspects(
        self,
        worker_id: WorkerId,
        subscription: Subscription,
        excused: int,
        limit: int,
        *,
        epoch: int,
    ) -> Sequence[Lease]:
        """See ``TaskRepository.claim_suspects``. There are few, so they need no floors."""
        asked = named(subscription) | {
            "limit": str(limit),
            "worker_id": str(worker_id),
            "epoch": str(epoch),
            "excused": str(excused),
        }
        async with self._database.connection() as connection:
            rows = await connection.send(self._claim_suspects, asked)
        return [lease_of(row[:10], Lane(*row[10:])) for row in rows]


def named(subscription: Subscription) -> dict[str, str]:
    """Return the parameters that name what a worker takes."""
    return {
        "queues": texts(sorted(subscription.queues)),
        "kinds": texts(sorted(subscription.kinds)),
    }


def excused_max(subscription: Subscription) -> str:
    """Return the parameter that leaves suspects out, or nobody."""
    return str(MAX_ATTEMPTS_LIMIT if subscription.suspects else SUSPECT_AFTER - 1)


def from_floors(floors: Iterable[tuple[int, Place]]) -> dict[str, str]:
    """Return the parameters that say from where on to look, lane by lane."""
    given = list(floors)
    return {
        "lanes": bigints(number for number, _ in given),
        "floors": texts(place.process_at.isoformat() for _, place in given),
        "floor_ids": texts(str(UUID(int=place.number)) for _, place in given),
    }


def without_closed(rows: Sequence[tuple[Any, ...]], seen: Seen) -> list[tuple[Any, ...]]:
    """Leave out the rows that tell of lanes which limits keep closed, and take note of those."""
    found: list[tuple[Any, ...]] = []
    for row in rows:
        if row[0] is None:
            seen.close(row[2], row[5], is_busy=row[9])
        else:
            found.append(row)
    return found


def leases_of(
    rows: Sequence[tuple[Any, ...]], lanes: Mapping[int, Lane], seen: Seen
) -> Sequence[Lease]:
    """Return the leases of ``rows`` of ``claim_6``, lane by lane in the order of time."""
    of_lane: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        of_lane.setdefault(row[2], []).append(row)
    leases: list[Lease] = []
    for number, lane in lanes.items():
        if number not in of_lane:
            continue
        here = of_lane[number]
        # By the number in the id: two UUIDs are compared by Python code, two ints are not.
        here.sort(key=lambda row: (row[5], row[0].int))
        seen.claimed(number, [Place(row[5], row[0].int) for row in here[-CLAIMED_MAX:]])
        leases += [lease_of(row, lane) for row in here]
    return leases


def lease_of(row: tuple[Any, ...], lane: Lane) -> Lease:
    """Return the lease that a row of a claim tells of."""
    (
        task_id,
        token,
        _,
        attempt,
        max_attempts,
        process_at,
        timeout,
        payload,
        excused,
        expired,
    ) = row
    queue, kind, priority, group = lane
    return Lease(
        task_id,
        token,
        kind,
        queue,
        priority,
        attempt,
        max_attempts,
        process_at.astimezone(UTC),
        timeout,
        payload.encode(),
        excused,
        expired,
        group=group or None,
    )
