"""The blocking scheduler: every verb, from any thread, where a loop runs already, after a fork."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from taskscheduler import (
    InvalidTask,
    NewSchedule,
    NotAConnection,
    Scheduler,
    StoreUnavailable,
    SyncScheduler,
    TaskCancelled,
    TaskNotFound,
    TaskQuery,
    TaskStatus,
)
from taskscheduler.application.client.errands import Errands, InCallersThread, home
from taskscheduler.application.client.schedules import Schedules
from taskscheduler.application.client.sync import SyncSchedules
from taskscheduler.domain.why import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def scheduler() -> Iterator[SyncScheduler]:
    with SyncScheduler.in_memory() as scheduler:
        yield scheduler


@pytest.mark.parametrize(
    ("asynchronous", "blocking"), [(Scheduler, SyncScheduler), (Schedules, SyncSchedules)]
)
def test_every_verb_has_a_twin(asynchronous: type, blocking: type):
    """A verb that is added to the one is to be added to the other: one line in ``sync.py``."""
    verbs = {
        name
        for name, _ in inspect.getmembers(asynchronous, callable)
        if not name.startswith("_") and name not in {"postgres", "in_memory"}
    }
    lacking = verbs - set(dir(blocking))
    assert lacking == set(), f"{blocking.__name__} has no {sorted(lacking)}"


def test_each_verb_says_what_its_twin_says(scheduler: SyncScheduler):
    twin = Scheduler.in_memory()
    assert inspect.signature(scheduler.edit) == inspect.signature(twin.edit)
    assert SyncScheduler.edit.__doc__ == scheduler.edit.__doc__ == Scheduler.edit.__doc__
    assert SyncScheduler.postgres.__doc__ == Scheduler.postgres.__doc__


def test_a_task_is_stored_changed_and_looked_at(scheduler: SyncScheduler):
    later = datetime.now(UTC) + timedelta(hours=1)
    task_id = scheduler.schedule("k", {"a": 1}, execute_at=later, priority=2)
    assert scheduler.get(task_id).payload == {"a": 1}
    assert scheduler.edit(task_id, priority=1).priority == 1
    assert [each.reason for each in scheduler.why(task_id).causes] == [
        Reason.NOT_DUE,
        Reason.NO_WORKER,
    ]
    assert scheduler.run_now(task_id).status is TaskStatus.PENDING
    assert scheduler.cancel(task_id).status is TaskStatus.CANCELLED
    assert scheduler.retry(task_id).status is TaskStatus.PENDING
    assert [each.id for each in scheduler.list(TaskQuery(status=TaskStatus.PENDING))] == [task_id]
    assert scheduler.attempts(task_id) == []
    scheduler.delete(task_id)
    with pytest.raises(TaskNotFound):
        scheduler.get(task_id)
    ids = scheduler.schedule_many([("k", 1), scheduler.prepare("k", 2)])
    assert scheduler.put(task := scheduler.prepare("k")) == task.id
    assert scheduler.put_many([scheduler.prepare("k")])
    assert scheduler.pause_queue("default").paused_at is not None
    assert scheduler.resume_queue("default").paused_at is None
    assert len(ids) == 2
    assert scheduler.workers() == []


def test_a_result_is_waited_for(scheduler: SyncScheduler):
    task_id = scheduler.schedule("k")
    with pytest.raises(TimeoutError):
        scheduler.result(task_id, timeout=0.01)
    assert scheduler.ending(task_id) is None
    scheduler.cancel(task_id)
    with pytest.raises(TaskCancelled):
        scheduler.result(task_id)
    assert scheduler.notes(task_id) is not None


def test_schedules_too(scheduler: SyncScheduler):
    made, is_new = scheduler.schedules.put(NewSchedule(name="n", kind="k", cron="0 3 * * *"))
    assert is_new
    assert scheduler.schedules.get("n") == made
    assert scheduler.schedules.pause("n").is_paused
    assert not scheduler.schedules.resume("n").is_paused
    assert len(scheduler.schedules.preview("n", 3)) == 3
    assert scheduler.get(scheduler.schedules.trigger("n")).kind == "k"
    assert [each.definition.name for each in scheduler.schedules.list()] == ["n"]
    scheduler.schedules.delete("n")


def test_what_is_wrong_is_raised_to_the_caller(scheduler: SyncScheduler):
    with pytest.raises(InvalidTask, match="kind"):
        scheduler.schedule("no name")
    with pytest.raises(NotAConnection):
        scheduler.schedule("k", connection=None)


def test_it_opens_itself_and_is_closed_once():
    scheduler = SyncScheduler.in_memory()
    task_id = scheduler.schedule("k")
    assert scheduler.get(task_id).kind == "k"
    scheduler.close()
    scheduler.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        scheduler.schedule("k")


def test_threads_share_it(scheduler: SyncScheduler):
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(partial(scheduler.schedule, "k"), range(200)))
    assert len(set(ids)) == 200
    assert len(scheduler.list(TaskQuery(limit=1000))) == 200
    assert sum(thread.name == "taskscheduler-home" for thread in threading.enumerate()) == 1


def test_a_running_loop_is_not_in_the_way(scheduler: SyncScheduler):
    """As in a notebook."""

    async def cell() -> None:
        assert scheduler.get(scheduler.schedule("k")).kind == "k"

    asyncio.run(cell())


def test_its_own_loop_is_not_made_to_wait_for_itself(scheduler: SyncScheduler):
    async def on_the_loop(_: object, __: Errands) -> None:
        scheduler.schedule("k")

    with pytest.raises(RuntimeError, match="its own event loop"):
        scheduler.run(on_the_loop)


MINE: ContextVar[str] = ContextVar("MINE", default="nobody's")


def test_what_the_caller_has_in_his_context_comes_along(scheduler: SyncScheduler):
    """Such as the trace that a task is to belong to."""

    async def look(_: object, __: Errands) -> str:
        return MINE.get()

    MINE.set("mine")
    assert scheduler.run(look) == "mine"


def test_errands_are_run_in_the_thread_that_waits():
    async def ask(errands: Errands) -> tuple[int, object]:
        held = InCallersThread([3], errands)
        with pytest.raises(ZeroDivisionError):
            await held.call(lambda: 1 / 0)
        return await held.call(threading.get_ident), await held.call(held.thing.pop)

    assert home().run(ask) == (threading.get_ident(), 3)


def test_an_interrupted_errand_ends_in_order():
    """Ctrl-C while a statement runs: what was begun is undone before the caller goes on."""
    told: list[str] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    async def ask(errands: Errands) -> None:
        try:
            await errands.call(interrupted)
            await asyncio.Event().wait()
        finally:
            await errands.call(told.append, "undone")

    with pytest.raises(KeyboardInterrupt):
        home().run(ask)
    assert told == ["undone"]


def test_an_interrupted_wait_cancels_what_it_waits_for():
    began, ended = threading.Event(), threading.Event()

    async def ask(_: Errands) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupt() -> None:
        assert began.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        home().run(ask)
    assert ended.is_set()


def test_a_forked_process_goes_on_with_a_loop_of_its_own(scheduler: SyncScheduler):
    scheduler.schedule("k")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
    if child == 0:
        said = b"went wrong"
        try:
            task_id = scheduler.schedule("k")
            if scheduler.get(task_id).kind == "k" and len(scheduler.list()) == 1:
                said = b"fine"
        finally:
            os.write(writing, said)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert told.read() == b"fine"
    os.waitpid(child, 0)
    scheduler.schedule("k")
    assert len(scheduler.list()) == 2


def test_a_script_that_closes_nothing_ends():
    program = "import taskscheduler as t; s = t.SyncScheduler.in_memory(); print(s.schedule('k'))"
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr == ""
