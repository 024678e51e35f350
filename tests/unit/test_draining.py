"""What ``drain`` returns and raises, and the first test that docs/testing.md shows."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taskscheduler import Cancel, Context, Discard, Handlers, Retry, Snooze, TaskStatus
from taskscheduler.testing import Drained, drain

if TYPE_CHECKING:
    from taskscheduler import Scheduler
    from taskscheduler.testing import ManualClock

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_first_test_runs_as_printed(tmp_path: Path) -> None:
    """With no plugin but the package's own."""
    (block,) = [
        each
        for each in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        if "scheduler_in_memory" in each
    ]
    (tmp_path / "test_first.py").write_text(block, "utf-8")
    for without in (["-p", "no:anyio"], []):
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *without],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "1 passed" in ran.stdout


@pytest.mark.anyio
async def test_outcomes_are_counted(scheduler_in_memory: Scheduler) -> None:
    handlers = Handlers()

    @handlers.register("job")
    async def job(_: Context, wanted: str) -> None:
        match wanted:
            case "snooze":
                raise Snooze(timedelta(hours=1))
            case "retry":
                raise Retry(after=timedelta(hours=1))
            case "cancel":
                raise Cancel
            case "discard":
                raise Discard
            case _:
                return

    assert await drain(scheduler_in_memory, handlers) == Drained()
    assert not Drained()
    specs = ["snooze", "retry", "retry", "cancel", "discard", *["done"] * 3]
    await scheduler_in_memory.schedule_many([("job", spec) for spec in specs])
    drained = await drain(scheduler_in_memory, handlers)
    assert drained == Drained(completed=3, retried=2, snoozed=1, cancelled=1, failed=1)
    assert drained.attempts == len(specs)


@pytest.mark.anyio
async def test_a_task_that_expired_is_counted_and_had_no_attempt(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock
) -> None:
    handlers = Handlers()

    @handlers.register("job")
    async def job(_: Context) -> None: ...

    now = await scheduler_in_memory.store.schedules.now()
    await scheduler_in_memory.schedule("job", expires_at=now + timedelta(minutes=1))
    manual_clock.advance(hours=1)
    drained = await drain(scheduler_in_memory, handlers)
    assert drained == Drained(expired=1)
    assert drained
    assert drained.attempts == 0


class Odd(Exception):
    """What a handler raises."""


@pytest.mark.anyio
@pytest.mark.parametrize("plain", [False, True])
async def test_what_a_handler_raises_is_raised(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock, *, plain: bool
) -> None:
    """After everything is stored; or else it is counted alone."""
    handlers = Handlers()
    if plain:

        @handlers.register("job")
        def job(_: Context) -> None:
            raise Odd

    else:

        @handlers.register("job")
        async def job_(_: Context) -> None:
            raise Odd

    task_id = await scheduler_in_memory.schedule("job", max_attempts=2)
    with pytest.raises(Odd) as found:
        await drain(scheduler_in_memory, handlers)
    assert any("job" in each.name for each in found.traceback)
    assert (await scheduler_in_memory.get(task_id)).status is TaskStatus.PENDING
    assert list(await scheduler_in_memory.store.workers.registered()) == []
    manual_clock.advance(hours=1)
    assert await drain(scheduler_in_memory, handlers, raises=False) == Drained(failed=1)


@pytest.mark.anyio
async def test_several_are_told_of(scheduler_in_memory: Scheduler) -> None:
    handlers = Handlers()

    @handlers.register("job")
    async def job(_: Context, name: str) -> None:
        raise Odd(name)

    await scheduler_in_memory.schedule_many([("job", "a"), ("job", "b")])
    with pytest.raises(Odd, match="a") as found:
        await drain(scheduler_in_memory, handlers)
    assert found.value.__notes__ == ["1 more attempts of the same turn raised, such as Odd: b"]


@pytest.mark.anyio
async def test_a_payload_that_does_not_fit_is_raised(scheduler_in_memory: Scheduler) -> None:
    handlers = Handlers()

    @handlers.register("job")
    async def job(_: Context, payload: int) -> None: ...

    await scheduler_in_memory.schedule("job", "three")
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        await drain(scheduler_in_memory, handlers)


@pytest.mark.anyio
@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), SystemExit(2)])
async def test_what_ends_programs_does_not_end_the_test(
    scheduler_in_memory: Scheduler, error: Any
) -> None:
    handlers = Handlers()

    @handlers.register("job")
    async def job(_: Context) -> None:
        raise error

    await scheduler_in_memory.schedule("job")
    with pytest.raises(RuntimeError, match=type(error).__name__) as found:
        await drain(scheduler_in_memory, handlers)
    assert found.value.__cause__ is error
