"""The tags of tasks that are being stored, written by a statement of their own.

It is sent only where there are any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taskscheduler.adapters.postgres.mapping import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.drivers import Executing
    from taskscheduler.domain.new_task import NewTask

TAG: Final = "SELECT {schema}.tag_1(%(ids)s::uuid[], %(tags)s::text[])"


async def write_tags(connection: Executing, statement: bytes, tasks: Sequence[NewTask]) -> None:
    """Write the tags of ``tasks``, all of which this transaction has stored, by ``TAG``."""
    tagged = [task for task in tasks if task.tags]
    if tagged:
        values = {
            "ids": [task.id for task in tagged],
            "tags": [texts(task.tags) for task in tagged],
        }
        await connection.execute(statement, values)
