"""Schedules that are due, in PostgreSQL: taken, fired and put aside, some at a time.

Each is one statement that is its own transaction, so a worker that stands still anywhere holds no
lock: see ``migrations/0008_schedules.sql``.
"""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg

from taskscheduler.adapters.postgres.fast_connection import Statement
from taskscheduler.adapters.postgres.mapping import bigints, text_of, texts, utc, uuids
from taskscheduler.adapters.postgres.schedule_options import options_of
from taskscheduler.domain.errors import ScheduleBusy
from taskscheduler.domain.fire import (
    TAKE,
    WATCH_EVERY,
    Due,
    Fired,
    Outlook,
    Taken,
    Waiting,
    left_of,
)
from taskscheduler.domain.policies import BUFFERING, CatchUp, Overlap
from taskscheduler.domain.rule import Rule
from taskscheduler.domain.schedule import GRACE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from taskscheduler.adapters.postgres.database import Database
    from taskscheduler.adapters.postgres.fast_connection import PooledConnection
    from taskscheduler.domain.fire import Fire

# Nobody has taken it, or whoever did has had his time; a time that lies further ahead was written
# before the clock was set back.
FREE: Final = """
isfinite(next_fire_at)
AND (taken_until IS NULL
     OR taken_until NOT BETWEEN {schema}.clock() AND {schema}.clock() + %(take)s::interval)
AND (zone_data IS NULL OR zone_data <= %(zone_data)s)
AND name <> ALL (%(aside)s::text[])"""
DUE: Final = "next_fire_at <= {schema}.clock() AND " + FREE
# A time or a span that Python has no form for would make all rows unreadable with its own.
FITTING: Final = """
LATERAL (SELECT
    coalesce(every BETWEEN '0 s' AND '10000 days', true)
    AND coalesce(timeout BETWEEN '0 s' AND '10000 days', true)
    AND (
        SELECT coalesce(bool_and(t BETWEEN '0002-01-01 UTC' AND '9001-01-01 UTC'), true)
        FROM (VALUES (created_at), (changed_at), (ruled_at), (paused_at), (starts_at), (ends_at),
                     (next_fire_at), (last_fire_at)) AS times (t)
    )
) AS fitting (fits)"""
OUTLOOK: Final = (
    """
SELECT {schema}.clock(), (
    SELECT next_fire_at - {schema}.clock() FROM {schema}.schedule
    WHERE next_fire_at IS NOT NULL AND """  # noqa: S608 - constants only
    + FREE
    + """ ORDER BY next_fire_at, name LIMIT 1
), (SELECT looked_at FROM {schema}.schedule_watch),
EXISTS (SELECT FROM {schema}.schedule_buffered)"""
)
WATCH: Final = """
INSERT INTO {schema}.schedule_watch AS w (since, looked_at)
VALUES ({schema}.clock(), {schema}.clock())
ON CONFLICT (one) DO UPDATE SET looked_at = {schema}.clock(), since = CASE
    WHEN w.looked_at < {schema}.clock() - %(grace)s::interval THEN {schema}.clock()
    WHEN w.since <= {schema}.clock() THEN w.since
    ELSE {schema}.clock() - %(grace)s::interval END
WHERE w.looked_at NOT BETWEEN {schema}.clock() - %(every)s::interval AND {schema}.clock()"""
COLUMNS: Final = """
name, queue, cron, CASE WHEN fits THEN every END, time_zone,
CASE WHEN fits THEN starts_at END, CASE WHEN fits THEN ends_at END, catch_up, overlap,
CASE WHEN fits THEN created_at END, CASE WHEN fits THEN ruled_at END,
CASE WHEN fits THEN next_fire_at END, zone_data, problem IS NOT NULL,
options::text, max_fires, fire_count, last_task_id"""
TAKE_SOME: Final = (
    """
WITH longest AS MATERIALIZED (
    SELECT name FROM {schema}.schedule
    WHERE """  # noqa: S608 - constants only
    + DUE
    + """
    ORDER BY next_fire_at, name LIMIT %(longest)s::integer FOR NO KEY UPDATE SKIP LOCKED
), latest AS MATERIALIZED (
    SELECT name FROM {schema}.schedule
    WHERE """
    + DUE
    + """
    ORDER BY next_fire_at DESC, name DESC LIMIT %(latest)s::integer FOR NO KEY UPDATE SKIP LOCKED
), taken AS (
    UPDATE {schema}.schedule SET taken_until = {schema}.clock() + %(take)s::interval
    WHERE name IN (SELECT name FROM longest UNION SELECT name FROM latest)
    RETURNING *
)
SELECT """
    + COLUMNS
    + """, {schema}.clock(), (SELECT since FROM {schema}.schedule_watch)
FROM taken, """
    + FITTING
)
WAITING: Final = (
    """
SELECT """  # noqa: S608 - constants only
    + COLUMNS
    + """ FROM (
    SELECT * FROM {schema}.schedule
    WHERE name > %(after)s AND next_fire_at > {schema}.clock()
    ORDER BY name LIMIT %(limit)s::integer
) AS s, """
    + FITTING
    + " ORDER BY name"
)
FIRE: Final = """
SELECT * FROM {schema}.fire_5(
    %(names)s::text[], %(next)s::timestamptz[], %(ruled)s::timestamptz[],
    %(fired)s::timestamptz[], %(following)s::timestamptz[], %(zone_data)s::text[],
    %(why)s::text[], %(of)s::bigint[], %(nth)s::bigint[], %(ids)s::uuid[], %(at)s::timestamptz[],
    %(due)s::timestamptz[], %(keys)s::text[], %(told)s::bigint[], %(told_at)s::timestamptz[],
    %(outcomes)s::text[], %(reasons)s::text[], %(unique_for)s::interval, %(buffered)s::json)"""
