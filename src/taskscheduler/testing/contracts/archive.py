"""What ``Archive`` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from taskscheduler.domain.errors import TaskNotFound
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.retention import Expiry, RetentionPolicy
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.trace import TraceContext
from taskscheduler.domain.values import TaskId
from taskscheduler.testing.contracts.steps import ERROR, Contract, bring, claim, end, join, put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.task import Task
    from taskscheduler.testing.clock import ManualClock


def dated(store: Store, clock: ManualClock) -> TaskId:
    """Return a new id that was made now, on the clock of the test."""
    later = store.new_task_id().int & ((1 << 80) - 1)
    return TaskId(UUID(int=(int(clock.now().timestamp() * 1000) << 80) | later))


async def ended(
    store: Store, clock: ManualClock, event: Event = Event.COMPLETE, **fields: object
) -> TaskId:
    """Store a task whose id is of now, run it, and end it with ``event``."""
    given: dict[str, Any] = {"id": dated(store, clock), "kind": "mail", **fields}
    task = NewTask(**given)
    worker_id = await join(store, task.kind)
    await store.tasks.put([task])
    (lease,) = await claim(store, worker_id, task.kind)
    await end(store, lease, event, error=ERROR if event is Event.FAIL else None)
    await store.workers.deregister(worker_id)
    return task.id


async def kept(store: Store, task_ids: Sequence[TaskId]) -> list[TaskId]:
    """Return those of the tasks that are still there."""
    found: list[TaskId] = []
    for task_id in task_ids:
        try:
            await store.tasks.get(task_id)
        except TaskNotFound:
            assert list(await store.board.attempts(task_id)) == []
        else:
            found.append(task_id)
    return found


class ArchiveContract(Contract):
    """What has ended is kept as long as the policy says, and no longer."""

    async def test_by_default_everything_is_kept(self, store: Store, clock: ManualClock) -> None:
        """For ever."""
        task_id = await ended(store, clock)
        clock.advance(days=5000)
        for policy in (RetentionPolicy(), RetentionPolicy.parse(["forever"])):
            assert await store.archive.expire(policy) == Expiry()
        assert await kept(store, [task_id]) == [task_id]

    async def test_traces_go_too(self, store: Store, clock: ManualClock) -> None:
        """They are a part of what is kept of a task."""
        trace = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        old = await ended(store, clock, trace=trace)
        assert await store.tasks.traces_of([old]) == {old: trace}
        clock.advance(days=33)
        await store.archive.expire(RetentionPolicy.parse(["30d"]))
        assert await store.tasks.traces_of([old]) == {}

    async def test_what_is_over_age_goes(self, store: Store, clock: ManualClock) -> None:
        """With its history, a few days late at most; by when it ended, not when it was stored."""
        policy = RetentionPolicy.parse(["30d"])
        old = await ended(store, clock, Event.FAIL)
        clock.advance(days=20)
        young = await ended(store, clock)
        clock.advance(days=5)
        await store.archive.expire(policy)
        assert await kept(store, [old, young]) == [old, young]
        clock.advance(days=8)
        expiry = await store.archive.expire(policy)
        assert expiry.dropped + expiry.deleted == 1
        assert await kept(store, [old, young]) == [young]
        assert await store.archive.expire(policy) == Expiry()

    async def test_the_most_particular_rule_holds(self, store: Store, clock: ManualClock) -> None:
        """Kind before status, both before one."""
        texts = ["1000d", "status:Failed=forever", "kind:fax=1d", "status:Failed,kind:fax=500d"]
        policy = RetentionPolicy.parse(texts)
        mail, failed_mail = (
            await ended(store, clock),
            await ended(store, clock, Event.FAIL),
        )
        fax, failed_fax = (
            await ended(store, clock, kind="fax"),
            await ended(store, clock, Event.FAIL, kind="fax"),
        )
        every = [mail, failed_mail, fax, failed_fax]
        left: list[list[TaskId]] = []
        for days in (2, 500, 510):
            clock.advance(days=days)
            await store.archive.expire(policy)
            left.append(await kept(store, every))
        assert left == [[mail, failed_mail, failed_fax], [mail, failed_mail], [failed_mail]]

    async def test_what_has_not_ended_stays(self, store: Store, clock: ManualClock) -> None:
        """However old it is."""
        running = await bring(store, TaskStatus.IN_PROGRESS)
        waiting = await put(store, execute_at=clock.now() + timedelta(days=9000))
        clock.advance(days=800)
        await store.archive.expire(RetentionPolicy.parse(["1s"]))
        assert await kept(store, [running, waiting]) == [running, waiting]

    async def test_ids_of_any_kind_go(self, store: Store, clock: ManualClock) -> None:
        """Also those that say nothing of their time."""
        task_id = await ended(store, clock, id=TaskId(UUID("f" * 12 + "4" + "f" * 19)))
        clock.advance(days=2)
        await store.archive.expire(RetentionPolicy.parse(["1d"]))
        assert await kept(store, [task_id]) == []

    async def test_a_dry_run_changes_nothing(self, store: Store, clock: ManualClock) -> None:
        """And says what would go."""
        ids = [await ended(store, clock) for _ in range(3)]
        clock.advance(days=9)
        policy = RetentionPolicy.parse(["1d"])
        planned = await store.archive.expire(policy, dry_run=True)
        assert planned.dropped + planned.deleted == len(ids)
        assert await kept(store, ids) == ids
        assert await store.archive.expire(policy) == planned
        assert await kept(store, ids) == []

    async def test_what_goes_is_exported_before(self, store: Store, clock: ManualClock) -> None:
        """And stays if that fails."""
        ids = [await ended(store, clock) for _ in range(3)]
        tasks = [await store.tasks.get(task_id) for task_id in ids]
        clock.advance(days=9)
        policy = RetentionPolicy.parse(["1d"])

        def full(_: Sequence[Task]) -> None:
            message = "no space"
            raise OSError(message)

        with pytest.raises(OSError, match="no space"):
            await store.archive.expire(policy, export=full)
        assert await kept(store, ids) == ids
        exported: list[Task] = []
        await store.archive.expire(policy, export=exported.extend)
        assert sorted(exported, key=lambda task: task.id) == sorted(tasks, key=lambda t: t.id)
        assert await kept(store, ids) == []

    async def test_unique_keys_go_too(self, store: Store, clock: ManualClock) -> None:
        """They would name a task that is not there."""
        task_id = await ended(store, clock, unique_key="k")
        clock.advance(hours=2)
        await store.archive.expire(RetentionPolicy.parse(["1h", "kind:fax=9d"]))
        clock.advance(hours=1)
        if await kept(store, [task_id]) == []:
            assert await put(store, unique_key="k") != task_id
