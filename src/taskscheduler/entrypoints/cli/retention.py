"""``retention``: dropping old tasks by hand, or seeing what would be dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskscheduler.domain.errors import InvalidConfiguration, StoreUnavailable
from taskscheduler.domain.retention import RetentionPolicy
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli.work import say, with_scheduler

if TYPE_CHECKING:
    from taskscheduler.application.scheduler import Scheduler

app = typer.Typer(help="Drop tasks that ended long ago.")


@app.callback()
def retention() -> None:
    """Drop tasks that ended long ago; by default everything is kept."""


@app.command()
def run(
    retention: o.Retention = None,
    retention_export: o.RetentionExport = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Drop nothing; say what the next turn would drop.")
    ] = False,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Drop what has been kept long enough, until nothing is left to drop."""
    policy = RetentionPolicy.parse(retention or ())
    if not policy:
        message = "nothing is to be dropped: give --retention, such as 30d"
        raise InvalidConfiguration(message)

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.application.retention import expire_all
        from taskscheduler.entrypoints.exporting import exporter

        archive = scheduler.store.archive
        export = retention_export and exporter(retention_export)
        try:
            if dry_run:
                done = await archive.expire(policy, dry_run=True)
            else:
                done = await expire_all(scheduler.store, policy, export=export)
        except OSError as error:
            message = f"nothing more is dropped, for it cannot be exported: {error}"
            raise StoreUnavailable(message) from None
        days = [day.isoformat() for day in done.days]
        numbers = {"days": days, "dropped": done.dropped, "deleted": done.deleted}
        would = "would be " if dry_run else ""
        text = (
            f"{done.dropped} tasks of {len(days)} whole days {would}dropped, "
            f"{done.deleted} single tasks {would}deleted"
        )
        say(numbers | {"dry_run": dry_run}, as_json=json, text=text)

    with_scheduler(database_url, schema, work)