# What the function has stored, those that come after it in the same statement find.
FIRE_TAGGED: Final = (
    "WITH fired AS MATERIALIZED ("
    + FIRE
    + """)
SELECT fired.o_place, o_ids, o_fresh, o_overlaps, o_buffered,
       {schema}.tag_fired_1((%(names)s::text[])[o_place], o_ids, %(ids)s::uuid[])
FROM fired"""
)
PAUSE_FAILING: Final = """
SELECT * FROM {schema}.pause_failing_1(
    %(names)s::text[], %(next)s::timestamptz[], %(ruled)s::timestamptz[], %(most)s::bigint[])"""
PUT_ASIDE: Final = """
UPDATE {schema}.schedule s SET taken_until = NULL, problem = g.problem
FROM unnest(%(names)s::text[], %(problems)s::text[]) AS g (name, problem)
WHERE s.name = g.name AND s.name IN (
    SELECT name FROM {schema}.schedule WHERE name = ANY (%(names)s::text[])
    FOR NO KEY UPDATE SKIP LOCKED
)"""
RECKON: Final = """
UPDATE {schema}.schedule
SET revision = revision + 1, next_fire_at = %(following)s::timestamptz, zone_data = %(zone_data)s
WHERE name = (
    SELECT name FROM {schema}.schedule
    WHERE name = %(name)s AND next_fire_at = %(next)s::timestamptz
      AND ruled_at = %(ruled)s::timestamptz
    FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING true"""
BUFFERED: Final = json.dumps({each.value: each.buffered_max for each in BUFFERING})
LONG_AGO: Final = timedelta(days=1)


