"""Lists of tasks, newest first, whatever their number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, LiteralString

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.day_windows import DAYS, Windows
from taskscheduler.adapters.postgres.mapping import STATUSES, task_of, utc
from taskscheduler.domain.change import TaskState
from taskscheduler.domain.ids import HIGHEST, LOWEST, newest_of, spans
from taskscheduler.domain.lease import Attempt, AttemptError
from taskscheduler.domain.queue import Count
from taskscheduler.domain.status import FINAL, Event, TaskStatus
from taskscheduler.domain.why import GroupTurn, QueuePosition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from uuid import UUID

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.lanes import Lanes
    from taskscheduler.domain.query import TaskQuery
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId

NEWEST: Final[LiteralString] = (
    " AND id >= %(lowest)s AND id <= %(before)s ORDER BY id DESC LIMIT %(limit)s"
)

LIVE: Final[dict[frozenset[TaskStatus], LiteralString]] = {
    frozenset({TaskStatus.PENDING, TaskStatus.IN_PROGRESS}): s.LIVE + " WHERE true",
    frozenset({TaskStatus.PENDING}): s.LIVE + " WHERE worker_id IS NULL",
    frozenset({TaskStatus.IN_PROGRESS}): s.LIVE + " WHERE worker_id IS NOT NULL",
}
IN_LANES: Final[LiteralString] = " AND lane = ANY (%(lanes)s)"

FINISHED_ANY: Final[LiteralString] = s.FINISHED + " WHERE true" + NEWEST
# Bounds and order by whole rows of an index, not by equalities: no other index has that order. The
# primary key has that of the ids, and the planner would walk past millions of others' tasks in it,
# for it takes the few that are looked for to be spread evenly among them. One look into the index
# for each status, and for each lane.
FINISHED_STATUSES: Final[LiteralString] = (
    "SELECT f.* FROM unnest(%(statuses)s::smallint[]) AS h (status) CROSS JOIN LATERAL ("  # noqa: S608 - constants only
    + s.FINISHED
    + " WHERE (status, id) >= (h.status, %(lowest)s::uuid)"
    " AND (status, id) <= (h.status, %(before)s::uuid)"
    " AND id >= %(lowest)s AND id <= %(before)s"
    " ORDER BY status DESC, id DESC LIMIT %(limit)s) AS f"
)
FINISHED_LANES: Final[LiteralString] = (
    "SELECT f.* FROM unnest(%(lanes)s::integer[]) AS g (lane)"  # noqa: S608 - constants only
    " CROSS JOIN unnest(%(statuses)s::smallint[]) AS h (status) CROSS JOIN LATERAL ("
    + s.FINISHED
    + " WHERE (lane, status, id) >= (g.lane, h.status, %(lowest)s::uuid)"
    " AND (lane, status, id) <= (g.lane, h.status, %(before)s::uuid)"
    " AND id >= %(lowest)s AND id <= %(before)s"
    " ORDER BY lane DESC, status DESC, id DESC LIMIT %(limit)s) AS f"
)
# The tasks of each tag, newest first, until enough of them are in one of the statuses. The order is
# that of the index of tags alone, as above.
TAGGED: Final[LiteralString] = (
    "SELECT DISTINCT ON (f.id) f.* FROM unnest(%(tags)s::text[]) AS g (tag) CROSS JOIN LATERAL ("  # noqa: S608 - constants only
    " SELECT h.* FROM {schema}.note b CROSS JOIN LATERAL ("
    + s.LIVE
    + " WHERE id = b.id UNION ALL"
    + s.FINISHED
    + " WHERE id = b.id AND id >= %(lowest)s AND id <= %(before)s) AS h"
    " WHERE b.kind = 'tag' AND (b.name, b.id) >= (g.tag, %(lowest)s::uuid)"
    " AND (b.name, b.id) <= (g.tag, %(before)s::uuid)"
    " AND b.id >= %(lowest)s AND b.id <= %(before)s AND h.status = ANY (%(any_of)s::integer[])"
)
TAGGED_NEWEST: Final[LiteralString] = (
    " ORDER BY b.name DESC, b.id DESC LIMIT %(limit)s) AS f ORDER BY f.id DESC"
)
NEWEST_ROWS: Final[LiteralString] = (
    " FROM (SELECT * FROM ({0}) AS u ORDER BY id DESC LIMIT %(limit)s) AS l"
)
# The body is looked up for the rows of the page alone: OFFSET 0 keeps it from being joined.
WITH_BODIES: Final[LiteralString] = (
    " CROSS JOIN LATERAL (SELECT * FROM {{schema}}.task b WHERE b.id = l.id"
    " AND b.id >= %(lowest)s AND b.id <= %(before)s OFFSET 0) AS t"
    " JOIN {{schema}}.lane n ON n.id = l.lane"
)
WITH_PAYLOADS: Final[LiteralString] = (
    " CROSS JOIN LATERAL (SELECT payload FROM {{schema}}.task b WHERE b.id = l.id"
    " AND b.id >= %(lowest)s AND b.id <= %(before)s OFFSET 0) AS t"
)
PAGE_COLUMNS: Final[LiteralString] = s.TASK_COLUMNS.replace("t.id", "l.id")
PAGE: Final[LiteralString] = (
    "SELECT" + PAGE_COLUMNS + NEWEST_ROWS + WITH_BODIES + " ORDER BY l.id DESC"
)
# How large a payload is shows without unpacking it, unless it is kept compressed. A header of one
# or four bytes may belong to it: never count more than the reader will, who would otherwise not see
# that the list was ended early.
SIZE: Final[LiteralString] = """
    CASE WHEN pg_column_compression(t.payload) IS NULL THEN pg_column_size(t.payload) - 4
         ELSE octet_length(t.payload::text) END"""
PAGE_WITHIN: Final[LiteralString] = (
    "SELECT"
    + PAGE_COLUMNS
    + " FROM (SELECT l.*, sum("
    + SIZE
    + ") OVER (ORDER BY l.id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before"
    + NEWEST_ROWS
    + WITH_PAYLOADS
    + ") AS l"
    + WITH_BODIES
    + " WHERE coalesce(l.bytes_before, 0) <= %(bytes_max)s"
    " ORDER BY l.id DESC"
)

PAYLOAD: Final = 4
"""Where the payload is in a row of ``TASK_COLUMNS``."""

STATE_COLUMNS: Final[LiteralString] = """
    l.id, n.kind, n.queue, l.status, l.attempt, l.process_at, l.started_at, l.finished_at"""
STATES: Final[LiteralString] = (
    "SELECT"
    + STATE_COLUMNS
    + NEWEST_ROWS
    + " JOIN {{schema}}.lane n ON n.id = l.lane ORDER BY l.id DESC"
)
STATES_OF: Final[LiteralString] = (
    "SELECT"
    + STATE_COLUMNS
    + " FROM ("
    + s.LIVE
    + " WHERE id = ANY(%(ids)s) UNION ALL"
    + s.FINISHED
    + " WHERE id = ANY(%(ids)s)) AS l JOIN {schema}.lane n ON n.id = l.lane"
)

# What comes before a task of its queue: what is due in more urgent lanes, and, in those of its own
# priority, what was due before it.
POSITION: Final = """
SELECT mine.process_at <= {schema}.clock(), coalesce((
    SELECT c.o_due FROM (
        SELECT array_agg(n.id) AS lanes,
               array_agg(CASE WHEN n.priority = own.priority THEN mine.process_at END) AS until,
               array_agg(CASE WHEN n.priority = own.priority THEN mine.id END) AS until_ids
        FROM {schema}.lane n WHERE n.queue = own.queue AND n.priority <= own.priority
    ) AS asked CROSS JOIN LATERAL {schema}.count_waiting_1(
        NULL, asked.lanes, asked.until, asked.until_ids, %(limit)s::bigint, 0
    ) AS c WHERE mine.process_at <= {schema}.clock()
), 0)
FROM {schema}.live mine JOIN {schema}.lane own ON own.id = mine.lane
WHERE mine.id = %(id)s AND mine.worker_id IS NULL"""

GROUP_TURN: Final = """
SELECT (
    SELECT c.o_due FROM (
        SELECT array_agg(n.id) AS lanes FROM {schema}.lane n
        WHERE n.queue = own.queue AND n.priority = own.priority AND n."group" = own."group"
    ) AS asked CROSS JOIN LATERAL {schema}.count_waiting_1(
        NULL, asked.lanes, array_fill(mine.process_at, ARRAY[cardinality(asked.lanes)]),
        array_fill(mine.id, ARRAY[cardinality(asked.lanes)]), %(limit)s::bigint, 0
    ) AS c
), EXISTS (
    SELECT FROM {schema}.lane n CROSS JOIN LATERAL (
        SELECT FROM {schema}.live l
        WHERE l.lane = n.id AND l.worker_id IS NULL AND l.process_at <= {schema}.clock()
        ORDER BY l.process_at, l.id LIMIT 1
    ) AS head
    WHERE n.queue = own.queue AND n.priority = own.priority AND n."group" <> own."group"
)
FROM {schema}.live mine JOIN {schema}.lane own ON own.id = mine.lane
WHERE mine.id = %(id)s AND mine.worker_id IS NULL AND mine.process_at <= {schema}.clock()"""


class Room:
    """What a page still has room for, while window after window is read for it."""

    def __init__(self, query: TaskQuery) -> None:
        """Take as much as ``query`` asks for."""
        self.rows = query.limit
        self.bytes = query.bytes_max

    def take(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Let ``rows`` be on the page."""
        self.rows -= len(rows)
        if self.bytes is not None:
            self.bytes -= sum(len(row[PAYLOAD].encode()) for row in rows)

    @property
    def is_left(self) -> bool:
        """Tell whether another row would belong to the page; see ``TaskReader.list``."""
        return self.rows > 0 and (self.bytes is None or self.bytes >= 0)


