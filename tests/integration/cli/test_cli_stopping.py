"""A second signal ends the program at once, whatever handlers do; a child's end is its own."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from taskscheduler import Scheduler, TaskQuery
from tests.integration.processes import Programs, eventually
from tests.integration.stubborn import STUBBORN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler import Attempt, Task

WITH_APP = ("worker", "--app", "stubborn:handlers", "--no-http-targets", "--lease", "4")
AT_ONCE_S = 12.0
"""A machine that is busy with other tests is slow to end a process; 300 s is what handlers take."""


@pytest.fixture
def stubborn(programs: Programs) -> Programs:
    programs.write("stubborn.py", STUBBORN)
    return programs


def scheduler_of(programs: Programs) -> Scheduler:
    return Scheduler.postgres(
        programs.env["DATABASE_URL"], schema=programs.env["TASKSCHEDULER_SCHEMA"]
    )


def put(programs: Programs, *kinds: str) -> None:
    async def store() -> None:
        async with scheduler_of(programs) as scheduler:
            await scheduler.schedule_many([(kind, None) for kind in kinds])

    asyncio.run(store())


def look(programs: Programs) -> list[tuple[Task, Sequence[Attempt]]]:
    async def read() -> list[tuple[Task, Sequence[Attempt]]]:
        async with scheduler_of(programs) as scheduler:
            tasks = await scheduler.list(TaskQuery())
            return [(task, await scheduler.attempts(task.id)) for task in tasks]

    return asyncio.run(read())


def statuses(programs: Programs) -> Counter[str]:
    return Counter(task.status.value for task, _ in look(programs))


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("kind", ["Thread", "Sleep", "ToThread", "Loop"])
def test_a_second_signal_ends_a_worker_whose_handler_does_not_stop(
    stubborn: Programs, kind: str, processes: str
) -> None:
    put(stubborn, kind)
    patient = ("--shutdown-timeout", "600", "--processes", processes)
    worker = stubborn.start(*WITH_APP, *patient)
    eventually(lambda: worker.lines("begun"), "it runs")
    worker.process.terminate()
    time.sleep(1)
    assert worker.runs
    began = time.monotonic()
    worker.process.send_signal(signal.SIGINT)
    worker.process.wait(30)
    assert time.monotonic() - began < AT_ONCE_S, worker.story()
    if kind != "Loop":  # there the loop cannot give anything back
        assert worker.process.returncode == 0, worker.story()
        assert [(task.status.value, task.attempt) for task, _ in look(stubborn)] == [("Pending", 0)]


@pytest.mark.parametrize("kind", ["Thread", "ToThread"])
def test_what_does_not_stop_in_time_is_not_waited_for(stubborn: Programs, kind: str) -> None:
    put(stubborn, kind)
    worker = stubborn.start(*WITH_APP, "--shutdown-timeout", "0.5")
    eventually(lambda: worker.lines("begun"), "it runs")
    worker.stop()
    assert [(task.status.value, task.attempt) for task, _ in look(stubborn)] == [("Pending", 0)]


def test_a_worker_outlives_the_children_of_its_handlers(stubborn: Programs) -> None:
    """Whoever ends them ends them alone."""
    kinds = ("Terminates", "Pools", "PoolsOnTheLoop", "ForksAndReturns")
    put(stubborn, *kinds)
    worker = stubborn.start(*WITH_APP)
    eventually(
        lambda: statuses(stubborn) == {"Completed": len(kinds)} or not worker.runs, "all are done"
    )
    assert worker.runs, worker.story()
    assert {task.attempt for task, _ in look(stubborn)} == {1}, worker.story()
    assert sorted(worker.lines()) == ["pooled 6", "pooled 6", "terminated", "waited 7"]
    worker.stop()


def test_no_exception_of_a_handler_ends_the_worker(stubborn: Programs) -> None:
    """Not even those that end programs: each is counted as an attempt that failed."""
    kinds = (
        *("Interrupt", "InterruptThread", "ExitOfAChildTask", "InterruptOfAChildTask"),
        *["Quick"] * 3,
    )
    put(stubborn, *kinds)
    worker = stubborn.start(*WITH_APP)
    eventually(
        lambda: statuses(stubborn) == {"Completed": 3, "Failed": 4} or not worker.runs, "all end"
    )
    assert worker.runs, worker.story()
    for task, attempts in look(stubborn):
        if task.kind != "Quick":
            assert [attempt.outcome for attempt in attempts] == ["retry", "fail"], task.kind
    worker.process.terminate()
    assert worker.process.wait(30) == 0


def test_a_task_that_brings_workers_down_is_found_out(stubborn: Programs) -> None:
    """It alone pays, and the others, which were there, are done; so is what comes meanwhile."""
    put(stubborn, "Dies", *["Waits"] * 7)
    worker = stubborn.start(
        *("worker", "--app", "stubborn:handlers", "--no-http-targets", "--lease", "2"),
        *("--processes", "2", "--concurrency", "8"),
    )
    eventually(
        lambda: statuses(stubborn) == {"Completed": 7, "Failed": 1} or not worker.runs,
        "all end",
        90,
    )
    assert worker.runs, worker.story()
    for task, attempts in look(stubborn):
        if task.kind == "Dies":
            assert attempts[-1].outcome == "fail"
            assert attempts[-1].error is not None
            assert attempts[-1].error.type == "WorkerLost"
        else:
            assert task.attempt - task.excused == 1, task
    worker.stop()
