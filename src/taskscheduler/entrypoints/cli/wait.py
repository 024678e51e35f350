"""``tasks wait`` and ``tasks signal``: what comes of tasks, and what they wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 - typer reads it at run time

import typer

from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import json_of, line_of, say, with_scheduler

if TYPE_CHECKING:
    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.notes import Ending


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(wait)
    app.command()(signal)


def wait(
    task_ids: Annotated[list[UUID], typer.Argument(metavar="ID...", help="One or more tasks.")],
    timeout: Annotated[
        float | None,
        typer.Option(min=0, max=o.YEAR_S, metavar="SECONDS", help="By default without limit."),
    ] = None,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Wait until tasks have ended, and print their results. Exit 1 unless all are Completed."""
    endings: list[Ending | None] = []

    async def work(scheduler: Scheduler) -> None:
        from asyncio import gather

        from taskscheduler.application.client.result_waiters import span_s

        within_s = span_s(timeout)
        endings.extend(
            await gather(*(scheduler.ending(each, within_s=within_s) for each in task_ids))
        )

    with_scheduler(database_url, schema, work)
    for task_id, ending in zip(task_ids, endings, strict=True):
        say(_message(task_id, ending), as_json=json, text=_line(task_id, ending))
    if not all(each is not None and each.status.value == "Completed" for each in endings):
        raise typer.Exit(1)


def signal(
    task_id: Annotated[UUID, typer.Argument(metavar="ID", help="A task.")],
    name: Annotated[str, typer.Argument(help="The signal, such as approval.")],
    payload: Annotated[str, typer.Option(help="JSON for the handler.")] = "null",
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Send a task a signal. A task that waits for it is due at once."""
    value = json_of(payload)

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.tasks import TaskMessage

        task = await scheduler.signal(task_id, name, value)
        say(TaskMessage.of(task), as_json=json, text=line_of(task))

    with_scheduler(database_url, schema, work)


def _message(task_id: UUID, ending: Ending | None) -> dict[str, Any]:
    import msgspec

    from taskscheduler.entrypoints.messages.tasks import EndingMessage

    if ending is None:
        return {"id": task_id, "status": None}
    return {"id": task_id, **msgspec.structs.asdict(EndingMessage.of(ending))}


def _line(task_id: UUID, ending: Ending | None) -> str:
    if ending is None:
        return f"{task_id}  has not ended yet"
    if ending.error is not None:
        return f"{task_id}  {ending.status.value}  {ending.error.type}: {ending.error.message}"
    return f"{task_id}  {ending.status.value}  {(ending.result or b'null').decode()}"
