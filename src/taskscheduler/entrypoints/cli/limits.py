"""``limits``: how many tasks run, and how fast they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import at_text, say, tell, with_scheduler
from taskscheduler.entrypoints.cli.paging import all_by_name

if TYPE_CHECKING:
    from taskscheduler.application.client.limits import LimitInUse
    from taskscheduler.application.client.scheduler import Scheduler

app = typer.Typer(help="List, show, put and delete limits.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the limit is called.")]


@app.command("list")
def list_(
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """List limits: what they hold for, what they let through, how they are used."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.limits import LimitMessage

        found = all_by_name(lambda after: scheduler.limits.list(after=after))
        if json:
            say([LimitMessage.of(each) async for each in found], as_json=True, text="")
            return
        async for each in found:
            tell(line_of_limit(each))

    with_scheduler(database_url, schema, work)


@app.command()
def show(
    name: Name,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Show one limit."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.limits import LimitMessage

        found = await scheduler.limits.get(name)
        say(LimitMessage.of(found), as_json=json, text=line_of_limit(found))

    with_scheduler(database_url, schema, work)


@app.command("put")
def put_(
    name: Name,
    queue: Annotated[str | None, typer.Option(help="For tasks of this queue.")] = None,
    kind: Annotated[str | None, typer.Option(help="For tasks of this kind.")] = None,
    group: Annotated[str | None, typer.Option(help="For tasks of this group.")] = None,
    per_group: Annotated[
        bool, typer.Option("--per-group", help="Each group has a limit of its own.")
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="At most so many run at any moment.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="So many begin: 100/s, or /m, /h, /d; retries count.")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, help="So many of the rate may begin at once.")
    ] = None,
    weight: Annotated[
        int | None, typer.Option(min=1, max=100, help="How much a group gets beside others.")
    ] = None,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Make a limit, or put it in the place of the one of that name; workers go by it at once."""
    from taskscheduler.domain.limit import Limit

    limit = Limit(
        name=name,
        queue=queue,
        kind=kind,
        group=group,
        per_group=per_group,
        concurrency=concurrency,
        rate=rate,
        burst=burst,
        weight=weight,
    )

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.limits import LimitMessage

        found, made = await scheduler.limits.put(limit)
        done = "made" if made else "there"
        say(LimitMessage.of(found), as_json=json, text=f"{line_of_limit(found)}  {done}")

    with_scheduler(database_url, schema, work)


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="One or more limits.")],
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Delete limits; what they kept back begins."""

    async def work(scheduler: Scheduler) -> None:
        for name in names:
            await scheduler.limits.delete(name)
            say({"name": name, "deleted": True}, as_json=json, text=f"{name}  deleted")

    with_scheduler(database_url, schema, work)


def line_of_limit(limit: LimitInUse) -> str:
    """Return ``limit`` in one line."""
    each, use = limit.definition, limit.use
    held = [f"{field} {getattr(each, field)}" for field in ("queue", "kind", "group")
            if getattr(each, field) is not None]  # fmt: skip
    bounds = [f"{field} {getattr(each, field)}" for field in ("concurrency", "rate", "weight")
              if getattr(each, field) is not None]  # fmt: skip
    if each.rate is not None:
        bounds.append(f"burst {each.at_once}")
    if each.per_group:
        held.append("each group")
    next_at = "" if use.next_at is None else f"  next at {at_text(use.next_at)}"
    return (
        f"{each.name:<20}  {', '.join(held) or 'all tasks'}  {', '.join(bounds)}  "
        f"running {use.running}  waiting {use.waiting}{next_at}"
    )
