"""Rows of tasks as COPY's binary format has them: PostgreSQL's manual, "COPY", "Binary Format".

The driver would look at the type of every value of every row; these rows always have the same
columns, and most have no value in most of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.values import TaskId

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
NULL: Final = b"\xff\xff\xff\xff"
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
DAY_S: Final = 86_400
SECOND_US: Final = 1_000_000

# In each, the number of columns, and before each value its length in bytes; -1 stands for NULL.
_plain = Struct(">hi16siqiqiiii").pack
_body = Struct(">hi16siqiq").pack
_live = Struct(">hi16siqii").pack
_length = Struct(">i").pack
_smallint = Struct(">ih").pack
_timestamp = Struct(">iq").pack
_interval = Struct(">iqii").pack


class Rows(NamedTuple):
    """What is written of some tasks: rows of ``copying.COPY_BODIES`` and of ``COPY_LIVE``."""

    bodies: bytes
    live: bytes
    ids: list[TaskId]
    lanes: set[int]
    told: list[NewTask]
    """Those of which somebody is to be named in the audit trail."""


class NotPlain(Exception):
    """A task has a key, a trace, tags, others or a batch, which these rows do not tell of."""


class UnknownLane(NotPlain):
    """A task's lane has not been read yet, or is not there any more."""


def rows_of(
    tasks: Iterable[NewTask], lanes: Mapping[tuple[str, str, int, str], int], now: datetime
) -> Rows:
    """Return the rows of ``tasks``, each of which is looked at once.

    Payloads stay as they are, in UTF-8. Raises NotPlain, UnknownLane.
    """
    bodies: list[bytes] = []
    live: list[bytes] = []
    ids: list[TaskId] = []
    told: list[NewTask] = []
    used: set[int] = set()
    now_us = microseconds(now)
    for task in tasks:
        if (
            task.unique_key is not None
            or task.trace is not None
            or task.tags
            or task.after is not None
            or task.batch is not None
        ):
            raise NotPlain
        task_id, at, payload = task.id, task.execute_at, task.payload_json
        key = task_id.bytes
        at_us = now_us if at is None else microseconds(at)
        if task.max_attempts is task.timeout is task.expires_at is None:
            bodies.append(_plain(7, 16, key, 8, at_us, 8, now_us, -1, -1, -1, len(payload)))
        else:
            bodies.append(_body(7, 16, key, 8, at_us, 8, now_us))
            bodies += (*_limits(task), _length(len(payload)))
        bodies.append(payload)
        lane = lanes.get((task.queue, task.kind, task.priority, task.group or ""))
        if lane is None:
            raise UnknownLane
        used.add(lane)
        live.append(_live(3, 16, key, 8, max(now_us, at_us), 4, lane))
        ids.append(task_id)
        if task.by is not None:
            told.append(task)
    return Rows(b"".join(bodies), b"".join(live), ids, used, told)


def _limits(task: NewTask) -> tuple[bytes, bytes, bytes]:
    attempts, timeout, expires_at = task.max_attempts, task.timeout, task.expires_at
    return (
        NULL if attempts is None else _smallint(2, attempts),
        NULL if timeout is None else _interval(16, _time_us(timeout), timeout.days, 0),
        NULL if expires_at is None else _timestamp(8, microseconds(expires_at)),
    )


def microseconds(moment: datetime) -> int:
    """Return ``moment``, which is aware, as PostgreSQL keeps a ``timestamptz``."""
    since = moment - EPOCH
    return since.days * DAY_S * SECOND_US + _time_us(since)


def _time_us(span: timedelta) -> int:
    return span.seconds * SECOND_US + span.microseconds