class PostgresFires:
    """What ``ScheduleRepository`` does with schedules that are due, on PostgreSQL."""

    def __init__(self, database: Database, unique_for: timedelta) -> None:
        """``unique_for`` is how long the unique keys of fires live."""
        self._database = database
        self._unique_for = unique_for
        sql = database.sql
        self._outlook = Statement.of(sql(OUTLOOK))
        self._watch = Statement.of(sql(WATCH))
        self._take = Statement.of(sql(TAKE_SOME))
        self._waiting = Statement.of(sql(WAITING))
        self._fire = Statement.of(sql(FIRE))
        self._pause_failing = Statement.of(sql(PAUSE_FAILING))
        self._fire_tagged = Statement.of(sql(FIRE_TAGGED))
        self._put_aside = Statement.of(sql(PUT_ASIDE))
        self._reckon = Statement.of(sql(RECKON))

    async def outlook(self, *, zone_data: str, aside: Collection[str] = ()) -> Outlook:
        """See ``ScheduleRepository.outlook``."""
        (row,) = await self._send(self._outlook, _left_out(zone_data, aside))
        now, wait, looked_at, buffered = row
        return Outlook(now.astimezone(UTC), wait, utc(looked_at) or now - LONG_AGO, buffered)

    async def watch(self) -> None:
        """See ``ScheduleRepository.watch``."""
        await self._send(self._watch, {"grace": text_of(GRACE), "every": text_of(WATCH_EVERY)})

    async def take(
        self, limit: int, *, zone_data: str, aside: Collection[str] = ()
    ) -> Taken | None:
        """See ``ScheduleRepository.take``."""
        values = _left_out(zone_data, aside)
        values |= {"longest": str(limit - limit // 2), "latest": str(limit // 2)}
        rows = await self._send(self._take, values)
        if not rows:
            return None
        now, since = rows[0][-2].astimezone(UTC), utc(rows[0][-1])
        due, unread = _read(rows)
        return Taken(now, since or now, due, unread)

    async def fire(self, fires: Sequence[Fire]) -> Sequence[Fired | None]:
        """See ``ScheduleRepository.fire``."""
        tasks = [(place, *task) for place, fire in enumerate(fires, 1) for task in fire.tasks]
        told = [(place, each) for place, fire in enumerate(fires, 1) for each in fire.untaken]
        values = {
            "names": texts(fire.due.name for fire in fires),
            "next": texts(text_of(fire.due.next_fire_at) for fire in fires),
            "ruled": texts(text_of(fire.due.ruled_at) for fire in fires),
            "fired": texts(text_of(fire.fired_at) for fire in fires),
            "following": texts(text_of(fire.next_fire_at) for fire in fires),
            "zone_data": texts(fire.zone_data for fire in fires),
            "why": texts(fire.reason for fire in fires),
            "of": bigints(place for place, _, _ in tasks),
            "nth": bigints(nth for fire in fires for nth, _ in enumerate(fire.tasks, 1)),
            "ids": uuids(task_id for _, task_id, _ in tasks),
            "at": texts(text_of(at) for _, _, at in tasks),
            "due": texts(text_of(at) for fire in fires for at in fire.due_times()),
            "told": bigints(place for place, _ in told),
            "told_at": texts(text_of(each.at) for _, each in told),
            "outcomes": texts(each.outcome.value for _, each in told),
            "reasons": texts(each.reason for _, each in told),
            "keys": texts(key for fire in fires for key in fire.unique_keys()),
            "unique_for": text_of(self._unique_for),
            "buffered": BUFFERED,
        }
        answers: list[Fired | None] = [None] * len(fires)
        tagged = any(fire.due.tagged for fire in fires)
        statement = self._fire_tagged if tagged else self._fire
        for place, ids, fresh, overlaps, buffered, *_ in await self._send(statement, values):
            answers[place - 1] = Fired(ids, fresh, overlaps, buffered)
        return answers

    async def pause_failing(self, dues: Sequence[Due]) -> Sequence[str]:
        """See ``ScheduleRepository.pause_failing``."""
        values = {
            "names": texts(due.name for due in dues),
            "next": texts(text_of(due.next_fire_at) for due in dues),
            "ruled": texts(text_of(due.ruled_at) for due in dues),
            "most": bigints(due.pause_after_failures or 0 for due in dues),
        }
        return [name for (name,) in await self._send(self._pause_failing, values)]

    async def put_aside(self, problems: Mapping[str, str]) -> None:
        """See ``ScheduleRepository.put_aside``."""
        values = {
            "names": texts(problems),
            "problems": texts(reason.replace("\0", "\ufffd") for reason in problems.values()),
        }
        await self._send(self._put_aside, values)

    async def waiting(self, after: str, limit: int) -> Waiting:
        """See ``ScheduleRepository.waiting``."""
        rows = await self._send(self._waiting, {"after": after, "limit": str(limit)})
        due, _ = _read(rows)
        return Waiting(due, rows[-1][0] if len(rows) == limit else None)

    async def reckon(
        self, due: Due, *, next_fire_at: datetime | None, zone_data: str | None
    ) -> bool:
        """See ``ScheduleRepository.reckon``."""
        values = {
            "name": due.name,
            "next": text_of(due.next_fire_at),
            "ruled": text_of(due.ruled_at),
            "following": text_of(next_fire_at),
            "zone_data": zone_data,
        }
        return bool(await self._send(self._reckon, values))

    async def _send(
        self, statement: Statement, values: Mapping[str, str | None]
    ) -> list[tuple[Any, ...]]:
        async def work(connection: PooledConnection) -> list[tuple[Any, ...]]:
            try:
                return await connection.send(statement, values)
            except psycopg.errors.LockNotAvailable as error:
                raise ScheduleBusy from error

        return await self._database.run(work)


def _left_out(zone_data: str, aside: Collection[str]) -> dict[str, str | None]:
    return {"zone_data": zone_data, "aside": texts(aside), "take": text_of(TAKE)}


def _read(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Due], dict[str, str]]:
    """Return the schedules of rows of ``COLUMNS``, and of those that are not understood why."""
    due: list[Due] = []
    unread: dict[str, str] = {}
    for row in rows:
        try:
            due.append(due_of(row))
        except ValueError as error:
            unread[row[0]] = f"a newer version may have written it: {error}"
    return due, unread


def due_of(row: tuple[Any, ...]) -> Due:
    """Return the schedule of a row of ``COLUMNS``. Raises ValueError."""
    if row[9] is None:
        message = "it has a time that is out of range"
        raise ValueError(message)
    options = options_of(row[14])
    return Due(
        name=row[0],
        queue=row[1],
        rule=Rule(
            cron=row[2],
            every=row[3],
            time_zone=row[4],
            starts_at=utc(row[5]),
            ends_at=utc(row[6]),
            gap=options.gap,
            fold=options.fold,
            crons=options.crons,
            max_fires=row[15],
            rrule=options.rrule,
            except_=options.except_,
        ),
        catch_up=CatchUp(row[7]),
        overlap=Overlap(row[8]),
        created_at=row[9].astimezone(UTC),
        ruled_at=row[10].astimezone(UTC),
        next_fire_at=row[11].astimezone(UTC),
        zone_data=row[12],
        has_problem=row[13],
        jitter=options.jitter,
        left=left_of(row[15], row[16]),
        catch_up_window=options.catch_up_window,
        catch_up_max=options.catch_up_max,
        pause_after_failures=options.pause_after_failures,
        last_task_id=row[17],
        tagged=bool(options.tags),
    )
