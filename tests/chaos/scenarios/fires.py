"""A storm of fires: workers die and stand still, schedules are edited, the store's clock steps."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from taskscheduler import CatchUp, NewSchedule, Scheduler, StoreUnavailable
from taskscheduler.domain.errors import ScheduleChanged
from tests.chaos.checker import Verdict
from tests.chaos.fire_checker import Beat, Fired, judge_fires
from tests.chaos.lab import Lab, note, quiet
from tests.chaos.report import Options, Row
from tests.chaos.scenarios.clock import set_clock
from tests.chaos.scenarios.kills import CONCURRENCY, WORKERS, strike

NAME = "fires"
STEP_S = 20.0
"""So far the clock steps: many fires become due at once, and after a step back none for a while."""
READY_S = 4.0
FIRED = "SELECT unique_key, execute_at FROM task WHERE unique_key LIKE '%@%'"
LET_GO = "SELECT schedule, outcome FROM schedule_fire WHERE outcome <> 'stored'"
CAUGHT_UP = "SELECT count(*) FILTER (WHERE next_fire_at <= clock()), clock() FROM schedule"


def run(options: Options) -> list[Row]:
    """Let schedules fire each second or two while all that can happen to them does."""
    count, kills = (20, 8) if options.short else (100, 40)
    with quiet(), Lab(options.folder / NAME, seed=options.seed) as lab:
        times, verdict = asyncio.run(storm(lab, count, kills))
    row = Row.of(
        verdict,
        fault="kills, stops, edits and clock steps while schedules fire",
        times=times,
        command=options.command(NAME),
        worst_s=None,
    )
    row.remarks = [f"{count} schedules, {verdict.tasks} fires"]
    return [row]


async def storm(lab: Lab, count: int, kills: int) -> tuple[int, Verdict]:
    """Do harm until ``kills`` workers have died; return how often that was, and the verdict."""
    await lab.hire_all(WORKERS, concurrency=CONCURRENCY)
    async with lab.scheduler() as scheduler:
        beats = await make_schedules(scheduler, count)
        over_s = kills * 1.0
        stopped = asyncio.Event()
        editing = asyncio.create_task(edit_all_the_while(lab, scheduler, sorted(beats), stopped))
        stepping = asyncio.create_task(step_the_clock(lab, over_s))
        killed, paused = await strike(lab, kills, over_s)
        steps = await stepping
        stopped.set()
        edits = await editing
    for index in range(WORKERS):
        lab.resume(index)
        if lab.crew[index] is None:
            lab.hire(index, concurrency=CONCURRENCY)
    note(f"{killed} killed, {paused} paused, {edits} edits, {steps} steps of the clock")
    await lab.until(lambda: caught_up(lab) is not None, 60, "fires were left")
    until = caught_up(lab)
    return killed + paused + edits + steps, judge_all(lab, beats, until)


async def make_schedules(scheduler: Scheduler, count: int) -> dict[str, Beat]:
    """Make schedules of every sort; return when each fires."""
    now = datetime.now(UTC).replace(microsecond=0)
    first = now + timedelta(seconds=READY_S + now.second % 2)
    beats: dict[str, Beat] = {}
    for number in range(count):
        name = f"fire-{number}"
        rule: dict[str, Any] = {"every": timedelta(seconds=1)}
        if number % 3 == 1:
            rule = {"cron": "*/2 * * * * *", "time_zone": "Europe/Berlin"}
        elif number % 3 == 2:
            rule = {"crons": ("1-59/2 * * * * *", "*/2 * * * * *")}
        step_s = 2 if number % 3 == 1 else 1
        beats[name] = Beat(first=first, step=timedelta(seconds=step_s))
        await scheduler.schedules.put(
            NewSchedule(
                name=name,
                kind="steady",
                payload={"seconds": 0.001},
                starts_at=first,
                catch_up=CatchUp.ALL,
                **rule,
            )
        )
    return beats


async def edit_all_the_while(
    lab: Lab, scheduler: Scheduler, names: list[str], stopped: asyncio.Event
) -> int:
    """Change what schedules store, and never when, until ``stopped``; return how often."""
    edits = 0
    while not stopped.is_set():
        await asyncio.sleep(0.02)
        name = lab.random.choice(names)
        change: dict[str, Any] = lab.random.choice(
            [
                {"priority": lab.random.randrange(10)},
                {"payload": {"seconds": lab.random.random() / 100}},
                {"max_attempts": lab.random.randint(5, 20)},
                {"queue": lab.random.choice(["default", "default", "nobodys"])},
            ]
        )
        # All that is lost where somebody else is always first is an edit.
        with contextlib.suppress(ScheduleChanged, StoreUnavailable):
            await scheduler.schedules.edit(name, **change)
            edits += 1
    return edits


async def step_the_clock(lab: Lab, over_s: float) -> int:
    """Step forward, back, and further back, and be right again in the end."""
    offsets = [STEP_S, 0.0, -STEP_S, 0.0]
    for offset in offsets:
        await asyncio.sleep(over_s / (len(offsets) + 1))
        await asyncio.to_thread(set_clock, lab, offset)
    return len(offsets)


def caught_up(lab: Lab) -> datetime | None:
    """Return the store's time if nothing is due by then."""
    with contextlib.suppress(psycopg.Error), lab.server.admin() as connection:
        row = connection.execute(CAUGHT_UP).fetchone()
        if row is not None and row[0] == 0:
            return row[1]
    return None


def judge_all(lab: Lab, beats: dict[str, Beat], until: datetime | None) -> Verdict:
    """Judge what the store holds."""
    with lab.server.admin() as connection:
        if until is None:  # it never caught up, so all of it was to be there by now
            until = datetime.now(UTC)
        rows = connection.execute(FIRED).fetchall()
        let_go = [(name, outcome) for name, outcome in connection.execute(LET_GO).fetchall()]
    fired = []
    for key, execute_at in rows:
        name, _, nominal = key.rpartition("@")
        at = datetime.fromisoformat(nominal)
        fired.append(Fired(schedule=name, nominal=at, execute_at=execute_at))
    return judge_fires(beats, fired, until=until, let_go=let_go)
