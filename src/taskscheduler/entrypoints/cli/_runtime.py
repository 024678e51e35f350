"""What the operator's commands do alike: open the store, read values, print answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.printable import printable, printable_json
from taskscheduler.entrypoints.cli.store import store_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.notes import Progress
    from taskscheduler.domain.task import Task


def with_scheduler(
    database_url: str | None, schema: str, work: Callable[[Scheduler], Coroutine[Any, Any, None]]
) -> None:
    """Do ``work`` with the scheduler of that database; one that is away is not waited for."""
    from taskscheduler.entrypoints.logs import no_logs
    from taskscheduler.entrypoints.loop import run as run_loop

    no_logs()
    settings = store_settings(database_url, schema, pool_size=2)

    async def within() -> None:
        from taskscheduler.application.client.tenant_scope import TenantScheduler
        from taskscheduler.container import Container, reach

        await reach(settings.url, settings.schema)
        async with Container(settings=settings).scheduler() as scheduler:
            await work(TenantScheduler(scheduler, operator()))

    run_loop(within())


def operator() -> Caller:
    """Return who is at this terminal, for the audit trail."""
    import getpass
    import socket

    from taskscheduler.domain.access import Caller

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        name = "unknown"
    return Caller(name=f"cli:{name}", address=socket.gethostname() or None)


def moment_of(text: str, option: str = "--at") -> datetime:
    """Return the time that ``option`` names. Raises InvalidConfiguration."""
    from taskscheduler.domain.moment import parse_moment

    try:
        return parse_moment(text)
    except ValueError as error:
        message = f"{option} {text!r} {error}"
        raise InvalidConfiguration(message) from None


def json_of(text: str) -> Any:
    """Return ``--payload`` to the letter, if it is JSON. Raises InvalidConfiguration."""
    import msgspec

    try:
        return msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError) as error:
        message = f"--payload is not JSON: {error}"
        raise InvalidConfiguration(message) from None


def say(value: Any, *, as_json: bool, text: str) -> None:
    """Print ``value`` as JSON, or else ``text``."""
    if as_json:
        import msgspec

        typer.echo(printable_json(msgspec.json.encode(value).decode()))
    else:
        tell(text, lines=True)


def tell(text: str, *, lines: bool = False) -> None:
    """Print ``text``, in which strangers may have written; it may be several ``lines``."""
    typer.echo(printable(text, lines=lines))


def line_of(task: Task) -> str:
    """Return ``task`` in one line."""
    return (
        f"{task.id}  {task.status.value:<10}  {task.kind:<20}  {task.queue:<12}  "
        f"{at_text(task.earliest_at)}  attempt {task.attempt}"
    )


def progress_text(progress: Progress) -> str:
    """Return how far a task is, in one line."""
    fraction = "" if progress.fraction is None else f"{progress.fraction:.0%}"
    data = "" if progress.data is None else progress.data.decode()
    return " ".join(part for part in (fraction, progress.message, data) if part) or "-"


def at_text(moment: datetime | None) -> str:
    """Return a time as it is printed."""
    return "-" if moment is None else moment.isoformat().replace("+00:00", "Z")
