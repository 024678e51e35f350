"""``queues`` and ``workers``: what waits where, and who works."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import at_text, say, tell, with_scheduler
from taskscheduler.entrypoints.cli.paging import all_by_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.queue import Count, Queue
    from taskscheduler.domain.worker import WorkerLoad

app = typer.Typer(help="List, pause and resume queues.")

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="One or more queues.")]


def add_to(app: typer.Typer) -> None:
    """Add the command that is of no group to ``app``."""
    app.command()(workers)


@app.command("list")
def list_(
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """List queues: what is due, for later, in progress; whether they are paused."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.queues import QueueMessage

        found = await all_queues(scheduler)
        if json:
            say([QueueMessage.of(queue) for queue in found], as_json=True, text="")
            return
        takers = takers_of(await scheduler.workers())
        for queue in found:
            tell(line_of_queue(queue, takers[queue.name]))

    with_scheduler(database_url, schema, work)


@app.command()
def pause(
    names: Names,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Let no worker take tasks from these queues; what is taken goes on."""
    _for_each(names, database_url, schema, lambda s: s.pause_queue, as_json=json)


@app.command()
def resume(
    names: Names,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Let workers take tasks from these queues again."""
    _for_each(names, database_url, schema, lambda s: s.resume_queue, as_json=json)


def workers(
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """List workers: where they run, what they run, when they were last heard of."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.workers import WorkerMessage

        found = await scheduler.workers()
        if json:
            say([WorkerMessage.of(load) for load in found], as_json=True, text="")
            return
        for worker, running in found:
            tell(
                f"{worker.id}  {worker.name}  {'silent' if worker.expired else 'alive'}, last "
                f"heard of at {at_text(worker.seen_at)}  running {count_text(running)} of "
                f"{worker.concurrency}  queues {','.join(sorted(worker.queues))}  "
                f"kinds {','.join(sorted(worker.kinds))}"
            )

    with_scheduler(database_url, schema, work)


async def all_queues(scheduler: Scheduler) -> list[Queue]:
    """Return every queue, page by page."""
    pages = all_by_name(lambda after: scheduler.queues(after=after))
    return [each async for each in pages]


def takers_of(workers: Iterable[WorkerLoad]) -> Counter[str]:
    """Return by how many live workers each queue is taken."""
    return Counter(name for worker, _ in workers if not worker.expired for name in worker.queues)


def line_of_queue(queue: Queue, takers: int) -> str:
    """Return ``queue`` in one line; so many live workers take it."""
    state = f"open, taken by {takers} worker{'' if takers == 1 else 's'}"
    if queue.is_paused:
        state = f"paused since {at_text(queue.paused_at)}"
    elif not takers:
        state = "open, but no live worker takes it"
    return (
        f"{queue.name:<20}  due {count_text(queue.due)}  later {count_text(queue.later)}  "
        f"in progress {count_text(queue.running)}  oldest due {at_text(queue.oldest_due_at)}  "
        f"{state}"
    )


def count_text(count: Count) -> str:
    """Return a count as it is printed: a plus says that there may be more."""
    return f"{count.number}{'' if count.exact else '+'}"


def _for_each(
    names: list[str],
    database_url: str | None,
    schema: str,
    verb: Callable[[Scheduler], Callable[[str], Awaitable[Queue]]],
    *,
    as_json: bool,
) -> None:
    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.queues import QueueMessage

        takers = takers_of(await scheduler.workers())
        for name in names:
            queue = await verb(scheduler)(name)
            line = line_of_queue(queue, takers[queue.name])
            say(QueueMessage.of(queue), as_json=as_json, text=line)

    with_scheduler(database_url, schema, work)
