"""``migrate``: the schema, made or upgraded."""

from __future__ import annotations

from typing import Annotated

import typer

from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import tell
from taskscheduler.entrypoints.cli.store import database_url as chosen


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(migrate)


def migrate(
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if something is to be done.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--print", help="Print the SQL of all migrations; connect nowhere.")
    ] = False,
    api_role: Annotated[
        str | None,
        typer.Option(
            envvar="TASKSCHEDULER_API_ROLE",
            help="Give this role the rights of a REST service.",
            show_default=False,
        ),
    ] = None,
    worker_role: Annotated[
        str | None,
        typer.Option(
            envvar="TASKSCHEDULER_WORKER_ROLE",
            help="Give this role the rights of a worker.",
            show_default=False,
        ),
    ] = None,
    show_grants: Annotated[
        bool,
        typer.Option("--print-grants", help="Print the SQL of these rights; connect nowhere."),
    ] = False,
) -> None:
    """Create or upgrade the schema. Any number may run at once; old workers keep working.

    Whoever runs it owns the schema. Services and workers need no more than --api-role and
    --worker-role give.
    """
    from taskscheduler.container import (
        Roles,
        grant_rights,
        grants_script,
        migrate_schema,
        pending_migrations,
        schema_script,
    )
    from taskscheduler.entrypoints.loop import run

    if show:
        typer.echo(schema_script(schema), nl=False)
        return
    roles = Roles(api_role, worker_role)
    if show_grants:
        typer.echo(grants_script(schema, roles), nl=False)
        return
    url = chosen(database_url)
    if check:
        pending = run(pending_migrations(url, schema))
        typer.echo("\n".join(f"pending: {name}" for name in pending) or "up to date")
        raise typer.Exit(1 if pending else 0)
    applied = run(migrate_schema(url, schema))
    typer.echo("\n".join(f"applied: {name}" for name in applied) or "up to date")
    if roles != Roles():
        run(grant_rights(url, schema, roles))
        for what, role in roles._asdict().items():
            if role is not None:
                tell(f"rights of {what}: given to {role}")
