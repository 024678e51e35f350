"""Traces beside tasks: the statements that know of them, which are sent only where there are any.

What is stored without a trace, and claimed by a worker that does not trace, takes the statements
that know nothing of traces.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, LiteralString

from taskscheduler.adapters.postgres.mapping import texts, uuids
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.trace import TraceContext

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.adapters.postgres.database import Connection
    from taskscheduler.domain.task import NewTask
    from taskscheduler.domain.values import TaskId

TRACES: Final = """
SELECT id, traceparent, tracestate FROM {schema}.task
WHERE id = ANY (%(ids)s::uuid[]) AND traceparent IS NOT NULL"""


def traced(statement: LiteralString) -> LiteralString:
    """Return a statement that stores bodies as one that stores their traces, too."""
    return (
        statement.replace("expires_at, payload)", "expires_at, payload, traceparent, tracestate)")
        .replace(
            "json[])",
            "json[],\n                %(traceparents)s::text[], %(tracestates)s::text[])",
        )
        .replace("\n           payload\n", "\n           payload, traceparent, tracestate\n")
        .replace("%(payload)s)", "%(payload)s, %(traceparent)s, %(tracestate)s)")
    )


def columns(task: NewTask) -> dict[str, str | None]:
    """Return what is stored of one task's trace."""
    trace = task.trace
    return {
        "traceparent": trace and trace.traceparent,
        "tracestate": trace and trace.tracestate,
    }


def arrays(tasks: Sequence[NewTask]) -> dict[str, str]:
    """Return what is stored of the traces of many."""
    return {
        "traceparents": texts(task.trace and task.trace.traceparent for task in tasks),
        "tracestates": texts(task.trace and task.trace.tracestate for task in tasks),
    }


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
