"""``retention``: dropping old tasks by hand, or seeing what would be dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskscheduler.domain.errors import InvalidConfiguration, StoreUnavailable
from taskscheduler.domain.retention import FOREVER, RetentionPolicy, audit_span
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import say, with_scheduler

if TYPE_CHECKING:
    from taskscheduler.application.client.scheduler import Scheduler

app = typer.Typer(help="Drop tasks that ended long ago, and old entries of the audit trail.")


@app.callback()
def retention() -> None:
    """Drop what has been kept long enough; only what is asked for is dropped by hand."""


@app.command()
def run(
    retention: o.Retention = None,
    retention_export: o.RetentionExport = None,
    retention_audit: o.RetentionAudit = FOREVER,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Drop nothing; say what the next turn would drop.")
    ] = False,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Drop what has been kept long enough, until nothing is left to drop."""
    policy = RetentionPolicy.parse(retention or ())
    audit = audit_span(retention_audit)
    if not policy and audit is None:
        message = "nothing is to be dropped: give --retention or --retention-audit, such as 30d"
        raise InvalidConfiguration(message)

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.application.maintenance.pruner import expire_all, prune_all
        from taskscheduler.entrypoints.export import exporter

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
        pruned = 0
        if audit is not None and dry_run:
            pruned = (await scheduler.store.audit.prune(audit, dry_run=True)).deleted
        elif audit is not None:
            pruned = await prune_all(scheduler.store, audit)
        days = [day.isoformat() for day in done.days]
        numbers = {"days": days, "dropped": done.dropped, "deleted": done.deleted, "pruned": pruned}
        would = "would be " if dry_run else ""
        text = (
            f"{done.dropped} tasks of {len(days)} whole days {would}dropped, "
            f"{done.deleted} single tasks {would}deleted"
        )
        if audit is not None:
            text += f", {pruned} entries of the audit trail {would}deleted"
        say(numbers | {"dry_run": dry_run}, as_json=json, text=text)

    with_scheduler(database_url, schema, work)
