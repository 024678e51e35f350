"""The library on its own: handlers, verdicts, a worker. In memory, so nothing is to be set up.

Run it with ``python examples/library.py``. Put ``Scheduler.postgres(url)`` in the place of
``Scheduler.in_memory()``, and the same program is durable and can run on many machines.
"""

# ruff: noqa: TRY003 - an example gives its reasons where they are read
from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec

from taskscheduler import (
    Cancel,
    Context,
    Discard,
    Handlers,
    Retry,
    RetryPolicy,
    Scheduler,
    Snooze,
    Task,
    TaskId,
    Worker,
)

handlers = Handlers()
soon = timedelta(milliseconds=50)


class Receipt(msgspec.Struct):
    """What a payload holds. It is decoded and validated before the handler is called."""

    to: str
    cents: int


@handlers.register("send_receipt", retry=RetryPolicy(max_attempts=5, base=soon))
async def send_receipt(context: Context, receipt: Receipt) -> None:
    """Fail once, to show a retry. Returning completes the task; raising retries it."""
    if context.attempt == 1:
        raise ConnectionError("the mail server is away")
    print(f"send_receipt: {receipt.cents} cents to {receipt.to}, attempt {context.attempt}")


@handlers.register("resize_picture", timeout=timedelta(seconds=30))
def resize_picture(context: Context, name: str) -> None:
    """Run in a thread, for a plain ``def`` may block; look at ``cancelled`` from time to time."""
    if not context.cancelled:
        print(f"resize_picture: {name}")


polls: list[TaskId] = []


@handlers.register("await_payment")
async def await_payment(context: Context) -> None:
    """Say what should happen by raising a verdict."""
    polls.append(context.id)
    if len(polls) < 3:
        raise Snooze(soon)  # call again later; this attempt does not count
    if len(polls) < 4:
        raise Retry(after=soon, reason="no answer")  # counts; replaces the policy's delay
    raise Cancel("the customer changed their mind")  # ends as Cancelled


@handlers.register("charge_card")
async def charge_card(_: Context) -> None:
    """Give up at once: trying again cannot help."""
    raise Discard("the card has expired")  # ends as Failed, whatever attempts are left


async def main() -> None:
    """Schedule some tasks, run them, and say what became of each."""
    async with Scheduler.in_memory() as scheduler:
        ids = [
            await scheduler.schedule("send_receipt", Receipt("ada@example.org", 1200)),
            await scheduler.schedule("resize_picture", "cat.png", priority=0),
            await scheduler.schedule("await_payment", execute_at=datetime.now(UTC) + soon),
            await scheduler.schedule("charge_card"),
            # The payload fits no Receipt: the task fails at once, and the error names the field.
            await scheduler.schedule("send_receipt", {"to": "bob@example.org", "cents": "many"}),
        ]
        worker = Worker(scheduler, handlers, concurrency=50)
        running = asyncio.create_task(worker.run())
        for task_id in ids:
            task = await ended(scheduler, task_id)
            print(f"{task.kind}: {task.status} after {task.attempt} attempt(s)")
            for attempt in await scheduler.attempts(task_id):
                if attempt.error is not None:
                    print(f"  attempt {attempt.number}: {attempt.error.message}")
        worker.stop()
        await running


async def ended(scheduler: Scheduler, task_id: TaskId) -> Task:
    """Wait until the task is Completed, Failed or Cancelled."""
    while True:
        task = await scheduler.get(task_id)
        if task.status.is_final:
            return task
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
