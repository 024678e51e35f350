"""Claims: which lanes to look into, from where on, in which order."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.lanes import BEGINNING, Floors, FullLook
from taskscheduler.adapters.postgres.prepared import Statement
from taskscheduler.adapters.postgres.rows import bigints, texts
from taskscheduler.domain.lease import SUSPECT_AFTER, Lease, Suspects
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from taskscheduler.adapters.postgres.database import Database
    from taskscheduler.adapters.postgres.lanes import Lane, Lanes
    from taskscheduler.adapters.postgres.prepared import PooledConnection
    from taskscheduler.domain.ports import Clock
    from taskscheduler.domain.task import WorkerId
    from taskscheduler.domain.worker import Subscription


SUSPECTS_COUNTED: Final = 1_000


class Claims:
    """What one process knows of the lanes that it claims from."""

    def __init__(self, database: Database, lanes: Lanes, clock: Clock) -> None:
        """Know nothing yet: look everywhere from the beginning."""
        self._database = database
        self._lanes = lanes
        self._full_look = FullLook(clock)
        self._floors: dict[Subscription, Floors] = {}
        self._claim = Statement.of(database.sql(s.CLAIM))
        self._next_due = Statement.of(database.sql(s.NEXT_DUE))
        self._suspects = Statement.of(database.sql(s.SUSPECTS))
        self._claim_suspects = Statement.of(database.sql(s.CLAIM_SUSPECTS))

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int, *, epoch: int
    ) -> Sequence[Lease]:
        """See ``TaskRepository.claim``."""
        floors = self._floors.setdefault(subscription, Floors())
        asked: dict[str, str | None] = {
            "limit": str(limit),
            "worker_id": str(worker_id),
            "epoch": str(epoch),
            "excused_below": excused_below(subscription),
        }
        async with self._database.connection() as connection:
            lanes = await self._lanes.of(connection, subscription)
            order = floors.order(lanes)
            asked |= looking(order, floors.of(order))
            rows = await connection.send(self._claim, asked) if order else []
            full = self._full_look.is_overdue() if rows else self._full_look.is_due()
            if not rows:
                # The task that somebody rang for may be the first of its lane.
                lanes = await self._lanes.of(connection, subscription, anew=True)
                full = full or len(lanes) > len(order)
                order = floors.order(lanes)
            # What was found is not kept waiting, for long, by what may have been missed.
            if full and order and len(rows) < limit:
                asked |= looking(order, [BEGINNING] * len(order))
                asked |= {"limit": str(limit - len(rows))}
                with self._full_look:
                    rows.extend(await connection.send(self._claim, asked))
        return self._leases(rows, lanes, order, floors)

    def _leases(
        self,
        rows: Sequence[tuple[Any, ...]],
        lanes: Mapping[int, Lane],
        order: Sequence[int],
        floors: Floors,
    ) -> Sequence[Lease]:
        of_lane: dict[int, list[tuple[Any, ...]]] = {}
        for row in rows:
            of_lane.setdefault(row[2], []).append(row)
        leases: list[Lease] = []
        for number in order:
            if number in of_lane:
                here = of_lane[number]
                # By the number in the id: two UUIDs are compared by Python code, two ints are not.
                here.sort(key=lambda row: (row[5], row[0].int))
                floors.raise_to(number, here[-1][5])
                queue, kind, priority = lanes[number]
                leases += [
                    Lease(
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
                    )
                    for (
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
                    ) in here
                ]
        return leases

    async def next_due(self, subscription: Subscription) -> timedelta | None:
        """See ``TaskRepository.next_due``."""
        async with self._database.connection() as connection:
            lanes = await self._lanes.of(connection, subscription)
            order = list(lanes)
            if not self._full_look.is_due():
                floors = self._floors.setdefault(subscription, Floors()).of(order)
                return await self._ask_next_due(connection, subscription, order, floors)
            with self._full_look:
                floors = [BEGINNING] * len(order)
                return await self._ask_next_due(connection, subscription, order, floors)

    async def _ask_next_due(
        self,
        connection: PooledConnection,
        subscription: Subscription,
        order: Sequence[int],
        floors: Sequence[datetime],
    ) -> timedelta | None:
        asked = looking(order, floors) | {"excused_below": excused_below(subscription)}
        rows = await connection.send(self._next_due, asked)
        return rows[0][0] if rows else None

    async def suspects(self, subscription: Subscription) -> Suspects | None:
        """See ``TaskRepository.suspects``."""
        async with self._database.connection() as connection:
            lanes = await self._lanes.of(connection, subscription)
            asked = {"lanes": bigints(lanes), "limit": str(SUSPECTS_COUNTED)}
            rows = await connection.send(self._suspects, asked) if lanes else []
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
        nowhere = Floors()
        async with self._database.connection() as connection:
            lanes = await self._lanes.of(connection, subscription)
            order = nowhere.order(lanes)
            asked = {
                "lanes": bigints(order),
                "limit": str(limit),
                "worker_id": str(worker_id),
                "epoch": str(epoch),
                "excused": str(excused),
            }
            rows = await connection.send(self._claim_suspects, asked) if order else []
        return self._leases(rows, lanes, order, nowhere)


def excused_below(subscription: Subscription) -> str:
    """Return the parameter that leaves suspects out, or nobody."""
    return str(MAX_ATTEMPTS_LIMIT if subscription.suspects else SUSPECT_AFTER)


def looking(lanes: Sequence[int], floors: Sequence[datetime]) -> dict[str, str]:
    """Return the parameters that say where to look, and from where on."""
    return {"lanes": bigints(lanes), "floors": texts(floor.isoformat() for floor in floors)}
