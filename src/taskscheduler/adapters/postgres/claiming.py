"""Claims: which lanes to look into, from where on, in which order."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.lanes import BEGINNING, Floors, FullLook
from taskscheduler.domain.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.lanes import Lane, Lanes
    from taskscheduler.domain.ports import Clock
    from taskscheduler.domain.task import TaskId, WorkerId
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
        place = {number: index for index, number in enumerate(order)}
        newest: dict[int, datetime] = {}
        leases: list[tuple[int, datetime, TaskId, Lease]] = []
        for task_id, token, number, attempt, max_attempts, process_at, *rest in rows:
            timeout, payload, excused, expired = rest
            lane = lanes[number]
            if process_at > newest.get(number, BEGINNING):
                newest[number] = process_at
            lease = Lease(
                task_id,
                token,
                lane.kind,
                lane.queue,
                lane.priority,
                attempt,
                max_attempts,
                process_at.astimezone(UTC),
                timeout,
                payload.encode(),
                excused,
                expired,
            )
            leases.append((place[number], process_at, task_id, lease))
        for number, process_at in newest.items():
            floors.raise_to(number, process_at)
        leases.sort()
        return [lease for _, _, _, lease in leases]

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
