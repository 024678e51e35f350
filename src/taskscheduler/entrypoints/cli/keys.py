"""``keys``: who may call the REST service."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskscheduler.domain.access import Scope
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.quota import Quota
from taskscheduler.domain.retention import span_of
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import (
    at_text,
    moment_of,
    operator,
    say,
    tell,
    with_scheduler,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.access import ApiKey

app = typer.Typer(help="Add, list, update and revoke the keys of the REST service.")


def most(what: str) -> Any:
    """Return an option that limits ``what`` in the queues that the key reaches."""
    return typer.Option(
        help=f"How many {what}, in the queues that it reaches.", min=0, show_default=False
    )


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is, as the audit trail will say.")],
    scope: Annotated[
        Scope, typer.Option(help="What it may do; each contains those before it.")
    ] = Scope.READ,
    queue_prefix: Annotated[
        str | None,
        typer.Option(
            help="Reach only tasks in queues whose names begin so, such as `acme.`",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            help="When it ends: ISO 8601 with an offset, or a span such as 90d, 12h.",
            show_default=False,
        ),
    ] = None,
    queues_max: Annotated[int | None, most("queues may hold tasks at a time")] = None,
    waiting_max: Annotated[int | None, most("tasks may wait")] = None,
    waiting_bytes_max: Annotated[int | None, most("bytes their payloads may have")] = None,
    schedules_max: Annotated[int | None, most("schedules may be kept")] = None,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Make a key and print its token, this once: it is kept nowhere."""
    from taskscheduler.application.client.api_keys import issue

    quota = Quota(
        queues=queues_max,
        waiting=waiting_max,
        waiting_bytes=waiting_bytes_max,
        schedules=schedules_max,
    )
    issued = issue(
        name,
        scope=scope,
        queue_prefix=queue_prefix,
        expires=end_of(expires),
        quota=None if quota == Quota() else quota,
    )

    async def work(scheduler: Scheduler) -> None:
        key = await scheduler.store.keys.add(issued.key, by=operator())
        shown = {**shape(key), "token": issued.token}
        say(shown, as_json=json, text=issued.token)
        if not json:
            typer.echo(f"{line_of(key)}\nkeep the token: it is not shown again", err=True)

    with_scheduler(database_url, schema, work)


@app.command("list")
def list_(
    database_url: o.DatabaseUrl = None, schema: o.Schema = "taskscheduler", json: o.Json = False
) -> None:
    """List the keys, newest first, revoked ones too. No secret is shown: none is kept."""

    async def work(scheduler: Scheduler) -> None:
        keys = await scheduler.store.keys.list()
        if json:
            say([shape(key) for key in keys], as_json=True, text="")
        else:
            for key in keys:
                tell(line_of(key))

    with_scheduler(database_url, schema, work)


@app.command()
def update(
    key_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="One or more keys.")],
    queues_max: Annotated[int | None, most("queues may hold tasks at a time")] = None,
    waiting_max: Annotated[int | None, most("tasks may wait")] = None,
    waiting_bytes_max: Annotated[int | None, most("bytes their payloads may have")] = None,
    schedules_max: Annotated[int | None, most("schedules may be kept")] = None,
    no_quota: Annotated[
        bool, typer.Option("--no-quota", help="Lift every quota that is not given here.")
    ] = False,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Change the quotas of keys. Running services know it within 5 seconds."""
    given = {
        name: limit
        for name, limit in (
            ("queues", queues_max),
            ("waiting", waiting_max),
            ("waiting_bytes", waiting_bytes_max),
            ("schedules", schedules_max),
        )
        if limit is not None
    }
    if not given and not no_quota:
        message = "give at least one quota, such as --waiting-max 1000, or --no-quota"
        raise InvalidConfiguration(message)

    async def work(scheduler: Scheduler) -> None:
        kept = {key.id: key.quota or Quota() for key in await scheduler.store.keys.list()}
        for key_id in key_ids:
            before = Quota() if no_quota else kept.get(key_id, Quota())
            quota = replace(before, **given)
            key = await scheduler.store.keys.limit(
                key_id, None if quota == Quota() else quota, by=operator()
            )
            say(shape(key), as_json=json, text=line_of(key))

    with_scheduler(database_url, schema, work)


@app.command()
def revoke(
    key_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="One or more keys.")],
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Revoke keys, for good. Running services know it within 5 seconds."""

    async def work(scheduler: Scheduler) -> None:
        for key_id in key_ids:
            key = await scheduler.store.keys.revoke(key_id, by=operator())
            say(shape(key), as_json=json, text=line_of(key))

    with_scheduler(database_url, schema, work)


def end_of(text: str | None) -> datetime | timedelta | None:
    """Return what ``--expires`` says. Raises InvalidConfiguration."""
    if text is None:
        return None
    if (span := span_of(text)) is not None:
        return span
    try:
        return moment_of(text)
    except InvalidConfiguration:
        message = f"--expires {text!r} is neither a span such as 90d nor a time in ISO 8601 with Z"
        raise InvalidConfiguration(message) from None


def shape(key: ApiKey) -> dict[str, Any]:
    """Return ``key`` as it is shown to machines."""
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope,
        "queue_prefix": key.queue_prefix,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        **{f"{name}_max": limit for name, limit in asdict(key.quota or Quota()).items()},
    }


def line_of(key: ApiKey) -> str:
    """Return ``key`` in one line."""
    queues = "all queues" if key.queue_prefix is None else f"queues {key.queue_prefix}*"
    limits = asdict(key.quota or Quota()).items()
    quota = "".join(f"  {name}_max {limit}" for name, limit in limits if limit is not None)
    state = "" if key.revoked_at is None else f"  revoked {at_text(key.revoked_at)}"
    return (
        f"{key.id}  {key.scope.value:<5}  {key.name:<20}  {queues}  "
        f"added {at_text(key.created_at)}  expires {at_text(key.expires_at)}{quota}{state}"
    )
