"""Rows into entities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taskscheduler.adapters.postgres.drivers import Executing
    from taskscheduler.domain.values import TaskId

Value = TypeVar("Value")

STATUSES: Final[Sequence[TaskStatus]] = (
    TaskStatus.PENDING,
    TaskStatus.IN_PROGRESS,
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
)
"""By the number that the tables keep."""


def task_of(row: tuple[Any, ...]) -> Task:
    """Return the task of a row of ``statements.TASK_COLUMNS``."""
    return Task(
        id=row[0],
        kind=row[1],
        queue=row[2],
        priority=row[3],
        payload_json=row[4].encode(),
        execute_at=row[5].astimezone(UTC),
        process_at=row[6].astimezone(UTC),
        created_at=row[7].astimezone(UTC),
        status=STATUSES[int(row[8])],
        attempt=row[9],
        max_attempts=row[10],
        timeout=row[11],
        unique_key=row[12],
        worker_id=row[13],
        token=row[14],
        started_at=utc(row[15]),
        finished_at=utc(row[16]),
        expires_at=utc(row[17]),
        excused=row[18],
        tags=tuple(row[19] or ()),
        group=row[20] or None,
    )


def utc(moment: datetime | None) -> datetime | None:
    """Return ``moment``, which the driver gives in the session's time zone, in UTC."""
    return None if moment is None else moment.astimezone(UTC)


def uuids(task_ids: Iterable[TaskId]) -> str:
    """Return the text of a ``uuid[]``: a quarter of what the driver takes to dump a list."""
    return "{" + ",".join([f"{task_id.int:032x}" for task_id in task_ids]) + "}"


def bigints(numbers: Iterable[int]) -> str:
    """Return the text of a ``bigint[]``."""
    return "{" + ",".join(map(str, numbers)) + "}"


def texts(values: Iterable[str | None]) -> str:
    """Return the text of a ``text[]``, or of an array of what is written as text."""
    quoted = [
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for value in values
    ]
    return "{" + ",".join(quoted) + "}"


def texts_if_any(values: Sequence[datetime | timedelta | int | str | None]) -> str | None:
    """Return the text of an array of ``values``, or None, which is as good, if all are None."""
    return None if values.count(None) == len(values) else texts(map(text_of, values))


def if_any(values: Sequence[Value | None]) -> Sequence[Value | None] | None:
    """Return ``values``, or None, which is as good an array, if all are None.

    The driver sends a list in binary, where NULL is not a word, only if it finds a type in it.
    """
    return None if values.count(None) == len(values) else values


def text_of(value: datetime | timedelta | int | str | None) -> str | None:
    """Return ``value`` as PostgreSQL reads it, whatever the session's styles."""
    match value:
        case None:
            return None
        case datetime():
            return value.isoformat()
        case timedelta():
            return f"{value.days} days {value.seconds} s {value.microseconds} us"
        case _:
            return str(value)


async def read(connection: Executing, statement: bytes, task_ids: Sequence[TaskId]) -> list[Task]:
    """Return those of the tasks that are there; ``statement`` is ``statements.GET``."""
    # Unprepared, so that the plan is made for these ids and opens only their days.
    cursor = await connection.execute(statement, {"ids": list(task_ids)}, prepare=False)
    return [task_of(row) for row in await cursor.fetchall()]
