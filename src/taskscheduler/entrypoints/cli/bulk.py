"""``tasks cancel|retry|delete`` by filter: page after page, and how far it got."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taskscheduler.domain.after import WAITING_AT
from taskscheduler.domain.bulk import PAGE_MAX, BulkCursor, BulkVerb
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.query import FILTERS, REPEATED, TaskQuery
from taskscheduler.domain.values import AT_ONCE
from taskscheduler.entrypoints.cli._runtime import at_text, moment_of, say, with_scheduler
from taskscheduler.entrypoints.cli.known_kinds import require_known_or_used

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from uuid import UUID

    from taskscheduler.application.client.scheduler import Scheduler

DONE = {BulkVerb.CANCEL: "cancelled", BulkVerb.RETRY: "retried", BulkVerb.DELETE: "deleted"}

Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", help=f"All tasks with {FILTERS}; repeated, {REPEATED}."),
]
All = Annotated[bool, typer.Option("--all", help="Tasks of all sorts.")]
RetryAt = Annotated[
    str | None,
    typer.Option("--at", help="When they are due instead: ISO 8601 with an offset."),
]
RetryNow = Annotated[bool, typer.Option("--now", help="They are due now, whatever their time.")]
From = Annotated[
    str | None, typer.Option("--from", help="Go on where a call that was broken off had got to.")
]


def is_bulk(
    task_ids: Sequence[UUID] | None, filters: Sequence[str] | None, *, everything: bool
) -> bool:
    """Tell whether tasks are chosen by filter. Raises InvalidConfiguration if not clearly so."""
    by_filter = bool(filters) or everything
    if by_filter == bool(task_ids):
        message = "give either ids, or --filter (repeatable) or --all"
        raise InvalidConfiguration(message)
    return by_filter


def change_many(
    verb: BulkVerb,
    filters: Sequence[str] | None,
    database_url: str | None,
    schema: str,
    *,
    as_json: bool,
    force: bool = False,
    resume: str | None = None,
    at: datetime | None = None,
) -> None:
    """Do ``verb`` to all tasks that match, and say how many that were."""
    query = query_of(filters or ())
    start = None if resume is None else _cursor_of(resume)

    async def work(scheduler: Scheduler) -> None:
        await require_known_or_used(scheduler, query.kinds or ())
        looked_at = changed = waiting = 0
        cursor = start
        with progress_bar(hidden=as_json) as show:
            while True:
                step = await scheduler.change_page(verb, query, force=force, cursor=cursor, at=at)
                looked_at += step.looked_at
                changed += step.changed
                waiting += step.waiting
                cursor = step.cursor
                show(f"{DONE[verb]} {changed} of {looked_at}; to go on from here: --from {cursor}")
                if cursor is None:
                    break
        numbers = {"looked_at": looked_at, "changed": changed}
        text = f"{DONE[verb]} {changed} of {looked_at} that matched"
        if verb is BulkVerb.RETRY:
            numbers["waiting"] = waiting
            text += f"; {changed - waiting} are due now, {waiting} wait for their time"
        say(numbers, as_json=as_json, text=text)

    with_scheduler(database_url, schema, work)


def retry_time_of(at: str | None, *, now: bool) -> datetime | None:
    """Return when tasks are to be retried. Raises InvalidConfiguration."""
    if at is not None and now:
        message = "give either --at or --now"
        raise InvalidConfiguration(message)
    if now:
        return AT_ONCE
    return None if at is None else moment_of(at)


def due_text(process_at: datetime) -> str:
    """Say when a task that was retried is due."""
    if process_at == WAITING_AT:
        return "due when those have ended that it waits for"
    if process_at <= datetime.now(UTC):
        return "due now"
    return f"due at {at_text(process_at)}"


def query_of(filters: Sequence[str]) -> TaskQuery:
    """Return what ``--filter`` asks for.

    Raises:
        InvalidConfiguration: one is no filter.
    """
    try:
        return TaskQuery.parse(filters, limit=PAGE_MAX)
    except ValueError as error:
        message = f"--filter: {error}"
        raise InvalidConfiguration(message) from None


def _cursor_of(text: str) -> BulkCursor:
    try:
        return BulkCursor.parse(text)
    except ValueError:
        message = f"--from {text!r}: that is not where a call got to"
        raise InvalidConfiguration(message) from None


@contextmanager
def progress_bar(*, hidden: bool) -> Generator[Callable[[str], None]]:
    """Show on the terminal, if there is one, what is told."""
    if hidden or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    # How many there are is not known before all have been looked at: the bar runs to and fro.
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        line = progress.add_task("", total=None)
        yield lambda text: progress.update(line, description=text)
