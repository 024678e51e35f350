"""``tasks list``: as many as are asked for, page after page, and a word where there are more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID  # noqa: TC003 - typer reads it at run time

import typer

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.printable import printable, printable_json
from taskscheduler.domain.status import TaskStatus
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import line_of, with_scheduler
from taskscheduler.entrypoints.cli.known_kinds import require_known_or_used

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.query import TaskQuery
    from taskscheduler.domain.task import Task

LIMIT_DEFAULT: Final = 100
PAGE: Final = 1000
ONLY: Final = "Only these; repeated, any of them."


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("list")(list_)


def list_(
    status: Annotated[list[TaskStatus] | None, typer.Option(help=ONLY)] = None,
    kind: Annotated[list[str] | None, typer.Option(help=ONLY)] = None,
    queue: Annotated[list[str] | None, typer.Option(help=ONLY)] = None,
    group: Annotated[list[str] | None, typer.Option(help=ONLY)] = None,
    tag: Annotated[list[str] | None, typer.Option(help=ONLY)] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"How many, newest first; {LIMIT_DEFAULT} by default.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    before: Annotated[UUID | None, typer.Option(help="Only those older than this task.")] = None,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """List tasks, newest first; what is left out is said on standard error."""
    if everything and limit is not None:
        message = "give either --limit or --all"
        raise InvalidConfiguration(message)
    wanted = None if everything else limit or LIMIT_DEFAULT

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.domain.query import PAGE_BYTES_MAX, TaskQuery

        await require_known_or_used(scheduler, kind or ())
        query = TaskQuery(
            status=status or None,
            kind=kind or None,
            queue=queue or None,
            group=group or None,
            tag=tag or None,
            before=before,
            bytes_max=PAGE_BYTES_MAX,
        )
        told, last = 0, None
        async for task in _pages(scheduler, query, wanted):
            if told == wanted:
                typer.echo(_more(told, last), err=True)
                break
            line = _text(task, first=not told, as_json=json)
            typer.echo(line if json else printable(line), nl=not json)
            told, last = told + 1, task.id
        if json:
            typer.echo("]" if told else "[]")

    with_scheduler(database_url, schema, work)


async def _pages(scheduler: Scheduler, query: TaskQuery, wanted: int | None) -> AsyncIterator[Task]:
    """Give the tasks, and one more than are ``wanted`` if there is one."""
    left = None if wanted is None else wanted + 1
    while left is None or left > 0:
        page = await scheduler.list(replace(query, limit=PAGE if left is None else min(PAGE, left)))
        for task in page:
            yield task
        if not page:  # a page that is not full may have ended by its bytes
            return
        left = None if left is None else left - len(page)
        query = replace(query, before=page[-1].id)


def _text(task: Task, *, first: bool, as_json: bool) -> str:
    if not as_json:
        return line_of(task)
    import msgspec

    from taskscheduler.entrypoints.messages.tasks import TaskMessage

    text = printable_json(msgspec.json.encode(TaskMessage.of(task)).decode())
    return ("[" if first else ",") + text


def _more(told: int, last: UUID | None) -> str:
    return f"taskscheduler: there are more than {told}: go on with --before {last}, or give --all"
