"""What is kept of tasks beside bodies and outcomes, in PostgreSQL."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.followers import after_of
from taskscheduler.adapters.postgres.mapping import STATUSES, bigints, uuids
from taskscheduler.domain.audit import Action
from taskscheduler.domain.batch import BatchId
from taskscheduler.domain.errors import IllegalTransition, LeaseLost, SignalExists, TaskNotFound
from taskscheduler.domain.lease import AttemptError
from taskscheduler.domain.notes import Awaited, Ending, Progress, TaskNotes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.lease import Lease, Settlement
    from taskscheduler.domain.notes import Report
    from taskscheduler.domain.values import TaskId

STATEMENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Results of so many bytes in all are written by one statement."""

OF: Final = """
SELECT kind, at, value::text FROM {schema}.note
WHERE id = %(id)s AND kind IN ('progress', 'result', 'after')
UNION ALL SELECT 'batch', NULL, batch::text FROM {schema}.member WHERE id = %(id)s"""

REPORT: Final = """
SELECT {schema}.progress_1(%(ids)s::uuid[], %(tokens)s::bigint[], %(values)s::text[])"""

PROGRESS: Final = """
SELECT id, at, value::text FROM {schema}.note
WHERE id = ANY (%(ids)s::uuid[]) AND kind = 'progress' AND name = ''"""

SIGNAL: Final = "SELECT {schema}.signal_1(%(id)s::uuid, %(name)s::text, %(value)s::text)"

SIGNALS: Final = """
SELECT name, value::text FROM {schema}.note WHERE id = %(id)s AND kind = 'signal'"""

AWAITED: Final = """
SELECT value, at FROM {schema}.note WHERE id = %(id)s AND kind = 'wait' AND name = ''"""

STATUS_OF_ENDED: Final = "SELECT status FROM {schema}.finished WHERE id = %(id)s"

STEPS: Final = """
SELECT name, value::text FROM {schema}.note WHERE id = %(id)s AND kind = 'step'"""

# The lease is locked: whoever takes it away comes before this, or after it.
KEEP_STEP: Final = """
INSERT INTO {schema}.note AS n (id, kind, name, at, value)
SELECT l.id, 'step', %(name)s, {schema}.clock(), %(value)s::json
FROM (
    SELECT id FROM {schema}.live WHERE id = %(id)s AND token = %(token)s FOR SHARE
) AS l
ON CONFLICT (id, kind, name) DO UPDATE SET at = excluded.at, value = excluded.value
RETURNING true"""

ENDINGS: Final = """
SELECT o_id, o_status, o_result, o_type, o_message, o_traceback
FROM {schema}.endings_1(%(ids)s::uuid[])"""


