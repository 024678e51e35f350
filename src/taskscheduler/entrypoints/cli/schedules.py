"""``schedules``: what is stored again and again, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.rule import Fold, Gap
from taskscheduler.domain.schedule import CatchUp, NewSchedule, Overlap
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli._runtime import (
    at_text,
    json_of,
    moment_of,
    say,
    tell,
    with_scheduler,
)
from taskscheduler.entrypoints.cli.bulk import progress_bar
from taskscheduler.entrypoints.cli.known_kinds import require_known_unless
from taskscheduler.entrypoints.cli.paging import all_by_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime, timedelta

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.client.schedules import Schedules
    from taskscheduler.domain.ledger import LedgerEntry
    from taskscheduler.domain.schedule import Schedule

PAGE = 1_000

app = typer.Typer(help="Make, list, show and change schedules.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A schedule.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="One or more schedules.")]


@app.command("list")
def list_(
    database_url: o.DatabaseUrl = None, schema: o.Schema = "taskscheduler", json: o.Json = False
) -> None:
    """List schedules by name, and when each fires next."""

    async def work(scheduler: Scheduler) -> None:
        found = all_by_name(lambda after: scheduler.schedules.list(after=after, limit=PAGE))
        if json:
            from taskscheduler.entrypoints.messages.schedules import ScheduleMessage

            say([ScheduleMessage.of(each) async for each in found], as_json=True, text="")
            return
        async for schedule in found:
            tell(line_of(schedule))

    with_scheduler(database_url, schema, work)


@app.command()
def show(
    name: Name,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Show one schedule: what it stores, and what it stored last."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.schedules import ScheduleMessage

        schedule = await scheduler.schedules.get(name)
        lines = [line_of(schedule), *details_of(schedule)]
        say(ScheduleMessage.of(schedule), as_json=json, text="\n  ".join(lines))

    with_scheduler(database_url, schema, work)


@app.command()
def put(
    name: Name,
    kind: Annotated[str, typer.Option(help="What is to be done, such as Foo.")],
    cron: Annotated[
        str | None,
        typer.Option(
            help="Minute, hour, day of the month, month, weekday; six fields if seconds come "
            "first; or @hourly, @daily, @weekly, @monthly, @yearly.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=o.YEAR_S,
            metavar="SECONDS",
            help="Instead of --cron: so often, counted from --starts-at or from its making.",
            show_default=False,
        ),
    ] = None,
    time_zone: Annotated[
        str, typer.Option(help="Whose clocks --cron goes by, such as Europe/Berlin.")
    ] = "UTC",
    payload: Annotated[str, typer.Option(help="JSON for the handler.")] = "null",
    queue: Annotated[str, typer.Option(help="Where workers look for its tasks.")] = "default",
    priority: Annotated[int, typer.Option(min=0, max=9, help="0 is the most urgent.")] = 5,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, help="By default the handler's.")
    ] = None,
    timeout: o.AttemptTimeout = None,
    group: o.Group = None,
    starts_at: Annotated[
        str | None, typer.Option(help="Not before: ISO 8601 with an offset.", show_default=False)
    ] = None,
    ends_at: Annotated[
        str | None, typer.Option(help="Not after: ISO 8601 with an offset.", show_default=False)
    ] = None,
    catch_up: Annotated[
        CatchUp | None,
        typer.Option(help="Which fires that were missed are caught up with: by default latest."),
    ] = None,
    overlap: Annotated[
        Overlap, typer.Option(help="What becomes of fires while the last task has not ended.")
    ] = Overlap.ALLOW,
    crons: Annotated[
        list[str] | None,
        typer.Option("--also", help="Another expression beside --cron; may be repeated."),
    ] = None,
    gap: Annotated[
        Gap | None, typer.Option(help="Times that clocks leave out: by default by --cron.")
    ] = None,
    fold: Annotated[
        Fold | None, typer.Option(help="Times that clocks show twice: by default by --cron.")
    ] = None,
    jitter: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=86_400,
            metavar="SECONDS",
            help="Each task is due up to so much after its fire.",
        ),
    ] = None,
    max_fires: Annotated[int | None, typer.Option(min=1, help="End with so many tasks.")] = None,
    catch_up_window: Annotated[
        float | None,
        typer.Option(
            min=1, max=o.YEAR_S, metavar="SECONDS", help="Let go of fires that are later than that."
        ),
    ] = None,
    catch_up_max: Annotated[
        int | None,
        typer.Option(min=1, help="Of fires that are due at once store so many, the latest."),
    ] = None,
    pause_after_failures: Annotated[
        int | None, typer.Option(min=1, help="So many tasks in a row that failed pause it.")
    ] = None,
    rrule: Annotated[
        str | None, typer.Option(help="A recurrence rule of RFC 5545, beside --cron or instead.")
    ] = None,
    except_: Annotated[
        list[str] | None,
        typer.Option(
            "--except",
            help="A day, days (FIRST/LAST), a moment, a cron expression or a recurrence rule that "
            "is left out; may be repeated.",
        ),
    ] = None,
    tags: o.Tags = None,
    accept_unknown_kinds: o.AcceptUnknownKinds = False,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Make a schedule, or put it in the place of the one of that name; a pause stays."""
    from taskscheduler.application.client.task_batch import encode_payload

    if (cron is None and not crons and rrule is None) == (every is None):
        message = "give either --cron or --every; --also and --rrule go with --cron"
        raise InvalidConfiguration(message)
    definition = NewSchedule(
        name=name,
        kind=kind,
        cron=cron,
        every=None if every is None else o.span("--every", every),
        time_zone=time_zone,
        payload_json=encode_payload(json_of(payload)),
        queue=queue,
        priority=priority,
        max_attempts=max_attempts,
        timeout=None if timeout is None else o.span("--timeout", timeout),
        starts_at=_moment_of("--starts-at", starts_at),
        ends_at=_moment_of("--ends-at", ends_at),
        overlap=overlap,
        crons=tuple(crons or ()),
        gap=gap,
        fold=fold,
        jitter=None if jitter is None else o.span("--jitter", jitter),
        max_fires=max_fires,
        catch_up_window=None
        if catch_up_window is None
        else o.span("--catch-up-window", catch_up_window),
        catch_up_max=catch_up_max,
        pause_after_failures=pause_after_failures,
        group=group,
        rrule=rrule,
        except_=tuple(except_ or ()),
        tags=tuple(tags or ()),
        **({} if catch_up is None else {"catch_up": catch_up}),
    )

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.schedules import ScheduleMessage

        await require_known_unless(accept_unknown_kinds, scheduler, kind)
        before = await _found(scheduler.schedules, name)
        after, made = await scheduler.schedules.put(definition)
        # By what it is, not by its revision: it may have fired meanwhile.
        as_it_was = before is not None and before.definition == after.definition
        done = "made" if made else "as it was" if as_it_was else "changed"
        say(ScheduleMessage.of(after), as_json=json, text=f"{line_of(after)}  {done}")

    with_scheduler(database_url, schema, work)


