"""``audit``: who did what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003 - typer reads it at run time

import typer

from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import at_text, say, tell, with_scheduler

if TYPE_CHECKING:
    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.audit import AuditEntry


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(audit)


def audit(
    task: Annotated[UUID | None, typer.Option(help="Only what was done to this task.")] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Only what was done to this queue or schedule, or the key with this id."),
    ] = None,
    actor: Annotated[
        str | None, typer.Option(help="Only what this name, or the key with this id, did.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 100,
    before: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Only those older than this one.")
    ] = None,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Tell who did what, newest first: with keys over REST, and with these commands."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.domain.audit import AuditQuery

        query = AuditQuery(task_id=task, target=target, actor=actor, before=before, limit=limit)
        entries = await scheduler.store.audit.list(query)
        if json:
            from taskscheduler.entrypoints.messages.audit import AuditMessage

            say([AuditMessage.of(entry) for entry in entries], as_json=True, text="")
        else:
            for entry in entries:
                tell(line_of(entry))
        if len(entries) == limit:
            last = entries[-1].id
            typer.echo(f"taskscheduler: there may be more: --before {last}", err=True)

    with_scheduler(database_url, schema, work)


def line_of(entry: AuditEntry) -> str:
    """Return ``entry`` in one line."""
    key = "" if entry.key_id is None else f" ({entry.key_id})"
    request = "" if entry.request_id is None else f"  request {entry.request_id}"
    return (
        f"{entry.id}  {at_text(entry.at)}  {entry.action.value:<16}  "
        f"{entry.task_id or entry.target or '-'}  by {entry.actor}{key}  "
        f"from {entry.address or '-'}{request}"
    )