class PostgresTaskReader:
    """``TaskReader`` on PostgreSQL."""

    def __init__(self, database: Database, lanes: Lanes, new_task_id: Callable[[], TaskId]) -> None:
        """Read through ``database``; ``new_task_id`` tells which id can be the newest."""
        self._new_task_id = new_task_id
        self._database = database
        self._lanes = lanes
        self._windows = Windows(database)
        self._attempts = database.sql(s.ATTEMPTS)
        self._states_of = database.sql(STATES_OF)
        self._position = database.sql(POSITION)
        self._group_turn = database.sql(GROUP_TURN)

    async def list(self, query: TaskQuery) -> Sequence[Task]:
        """See ``TaskReader.list``."""

        async def work(connection: Connection) -> Sequence[Task]:
            form = PAGE if query.bytes_max is None else PAGE_WITHIN
            return [task_of(row) for row in await self._page(connection, query, form)]

        return await self._database.run(work)

    async def states(
        self, query: TaskQuery, task_ids: Collection[TaskId] = ()
    ) -> Sequence[TaskState]:
        """See ``TaskReader.states``."""

        async def work(connection: Connection) -> Sequence[TaskState]:
            if not task_ids:
                asked = replace(query, bytes_max=None)
                return [state_of(row) for row in await self._page(connection, asked, STATES)]
            values = {"ids": list(task_ids)}
            # Unprepared, so that the plan is made for these ids and opens only their days.
            cursor = await connection.execute(self._states_of, values, prepare=False)
            return [state_of(row) for row in await cursor.fetchall()]

        return await self._database.run(work)

    async def _page(
        self, connection: Connection, query: TaskQuery, form: LiteralString
    ) -> Sequence[tuple[Any, ...]]:
        newest = newest_of(self._new_task_id())
        statuses = query.statuses or frozenset(TaskStatus)
        values: dict[str, Any] = {
            "statuses": [STATUSES.index(each) for each in sorted(statuses & FINAL)]
        }
        named = (query.kinds, query.queues, query.groups, query.queue_prefix)
        by_lane = any(each is not None for each in named)
        if by_lane:
            values["lanes"] = await self._lanes.matching(
                connection,
                kinds=query.kinds,
                queues=query.queues,
                groups=query.groups,
                queue_prefix=query.queue_prefix or "",
            )
        if query.tags is not None:
            values["tags"] = sorted(query.tags)
            values["any_of"] = [STATUSES.index(each) for each in sorted(statuses)]
        by_tag = query.tags is not None
        days = DAYS // 2 if by_tag else DAYS  # because a day has one more table then
        statement = self._database.sql(page(statuses, by_lane=by_lane, by_tag=by_tag, form=form))

        async def between(low: UUID, high: UUID, room: Room) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = []
            for first, last in await self._windows.of(connection, low, high, days):
                asked = values | {"lowest": first, "before": last}
                asked |= {"limit": room.rows, "bytes_max": room.bytes}
                # Unprepared, so that the plan is made for this very window and limit.
                cursor = await connection.execute(statement, asked, prepare=False)
                found = await cursor.fetchall()
                rows += found
                room.take(found)
                if not room.is_left:
                    break
            return rows

        if query.before is None:
            # Hardly ever is there an id that bears no time, and then one look is enough.
            all_of_time = await between(LOWEST, HIGHEST, Room(query))
            if not all_of_time or all_of_time[0][0] <= newest:
                return all_of_time
        room = Room(query)
        rows: list[tuple[Any, ...]] = []
        for low, high in spans(query.before, newest):
            if room.is_left:
                rows += await between(low, high, room)
        return rows

    async def attempts(
        self, task_id: TaskId, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[Attempt]:
        """See ``TaskReader.attempts``."""
        values = {"id": task_id, "before": before, "limit": limit}

        async def work(connection: Connection) -> Sequence[Attempt]:
            cursor = await connection.execute(self._attempts, values, prepare=False)
            return [attempt_of(row) for row in await cursor.fetchall()][::-1]

        return await self._database.run(work)

    async def queue_position(self, task_id: TaskId, count_max: int) -> QueuePosition | None:
        """See ``TaskReader.queue_position``."""
        values = {"id": task_id, "limit": count_max}

        async def work(connection: Connection) -> QueuePosition | None:
            cursor = await connection.execute(self._position, values, prepare=False)
            row = await cursor.fetchone()
            return None if row is None else QueuePosition(row[0], Count(row[1], row[1] < count_max))

        return await self._database.run(work)

    async def group_turn(self, task_id: TaskId, count_max: int) -> GroupTurn | None:
        """See ``TaskReader.group_turn``."""
        values = {"id": task_id, "limit": count_max}

        async def work(connection: Connection) -> GroupTurn | None:
            row = await (
                await connection.execute(self._group_turn, values, prepare=False)
            ).fetchone()
            return None if row is None else GroupTurn(*row)

        return await self._database.run(work)


def page(
    statuses: frozenset[TaskStatus],
    *,
    by_lane: bool,
    by_tag: bool = False,
    form: LiteralString = PAGE,
) -> LiteralString:
    """Return the statement for one page; every part of it is a constant of this file."""
    parts: list[LiteralString] = []
    if by_tag:
        in_lanes = " AND h.lane = ANY (%(lanes)s)" if by_lane else ""
        parts.append("(" + TAGGED + in_lanes + TAGGED_NEWEST + ")")
    elif (live := statuses - FINAL) in LIVE:
        parts.append("(" + LIVE[live] + (IN_LANES if by_lane else "") + NEWEST + ")")
    if (ended := statuses & FINAL) and not by_tag:
        if by_lane:
            finished = FINISHED_LANES
        else:
            finished = FINISHED_ANY if ended == FINAL else FINISHED_STATUSES
        parts.append("(" + finished + ")")
    return form.replace("{0}", " UNION ALL ".join(parts)).replace("{{schema}}", "{schema}")


def state_of(row: tuple[Any, ...]) -> TaskState:
    """Return the state of a row of ``STATE_COLUMNS``."""
    task_id, kind, queue, status, attempt, process_at, started_at, finished_at = row
    return TaskState(
        id=task_id,
        kind=kind,
        queue=queue,
        status=STATUSES[int(status)],
        attempt=attempt,
        process_at=process_at.astimezone(UTC),
        started_at=utc(started_at),
        finished_at=utc(finished_at),
    )


def attempt_of(row: tuple[Any, ...]) -> Attempt:
    """Return the attempt of a row of ``statements.ATTEMPTS``."""
    number, started_at, finished_at, outcome, worker_id, error_type, message, trace = row
    return Attempt(
        number=number,
        started_at=utc(started_at),
        finished_at=utc(finished_at),
        outcome=None if outcome is None else Event(outcome),
        worker_id=worker_id,
        error=None if error_type is None else AttemptError(error_type, message or "", trace),
    )
