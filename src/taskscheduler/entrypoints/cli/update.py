"""``tasks update``: another time, payload, priority or group for tasks that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003 - typer reads it at run time

import typer

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import json_of, line_of, moment_of, say, with_scheduler

if TYPE_CHECKING:
    from taskscheduler.application.client.scheduler import Scheduler, TaskChanges


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(update)


def update(
    task_ids: Annotated[list[UUID], typer.Argument(metavar="ID...", help="One or more tasks.")],
    execute_at: Annotated[str | None, typer.Option("--at", help="ISO 8601 with an offset.")] = None,
    payload: Annotated[str | None, typer.Option(help="JSON for the handler.")] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="0 is the most urgent.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Whose they are; an empty one takes them out of theirs.")
    ] = None,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Change Pending tasks: their time, payload, priority or group."""
    changes: TaskChanges = {}
    if execute_at is not None:
        changes["execute_at"] = moment_of(execute_at)
    if payload is not None:
        changes["payload"] = json_of(payload)
    if priority is not None:
        changes["priority"] = priority
    if group is not None:
        changes["group"] = group or None
    if not changes:
        message = "give at least one of --at, --payload, --priority, --group"
        raise InvalidConfiguration(message)

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.tasks import TaskMessage

        for task_id in task_ids:
            task = await scheduler.edit(task_id, **changes)
            say(TaskMessage.of(task), as_json=json, text=line_of(task))

    with_scheduler(database_url, schema, work)
