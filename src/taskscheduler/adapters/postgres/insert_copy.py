"""Inserting very many tasks whose ids nobody has used, by COPY, in one transaction."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.copy_format import (
    HEADER,
    TRAILER,
    NotPlain,
    Rows,
    UnknownLane,
    rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from psycopg import AsyncCursor

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.lanes import Lanes
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.values import TaskId

COPIED_FROM: Final = 2_000
"""From so many tasks on COPY is quicker: the server reads while this process still writes."""
MADE_AT_ONCE: Final = 1_000
"""So many rows are made before they are sent: the event loop waits for that long."""

NOW: Final = "SELECT {schema}.clock()"
ARE_STANDING: Final = """
SELECT count(*) = cardinality(%(used)s::integer[]) FROM {schema}.lane n
WHERE n.id = ANY (%(used)s::integer[]) AND n.retired_by IS NULL"""
COPY_BODIES: Final = """
COPY {schema}.task (id, execute_at, created_at, max_attempts, timeout, expires_at, payload)
FROM STDIN (FORMAT BINARY)"""
COPY_LIVE: Final = "COPY {schema}.live (id, process_at, lane) FROM STDIN (FORMAT BINARY)"
COPY_AUDIT: Final = """
COPY {schema}.audit (at, action, actor, key_id, address, request_id, task)
FROM STDIN (FORMAT BINARY)"""
AUDIT_TYPES: Final = ("timestamptz", "text", "text", "text", "text", "text", "uuid")


class CopiedInserts:
    """Writes bodies and hot rows on an idle connection in autocommit mode.

    Raises ``psycopg.errors.UniqueViolation`` when an id is taken, by one that is stored or by
    another of them; then nothing was written.
    """

    def __init__(self, database: Database) -> None:
        """Write into the schema of ``database``."""
        self._now = database.sql(NOW)
        self._bodies = database.sql(COPY_BODIES)
        self._live = database.sql(COPY_LIVE)
        self._audit = database.sql(COPY_AUDIT)
        self._are_standing = database.sql(ARE_STANDING)

    async def insert(
        self, connection: Connection, tasks: Sequence[NewTask], lanes: Lanes
    ) -> list[TaskId]:
        """Insert ``tasks``; return their ids. Each is looked at once, as it is needed.

        Raises:
            NotPlain: one cannot be written like this.
            UnknownLane: so is that of one to ``lanes``.
        """
        if connection.info.encoding != "utf-8":
            raise NotPlain
        async with connection.transaction(), connection.cursor() as cursor:
            row = await (await cursor.execute(self._now)).fetchone()
            assert row is not None  # noqa: S101 - a SELECT without FROM has one row
            now: datetime = row[0]
            # Both kinds of rows are made at one go, while the server takes the bodies in: the hot
            # rows need then only be sent.
            written: list[Rows] = []
            coming = iter(tasks)
            async with cursor.copy(self._bodies) as copy:
                await copy.write(HEADER)
                while (rows := rows_of(islice(coming, MADE_AT_ONCE), lanes.known, now)).ids:
                    written.append(rows)
                    await copy.write(rows.bodies)
                await copy.write(TRAILER)
            async with cursor.copy(self._live) as copy:
                await copy.write(b"".join([HEADER, *(rows.live for rows in written), TRAILER]))
            await self._require_standing(cursor, {lane for rows in written for lane in rows.lanes})
            told = [task for rows in written for task in rows.told]
            if told:
                async with cursor.copy(self._audit) as copy:
                    copy.set_types(AUDIT_TYPES)
                    for task in told:
                        await copy.write_row(_entry(now, task))
        return [task_id for rows in written for task_id in rows.ids]

    async def _require_standing(
        self, cursor: AsyncCursor[tuple[Any, ...]], used: Collection[int]
    ) -> None:
        """Refuse lanes that are not there any more; asked once the rows are in (``PUT_SOME``)."""
        row = await (await cursor.execute(self._are_standing, {"used": list(used)})).fetchone()
        if row is None or not row[0]:
            raise UnknownLane


def _entry(now: datetime, task: NewTask) -> tuple[object, ...]:
    by = task.by
    assert by is not None  # noqa: S101 - only of those is there anything to tell
    return (now, "created", by.name, by.key_id, by.address, by.request_id, task.id)
