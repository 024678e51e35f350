"""``tasks``: the operator's verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from taskscheduler.domain.after import Otherwise, When
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.conflict import OnConflict
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.cli import bulk, list_tasks, update, wait
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import (
    at_text,
    json_of,
    line_of,
    moment_of,
    progress_text,
    say,
    tell,
    with_scheduler,
)
from taskscheduler.entrypoints.cli.known_kinds import require_known_unless

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.notes import TaskNotes
    from taskscheduler.domain.task import Task

app = typer.Typer(help="Add, list, show and change tasks.")
update.add_to(app)
list_tasks.add_to(app)
wait.add_to(app)

SomeTaskIds = Annotated[
    list[UUID] | None, typer.Argument(metavar="[ID...]", help="Single tasks, by their ids.")
]
TaskIds = Annotated[list[UUID], typer.Argument(metavar="ID...", help="One or more tasks.")]


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="What is to be done, such as Foo.")],
    payload: Annotated[str, typer.Option(help="JSON for the handler.")] = "null",
    execute_at: Annotated[
        str | None, typer.Option("--at", help="ISO 8601 with an offset; by default now.")
    ] = None,
    queue: Annotated[str, typer.Option(help="Where workers look for it.")] = "default",
    priority: Annotated[int, typer.Option(min=0, max=9, help="0 is the most urgent.")] = 5,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, help="By default the handler's.")
    ] = None,
    unique_key: Annotated[
        str | None, typer.Option(help="One task only while the key lives.")
    ] = None,
    delay: Annotated[
        float | None,
        typer.Option(min=0, max=o.YEAR_S, metavar="SECONDS", help="Instead of --at: so long."),
    ] = None,
    timeout: o.AttemptTimeout = None,
    group: o.Group = None,
    expires_at: Annotated[
        str | None,
        typer.Option(help="No attempt begins at or after it: ISO 8601 with an offset."),
    ] = None,
    after: Annotated[
        list[UUID] | None,
        typer.Option(metavar="ID", help="A task that must end first; may be given again."),
    ] = None,
    batch: Annotated[
        UUID | None, typer.Option(metavar="ID", help="The batch that it is counted with.")
    ] = None,
    when: Annotated[
        When | None, typer.Option(help="What counts of --after; succeeded, if left out.")
    ] = None,
    otherwise: Annotated[
        Otherwise | None,
        typer.Option(help="What to do where one of --after does not succeed; cancel, if left out."),
    ] = None,
    tags: o.Tags = None,
    on_conflict: Annotated[
        OnConflict | None,
        typer.Option(help="What becomes of an earlier task that holds --unique-key."),
    ] = None,
    max_delay: Annotated[
        float | None,
        typer.Option(
            min=0.000_001,
            max=o.YEAR_S,
            metavar="SECONDS",
            help="debounce: due so long after the first was stored, at the latest.",
            show_default=False,
        ),
    ] = None,
    accept_unknown_kinds: o.AcceptUnknownKinds = False,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Store a task and print its id."""
    if execute_at is not None and delay is not None:
        message = "give either --at or --delay"
        raise InvalidConfiguration(message)
    at = None if execute_at is None else moment_of(execute_at)
    expires = None if expires_at is None else moment_of(expires_at, "--expires-at")
    later = None if delay is None else o.span("--delay", delay)
    limit = None if timeout is None else o.span("--timeout", timeout)
    put_off = None if max_delay is None else o.span("--max-delay", max_delay)
    body = json_of(payload)

    async def work(scheduler: Scheduler) -> None:
        await require_known_unless(accept_unknown_kinds, scheduler, kind)
        task = scheduler.prepare(
            kind,
            body,
            execute_at=at,
            delay=later,
            queue=queue,
            priority=priority,
            max_attempts=max_attempts,
            timeout=limit,
            unique_key=unique_key,
            group=group,
            expires_at=expires,
            tags=tags or (),
            on_conflict=on_conflict,
            max_delay=put_off,
            after=after or None,
            batch=batch,
            when=when,
            otherwise=otherwise,
        )
        task_id = await scheduler.put(task)
        told: dict[str, object] = {"id": task_id}
        if on_conflict is not None and task_id != task.id:
            told["created"] = False
        say(told, as_json=json, text=str(task_id))

    with_scheduler(database_url, schema, work)


