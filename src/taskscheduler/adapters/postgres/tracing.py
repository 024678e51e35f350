"""The traces of tasks, read by workers that trace; of others nothing is asked."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from taskscheduler.adapters.postgres.mapping import uuids
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.trace import TraceContext

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from taskscheduler.adapters.postgres.database import Connection
    from taskscheduler.domain.values import TaskId

TRACES: Final = """
SELECT id, traceparent, tracestate FROM {schema}.task
WHERE id = ANY (%(ids)s::uuid[]) AND traceparent IS NOT NULL"""


async def read_traces(
    connection: Connection, statement: bytes, task_ids: Collection[TaskId]
) -> Mapping[TaskId, TraceContext]:
    """Return the traces of those of the tasks that have one; ``statement`` is ``TRACES``.

    What SQL of somebody else's has put there and is no trace is passed over.
    """
    # Unprepared, so that the plan is made for these ids and opens only their days.
    cursor = await connection.execute(statement, {"ids": uuids(task_ids)}, prepare=False)
    found: dict[TaskId, TraceContext] = {}
    for task_id, traceparent, tracestate in await cursor.fetchall():
        with suppress(InvalidTask):
            found[task_id] = TraceContext(traceparent, tracestate)
    return found
