"""A recurring task: an application puts its schedule when it starts, and a worker does the rest.

Run it with ``python examples/recurring.py``. Nights pass at once, for the clock is one for tests.
With ``Scheduler.postgres(url)`` in the place of ``in_memory(clock)``, and a worker that runs all
the time, as in ``library.py``, the same schedule fires for years.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from taskscheduler import Context, Handlers, NewSchedule
from taskscheduler.testing import ManualClock, drain, in_memory

handlers = Handlers()
BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = NewSchedule(
    name="nightly-report",
    kind="report",
    cron="0 3 * * *",
    time_zone="Europe/Berlin",
    payload={"to": "team"},
)


class Report(msgspec.Struct):
    """The payload of ``report``."""

    to: str


@handlers.register("report")
async def report(context: Context, wanted: Report) -> None:
    """Report on a night: the task's ``execute_at`` is when it was due, however late this is."""
    due = (await context.scheduler.get(context.id)).execute_at
    local = due.astimezone(BERLIN)
    print(f"report to {wanted.to}: {local:%d %B %H:%M} in Berlin, {due:%H:%M} in UTC")


async def main() -> None:
    """Let some nights pass, among them the one in which the clocks are put forward."""
    clock = ManualClock(datetime(2026, 3, 27, 12, tzinfo=UTC))
    async with in_memory(clock) as scheduler:
        # An application may do so whenever it starts: one that is so already is not changed.
        await scheduler.schedules.put(NIGHTLY)
        await scheduler.schedules.put(NIGHTLY)
        for at in await scheduler.schedules.preview(NIGHTLY.name, 2):
            print(f"it will fire at {at:%d %B %H:%M} UTC")
        for _ in range(2):
            clock.advance(days=1)
            await drain(scheduler, handlers)  # what a worker does: fire what is due, and run it
        clock.advance(days=5)  # nobody works for five nights: one report, for the last of them
        await drain(scheduler, handlers)


if __name__ == "__main__":
    asyncio.run(main())