@app.command()
def show(
    task_id: Annotated[UUID, typer.Argument(metavar="ID", help="A task.")],
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Show one task with its attempts and their errors."""

    async def work(scheduler: Scheduler) -> None:
        task = await scheduler.get(task_id)
        attempts = await scheduler.store.board.attempts(task.id)
        notes = await scheduler.notes(task.id)
        if json:
            from taskscheduler.entrypoints.messages.tasks import TaskWithAttempts

            say(TaskWithAttempts.with_attempts(task, attempts, notes), as_json=True, text="")
            return
        tell(line_of(task))
        tell(f"  payload: {task.payload_json.decode()}")
        if task.group is not None:
            tell(f"  group: {task.group}")
        if task.tags:
            tell(f"  tags: {' '.join(task.tags)}")
        if (progress := notes.progress) is not None:
            tell(f"  progress: {progress_text(progress)} at {at_text(progress.at)}")
        _tell_company(notes)
        if notes.result is not None:
            tell(f"  result: {notes.result.decode()}")
        for attempt in attempts:
            outcome = attempt.outcome or "running"
            error = attempt.error
            tell(
                f"  attempt {attempt.number}: {outcome} {at_text(attempt.started_at)} to "
                f"{at_text(attempt.finished_at)}"
                + (f" {error.type}: {error.message}" if error else "")
            )
            # The last one's traceback is what a reader is after; --json has them all.
            if error is not None and error.traceback and attempt is attempts[-1]:
                tell("    " + error.traceback.strip().replace("\n", "\n    "), lines=True)

    with_scheduler(database_url, schema, work)


@app.command()
def why(
    task_ids: TaskIds,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Say why tasks are not running."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.why import WhyMessage

        for task_id in task_ids:
            found = await scheduler.why(task_id)
            lines = [line_of(found.task)]
            for cause in found.causes:
                since = "" if cause.since is None else f", since {at_text(cause.since)}"
                until = "" if cause.until is None else f", until {at_text(cause.until)}"
                lines.append(f"  {cause.reason.value}: {cause.detail}{since}{until}")
            say(WhyMessage.of(found), as_json=json, text="\n".join(lines))

    with_scheduler(database_url, schema, work)


@app.command()
def cancel(
    task_ids: SomeTaskIds = None,
    filters: bulk.Filters = None,
    everything: bulk.All = False,
    resume: bulk.From = None,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Cancel tasks that have not ended; running handlers are told to stop."""
    if bulk.is_bulk(task_ids, filters, everything=everything):
        verb = BulkVerb.CANCEL
        bulk.change_many(verb, filters, database_url, schema, as_json=json, resume=resume)
    else:
        _for_each(task_ids or [], database_url, schema, lambda s: s.cancel, as_json=json)


@app.command()
def retry(
    task_ids: SomeTaskIds = None,
    filters: bulk.Filters = None,
    everything: bulk.All = False,
    resume: bulk.From = None,
    at: bulk.RetryAt = None,
    now: bulk.RetryNow = False,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Run Failed or Cancelled tasks again.

    A Failed task is due now. A Cancelled one comes back to its own time, unless --at or --now asks
    for another.
    """
    moment = bulk.retry_time_of(at, now=now)
    if bulk.is_bulk(task_ids, filters, everything=everything):
        verb = BulkVerb.RETRY
        bulk.change_many(
            verb, filters, database_url, schema, as_json=json, resume=resume, at=moment
        )
        return

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.tasks import TaskMessage

        for task_id in task_ids or []:
            task = await scheduler.retry(task_id, at=moment)
            when = bulk.due_text(task.process_at)
            say(TaskMessage.of(task), as_json=json, text=f"{line_of(task)}  {when}")

    with_scheduler(database_url, schema, work)


@app.command()
def run(
    task_ids: TaskIds,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Make Pending tasks due now."""
    _for_each(task_ids, database_url, schema, lambda s: s.run_now, as_json=json)


@app.command()
def delete(
    task_ids: SomeTaskIds = None,
    filters: bulk.Filters = None,
    everything: bulk.All = False,
    resume: bulk.From = None,
    force: Annotated[bool, typer.Option("--force", help="Even while in progress.")] = False,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Delete tasks and their histories."""
    if bulk.is_bulk(task_ids, filters, everything=everything):
        bulk.change_many(
            BulkVerb.DELETE,
            filters,
            database_url,
            schema,
            as_json=json,
            force=force,
            resume=resume,
        )
        return

    async def work(scheduler: Scheduler) -> None:
        for task_id in task_ids or []:
            await scheduler.delete(task_id, force=force)
            say({"deleted": task_id}, as_json=json, text=f"deleted {task_id}")

    with_scheduler(database_url, schema, work)


def _tell_company(notes: TaskNotes) -> None:
    """Say with which others a task has to do."""
    if notes.batch is not None:
        tell(f"  batch: {notes.batch}")
    if notes.after is not None:
        names = " ".join(str(each) for each in notes.after.task_ids)
        tell(f"  after: {names} (when {notes.after.when}, otherwise {notes.after.otherwise})")


def _for_each(
    task_ids: list[UUID],
    database_url: str | None,
    schema: str,
    verb: Callable[[Scheduler], Callable[[UUID], Coroutine[Any, Any, Task]]],
    *,
    as_json: bool,
) -> None:
    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.tasks import TaskMessage

        for task_id in task_ids:
            task = await verb(scheduler)(task_id)
            say(TaskMessage.of(task), as_json=as_json, text=line_of(task))

    with_scheduler(database_url, schema, work)