@app.command()
def delete(
    names: Names,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Delete schedules; the tasks that they have stored stay."""

    async def work(scheduler: Scheduler) -> None:
        for name in names:
            await scheduler.schedules.delete(name)
            say({"deleted": name}, as_json=json, text=f"deleted {name}")

    with_scheduler(database_url, schema, work)


@app.command()
def pause(
    names: Names,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Let schedules not fire until they are resumed; tasks that they have stored go on."""
    _for_each(names, database_url, schema, lambda s: s.pause, as_json=json)


@app.command()
def resume(
    names: Names,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Let paused schedules fire again, from now on; what passed meanwhile is left out."""
    _for_each(names, database_url, schema, lambda s: s.resume, as_json=json)


@app.command()
def trigger(
    name: Name,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Store a task of a schedule for now, even of one that is paused, and print its id."""

    async def work(scheduler: Scheduler) -> None:
        task_id = await scheduler.schedules.trigger(name)
        say({"id": task_id}, as_json=json, text=str(task_id))

    with_scheduler(database_url, schema, work)


@app.command()
def preview(
    name: Name,
    count: Annotated[int, typer.Option("-n", min=1, max=100, help="How many fires.")] = 10,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Tell when a schedule fires next, and then, in UTC and on the clocks of its zone."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.schedules import PreviewMessage

        schedule = await scheduler.schedules.get(name)
        found = PreviewMessage.of(
            schedule.definition, await scheduler.schedules.foresee(name, count)
        )
        if json:
            say(found, as_json=True, text="")
            return
        left_out = {fire.at for fire in found.left_out}
        for fire in sorted([*found.fires, *found.left_out], key=lambda fire: fire.at):
            local = f"{fire.local:%a} {fire.local.isoformat()}"
            note = "" if fire.note is None else f"  {fire.clocks}: {fire.note}"
            mark = "  does not fire" if fire.at in left_out else ""
            tell(f"{at_text(fire.at)}  {local}  {found.time_zone}{mark}{note}")

    with_scheduler(database_url, schema, work)


@app.command()
def fires(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, help="How many, the latest first.")] = 100,
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Tell what became of a schedule's fires, the latest first."""

    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.http.routes.schedule_fires import LedgerMessage

        entries = await scheduler.schedules.fires(name, limit=limit)
        if json:
            say([LedgerMessage.of(entry) for entry in entries], as_json=True, text="")
            return
        for entry in entries:
            tell(entry_of(entry))

    with_scheduler(database_url, schema, work)


@app.command()
def backfill(
    name: Name,
    first: Annotated[str, typer.Option("--from", help="The first: ISO 8601 with an offset.")],
    last: Annotated[str, typer.Option("--to", help="The last, not in the future.")],
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    json: o.Json = False,
) -> None:
    """Store the tasks of a schedule's fires of a span that have none; both ends belong to it."""
    start, end = moment_of(first, "--from"), moment_of(last, "--to")

    async def work(scheduler: Scheduler) -> None:
        looked_at = stored = 0
        following: datetime | None = start
        with progress_bar(hidden=json) as show:
            while following is not None:
                step = await scheduler.schedules.backfill(name, following, end)
                looked_at += step.looked_at
                stored += len(step.task_ids)
                following = step.next_from
                show(
                    f"{stored} stored of {looked_at} fires; to go on from here: --from {following}"
                )
        numbers = {"looked_at": looked_at, "backfilled": stored, "present": looked_at - stored}
        text = f"stored the tasks of {stored} of {looked_at} fires; the others had one"
        say(numbers, as_json=json, text=text)

    with_scheduler(database_url, schema, work)


def entry_of(entry: LedgerEntry) -> str:
    """Return ``entry`` in one line."""
    late = "" if entry.late is None else f"  late {_seconds(entry.late)}"
    reason = "" if entry.reason is None else f"  {entry.reason}"
    outcome = f"{entry.outcome.value:<10}"
    return f"{at_text(entry.at)}  {outcome}  {entry.task_id or '-'}{late}{reason}"


def line_of(schedule: Schedule) -> str:
    """Return ``schedule`` in one line."""
    definition = schedule.definition
    if definition.every is not None:
        times = f"every {_seconds(definition.every)}"
    else:
        rules = [*definition.rule.expressions, *([definition.rrule] if definition.rrule else [])]
        times = " | ".join(rules)
    if schedule.is_paused:
        state = f"paused since {at_text(schedule.paused_at)}"
        if schedule.pause_reason is not None:
            state += f": {schedule.pause_reason}"
    elif schedule.next_fire_at is None:
        state = "ended"
    else:
        state = f"next {at_text(schedule.next_fire_at)}"
    return (
        f"{definition.name:<20}  {definition.kind:<20}  {definition.queue:<12}  "
        f"{times:<16}  {definition.time_zone}  {state}"
    )


def details_of(schedule: Schedule) -> list[str]:
    """Return what the one line of ``schedule`` leaves out."""
    definition = schedule.definition
    attempts = "as its handler" if definition.max_attempts is None else definition.max_attempts
    timeout = "as its handler" if definition.timeout is None else _seconds(definition.timeout)
    jitter = "-" if definition.jitter is None else _seconds(definition.jitter)
    window = "-" if definition.catch_up_window is None else _seconds(definition.catch_up_window)
    start, end = at_text(definition.starts_at), at_text(definition.ends_at)
    made, changed = at_text(schedule.created_at), at_text(schedule.changed_at)
    return [
        f"payload: {definition.payload_json.decode()}",
        f"priority {definition.priority}  attempts {attempts}  timeout {timeout}",
        f"starts {start}  ends {end}",
        f"catch-up {definition.catch_up.value}  overlap {definition.overlap.value}",
        f"last due {at_text(schedule.last_fire_at)}  last task {schedule.last_task_id or '-'}",
        f"made {made}  changed {changed}  revision {schedule.revision}",
        f"gap {_policy(definition.gap)}  fold {_policy(definition.fold)}  jitter {jitter}",
        f"tasks so far {schedule.fire_count}  at most {definition.max_fires or '-'}",
        f"catch-up within {window}  at most {definition.catch_up_max or '-'}",
        f"pause after failures {definition.pause_after_failures or '-'}",
        f"except {' | '.join(definition.except_) or '-'}",
        f"group {definition.group or '-'}",
        f"tags {' '.join(definition.tags) or '-'}",
    ]


def _policy(policy: Gap | Fold | None) -> str:
    return "by the expression" if policy is None else policy.value


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.6f}".rstrip("0").rstrip(".") + " s"


def _moment_of(option: str, text: str | None) -> datetime | None:
    return None if text is None else moment_of(text, option)


async def _found(schedules: Schedules, name: str) -> Schedule | None:
    from taskscheduler.domain.errors import ScheduleNotFound

    try:
        return await schedules.get(name)
    except ScheduleNotFound:
        return None


def _for_each(
    names: list[str],
    database_url: str | None,
    schema: str,
    verb: Callable[[Schedules], Callable[[str], Awaitable[Schedule]]],
    *,
    as_json: bool,
) -> None:
    async def work(scheduler: Scheduler) -> None:
        from taskscheduler.entrypoints.messages.schedules import ScheduleMessage

        for name in names:
            schedule = await verb(scheduler.schedules)(name)
            say(ScheduleMessage.of(schedule), as_json=as_json, text=line_of(schedule))

    with_scheduler(database_url, schema, work)
