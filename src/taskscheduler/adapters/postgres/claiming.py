"""Claims: which lanes to look into, from where on, in which order."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.lanes import BEGINNING, Floors, FullLook
from taskscheduler.domain.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.lanes import Lane, Lanes
    from taskscheduler.domain.ports import Clock
    from taskscheduler.domain.task import WorkerId
    from taskscheduler.domain.worker import Subscription


class Claims:
    """What one process knows of the lanes that it claims from."""

    def __init__(self, database: Database, lanes: Lanes, clock: Clock) -> None:
        """Know nothing yet: look everywhere from the beginning."""
        self._database = database
        self._lanes = lanes
        self._full_look = FullLook(clock)
        self._floors: dict[Subscription, Floors] = {}
        self._claim = database.sql(s.CLAIM)
        self._next_due = database.sql(s.NEXT_DUE)

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int, *, epoch: int
    ) -> Sequence[Lease]:
        """See ``TaskRepository.claim``."""
        floors = self._floors.setdefault(subscription, Floors())
        asked: dict[str, Any] = {
            "limit": limit,
            "worker_id": worker_id,
            "epoch": epoch,
        }
        async with self._database.connection() as connection:
            lanes = await self._lanes.of(connection, subscription)
            order = floors.order(lanes)
            asked |= {"lanes": order, "floors": floors.of(order)}
            rows = await self._ask(connection, asked) if order else []
            full = self._full_look.is_overdue() if rows else self._full_look.is_due()
            if not rows:
                # The task that somebody rang for may be the first of its lane.
                lanes = await self._lanes.of(connection, subscription, anew=True)
                full = full or len(lanes) > len(order)
                order = floors.order(lanes)
            # What was found is not kept waiting, for long, by what may have been missed.
            if full and order and len(rows) < limit:
                floor = [BEGINNING] * len(order)
                asked |= {"lanes": order, "floors": floor, "limit": limit - len(rows)}
                with self._full_look:
                    rows.extend(await self._ask(connection, asked))
        return self._leases(rows, lanes, order, floors)

    async def _ask(self, connection: Connection, asked: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(self._claim, asked, binary=True)
        return await cursor.fetchall()

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
            asked: dict[str, Any] = {
                "lanes": order,
                "floors": self._floors.setdefault(subscription, Floors()).of(order),
            }
            if not self._full_look.is_due():
                return await self._ask_next_due(connection, asked)
            asked["floors"] = [BEGINNING] * len(order)
            with self._full_look:
                return await self._ask_next_due(connection, asked)

    async def _ask_next_due(
        self, connection: Connection, asked: Mapping[str, Any]
    ) -> timedelta | None:
        cursor = await connection.execute(self._next_due, asked, binary=True)
        row = await cursor.fetchone()
        return None if row is None else row[0]
