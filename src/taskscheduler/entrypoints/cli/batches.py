"""``batches``: tasks that are counted together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from taskscheduler.domain.after import Otherwise, When
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import at_text, json_of, say, tell, with_scheduler
from taskscheduler.entrypoints.cli.known_kinds import require_known_unless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.batch import Batch

app = typer.Typer(help="Make, list, show and seal batches of tasks.")

BatchId = Annotated[UUID, typer.Argument(metavar="ID", help="A batch.")]


@app.command()
def make(
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    then: Annotated[
        str | None, typer.Option(metavar="KIND", help="What is to be done after its tasks.")
    ] = None,
    payload: Annotated[str, typer.Option(help="JSON for the handler of --then.")] = "null",
    queue: Annotated[str, typer.Option(help="Where workers look for --then.")] = "default",
    when: Annotated[
        When | None, typer.Option(help="What counts for --then; succeeded, if left out.")
    ] = None,
    otherwise: Annotated[
        Otherwise | None,
        typer.Option(help="What becomes of --then where a task fails; cancel, if left out."),
    ] = None,
    accept_unknown_kinds: o.AcceptUnknownKinds = False,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Make a batch and print its id; tasks come to it by ``tasks add --batch``."""
    body = json_of(payload)

    async def work(scheduler: Scheduler) -> None:
        follower = None
        if then is not None:
            await require_known_unless(accept_unknown_kinds, scheduler, then)
            follower = scheduler.prepare(then, body, queue=queue)
        batch = await scheduler.batches.make(name, then=follower, when=when, otherwise=otherwise)
        say({"id": batch.id}, as_json=json, text=str(batch.id))

    with_scheduler(database_url, schema, work)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 100,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """List batches, the newest first."""

    async def work(scheduler: Scheduler) -> None:
        await _show(scheduler, await scheduler.batches.list(limit=limit), as_json=json, many=True)

    with_scheduler(database_url, schema, work)


@app.command()
def show(
    batch_id: BatchId,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Show how far a batch is."""

    async def work(scheduler: Scheduler) -> None:
        await _show(scheduler, [await scheduler.batches.get(batch_id)], as_json=json)

    with_scheduler(database_url, schema, work)


@app.command()
def seal(
    batch_id: BatchId,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Let no more tasks come to a batch."""

    async def work(scheduler: Scheduler) -> None:
        await _show(scheduler, [await scheduler.batches.seal(batch_id)], as_json=json)

    with_scheduler(database_url, schema, work)


async def _show(
    scheduler: Scheduler, batches: Sequence[Batch], *, as_json: bool, many: bool = False
) -> None:
    if as_json:
        from taskscheduler.domain.query import TaskQuery
        from taskscheduler.entrypoints.messages.batches import BatchMessage

        ids = [each.then for each in batches if each.then is not None]
        states = await scheduler.store.board.states(TaskQuery(), ids) if ids else ()
        by_id = {state.id: state for state in states}
        found = [BatchMessage.of(each, each.then and by_id.get(each.then)) for each in batches]
        say(found if many else found[0], as_json=True, text="")
        return
    for each in batches:
        tell(_line_of(each))


def _line_of(batch: Batch) -> str:
    state = "open"
    if batch.ended_at is not None:
        state = f"ended {at_text(batch.ended_at)}"
    elif batch.sealed_at is not None:
        state = f"sealed {at_text(batch.sealed_at)}"
    then = "" if batch.then is None else f"  then {batch.then}"
    return (
        f"{batch.id}  {batch.name or '-':<20}  {batch.total} tasks: {batch.pending} pending, "
        f"{batch.completed} completed, {batch.failed} failed, {batch.cancelled} cancelled  "
        f"{state}{then}"
    )