class PostgresNotes:
    """``Notes`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        self._of = database.sql(OF)
        self._endings = database.sql(ENDINGS)
        self._report = database.sql(REPORT)
        self._progress = database.sql(PROGRESS)
        self._signal = database.sql(SIGNAL)
        self._signals = database.sql(SIGNALS)
        self._awaited = database.sql(AWAITED)
        self._status_of_ended = database.sql(STATUS_OF_ENDED)
        self._trail = Trail(database)
        self._steps = database.sql(STEPS)
        self._keep_step = database.sql(KEEP_STEP)

    async def of(self, task_id: TaskId) -> TaskNotes:
        """See ``Notes.of``."""

        async def work(connection: Connection) -> TaskNotes:
            # Unprepared, so that the plan opens only the day of this task.
            cursor = await connection.execute(self._of, {"id": task_id}, prepare=False)
            found = {kind: (at, value) for kind, at, value in await cursor.fetchall()}
            result, progress = found.get("result"), found.get("progress")
            after = found.get("after")
            return TaskNotes(
                None if result is None else result[1].encode(),
                None if progress is None else _progress(*progress),
                None if after is None else after_of(after[1]),
                None if (batch := found.get("batch")) is None else BatchId(UUID(batch[1])),
            )

        return await self._database.run(work)

    async def endings(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Ending | None]:
        """See ``Notes.endings``."""

        async def work(connection: Connection) -> Mapping[TaskId, Ending | None]:
            cursor = await connection.execute(self._endings, {"ids": uuids(task_ids)})
            return {row[0]: _ending(*row[1:]) for row in await cursor.fetchall()}

        return await self._database.run(work)

    async def report(self, reports: Sequence[Report]) -> None:
        """See ``Notes.report``."""
        ordered = sorted(reports, key=lambda each: each.task_id)
        values = {
            "ids": uuids([each.task_id for each in ordered]),
            "tokens": bigints([each.token for each in ordered]),
            "values": [_text_of(each) for each in ordered],
        }

        async def work(connection: Connection) -> None:
            await connection.execute(self._report, values)

        await self._database.run(work)

    async def progress(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Progress]:
        """See ``Notes.progress``."""

        async def work(connection: Connection) -> Mapping[TaskId, Progress]:
            # Unprepared, so that the plan opens only the days of these tasks.
            values = {"ids": uuids(task_ids)}
            cursor = await connection.execute(self._progress, values, prepare=False)
            return {row[0]: _progress(*row[1:]) for row in await cursor.fetchall()}

        return await self._database.run(work)

    async def steps(self, task_id: TaskId) -> Mapping[str, bytes]:
        """See ``Notes.steps``."""

        async def work(connection: Connection) -> Mapping[str, bytes]:
            cursor = await connection.execute(self._steps, {"id": task_id}, prepare=False)
            return {name: value.encode() for name, value in await cursor.fetchall()}

        return await self._database.run(work)

    async def signal(
        self, task_id: TaskId, name: str, value: bytes, *, by: Caller | None = None
    ) -> None:
        """See ``Notes.signal``."""
        values = {"id": task_id, "name": name, "value": value.decode()}

        async def work(connection: Connection) -> tuple[str, int | None]:
            answers: list[str] = []

            async def change() -> bool:
                cursor = await connection.execute(self._signal, values)
                answers.extend(row[0] for row in await cursor.fetchall())
                return answers[0] in {"due", "kept"}

            await self._trail.told(connection, by, Action.SIGNALLED, task_id, change)
            (answer,) = answers
            if answer != "gone":
                return answer, None
            ended = {"id": task_id}
            row = await (await connection.execute(self._status_of_ended, ended)).fetchone()
            return answer, None if row is None else row[0]

        answer, status = await self._database.run(work)
        if answer == "twice":
            raise SignalExists(task_id, name)
        if status is not None:
            raise IllegalTransition(status=STATUSES[status].value, event="signal")
        if answer == "gone":
            raise TaskNotFound(task_id)

    async def signals(self, task_id: TaskId) -> Mapping[str, bytes]:
        """See ``Notes.signals``."""

        async def work(connection: Connection) -> Mapping[str, bytes]:
            cursor = await connection.execute(self._signals, {"id": task_id}, prepare=False)
            return {name: value.encode() for name, value in await cursor.fetchall()}

        return await self._database.run(work)

    async def awaited(self, task_id: TaskId) -> Awaited | None:
        """See ``Notes.awaited``."""

        async def work(connection: Connection) -> Awaited | None:
            cursor = await connection.execute(self._awaited, {"id": task_id}, prepare=False)
            row = await cursor.fetchone()
            return None if row is None else Awaited(row[0], row[1].astimezone(UTC))

        return await self._database.run(work)

    async def keep_step(self, lease: Lease, name: str, value: bytes) -> None:
        """See ``Notes.keep_step``."""
        values = {
            "id": lease.task_id,
            "token": lease.token,
            "name": name,
            "value": value.decode(),
        }

        async def work(connection: Connection) -> bool:
            cursor = await connection.execute(self._keep_step, values)
            return await cursor.fetchone() is not None

        if not await self._database.run(work):
            raise LeaseLost(lease.task_id)


def _text_of(report: Report) -> str:
    data = b"null" if report.data is None else report.data
    head = json.dumps({"fraction": report.fraction, "message": report.message})
    return f'{head[:-1]}, "data": {data.decode()}}}'


def _progress(at: datetime, value: str) -> Progress:
    said = msgspec.json.decode(value, type=_Said)
    data = bytes(said.data)
    return Progress(
        said.fraction, said.message, None if data == b"null" else data, at.astimezone(UTC)
    )


class _Said(msgspec.Struct):
    """The value of a note of the kind ``progress``."""

    fraction: float | None
    message: str | None
    data: msgspec.Raw


def _ending(
    status: int | None, result: str | None, kind: str | None, message: str, traceback: str | None
) -> Ending | None:
    if status is None:
        return None
    return Ending(
        STATUSES[status],
        None if result is None else result.encode(),
        None if kind is None else AttemptError(kind, message, traceback),
    )


def with_results(settlements: Sequence[Settlement]) -> Sequence[Sequence[Settlement]]:
    """Return those of ``settlements`` that bring results, as many at once as one statement takes.

    By id, in which order hot rows are locked.
    """
    found: list[list[Settlement]] = []
    room = 0
    for each in sorted(settlements, key=lambda each: each.task_id):
        if each.result is None:
            continue
        room -= len(each.result)
        if room < 0:
            found.append([])
            room = STATEMENT_BYTES_MAX - len(each.result)
        found[-1].append(each)
    return found
